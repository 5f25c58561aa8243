"""What one process may grant while the ledger cannot be asked: out of leases that it took before.

No I/O. A lease is pending in the ledger as long as this process lives, so that what is granted here
was never anybody else's to spend.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from app.ledger.book import Book, Granted, LineKey, Outcome, Refused, Reserve, Spend
from app.ledger.book import Line as BookLine
from app.ledger.rules import Account

# A lease is this part of a limit at most; of what is left the ledger gives a part, too.
LIMIT_PART = 20
# So often a lease is taken anew: it grows and shrinks with what is left.
RENEWED_EVERY_S = 60.0
# So long after that it grants; as long as a key is served that cannot be looked up.
GRANTS_FOR_S = 600.0
# So long it is held: what was granted has time to end, and to be posted.
HELD_FOR_S = 1500.0
# Who has not called for so long needs none.
IDLE_S = 600.0
SHORT_PERIOD = "minute"


@dataclass(slots=True)
class Share:
    """What this process has of one account; ``used`` counts what is granted and not yet posted."""

    account: Account
    lease_id: str | None
    amount: int
    used: int = 0
    used_at_s: float = 0.0
    renewed_at_s: float = float("-inf")
    # False: it was asked for anew, and nobody heard what it is now; no less than ``amount``.
    is_known: bool = True

    def left(self, now_s: float) -> int:
        is_over = self.lease_id is not None and now_s - self.renewed_at_s > GRANTS_FOR_S
        return 0 if is_over else self.amount - self.used

    @property
    def wanted(self) -> int:
        """Rounded up: of ten requests a lease has one."""
        return -(-self.account.budget.limit // LIMIT_PART)

    def ask(self) -> int:
        """Return what it goes by from now on, until it is heard what the ledger made of it."""
        if self.is_known:
            self.amount //= 2
            self.is_known = False
        return self.amount

    def hear(self, amount: int, asked_at_s: float) -> None:
        self.amount, self.renewed_at_s, self.is_known = amount, asked_at_s, True


class LeaseBook:
    """The shares of one process."""

    def __init__(self, name: str, workers: int) -> None:
        """``name`` is of this process alone."""
        self._name = name
        self._workers = workers
        self._shares: dict[LineKey, Share] = {}

    def note(self, accounts: Sequence[Account], now_s: float) -> None:
        """Remember that calls draw on ``accounts``, so that there will be leases of them."""
        for account in accounts:
            if account.budget.is_enforced:
                share = self._shares.get(account.key)
                if share is None or share.account != account:
                    share = self._shares[account.key] = self._share(account, share)
                share.used_at_s = now_s

    def due(self, now_s: float) -> list[Share]:
        """Return the shares that need a lease, or theirs anew; forget those nobody needs."""
        self._shares = {
            key: it for key, it in self._shares.items() if it.used or now_s - it.used_at_s < IDLE_S
        }
        return [
            it
            for it in self._shares.values()
            # One that was drawn on stands until that is posted.
            if it.lease_id and not it.used and now_s - it.renewed_at_s >= RENEWED_EVERY_S
        ]

    @property
    def leases(self) -> set[str]:
        return {it.lease_id for it in self._shares.values() if it.lease_id}

    def take(self, wish: Reserve, now_s: float) -> Outcome:
        """Grant a call, if every account that binds it has a share that is large enough."""
        book = Book(lines={it.key: self._line(it, now_s) for it in wish.accounts})
        outcome = book.run(wish)
        if isinstance(outcome, Granted):
            self._use(wish.accounts, wish.demand.spend(outcome.output_tokens))
        return replace(outcome, standings=()) if isinstance(outcome, Granted | Refused) else outcome

    def leases_of(self, accounts: Sequence[Account]) -> list[tuple[LineKey, str, str | None]]:
        """Return each account's line, its metric, and the lease that is drawn on there."""
        shares = [(account, self._shares.get(account.key)) for account in accounts]
        return [
            (account.key, account.budget.metric, share.lease_id if share else None)
            for account, share in shares
        ]

    def correct(self, accounts: Sequence[Account], held: Spend, real: Spend) -> None:
        """Replace what was held by what a call really took."""
        for share, metric in self._touched(accounts):
            share.used += real.of(metric) - held.of(metric)

    def posted(self, accounts: Sequence[Account], spend: Spend) -> None:
        """Forget what is in the ledger now, and no more in the lease."""
        for share, metric in self._touched(accounts):
            share.used -= spend.of(metric)
            if share.lease_id:
                share.amount = max(0, share.amount - spend.of(metric))

    def _use(self, accounts: Sequence[Account], spend: Spend) -> None:
        for share, metric in self._touched(accounts):
            share.used += spend.of(metric)

    def _touched(self, accounts: Sequence[Account]) -> list[tuple[Share, str]]:
        return [
            (self._shares[it.key], it.budget.metric) for it in accounts if it.key in self._shares
        ]

    def _line(self, account: Account, now_s: float) -> BookLine:
        """Return a line on which just this process's share is left."""
        if not account.budget.is_enforced:
            return BookLine()
        share = self._shares.get(account.key)
        if share is None and account.budget.period == SHORT_PERIOD:
            share = self._shares[account.key] = self._share(account, None)
        return BookLine(posted=account.budget.limit - (share.left(now_s) if share else 0))

    def _share(self, account: Account, known: Share | None) -> Share:
        budget = account.budget
        if budget.period == SHORT_PERIOD:
            # No lease is there in time for the next minute: each process has its part of it.
            return Share(account, None, budget.limit // self._workers, known.used if known else 0)
        if known is not None:
            return replace(known, account=account)
        number, subject, start = account.key
        return Share(account, f"lease.{self._name}.{number}.{subject}.{start:%Y%m%dT%H}", 0)
