from __future__ import annotations

from app.embedded.litellm_server import child_variables


def test_litellm_does_not_see_the_proxys_database() -> None:
    variables = child_variables({"DATABASE_URL": "postgresql://u:p@db/x", "OPENAI_API_KEY": "sk"})

    assert "DATABASE_URL" not in variables
    assert variables["OPENAI_API_KEY"] == "sk"
    # Else it would find it again in the .env of the project's folder, which production asks for.
    assert variables["LITELLM_MODE"] == "PRODUCTION"
