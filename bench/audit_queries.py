"""How fast the audit trail answers at two million rows, and at four; how much each row takes.

Rows are made by Postgres itself, in the form and of the size of real ones, but not signed: no
question looks at a signature. What is timed is the question as the command line asks it, names
included; the start of a Python process is not.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from random import Random
from statistics import median
from zoneinfo import ZoneInfo

from flask_migrate import upgrade
from sqlalchemy import Engine, create_engine, text

from app import create_app
from app.audit.calls import past_calls
from app.audit.days import LATEST, Span, month_of
from app.audit.partitions import MAKE, TABLE, following, name_of
from app.audit.queries import EventFilter, TrailQueries
from app.audit.recount import recount
from app.config.catalog import Catalog, load_catalog
from app.config.settings import DatabaseSettings, Settings, load_settings
from app.embedded.engines import EmbeddedPostgres
from app.extensions import db
from app.ledger.rules import Budget
from app.services.replay import Replay
from bench.machine import Cores, on_core
from bench.table import Block, in_columns

AIMS_MS = {"usage by user and model, a month": 100, "last 50 events of a user": 50}
ZONE = ZoneInfo("America/Sao_Paulo")
PEOPLE, TEAMS, KEYS, MODELS = 1_000, 20, 5, 9
# Names have these numbers.
USER, TEAM, KEY, MODEL, EVENT = 0, 10_000, 20_000, 30_000, 40_000
EVENTS = ("request", "refusal", "budget_set", "key_created", "user_changed", "litellm_error")
# Where a trail is a year old; rows are in the last of these months and the one before.
MONTHS_BEFORE = 12
CHUNK = 500_000

NAMES = text("""
    INSERT INTO audit_names
    SELECT number, kind, kind || '-' || (number - first),
      decode(md5(number::text), 'hex'), decode(md5(number::text) || md5(kind), 'hex'), 'k',
      decode(md5(number::text), 'hex')
    FROM (VALUES ('user', :user, :people), ('team', :team, :teams), ('key', :key, :keys),
      ('model', :model, :models)) AS kinds (kind, first, count),
      generate_series(first + 1, first + count) AS number
""")
EVENT_NAME = text("""
    INSERT INTO audit_names VALUES (:id, 'event', :value, '\\x00', '\\x00', 'k', '\\x00')
""")
# As of a UUIDv7 event, with what is private (126 bytes) and a detail of the usual length.
ROWS = text("""
    INSERT INTO audit_events (seq, event_id, at, cost_micro_usd, event, user_id, team_id, key_id,
      model_id, model_used_id, input_tokens, output_tokens, latency_ms, first_byte_ms, status,
      is_estimated, private, detail, code)
    SELECT seq,
      (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '7' || substr(hash, 1, 3)
        || '8' || substr(hash, 4, 15))::uuid,
      at, 500 + seq % 9000,
      :event + CASE WHEN seq % 100000 = 0 THEN 3 WHEN seq % 50 = 0 THEN 2 ELSE 1 END,
      :user + 1 + person, :team + 1 + person % :teams, :key + 1 + person % :keys, model, model,
      100 + seq % 4000, 20 + seq % 800, 800 + seq % 5000, 200 + seq % 700,
      CASE WHEN seq % 50 = 0 THEN 402 ELSE 200 END, seq % 97 = 0,
      decode(repeat(hash, 7) || substr(hash, 1, 28), 'hex'),
      '{"cached_input_tokens":' || seq % 90 || ',"held":[5120,' || 30000 + seq % 9999 || ']}',
      decode(hash, 'hex')
    FROM (
      SELECT seq, md5(seq::text) AS hash, (random() * (:people - 1))::int AS person,
        :model + 1 + floor(power(random(), 2) * :models)::int AS model,
        :start + (:end - :start) * (seq - :shift) / :rows AS at
      FROM generate_series(:first, :last) AS seq
    ) AS drawn
""")
SUMMED = text("""
    INSERT INTO usage_days
    SELECT (at AT TIME ZONE :zone)::date, user_id, team_id, key_id, model_id, count(*),
      count(*) FILTER (WHERE status >= 400), count(*) FILTER (WHERE is_estimated),
      sum(input_tokens), sum(output_tokens), sum(cost_micro_usd)
    FROM audit_events WHERE event <= :event + 2 GROUP BY 1, 2, 3, 4, 5
