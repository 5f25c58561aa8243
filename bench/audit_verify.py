"""`python -m bench.audit_verify`: how fast a trail is verified, with Postgres on the same core.

`--profile` says where this process spends its time.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import sys
import tempfile
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from uuid import UUID
from zoneinfo import ZoneInfo

from flask_migrate import upgrade
from sqlalchemy import Engine, create_engine

from app import create_app
from app.audit.chain import AuditKey, AuditKeys
from app.audit.event import AuditEvent
from app.audit.store import AuditStore
from app.audit.verify import verify_trail
from app.config.settings import DatabaseSettings, Settings, load_settings
from app.dialects.base import Usage
from app.embedded.engines import EmbeddedPostgres
from app.extensions import db
from bench.machine import Cores, on_core
from bench.table import Block, in_columns

AIM_ROWS_S = 50_000
SECRET = "an-audit-secret-of-the-benchmark-01"
PEOPLE, MODELS = 500, ("gpt-4o", "gpt-4o-mini", "claude-3-opus", "gemini-pro")
# What a batch has at 300 requests/s, shipped twice a second.
BATCH = 150
EVENT = AuditEvent(
    event_id="",
    at=datetime.now(UTC),
    event="request",
    team="sales",
    key="librechat",
    status=200,
    usage=Usage(1200, 250, cached_input_tokens=800),
    cost_micro_usd=5_500,
    latency_ms=2_200,
    first_byte_ms=420,
    private={
        "conversation_id": "6f9619ff-8b86-4d01-b42d-00cf4fc964ff",
        "message_id": "7f9619ff-8b86-4d01-b42d-00cf4fc964ff",
        "ip": "203.0.113.77",
        "client": "LibreChat",
    },
    detail={"path": [{"model": "gpt-4o", "outcome": "answered"}]},
)


def main() -> int:
    options = _options()
    cores = Cores.choose()
    # Postgres inherits the core.
    with on_core(cores.server), tempfile.TemporaryDirectory(prefix="solaris-bench-") as folder:
        postgres = EmbeddedPostgres(Path(folder) / "data")
        try:
            engine = _database(postgres.url)
            _fill(engine, options.rows, options.batch)
            runs = [_run(engine, options) for _ in range(options.runs)]
            engine.dispose()
        finally:
            postgres.stop()
    print("\n".join(in_columns(_block(runs, options.rows))))
    rate = options.rows / median(wall_s for wall_s, _ in runs)
    print(f"\n{rate:,.0f} rows/s (aim: {AIM_ROWS_S:,}), in batches of {options.batch}, on one core")
    return 0 if rate >= AIM_ROWS_S else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.audit_verify")
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--batch", type=int, default=BATCH, help="rows of one checkpoint")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--profile", action="store_true")
    return parser.parse_args()


def _database(url: str) -> Engine:
    url = load_settings({"ENVIRONMENT": "development", "DATABASE_URL": url}).database.url
    app = create_app(Settings(database=DatabaseSettings(url, url)))
    with app.app_context():
        upgrade()
        db.engine.dispose()
    return create_engine(url)


def _fill(engine: Engine, rows: int, size: int) -> None:
    store = AuditStore(engine, AuditKey.of(SECRET), ZoneInfo("America/Sao_Paulo"))
    started_s = time.perf_counter()
    for numbers in _batches(rows, size):
        store.append([_event(number) for number in numbers])
    took_s = time.perf_counter() - started_s
    print(f"{rows:,} rows appended in {took_s:.0f} s ({rows / took_s:,.0f} rows/s)")


def _batches(rows: int, size: int) -> list[range]:
    return [range(first, min(first + size, rows)) for first in range(0, rows, size)]


def _event(number: int) -> AuditEvent:
    model = MODELS[number % len(MODELS)]
    return replace(
        EVENT,
        event_id=str(UUID(int=(EVENT.at.microsecond << 64) + number + 1)),
        at=EVENT.at + timedelta(milliseconds=3 * number),
        user=f"person-{number % PEOPLE}",
        model=model,
        model_used=model,
    )


def _run(engine: Engine, options: argparse.Namespace) -> tuple[float, float]:
    """Return the wall time of one verification, and this process's CPU time of it."""
    profile = cProfile.Profile()
    if options.profile:
        profile.enable()
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    report = verify_trail(engine, AuditKeys([SECRET]))
    wall_s, cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
    if options.profile:
        profile.disable()
        pstats.Stats(profile).sort_stats("tottime").print_stats(12)
    if (report.finding, report.rows) != (None, options.rows):
        raise SystemExit(f"the trail is not good: {report}")
    return wall_s, cpu_s


def _block(runs: list[tuple[float, float]], rows: int) -> Block:
    lines: list[tuple[str, ...]] = [
        (f"{number}", f"{wall_s:.2f} s", f"{cpu_s:.2f} s", f"{rows / wall_s:,.0f}")
        for number, (wall_s, cpu_s) in enumerate(runs, 1)
    ]
    return Block(("run", "wall", "CPU of Python", "rows/s"), lines)


if __name__ == "__main__":
    sys.exit(main())
