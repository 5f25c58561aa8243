"""`BUDGET_MODE=lenient`: while Postgres is away calls are granted from leases taken beforehand."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Protocol

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
from app.ledger.lease import HELD_FOR_S, LeaseBook, Share
from app.ledger.rules import Account
from app.services.lease_journal import LeaseJournal
from app.utils.clock import Clock
from app.utils.exceptions import (
    DatabaseUnavailableError,
    DatabaseUnreachableError,
    SolarisError,
)

logger = logging.getLogger("ledger")

# A new account has its lease after so long at most.
LOOK_S = 2.0
RETRY_AFTER_S = 5.0


class Ledger(Protocol):
    async def run(self, operation: Operation) -> Outcome: ...


@dataclass(frozen=True, slots=True)
class _Grant:
    accounts: tuple[Account, ...]
    post: Post


class Leases:
    """The leases of one process, and what was granted from them."""

    def __init__(self, book: LeaseBook, journal: LeaseJournal, clock: Clock) -> None:
        self._book = book
        self._journal = journal
        self._clock = clock
        self._grants: dict[str, _Grant] = {}

    def note(self, accounts: Sequence[Account]) -> None:
        """Have leases of these accounts, from soon on."""
        self._book.note(accounts, self._clock.steady_s())

    async def grant(self, wish: Reserve) -> Outcome:
        """Grant a call from leases. Raises: DatabaseUnavailableError, where they do not reach."""
        outcome = self._book.take(wish, self._clock.steady_s())
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
        post = replace(grant.post, spend=spend, is_estimated=is_estimated)
        self._grants[operation.request_id] = _Grant(grant.accounts, post)
        return post

    def posted(self, request_id: str) -> None:
        """Take note that a call is in the ledger."""
        grant = self._grants.pop(request_id)
        self._book.posted(grant.accounts, grant.post.spend)
        self._forget(request_id)

    async def keep(self, ledger: Ledger) -> None:
        """Take leases, and keep them, until cancelled."""
        while True:
            await self.look_after(ledger)
            await asyncio.sleep(LOOK_S)

    async def look_after(self, ledger: Ledger) -> None:
        """Post what dead processes left, take the leases that are due, give back the idle ones."""
        await self._post_left_behind(ledger)
        due = self._book.due(self._clock.steady_s())
        if due and await self._is_written(due):
            await asyncio.gather(*(self._renew(ledger, it) for it in due))
        await self._give_up(ledger, set(self._journal.leases) - self._book.leases)

    async def close(self, ledger: Ledger) -> None:
        """Give the leases back, as far as Postgres is there."""
        await self._give_up(ledger, self._journal.leases)
        self._journal.close()

    async def _give_up(self, ledger: Ledger, leases: Collection[str]) -> None:
        """Let leases go that nobody needs; those that fail come again, or expire."""
        if not leases:
            return
        try:
            await asyncio.gather(*(ledger.run(Release(it)) for it in leases))
            await asyncio.to_thread(self._journal.give_up, leases)
        except (SolarisError, OSError):
            logger.warning("leases_not_given_back", extra={"leases": len(leases)})

    async def _is_written(self, due: Sequence[Share]) -> bool:
        """Write down what leases there will be, for whoever comes after a dead process."""
        leases = [it.lease_id for it in due if it.lease_id]
        try:
            await asyncio.to_thread(self._journal.lease, leases)
        except OSError as fault:
            logger.critical("lease_journal_failed", extra={"errno": fault.errno})
            return False
        return True

    async def _renew(self, ledger: Ledger, share: Share) -> None:
        known, asked_at_s = share.amount, self._clock.steady_s()
        was_known, at_least = share.is_known, share.ask()
        expires_at = self._clock.now() + timedelta(seconds=HELD_FOR_S)
        lease = Lease(share.lease_id or "", share.account, share.wanted, at_least, expires_at)
        try:
            outcome = await ledger.run(lease)
        except DatabaseUnreachableError:
            # It was not asked, so that nothing has changed.
            share.amount, share.is_known = known, was_known
        except SolarisError:
            return
        else:
            if isinstance(outcome, Leased):
                share.hear(outcome.amount, asked_at_s)

    async def _post_left_behind(self, ledger: Ledger) -> None:
        """Post what processes that are gone had granted; what fails comes again."""
        for found in await asyncio.to_thread(self._journal.take_over):
            is_done = False
            try:
                await asyncio.gather(*map(ledger.run, found.posts))
                await asyncio.gather(*(ledger.run(Release(it)) for it in found.leases))
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
        self._forget(request_id)

    def _forget(self, request_id: str) -> None:
        try:
            self._journal.forget(request_id)
        except OSError as fault:
            # It stays in the journal; posted twice it counts once.
            logger.critical("lease_journal_failed", extra={"errno": fault.errno})
