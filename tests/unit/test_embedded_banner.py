from __future__ import annotations

from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.config.settings import ServerSettings, Settings
from app.embedded.banner import print_banner
from app.embedded.console import Console
from app.embedded.state import StateDirectory

OPENAI_MISSING = {"gpt-4o": "OPENAI_API_KEY", "gpt-4": "OPENAI_API_KEY"}


def banner(
    locale: str = "en", mocked: dict[str, str] | None = None, folder: Path = Path("/srv/var")
) -> str:
    out = StringIO()
    print_banner(
        Console(locale, out),
        replace(Settings(), server=ServerSettings(port=5001)),
        StateDirectory(folder),
        api_key="sk-solaris-abc",
        key_user="demo",
        mocked=mocked or {},
        total_models=3,
        started_in_s=4.2,
    )
    return out.getvalue()


def librechat_block(text: str) -> dict[str, Any]:
    lines = text.splitlines()
    start = lines.index('    - name: "SOLARIS"')
    (endpoint,) = yaml.safe_load("\n".join(lines[start : lines.index("", start)]))
    assert isinstance(endpoint, dict)
    return endpoint


@pytest.mark.parametrize("locale", ["pt_BR", "en"])
def test_banner_has_a_librechat_endpoint_that_librechat_shows(locale: str) -> None:
    endpoint = librechat_block(banner(locale))

    # Without `models` LibreChat leaves the endpoint out, and says nothing.
    assert endpoint == {
        "name": "SOLARIS",
        "apiKey": "sk-solaris-abc",
        "baseURL": "http://127.0.0.1:5001/v1",
        "models": {"default": ["gpt-4o"], "fetch": True},
    }


@pytest.mark.parametrize("locale", ["pt_BR", "en"])
def test_banner_says_what_a_container_must_write(locale: str) -> None:
    text = banner(locale)

    assert [word for word in ("host.docker.internal", "HOST=0.0.0.0") if word not in text] == []


def test_banner_says_whom_unnamed_calls_count_for() -> None:
    assert "counts for demo" in banner()


@pytest.mark.parametrize(
    ("mocked", "said"),
    [
        (OPENAI_MISSING | {"x": "GOOGLE_API_KEY"}, "All 3 models answer with a mocked text."),
        (OPENAI_MISSING, "2 of the 3 models answer with a mocked text."),
    ],
)
def test_banner_counts_the_models_that_are_mocked(mocked: dict[str, str], said: str) -> None:
    assert said in banner(mocked=mocked)


def test_banner_names_only_the_keys_that_are_missing() -> None:
    text = banner(mocked=OPENAI_MISSING)

    assert "set OPENAI_API_KEY and" in text
    assert "GOOGLE_API_KEY" not in text


def test_banner_without_mocks_does_not_speak_of_them() -> None:
    assert "mocked" not in banner()


def test_banner_has_a_command_that_works_from_any_folder() -> None:
    (line,) = [
        line
        for line in banner(folder=Path("/srv/meus projetos/var")).splitlines()
        if ". '/" in line
    ]

    assert "set -a; . '/srv/meus projetos/var/env'; set +a; /" in line
    assert line.endswith("/solaris keys list")
