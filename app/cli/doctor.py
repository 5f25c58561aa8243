"""`solaris doctor`: what is wrong with this installation, from inside and from outside."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import orjson
from flask.cli import with_appcontext

from app.cli.output import say, text
from app.config.problems import locale_of
from app.config.settings import PROJECT_ROOT, Settings
from app.extensions import catalog, db, settings
from app.services.diagnosis import Diagnosis, Finding
from app.utils.clock import SystemClock

SCRIPT = PROJECT_ROOT / "scripts" / "diagnose-litellm.sh"
MARKS = {"ok": "✔", "warning": "!", "failure": "✘", "skipped": "–"}
# The script's own codes, for both halves together.
CODES = {"ok": 0, "warning": 1, "failure": 2}
WORST_FIRST = ("failure", "warning", "ok")
# The script bounds each of its questions; together they are never so many.
PATIENCE_S = 300.0

Check = dict[str, Any]


@click.command()
@click.option("--paid", is_flag=True, help="Ask each model for one token, which costs money.")
@click.option("--json", "as_json", is_flag=True)
@click.option(
    "--litellm-dir",
    type=click.Path(path_type=Path, file_okay=False),
    default=PROJECT_ROOT / "var" / "litellm-venv",
    show_default=True,
    help="LiteLLM's virtual environment: its price list says which models are retired.",
)
@with_appcontext
def doctor(paid: bool, as_json: bool, litellm_dir: Path) -> None:
    """Look at configuration, Postgres, disk, models and LiteLLM; exit 0, 1 warnings, 2 failures."""
    inside = Diagnosis(settings, catalog, db.engine, SystemClock(), litellm_dir)
    checks: list[Check] = []
    for check in _all(inside, paid=paid):
        checks.append(check)
        if not as_json:
            _show(check)
    states = {it["state"] for it in checks}
    verdict = next((it for it in WORST_FIRST if it in states), "ok")
    if as_json:
        click.echo(orjson.dumps({"verdict": verdict, "checks": checks}).decode())
    else:
        counts = {it: sum(check["state"] == it for check in checks) for it in WORST_FIRST}
        say(text("doctor_verdict", failures=counts["failure"], warnings=counts["warning"]))
    sys.exit(CODES[verdict])


def _all(inside: Diagnosis, *, paid: bool) -> Iterator[Check]:
    yield from map(_told, inside.findings())
    yield from _outside(paid=paid)


def _told(finding: Finding) -> Check:
    values = {name: "–" if it is None else str(it) for name, it in finding.values.items()}
    detail = text(finding.key, **values)
    return {"check": finding.check, "state": finding.state, "detail": detail, "hint": ""}


def _outside(*, paid: bool) -> Iterator[Check]:
    """Yield what the script finds."""
    options = ["--json", "--lang", locale_of(os.environ)[:2], *(["--paid"] if paid else [])]
    done = subprocess.run(  # noqa: S603  # our own script
        ["/bin/bash", SCRIPT, *options],
        env={**_addresses(settings), **{name: it for name, it in os.environ.items() if it}},
        capture_output=True,
        timeout=PATIENCE_S,
        check=False,
    )
    try:
        yield from orjson.loads(done.stdout)["checks"]
    except orjson.JSONDecodeError:
        said = done.stderr.decode(errors="replace").partition("\n")[0]
        yield {"check": "script", "state": "failure", "detail": said, "hint": str(SCRIPT)}


def _addresses(settings: Settings) -> Mapping[str, str]:
    """Return what the script needs of the settings, where the environment does not say it."""
    host = settings.server.host
    host = "127.0.0.1" if host in ("0.0.0.0", "::") else host  # noqa: S104  # read, not bound
    found = {
        "PROXY_URL": f"http://{host}:{settings.server.port}",
        "LITELLM_BASE_URL": settings.litellm.base_url,
        "LITELLM_MASTER_KEY": settings.litellm.master_key,
        "ADMIN_API_KEY": settings.security.admin_api_key or "",
        "WEBHOOK_SECRET": next(iter(settings.security.webhook_secrets), ""),
    }
    return {name: value for name, value in found.items() if value}


def _show(check: Check) -> None:
    # Not through `say`: this is the result, not a note beside it.
    detail = "".join(it for it in check["detail"] if it.isprintable())
    click.echo(f"{MARKS[check['state']]} {check['check']}: {detail}")
    if check["hint"]:
        click.echo(f"    → {check['hint']}")
