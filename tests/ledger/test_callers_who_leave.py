"""Callers who leave while their call is being admitted: nothing stays held for them."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from app.config.catalog import load_catalog
from app.config.settings import BudgetSettings, LiteLLMSettings
from app.dialects.openai_chat import CHAT
from app.ledger.rules import Budget, Payer
from app.services.redis_link import RedisLink
from app.services.short_windows import PREFIX, ShortWindows
from app.services.token_service import TokenService
from app.utils.clock import SystemClock
from tests.fakes.ledger_store import MemoryLedgerStore
from tests.ledger.served import BODY
from tests.ledger.windows import redis_at

CALLERS = 300
ANA = Payer("ana", None, None)
MINUTE = Budget(1, "user", "*", "tokens", "minute", 10**9, "enforce")
MONTH = Budget(2, "user", "*", "tokens", "month", 10**9, "enforce")


def test_caller_who_leaves_at_any_moment_holds_nothing(place: str | None) -> None:
    store = MemoryLedgerStore(MINUTE, MONTH)
    catalog = load_catalog(LiteLLMSettings().config_path)
    request, model = CHAT.parse(BODY), catalog.models["gpt-4o"]

    async def run() -> int:
        link = RedisLink(place, SystemClock()) if place else None
        windows = ShortWindows(link, 1, SystemClock()) if link else None
        tokens = TokenService(BudgetSettings(), catalog, store, store, SystemClock(), windows)
        given_up = 0
        for number in range(CALLERS):
            asking = asyncio.create_task(tokens.reserve(str(number), request, model, ANA))
            # From before it begins to after it is admitted.
            await asyncio.sleep(number / CALLERS * 0.005)
            asking.cancel()
            with suppress(asyncio.CancelledError):
                tokens.release(await asking)
                continue
            given_up += 1
        await asyncio.sleep(0.1)
        await tokens.close()
        if link is not None:
            await link.close()
        return given_up

    given_up = asyncio.run(run())

    assert 0 < given_up < CALLERS
    assert sum(line.pending for line in store.book.lines.values()) == 0
    assert not place or asyncio.run(taken(place)) == 0


async def taken(url: str) -> int:
    async with redis_at(url) as redis:
        keys = await redis.keys(f"{PREFIX}*")
        return sum([int(await redis.get(key) or 0) for key in keys])


@pytest.mark.parametrize("ends", [("settle_unknown", "release"), ("release", "settle_unknown")])
def test_hold_is_resolved_by_the_first_word_only(ends: tuple[str, str]) -> None:
    store = MemoryLedgerStore(MINUTE, MONTH)
    catalog = load_catalog(LiteLLMSettings().config_path)

    async def run() -> int:
        tokens = TokenService(BudgetSettings(), catalog, store, store, SystemClock())
        hold = await tokens.reserve("a", CHAT.parse(BODY), catalog.models["gpt-4o"], ANA)
        for end in ends:
            getattr(tokens, end)(hold)
        await tokens.close()
        return hold.spend.tokens

    held = asyncio.run(run())

    (line,) = [line for key, line in store.book.lines.items() if key[0] == MONTH.id]
    assert (line.pending, line.posted) == (0, held if ends[0] == "settle_unknown" else 0)
