"""The administrators' guide: each of its lines is run against a real proxy, in its order."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from app.config.settings import PROJECT_ROOT
from app.extensions import services_of
from app.serving.flask_app import SolarisFlask
from tests.conftest import ADMIN_KEY
from tests.servers import ProxyServer, passed_on

GUIDES = [PROJECT_ROOT / "docs" / name for name in ("admin.md", "admin.pt-BR.md")]
COMMAND = re.compile(r"curl -sS [^`\n]+")


def commands(guide: Path) -> list[str]:
    return COMMAND.findall(guide.read_text(encoding="utf-8"))


def test_guides_have_the_same_lines() -> None:
    english, portuguese = (
        [re.sub(r'"(reason|amount)": "[^"]*"', "", line) for line in commands(it)] for it in GUIDES
    )

    assert english == portuguese
    assert len(english) > 20


@pytest.mark.parametrize("guide", GUIDES, ids=lambda it: it.name)
def test_every_line_of_the_guide_works(
    guide: Path,
    app: SolarisFlask,
    start_proxy: Callable[..., ProxyServer],
    make_key: Callable[..., str],
    tmp_path: Path,
) -> None:
    services = services_of(app)
    services.people.create_person("ana", {})
    # The guide makes the third key and changes the seventh budget.
    numbers = {it.id for it in services.budgets.states()}
    everybodys = {"scope": "user", "subject": "*", "period": "day", "mode": "enforce"}
    for metric in ("tokens", "requests"):
        budget = services.budgets.create(**everybodys, metric=metric, limit=1_000)
        services.raise_requests.ask("ana", budget.id, amount=5, days=7, reason="fechamento")
    proxy = start_proxy(workers=1)
    environment = passed_on() | {"PROXY": proxy.url, "KEY": ADMIN_KEY}

    failed = {}
    for line in commands(guide):
        wanted = _with_ids(line, services.budgets.states()[-1].id)
        done = subprocess.run(
            ["/bin/bash", "-c", f"{wanted} --fail-with-body -w '\\n%{{http_code}}'"],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            failed[line] = done.stdout + done.stderr

    assert numbers
    assert failed == {}
    assert (tmp_path / "usage.csv").read_text().startswith("team,model,")


def _with_ids(line: str, budget: int) -> str:
    """Return the line with the numbers that there are: the budget and the key made last."""
    return line.replace("/budgets/7", f"/budgets/{budget}").replace("/keys/3", "/keys/2")
