"""Postgres stopped under load, and a worker killed meanwhile: every answer is on record, once."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from tests.outages import CLIENTS, Place, StartPlace, Told
from tests.servers import run_solaris
from tests.waiting import wait_until

# Some 300 calls a second.
PAUSE_S = 0.04
# What is promised, and as much again for a busy machine.
DRAINED_WITHIN_S = 10.0 + 10.0
CALLS = """
    SELECT event.event_id::text FROM audit_events AS event
    JOIN audit_names AS name ON name.id = event.event WHERE name.value IN ('request', 'refusal')
"""


@pytest.mark.timeout(300)
@pytest.mark.parametrize("mode", ["lenient", "strict"])
def test_every_answer_is_on_record_once_though_postgres_was_away_and_a_worker_killed(
    start_place: StartPlace, mode: str
) -> None:
    place = start_place(mode)
    place.load.pause_s = PAUSE_S

    meanwhile = asyncio.run(place.while_stopped(place.proxy.workers[0].kill))

    back_at_s = time.monotonic()
    wait_until(lambda: not waiting_bytes(place), DRAINED_WITHIN_S)
    drained_s = time.monotonic() - back_at_s
    answered = [it.request_id for it in place.load.told]
    recorded = calls(place)
    say(mode, place.load.told, meanwhile, len(recorded), drained_s)
    assert len(answered) == len(set(answered))
    assert set(answered) <= set(recorded)
    assert len(recorded) == len(set(recorded))
    # And those whose worker was killed before they heard.
    assert len(recorded) - len(answered) <= CLIENTS
    verified = run_solaris(place.proxy.environment, "audit", "verify")
    assert verified.returncode == 0, verified.stdout + verified.stderr


def waiting_bytes(place: Place) -> int:
    """Return what is on disk and not in Postgres."""
    folder = Path(place.proxy.environment["SPOOL_DIR"]) / "audit"
    return sum(path.stat().st_size for path in folder.glob("*.events"))


def calls(place: Place) -> list[str]:
    engine = create_engine(place.database_url)
    try:
        with engine.connect() as connection:
            return list(connection.execute(text(CALLS)).scalars())
    finally:
        engine.dispose()


def say(
    mode: str, told: Sequence[Told], meanwhile: Sequence[Told], recorded: int, drained_s: float
) -> None:
    before = [it for it in told if it.ended_at_s < min(it.began_at_s for it in meanwhile) - 1]
    seconds = told[-1].ended_at_s - told[0].began_at_s
    sys.stdout.write(
        f"\n{mode}: {len(told) / seconds:.0f} calls a second for {seconds:.0f} s, "
        f"{len(told)} answered, {recorded} on record, on record {drained_s:.1f} s after the end; "
        f"p99 {_p99_ms(before):.1f} ms before, {_p99_ms(meanwhile):.1f} ms meanwhile\n"
    )


def _p99_ms(told: Sequence[Told]) -> float:
    times = sorted(it.ended_at_s - it.began_at_s for it in told)
    return 1000 * times[int(len(times) * 0.99)] if times else 0.0
