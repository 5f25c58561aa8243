from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

from app.ledger.batcher import LedgerBatcher
from app.ledger.book import Demand, Operation, Outcome, Reserve, Resolved, Settle, Spend

PAUSE_S, LONG_S = 0.05, 60.0
DEMAND = Demand(1, 1, 1, input_price=0, output_price=0, is_flexible=False)


class Batches:
    """Keeps what it is given."""

    def __init__(self) -> None:
        self.seen: list[list[str]] = []

    def apply(self, operations: Sequence[Operation]) -> list[Outcome]:
        self.seen.append([operation.request_id for operation in operations])
        return [Resolved(None) for _ in operations]


def is_waited_for(operation: Operation) -> bool:
    return isinstance(operation, Reserve)


def reserve(request_id: str) -> Reserve:
    return Reserve(request_id, "gpt-4o", (), DEMAND, datetime(2026, 11, 23, tzinfo=UTC))


def settle(request_id: str) -> Settle:
    return Settle(request_id, Spend(1, 1))


def run(*operations: Operation, linger_s: float) -> list[list[str]]:
    batches = Batches()

    async def one_after_the_other() -> None:
        batcher = LedgerBatcher(batches.apply, is_waited_for, linger_s)
        async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
            for operation in operations:
                tasks.create_task(batcher.run(operation))
                # Time enough for the thread, were it not to wait.
                await asyncio.sleep(PAUSE_S)
        await asyncio.to_thread(batcher.close)

    asyncio.run(one_after_the_other())
    return batches.seen


def test_settlement_goes_with_the_reservation_that_follows_and_before_it() -> None:
    assert run(settle("a"), reserve("b"), linger_s=LONG_S) == [["a", "b"]]


def test_settlement_that_no_reservation_follows_goes_all_the_same() -> None:
    assert run(settle("a"), linger_s=PAUSE_S) == [["a"]]


def test_settlements_that_come_one_after_the_other_are_one_batch() -> None:
    assert run(*map(settle, "abc"), linger_s=1.0) == [["a", "b", "c"]]


def test_reservation_waits_for_nobody() -> None:
    assert run(*map(reserve, "abc"), linger_s=LONG_S) == [["a"], ["b"], ["c"]]


def test_settlement_that_waits_is_done_when_the_batcher_closes() -> None:
    batches = Batches()

    async def close_at_once() -> None:
        batcher = LedgerBatcher(batches.apply, is_waited_for, LONG_S)
        waiting = asyncio.ensure_future(batcher.run(settle("a")))
        await asyncio.sleep(0)
        await asyncio.to_thread(batcher.close)
        await asyncio.wait_for(waiting, 5)

    asyncio.run(close_at_once())

    assert batches.seen == [["a"]]
