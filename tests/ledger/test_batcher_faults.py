"""What an operation that fails does to the others of its batch."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import pytest

from app.ledger.batcher import LedgerBatcher
from app.utils.exceptions import DatabaseUnavailableError, OverloadedError, SolarisError

T = TypeVar("T")
Batcher = LedgerBatcher[str, str]


def use(apply: Callable[[Sequence[str]], list[str]], ask: Callable[[Batcher], Awaitable[T]]) -> T:
    async def run() -> T:
        batcher: Batcher = LedgerBatcher(apply)
        try:
            return await ask(batcher)
        finally:
            batcher.close()

    return asyncio.run(run())


def loud(operations: Sequence[str]) -> list[str]:
    return [operation.upper() for operation in operations]


def test_operation_that_can_never_be_done_fails_alone() -> None:
    def apply(operations: Sequence[str]) -> list[str]:
        if "poison" in operations:
            raise ValueError("out of range")
        return loud(operations)

    async def ask(batcher: Batcher) -> list[str | BaseException]:
        names = ("a", "b", "poison", "c")
        return await asyncio.gather(*map(batcher.submit, names), return_exceptions=True)

    answers = use(apply, ask)

    assert [it for it in answers if isinstance(it, str)] == ["A", "B", "C"]
    assert isinstance(answers[2], DatabaseUnavailableError)


@pytest.mark.parametrize("fault", [DatabaseUnavailableError(), OverloadedError()])
def test_fault_of_the_whole_batch_is_everybodys_and_is_tried_once(fault: SolarisError) -> None:
    tries: list[int] = []
    is_busy, may_go_on = threading.Event(), threading.Event()

    def apply(operations: Sequence[str]) -> list[str]:
        if "first" in operations:
            is_busy.set()
            may_go_on.wait(10)
            return loud(operations)
        tries.append(len(operations))
        raise fault

    async def ask(batcher: Batcher) -> list[str | BaseException]:
        first = batcher.submit("first")
        await asyncio.to_thread(is_busy.wait, 10)
        # They wait for it together.
        others = [batcher.submit(it) for it in "abc"]
        may_go_on.set()
        await first
        return await asyncio.gather(*others, return_exceptions=True)

    assert use(apply, ask) == [fault] * 3
    assert tries == [3]
