"""How soon the administrators' API and pages answer when there is much: two million events in the
trail, 50,000 people, keys and lines of budgets. What is timed is the whole request in the server:
who asks, the question, the answer as JSON or as a page; not the network.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from flask.testing import FlaskClient
from sqlalchemy import Engine, text

from app import create_app
from app.config.settings import DatabaseSettings, SecuritySettings, ServerSettings, Settings
from app.embedded.engines import EmbeddedPostgres
from app.extensions import services_of
from app.serving.flask_app import SolarisFlask
from bench.audit_queries import fill_trail, full_month, trail_database
from bench.machine import Cores, on_core
from bench.table import Block, in_columns

AIM_MS = 150.0
PEOPLE, DAYS, ALERTS, TEAMS = 50_000, 365, 5_000, 200
ADMIN_KEY = "sk-admin-of-the-bench"
# Who is asked for is somebody in the middle.
SOMEBODY = "user-500"
FILL = (
    """INSERT INTO teams (id, name) SELECT 'team-' || it, 'Equipe ' || it
       FROM generate_series(1, :teams) AS it""",
    """INSERT INTO users (id, name, email, team_id, pinned, first_seen_at, last_seen_at)
       SELECT 'user-' || it, 'Pessoa ' || it, 'p' || it || '@exemplo.com',
         'team-' || 1 + it % :teams, '{}', now(), now() FROM generate_series(1, :people) AS it""",
    """INSERT INTO api_keys (key_hash, prefix, name, user_id, role, trusted)
       SELECT sha256(it::text::bytea), 'abcdef', 'key-' || it, 'user-' || it, 'user', false
       FROM generate_series(1, :people) AS it""",
    """INSERT INTO budget_lines (budget_id, subject, period_start, posted)
       SELECT :budget, 'user-' || it, :start, it * 100 FROM generate_series(1, :people) AS it""",
    """INSERT INTO budget_raises (budget_id, subject, amount, reason, created_at, created_by,
         expires_at) SELECT :budget, 'user-' || it, 5, 'fechamento', now(), 'cli:eva',
         now() + interval '1 day' FROM generate_series(1, :alerts) AS it""",
    """INSERT INTO alerts (id, rule, subject, state, severity, opened_at, seen_at, told_at, level,
         facts, messages, total, untold, is_hushed, owes_end)
       SELECT 'budget_threshold user-' || it, 'budget_threshold', 'user-' || it, 'opened',
         'warning', now() - it * interval '1 minute', now(), now(), 80, '{}', 1, 1, 0, false, true
       FROM generate_series(1, :alerts) AS it""",
    """INSERT INTO kill_switches (scope, subject, reason, thrown_at, thrown_by, lifted_at)
       SELECT 'user', 'user-' || it, 'auditoria', now(), 'cli:eva', now()
       FROM generate_series(1, :alerts) AS it""",
    """INSERT INTO reconciliations (day, timezone, reconciled_at, matched, missing_here,
         missing_there, differing, estimated, adjusted, difference_micro_usd, adjusted_micro_usd,
         models, discrepancies)
       SELECT current_date - it, 'America/Sao_Paulo', now(), 5000, 1, 1, 1, 0, 0, 0, 0, '[]', '[]'
       FROM generate_series(1, :days) AS it""",
)


@dataclass(frozen=True, slots=True)
class Timed:
    route: str
    found: int
    times_ms: list[float]

    def quantile_ms(self, share: float) -> float:
        ordered = sorted(self.times_ms)
        return ordered[math.ceil(share * len(ordered)) - 1]


def main() -> int:
    options = _options()
    with (
        on_core(Cores.choose().load),
        tempfile.TemporaryDirectory(prefix="solaris-bench-") as folder,
    ):
        postgres = EmbeddedPostgres(Path(folder) / "data")
        try:
            engine = trail_database(postgres.url)
            fill_trail(engine, options.rows)
            results = _measured(engine, Path(folder), options.runs)
            engine.dispose()
        finally:
            postgres.stop()
    print("\n" + "\n".join(in_columns(_table(results))))
    gaps = [it for it in results if it.quantile_ms(0.95) > AIM_MS]
    for it in gaps:
        print(f"gap: {it.route}: {it.quantile_ms(0.95):.1f} ms")
    return 1 if gaps else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.admin_api")
    parser.add_argument("--rows", type=int, default=2_000_000, help="events of the trail")
    parser.add_argument("--runs", type=int, default=60)
    return parser.parse_args()


def _measured(engine: Engine, folder: Path, runs: int) -> list[Timed]:
    app = _app(engine, folder)
    _fill(app, engine)
    client = app.test_client()
    results = [_timed(client, f"/api/admin{path}", runs) for path in _paths()]
    results += [_timed(_signed_in(app), path, runs) for path in _pages()]
    app.background_loop.run(services_of(app).close())
    app.background_loop.stop()
    return results


def _app(engine: Engine, folder: Path) -> SolarisFlask:
    url = engine.url.render_as_string(hide_password=False)
    settings = Settings(
        server=ServerSettings(state_dir=folder / "state"), database=DatabaseSettings(url, url)
    )
    security = replace(SecuritySettings(), admin_api_key=ADMIN_KEY)
    return create_app(replace(settings, security=security))


def _fill(app: SolarisFlask, engine: Engine) -> None:
    budget = services_of(app).budgets.set(
        scope="user", subject="*", metric="cost", period="month", limit=10**7, mode="enforce"
    )
    (state,) = [it for it in services_of(app).budgets.states() if it.id == budget.id]
    values: dict[str, Any] = {
        "teams": TEAMS,
        "people": PEOPLE,
        "alerts": ALERTS,
        "days": DAYS,
        "budget": budget.id,
    }
    with engine.begin() as connection:
        zone = services_of(app).settings.budgets.timezone
        start = text("SELECT date_trunc('month', now() AT TIME ZONE :zone) AT TIME ZONE :zone")
        values["start"] = connection.execute(start, {"zone": zone}).scalar_one()
        for statement in FILL:
            wanted = {it: values[it] for it in text(statement).compile().params}
            connection.execute(text(statement), wanted)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE"))
    print(f"{PEOPLE:,} people, keys and lines of budgets (renew {state.renews_at:%Y-%m-%d})")


def _paths() -> Iterator[str]:
    month = full_month()
    days = f"from={month.first}&to={month.last}"
    yield from (
        f"/usage?group_by=user,model&{days}",
        f"/usage?group_by=team&{days}",
        f"/usage?group_by=day&{days}",
        f"/usage?group_by=user&format=csv&{days}",
        "/usage?group_by=team",
    )
    yield from (
        "/audit",
        "/audit?limit=200",
        f"/audit?user={SOMEBODY}",
        "/audit?event=budget_set",
        "/audit?team=team-5",
        "/audit?model=model-9",
        "/audit?key=key-2",
        "/audit?status=402",
        "/audit?status=599",
    )
    yield from ("/users", "/users?team=team-7", "/users?q=4999", "/users?limit=200")
    yield from ("/teams", "/keys", "/keys?state=live", f"/keys?user={SOMEBODY}")
    yield from ("/budgets", "/budgets?limit=200", f"/budgets?subject={SOMEBODY}", "/raises")
    yield from ("/alerts", "/alerts?past=true", "/killswitch", "/killswitch?past=true")
    yield from ("/reconciliation", "/models/status", "/metrics")
    yield f"/fallback/simulate?model=gpt-4o&user={SOMEBODY}"


def _pages() -> Iterator[str]:
    yield "/admin/"
    yield from ("/admin/people", f"/admin/people/{SOMEBODY}", "/admin/teams/team-5")
    yield from ("/admin/budgets", "/admin/keys", "/admin/requests", "/admin/requests?status=402")
    yield from ("/admin/audit", "/admin/alerts", "/admin/models", "/admin/reconciliation")
    yield from ("/admin/kill-switch", "/admin/audit/verification", "/admin/requests-for-more")


def _signed_in(app: SolarisFlask) -> FlaskClient:
    client = app.test_client()
    form = client.get("/admin/sign-in").text
    token = form.partition('name="csrf_token" value="')[2].partition('"')[0]
    answer = client.post("/admin/sign-in", data={"csrf_token": token, "key": ADMIN_KEY})
    if answer.status_code != 303:
        raise SystemExit(f"sign-in: {answer.status_code}")
    return client


def _timed(client: FlaskClient, path: str, runs: int) -> Timed:
    """Ask again and again, each list from page to page: a later page costs no more than a first."""
    times_ms, found, cursor = [], 0, None
    for run in range(runs + 1):
        separator = "&" if "?" in path else "?"
        url = path + (f"{separator}cursor={cursor}" if cursor else "")
        headers = {"Authorization": f"Bearer {ADMIN_KEY}"} if path.startswith("/api/") else {}
        started_s = time.perf_counter()
        answer = client.get(url, headers=headers)
        body = answer.get_data()
        took_ms = (time.perf_counter() - started_s) * 1000
        if answer.status_code != 200:
            raise SystemExit(f"{url}: {answer.status_code}: {body[:300]!r}")
        said = answer.get_json() if answer.is_json else {}
        cursor = said.get("next_cursor")
        # The first one warms up connections.
        if run:
            times_ms.append(took_ms)
        found = max(found, len(said.get("data", ())) or body.count(b"\n"))
    return Timed(path, found, times_ms)


def _table(results: list[Timed]) -> Block:
    columns = ("GET", "rows a page", "p50 ms", "p95 ms", "slowest ms")
    rows: list[tuple[str, ...]] = [
        (
            it.route,
            f"{it.found:,}",
            f"{it.quantile_ms(0.5):.1f}",
            f"{it.quantile_ms(0.95):.1f}",
            f"{max(it.times_ms):.1f}",
        )
        for it in results
    ]
    return Block(columns, rows)


if __name__ == "__main__":
    raise SystemExit(main())
