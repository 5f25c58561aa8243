"""A stream's checkpoint: ahead of what is passed on, by a second's tokens."""

from __future__ import annotations

import asyncio

from app.services.write_ahead import ALLOWANCE_TOKENS, WriteAhead


class Ledger:
    """Commits when it is told to, and by itself where ``is_open``."""

    def __init__(self, *, is_open: bool = True) -> None:
        self.asked: list[int] = []
        self.gate = asyncio.Event()
        if is_open:
            self.gate.set()

    async def commit(self, tokens: int) -> None:
        self.asked.append(tokens)
        await self.gate.wait()


def test_tokens_within_the_reservations_own_allowance_ask_nothing() -> None:
    assert WriteAhead(Ledger().commit, lambda: 0.0).due <= ALLOWANCE_TOKENS
    assert WriteAhead(Ledger().commit, lambda: 0.0).due > ALLOWANCE_TOKENS // 2


def test_tokens_that_are_covered_pass_while_the_next_checkpoint_is_asked_for() -> None:
    async def scene() -> list[int]:
        ledger = Ledger(is_open=False)
        ahead = WriteAhead(ledger.commit, lambda: 0.0)
        await asyncio.wait_for(ahead.cover(ahead.due), 1)
        await asyncio.sleep(0)
        return ledger.asked

    (asked,) = asyncio.run(scene())
    assert asked > ALLOWANCE_TOKENS


def test_tokens_beyond_the_last_checkpoint_wait_for_one_that_covers_them() -> None:
    async def scene() -> tuple[bool, list[int]]:
        ledger = Ledger(is_open=False)
        ahead = WriteAhead(ledger.commit, lambda: 0.0)
        passing = asyncio.create_task(ahead.cover(500))
        await asyncio.sleep(0.01)
        was_held = not passing.done()
        ledger.gate.set()
        await asyncio.wait_for(passing, 1)
        return was_held, ledger.asked

    was_held, asked = asyncio.run(scene())
    assert was_held
    assert asked[-1] >= 500


def test_checkpoint_is_never_above_what_was_asked_for() -> None:
    async def scene() -> list[int]:
        ledger = Ledger()
        ahead = WriteAhead(ledger.commit, lambda: 0.0, most=100)
        for received in range(1, 100 + ALLOWANCE_TOKENS + 1):
            if received >= ahead.due:
                await asyncio.wait_for(ahead.cover(received), 1)
                await asyncio.sleep(0)
        return ledger.asked

    assert asyncio.run(scene()) == [100]


def test_answer_much_longer_than_was_asked_for_is_covered_all_the_same() -> None:
    async def scene() -> bool:
        ledger = Ledger()
        ahead = WriteAhead(ledger.commit, lambda: 0.0, most=100)
        for received in range(1, 2000):
            if received >= ahead.due:
                await asyncio.wait_for(ahead.cover(received), 1)
                await asyncio.sleep(0)
            if received > 100 + ALLOWANCE_TOKENS and received > ledger.asked[-1]:
                return False
        return True

    assert asyncio.run(scene())


def test_tokens_that_overtake_a_checkpoint_on_its_way_wait_for_a_further_one() -> None:
    async def scene() -> list[int]:
        ledger = Ledger(is_open=False)
        ahead = WriteAhead(ledger.commit, lambda: 0.0)
        await ahead.cover(ahead.due)
        passing = asyncio.create_task(ahead.cover(10_000))
        await asyncio.sleep(0.01)
        ledger.gate.set()
        await asyncio.wait_for(passing, 1)
        return ledger.asked

    asked = asyncio.run(scene())
    assert asked[0] < 10_000 <= asked[-1]


def test_checkpoint_of_a_fast_stream_is_a_seconds_tokens_ahead() -> None:
    async def scene() -> list[int]:
        ledger, now_s = Ledger(), [0.0]
        ahead = WriteAhead(ledger.commit, lambda: now_s[0])
        now_s[0] = 2.0
        await ahead.cover(1000)
        return ledger.asked

    assert asyncio.run(scene()) == [1500]