""")
SUMMED_MONTHS = text("""
    INSERT INTO usage_months
    SELECT date_trunc('month', day)::date, user_id, team_id, key_id, model_id, sum(requests),
      sum(failed), sum(estimated), sum(input_tokens), sum(output_tokens), sum(cost_micro_usd)
    FROM usage_days GROUP BY 1, 2, 3, 4, 5
""")
SIZES = text("""
    SELECT sum(pg_table_size(relid)), sum(pg_indexes_size(relid))
    FROM pg_partition_tree('audit_events') WHERE isleaf
""")
INDEXES = text("""
    SELECT parent.relname, sum(pg_relation_size(tree.relid))
    FROM pg_index, pg_class AS parent, pg_partition_tree(parent.oid) AS tree
    WHERE indrelid = 'audit_events'::regclass AND parent.oid = indexrelid AND tree.isleaf
    GROUP BY 1 ORDER BY 1
""")


@dataclass(frozen=True, slots=True)
class Result:
    question: str
    rows: int
    times_ms: list[float]
    found: int

    @property
    def median_ms(self) -> float:
        return median(self.times_ms)


@dataclass(frozen=True, slots=True)
class Size:
    rows: int
    table: float
    indexes: float
    each: dict[str, float]


def main() -> int:
    options = _options()
    with (
        on_core(Cores.choose().load),
        tempfile.TemporaryDirectory(prefix="solaris-bench-") as folder,
    ):
        postgres = EmbeddedPostgres(Path(folder) / "data")
        try:
            engine = trail_database(postgres.url)
            results, sizes = _measured(engine, options)
            engine.dispose()
        finally:
            postgres.stop()
    print("\n".join(in_columns(_curve(results))))
    print("\n" + "\n".join(in_columns(_bytes_a_row(sizes))))
    gaps = [it for it in results if it.median_ms > AIMS_MS.get(it.question, float("inf"))]
    for it in gaps:
        print(f"gap: {it.question}: {it.median_ms:.1f} ms at {it.rows:,} rows")
    return 1 if gaps else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.audit_queries")
    parser.add_argument("--rows", type=int, default=2_000_000, help="then twice as many")
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--replay", action="store_true", help="replay the month, too: a minute")
    return parser.parse_args()


def trail_database(url: str) -> Engine:
    url = load_settings({"ENVIRONMENT": "development", "DATABASE_URL": url}).database.url
    app = create_app(Settings(database=DatabaseSettings(url, url)))
    with app.app_context():
        upgrade()
        db.engine.dispose()
    engine = create_engine(url)
    with engine.begin() as connection:
        for first in _months()[:-1]:
            bounds = {"first": first, "following": following(first)}
            connection.exec_driver_sql(MAKE.format(name=name_of(first), table=TABLE, **bounds))
        connection.execute(NAMES, _numbers())
        for number, name in enumerate(EVENTS, EVENT + 1):
            connection.execute(EVENT_NAME, {"id": number, "value": name})
    return engine


def _measured(engine: Engine, options: argparse.Namespace) -> tuple[list[Result], list[Size]]:
    results: list[Result] = []
    sizes: list[Size] = []
    for rows in (options.rows, 2 * options.rows):
        fill_trail(engine, rows)
        sizes.append(_size(engine, rows))
        results += _ask(engine, rows, options)
    return results, sizes


def _months() -> list[date]:
    """Return the months of a year, and this one last."""
    months = [datetime.now(UTC).date().replace(day=1)]
    for _ in range(MONTHS_BEFORE):
        months.insert(0, (months[0] - timedelta(days=1)).replace(day=1))
    return months


def full_month() -> Span:
    """Return the month that is asked for: the one before this, full of rows."""
    return month_of(_months()[-2], ZONE)


def _numbers() -> dict[str, int]:
    firsts = {"user": USER, "team": TEAM, "key": KEY, "model": MODEL}
    return firsts | {"people": PEOPLE, "teams": TEAMS, "keys": KEYS, "models": MODELS}


def fill_trail(engine: Engine, rows: int) -> None:
    """Fill two months evenly, from the beginning: at twice the rows each day has twice as many."""
    started_s = time.perf_counter()
    end = month_of(_months()[-1], ZONE).end
    facts = {
        **_numbers(),
        "event": EVENT,
        "rows": rows,
        "start": full_month().start,
        "end": end,
        "shift": 1,
    }
    with engine.begin() as connection:
        connection.execute(text("TRUNCATE audit_events, usage_days, usage_months"))
    for first, after in pairwise([*range(1, rows + 1, CHUNK), rows + 1]):
        with engine.begin() as connection:
            connection.execute(ROWS, facts | {"first": first, "last": after - 1})
    with engine.begin() as connection:
        connection.execute(SUMMED, {"zone": ZONE.key, "event": EVENT})
        connection.execute(SUMMED_MONTHS)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE"))
        sums = connection.execute(text("SELECT count(*) FROM usage_days")).scalar_one()
    took_s = time.perf_counter() - started_s
    print(f"{rows:,} rows, {sums:,} sums by day, in two months; made in {took_s:.0f} s", flush=True)


def _size(engine: Engine, rows: int) -> Size:
    with engine.connect() as connection:
        table, indexes = connection.execute(SIZES).one()
        each = connection.execute(INDEXES).all()
    by_index = {name: float(size) / rows for name, size in each}
    return Size(rows, float(table) / rows, float(indexes) / rows, by_index)


def _ask(engine: Engine, rows: int, options: argparse.Namespace) -> list[Result]:
    queries, month = TrailQueries(engine), full_month()
    people = Random(1)

    def somebody() -> str:
        return f"user-{people.randint(1, PEOPLE)}"

    def events(wanted: EventFilter) -> int:
        return len(queries.events(wanted))

    request = queries.events(EventFilter(event="refusal", limit=1))[0].event_id
    questions: dict[str, Callable[[], int]] = {
        "usage by user and model, a month": lambda: len(
            queries.usage(["user", "model"], month.first, month.last)
        ),
        "usage by user and model, 20 days": lambda: len(
            queries.usage(["user", "model"], month.first, month.first + timedelta(days=19))
        ),
        "usage by user and model, this month so far": lambda: len(
            queries.usage(["user", "model"], month.last + timedelta(days=1), LATEST)
        ),
        "usage by team, all there is": lambda: len(queries.usage(["team"])),
        "last 50 events of a user": lambda: events(EventFilter(user=somebody())),
        "last 50 events of all": lambda: events(EventFilter()),
        "last 50 of a rare event": lambda: events(EventFilter(event="budget_set")),
        "one request's story": lambda: events(EventFilter(request=request)),
    }
    results = [_timed(name, rows, ask, options.runs) for name, ask in questions.items()]
    results.append(
        _timed("recount of the month", rows, lambda: _recounted(engine, month), options.runs // 10)
    )
    if options.replay:
        results.append(_timed("replay of the month", rows, lambda: _replayed(engine, month), 1))
    return results


def _recounted(engine: Engine, month: Span) -> int:
    found = recount(engine, ZONE, month.first, month.last)
    if not found.is_good:
        raise SystemExit(f"the sums are not what the rows say: {found.difference}")
    return found.requests


def _replayed(engine: Engine, month: Span) -> int:
    catalog: Catalog = load_catalog(Settings().litellm.config_path)
    budgets = [Budget(1, "user", "*", "tokens", "month", 80_000, "enforce")]
    replay = Replay(catalog, catalog, budgets, ZONE)
    return replay.run(past_calls(engine, month.start, month.end)).calls


def _timed(question: str, rows: int, ask: Callable[[], int], runs: int) -> Result:
    times_ms: list[float] = []
    found = ask()
    for _ in range(max(1, runs)):
        started_s = time.perf_counter()
        found = ask()
        times_ms.append((time.perf_counter() - started_s) * 1000)
    return Result(question, rows, times_ms, found)


def _curve(results: Sequence[Result]) -> Block:
    lines: list[tuple[str, ...]] = [
        (
            f"{it.question}, {it.rows:,} rows",
            f"{it.median_ms:,.1f} ms",
            f"{max(it.times_ms):,.1f} ms",
            f"{AIMS_MS[it.question]} ms" if it.question in AIMS_MS else "–",
            f"{it.found:,}",
        )
        for it in sorted(results, key=lambda it: it.question)
    ]
    return Block(("question", "median", "worst", "aim", "found"), lines)


def _bytes_a_row(sizes: Sequence[Size]) -> Block:
    lines: list[tuple[str, ...]] = [
        (
            f"{it.rows:,} rows",
            f"{it.table + it.indexes:.0f}",
            f"{it.table:.0f}",
            *(f"{it.each[name]:.0f}" for name in sorted(it.each)),
        )
        for it in sizes
    ]
    heads = [name.removeprefix("ix_audit_events_") for name in sorted(sizes[0].each)]
    return Block(("bytes a row", "all", "table", *heads), lines)


if __name__ == "__main__":
    sys.exit(main())
