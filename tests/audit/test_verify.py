"""What verification says of trails that were tampered with, and of those that were not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random

import pytest
from sqlalchemy import Engine, create_engine

from app.audit.anchor import anchor_of
from app.audit.verify import verify, verify_trail
from tests.audit.tamperings import TAMPERINGS, Expected, Trail
from tests.audit.trails import KEYS, changed, make_trail

TIMES = 100


@pytest.fixture
def engine(clean_database: str) -> Iterator[Engine]:
    engine = create_engine(clean_database)
    yield engine
    engine.dispose()


@pytest.mark.parametrize("tamper", TAMPERINGS, ids=lambda it: it.__name__)
def test_tampering_at_random_is_always_found_at_its_place(
    engine: Engine, tamper: Callable[[Trail], Expected]
) -> None:
    checkpoints = make_trail(engine)
    anchor = anchor_of(checkpoints[-1])
    misses = []
    for seed in range(TIMES):
        with changed(engine) as cursor:
            expected = tamper(Trail(cursor, checkpoints, Random(seed)))
            finding = verify(cursor.connection, KEYS, anchor=anchor).finding
        if not expected.is_met_by(finding):
            misses.append((seed, expected, finding))

    assert misses == []


def test_trail_with_a_changed_key_and_an_erased_name_is_good(engine: Engine) -> None:
    checkpoints = make_trail(engine)

    report = verify_trail(engine, KEYS, anchor=anchor_of(checkpoints[3]))

    assert report.finding is None
    assert (report.rows, report.checkpoints, report.dropped_rows) == (60, 12, 0)
    assert report.since == checkpoints[0].created_at
