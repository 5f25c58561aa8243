"""`BUDGET_MODE=lenient`: while Postgres is away calls are granted from leases taken beforehand."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from app.ledger.batcher import LedgerBatcher
from app.ledger.book import (
    NOTHING,
    Granted,
    Lease,
    Leased,
    Operation,
    Outcome,
    Post,
    Release,
    Reserve,
    Settle,
    Spend,
)
from app.ledger.lease import LIMIT_PART, LeaseBook, Share
from app.ledger.rules import Account
from app.services.lease_journal import LeaseJournal
from app.utils.clock import Clock
from app.utils.exceptions import DatabaseUnavailableError, SolarisError

logger = logging.getLogger("ledger")

# A new account has its lease after so long at most.
LOOK_S = 2.0
RETRY_AFTER_S = 5.0

Batcher = LedgerBatcher[Operation, Outcome]


@dataclass(frozen=True, slots=True)
class _Grant:
    accounts: tuple[Account, ...]
    post: Post


class Leases:
    """The leases of one process, and what was granted from them."""

    def __init__(
        self, book: LeaseBook, journal: LeaseJournal, clock: Clock, hold_lifetime: timedelta
    ) -> None:
        self._book = book
        self._journal = journal
        self._clock = clock
        self._lifetime = hold_lifetime
        self._grants: dict[str, _Grant] = {}
        self._leased: set[str] = set()

    def note(self, accounts: Sequence[Account]) -> None:
        """Have leases of these accounts, from soon on."""
        self._book.note(accounts, self._clock.steady_s())

    async def grant(self, wish: Reserve) -> Outcome:
        """Grant a call from leases. Raises: DatabaseUnavailableError, where they do not reach."""
        outcome = self._book.take(wish)
        if not isinstance(outcome, Granted):
            raise DatabaseUnavailableError(retry_after_s=RETRY_AFTER_S)
        post = self._post(wish, wish.demand.spend(outcome.output_tokens))
        self._grants[wish.request_id] = _Grant(wish.accounts, post)
        try:
            await asyncio.to_thread(self._journal.grant, post)
        except BaseException as fault:
            self._give_back(wish.request_id)
            if isinstance(fault, OSError):
                logger.critical("lease_journal_failed", extra={"errno": fault.errno})
                raise DatabaseUnavailableError(retry_after_s=RETRY_AFTER_S) from fault
            raise
        return outcome

    def has(self, request_id: str) -> bool:
        return request_id in self._grants

    def end(self, operation: Settle | Release) -> Post | None:
        """Return what is to be posted of a call that was granted here; None: nothing."""
        grant = self._grants[operation.request_id]
        if isinstance(operation, Release):
            self._write_end(operation.request_id, NOTHING, is_estimated=False)
            self._give_back(operation.request_id)
            return None
        spend, is_estimated = operation.spend, operation.is_estimated
        self._write_end(operation.request_id, spend, is_estimated=is_estimated)
        self._book.correct(grant.accounts, grant.post.spend, spend)
        post = _with_spend(grant.post, spend, is_estimated=is_estimated)
        self._grants[operation.request_id] = _Grant(grant.accounts, post)
        return post

    def posted(self, request_id: str) -> None:
        """Take note that a call is in the ledger."""
        grant = self._grants.pop(request_id)
        self._book.posted(grant.accounts, grant.post.spend)
        self._journal.forget(request_id)

    async def keep(self, batcher: Batcher) -> None:
        """Take leases, and keep them, until cancelled."""
        life_s = self._lifetime.total_seconds() / 3
        while True:
            await self._post_left_behind(batcher)
            shares = self._book.due(self._clock.steady_s(), life_s)
            await asyncio.gather(*(self._renew(batcher, it) for it in shares))
            await asyncio.sleep(LOOK_S)

    async def close(self, batcher: Batcher) -> None:
        """Give the leases back, as far as Postgres is there."""
        releases = [batcher.run(Release(it)) for it in self._leased]
        await asyncio.gather(*releases, return_exceptions=True)
        self._journal.close()

    async def _renew(self, batcher: Batcher, share: Share) -> None:
        lease_id = share.lease_id or ""
        # Rounded up: of ten requests a lease has one.
        wanted = -(-share.account.budget.limit // LIMIT_PART)
        expires_at = self._clock.now() + self._lifetime
        try:
            outcome = await batcher.run(Lease(lease_id, share.account, wanted, expires_at))
        except SolarisError:
            return
        if isinstance(outcome, Leased):
            share.amount, share.renewed_at_s = outcome.amount, self._clock.steady_s()
            self._leased.add(lease_id)

    async def _post_left_behind(self, batcher: Batcher) -> None:
        """Post what processes that are gone had granted; what fails comes again."""
        for found in await asyncio.to_thread(self._journal.take_over):
            is_done = False
            try:
                await asyncio.gather(*map(batcher.run, found.posts))
                is_done = True
                logger.warning("leases_of_a_dead_worker_posted", extra={"calls": len(found.posts)})
            except SolarisError:
                logger.warning("leases_of_a_dead_worker_wait", extra={"calls": len(found.posts)})
            finally:
                found.let_go(is_done=is_done)

    def _post(self, wish: Reserve, spend: Spend) -> Post:
        return Post(
            wish.request_id,
            wish.model,
            tuple(self._book.leases_of(wish.accounts)),
            spend,
            is_estimated=True,
            at=self._clock.now(),
            user_id=wish.user_id,
            team_id=wish.team_id,
            key_id=wish.key_id,
        )

    def _write_end(self, request_id: str, spend: Spend, *, is_estimated: bool) -> None:
        try:
            self._journal.end(request_id, spend, is_estimated=is_estimated)
        except OSError as fault:
            # Only if this process dies too, the call is charged all that it was granted.
            logger.critical("lease_journal_failed", extra={"errno": fault.errno})

    def _give_back(self, request_id: str) -> None:
        grant = self._grants.pop(request_id)
        self._book.correct(grant.accounts, grant.post.spend, NOTHING)
        self._journal.forget(request_id)


def _with_spend(post: Post, spend: Spend, *, is_estimated: bool) -> Post:
    return Post(
        post.request_id,
        post.model,
        post.charges,
        spend,
        is_estimated,
        post.at,
        post.user_id,
        post.team_id,
        post.key_id,
    )
