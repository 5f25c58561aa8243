"""Holds of workers that are gone are resolved by another; holds of those that live are not."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

import pytest

from app.config.catalog import load_catalog
from app.config.settings import BudgetSettings, LiteLLMSettings
from app.dialects.base import Usage
from app.dialects.openai_chat import CHAT
from app.ledger.book import Expire, HoldState, Operation, Outcome, Settle
from app.ledger.rules import Budget, Payer
from app.services.token_service import TokenService
from app.utils.clock import SystemClock
from app.utils.exceptions import DatabaseUnavailableError, OverloadedError
from tests.fakes.ledger_store import MemoryLedgerStore
from tests.ledger.served import BODY
from tests.ledger.test_book import NOW, account, book_of, reserve

LIFETIME_S = 1
MONTH = Budget(1, "user", "*", "tokens", "month", 10**9, "enforce")


class FaultyStore(MemoryLedgerStore):
    """Fails with each of these when it is asked what has expired, then works."""

    def __init__(self, *faults: Exception) -> None:
        super().__init__(MONTH)
        self._faults: Iterator[Exception] = iter(faults)
        self.looks = 0

    def expired(self, now: datetime, at_most: int) -> list[str]:
        self.looks += 1
        if fault := next(self._faults, None):
            raise fault
        return super().expired(now, at_most)


async def swept_at(store: FaultyStore) -> int:
    """Have one worker die with a hold; return at which look another one resolves it."""
    settings = BudgetSettings(hold_lifetime_s=LIFETIME_S)
    catalog = load_catalog(LiteLLMSettings().config_path)
    gone, other = (TokenService(settings, catalog, store, store, SystemClock()) for _ in range(2))
    await gone.reserve("a", CHAT.parse(BODY), catalog.models["gpt-4o"], Payer("ana", None, None))
    # What it held has run out before anybody looks.
    store.book.holds["a"].expires_at -= timedelta(seconds=2 * LIFETIME_S)
    await other.open()
    async with asyncio.timeout(10 * LIFETIME_S):
        while store.book.holds["a"].state is HoldState.PENDING:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    looks = store.looks
    await other.close()
    await gone.close()
    return looks


@pytest.mark.parametrize(
    ("faults", "look"),
    [
        ((), 1),
        # Whatever breaks one look, the next is made.
        ((ValueError("no such table"), ValueError("still none")), 3),
        # Who could not sign while Postgres was away has a whole lifetime to do so, or to settle.
        ((DatabaseUnavailableError(), DatabaseUnavailableError()), 6),
    ],
    ids=["well", "broken", "away"],
)
def test_hold_of_a_worker_that_is_gone_is_resolved(
    faults: tuple[Exception, ...], look: int
) -> None:
    assert asyncio.run(swept_at(FaultyStore(*faults))) == look


class StoreWithoutEnds(MemoryLedgerStore):
    """Fails whenever a call is to be settled, until it is told otherwise."""

    takes_ends = False

    def apply(self, operations: Sequence[Operation]) -> list[Outcome]:
        if not self.takes_ends and any(isinstance(it, Settle) for it in operations):
            # Not as one that is away: that would be left alone for a second.
            raise OverloadedError()
        return super().apply(operations)


async def settled_late(store: StoreWithoutEnds, lifetime_s: int) -> HoldState:
    """Have a call end that cannot be settled for longer than a hold lives."""
    settings = BudgetSettings(hold_lifetime_s=lifetime_s)
    catalog = load_catalog(LiteLLMSettings().config_path)
    tokens, other = (TokenService(settings, catalog, store, store, SystemClock()) for _ in range(2))
    hold = await tokens.reserve(
        "a", CHAT.parse(BODY), catalog.models["gpt-4o"], Payer("ana", None, None)
    )
    await tokens.open()
    await other.open()
    tokens.settle(hold, Usage(7, 5))
    await asyncio.sleep(2 * lifetime_s)
    store.takes_ends = True
    await tokens.close()
    await other.close()
    return store.book.holds["a"].state


def test_hold_of_a_call_that_waits_to_be_settled_is_not_swept() -> None:
    store = StoreWithoutEnds(MONTH)

    assert asyncio.run(settled_late(store, lifetime_s=3)) is HoldState.SETTLED
    assert store.book.holds["a"].posted.tokens == 12


@pytest.mark.parametrize(
    ("signed_for_s", "state"), [(-1, HoldState.EXPIRED), (0, HoldState.PENDING)]
)
def test_hold_that_gave_a_sign_of_life_meanwhile_is_left_alone(
    signed_for_s: int, state: HoldState
) -> None:
    it = account(1000)
    book = book_of(it)
    book.run(reserve("a", it))
    book.holds["a"].expires_at = NOW + timedelta(seconds=signed_for_s)

    book.run(Expire("a", NOW))

    assert book.holds["a"].state is state
