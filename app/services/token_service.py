"""Token control: what a call may take is held before it is made, and posted when it is known.

`reserve` is where a call is admitted or refused. Postgres is the authority; the operations go to
it in micro-batches, in the order in which they came.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from app.config.catalog import Catalog, Model
from app.config.settings import BudgetSettings
from app.dialects.base import ModelRequest, Usage
from app.ledger.allowance import Allowance, Rest
from app.ledger.batcher import LedgerBatcher
from app.ledger.book import (
    LEASE_MODEL,
    NOTHING,
    Checkpoint,
    Expire,
    Granted,
    HoldState,
    Operation,
    Outcome,
    Post,
    Refused,
    Release,
    Reserve,
    Resolved,
    Settle,
    Spend,
)
from app.ledger.book import Hold as LedgerHold
from app.ledger.rules import Account, AccountFinder, Budget, Payer
from app.ledger.size import demand_of, likely_input_tokens, output_cap
from app.ledger.store import LedgerStore
from app.ledger.windows import split
from app.services.call_slots import CallSlots, Slot
from app.services.leases import Leases
from app.services.quota_errors import refusal
from app.services.short_windows import ShortWindows, Taken
from app.services.write_ahead import ALLOWANCE_TOKENS, WriteAhead
from app.utils.clock import Clock
from app.utils.exceptions import (
    DatabaseUnavailableError,
    DatabaseUnreachableError,
    SolarisError,
)
from app.utils.helpers import calculate_cost

logger = logging.getLogger("ledger")

# How often within its lifetime a hold is kept alive, and others' are looked through.
SIGNS_A_LIFETIME = 3
# A changed budget binds everywhere after this long at most.
BUDGETS_LIFETIME_S = 2.0
# A call waits for so long for them, where Postgres is silent.
BUDGETS_PATIENCE_S = 1.0
SWEEP_AT_ONCE = 500
# Between two tries to tell the ledger what a call took.
LONGEST_DELAY_S = 2.0
CLOSE_PATIENCE_S = 5.0


@dataclass(slots=True, eq=False)
class Hold:
    """What one attempt holds; resolved once, by `TokenService`."""

    id: str
    model: Model
    request: ModelRequest
    output_tokens: int
    spend: Spend
    accounts: tuple[Account, ...]
    # Shadow budgets that had no room.
    would_refuse: tuple[Account, ...] = ()
    # What it has in Redis's windows; None without them.
    windows: Taken | None = None
    allowance: Allowance = field(default_factory=Allowance)
    # What it was resolved to; usage is None where nobody counted.
    posted: Spend = NOTHING
    usage: Usage | None = None
    is_estimated: bool = False

    @property
    def output_cap(self) -> int | None:
        return output_cap(self.request.needs, self.model, self.output_tokens)


class TokenService:
    """The way into the ledger. One instance a process, on its one loop."""

    def __init__(
        self,
        settings: BudgetSettings,
        catalog: Catalog,
        store: LedgerStore,
        reader: LedgerStore,
        clock: Clock,
        windows: ShortWindows | None = None,
        slots: CallSlots | None = None,
        leases: Leases | None = None,
    ) -> None:
        """``reader`` asks beside the batches, which have ``store`` to themselves. Without
        ``windows`` budgets by the minute are in Postgres like the others; without ``leases``
        nobody is served while it is away."""
        self._settings = settings
        self._zone = ZoneInfo(settings.timezone)
        self._accounts = AccountFinder(self._zone)
        self._hold_lifetime = timedelta(seconds=settings.hold_lifetime_s)
        self._catalog = catalog
        self._store = store
        self._reader = reader
        self._has_defaults = False
        self._batcher = LedgerBatcher(store.apply, is_urgent=_is_waited_for)
        self._clock = clock
        self._windows = windows
        self._slots = slots
        self._leases = leases
        # Told of each call of a dead worker's that was resolved here.
        self.on_expired: Callable[[LedgerHold], None] = lambda _hold: None
        self._budgets: list[Budget] = []
        self._budgets_at_s = float("-inf")
        self._budgets_reading: asyncio.Task[None] | None = None
        self._budgets_asked_s = 0.0
        self._held: set[Hold] = set()
        # Calls that are over, and not resolved yet.
        self._ending: set[str] = set()
        self._background: set[asyncio.Future[object]] = set()
        self._tasks: list[asyncio.Task[None]] = []

    def watch_batches(self, listener: Callable[[int], None]) -> None:
        """Have ``listener`` told, in another thread, how many operations each batch had."""
        self._batcher.on_batch = listener

    async def open(self) -> None:
        """Start the sweeper, and what keeps holds alive."""
        self._tasks = [
            asyncio.create_task(self._keep_alive(), name="ledger-keep-alive"),
            asyncio.create_task(self._sweep(), name="ledger-sweep"),
        ]
        if self._leases is not None:
            keep = self._leases.keep(self._batcher)
            self._tasks.append(asyncio.create_task(keep, name="ledger-leases"))

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self._tasks = []
        if self._background:
            await asyncio.wait(self._background, timeout=CLOSE_PATIENCE_S)
        if self._leases is not None:
            await self._leases.close(self._batcher)
        if self._slots is not None:
            await self._slots.close()
        await self._closed(self._batcher.close, self._store.close, self._reader.close)

    async def _closed(self, *closing: Callable[[], None]) -> None:
        """Close blocking things one after the other; a silent Postgres does not keep us."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_PATIENCE_S + 1):
                for close in closing:
                    await asyncio.to_thread(close)

    async def reserve(
        self,
        hold_id: str,
        request: ModelRequest,
        model: Model,
        payer: Payer,
        allowance: Allowance | None = None,
    ) -> Hold:
        """Hold what ``model`` may take to answer, on every budget that applies or on none;
        ``allowance`` takes note of what the caller's own have left.

        Raises: InsufficientQuotaError, TooManyRequestsError; DatabaseUnavailableError.
        """
        now = self._clock.now()
        budgets = await self._current_budgets()
        accounts = self._accounts.find(
            budgets, payer, self._catalog.budgeted_names(model.name), now
        )
        demand = demand_of(request.needs, model)
        hold = Hold(hold_id, model, request, demand.output_tokens, Spend(0, 0), accounts)
        if allowance is not None:
            hold.allowance = allowance
        if not accounts or request.needs.is_free:
            return hold
        expires_at = now + self._hold_lifetime
        outcome, hold.windows = await self._take_all(
            Reserve(
                hold_id,
                model.name,
                accounts,
                demand,
                expires_at,
                payer.user,
                payer.team,
                payer.key,
                self._first_checkpoint(request, model),
            )
        )
        if isinstance(outcome, Granted | Refused):
            hold.allowance.standings, hold.allowance.taken = outcome.standings, NOTHING
        if isinstance(outcome, Refused):
            raise refusal(outcome, now, self._zone)
        if not isinstance(outcome, Granted):
            raise DatabaseUnavailableError(retry_after_s=1)
        hold.output_tokens = outcome.output_tokens
        hold.spend = hold.allowance.taken = demand.spend(outcome.output_tokens)
        hold.would_refuse = outcome.would_refuse
        self._held.add(hold)
        return hold

    async def enter(self, request: ModelRequest, payer: Payer) -> Slot | None:
        """Count one more call of a person; `leave` when it is over, however it ends.

        Raises: TooManyCallsError.
        """
        if self._slots is None or request.needs.is_free:
            return None
        return await self._slots.enter(payer.user)

    def leave(self, slot: Slot | None) -> None:
        if self._slots is not None:
            self._slots.leave(slot)

    def rests(self, allowance: Allowance) -> list[Rest]:
        """Return how the budgets of a call's own stand, the tightest of each metric."""
        return allowance.rests(self._clock.now())

    def settle(self, hold: Hold, usage: Usage, *, is_estimated: bool = False) -> None:
        """Post what a call took, soon; the answer need not wait for it."""
        hold.usage = usage
        self._resolve(hold, Settle(hold.id, _spend(hold.model, usage), is_estimated))

    def settle_unknown(self, hold: Hold) -> None:
        """Post all that was held: it may have been billed, and nobody says how much."""
        self._resolve(hold, Settle(hold.id, hold.spend, is_estimated=True))

    def settle_received(self, hold: Hold, usage: Usage | None, received_tokens: int) -> None:
        """Post what came of an answer that broke off: the provider's counts where there are any,
        else the prompt's likely size."""
        self.settle(hold, _counted(hold.request, usage, received_tokens), is_estimated=True)

    def write_ahead(self, hold: Hold, usage: Callable[[], Usage | None]) -> WriteAhead | None:
        """Return what keeps the checkpoint of a stream ahead; ``usage`` is what it has said."""

        async def commit(output_tokens: int) -> None:
            counted = _counted(hold.request, usage(), output_tokens)
            await self._checkpoint(hold, _spend(hold.model, counted))

        most = hold.output_tokens * hold.request.needs.choices
        return WriteAhead(commit, self._clock.steady_s, most) if hold in self._held else None

    def release(self, hold: Hold) -> None:
        """Give everything back: nothing was sent, or nothing is billed."""
        self._resolve(hold, Release(hold.id))

    async def _current_budgets(self) -> list[Budget]:
        """Return the budgets as they were two seconds ago, three where Postgres is slow to tell.

        Raises: DatabaseUnavailableError, where they cannot be read.
        """
        if self._clock.steady_s() - self._budgets_at_s >= BUDGETS_LIFETIME_S:
            # Who comes meanwhile waits too: an old list might let them pass.
            await self._refreshed()
        longest_s = BUDGETS_LIFETIME_S + BUDGETS_PATIENCE_S
        # From leases calls go on under the budgets that were known last.
        longest_s = longest_s if self._leases is None else float("inf")
        if self._clock.steady_s() - self._budgets_at_s >= longest_s:
            raise DatabaseUnavailableError(retry_after_s=1)
        return self._budgets

    async def _refreshed(self) -> None:
        """Wait for the read that is under way, which begins now if there is none; not for long."""
        now_s = self._clock.steady_s()
        if self._budgets_reading is None or self._budgets_reading.done():
            self._budgets_asked_s = now_s
            self._budgets_reading = asyncio.create_task(self._refresh(), name="ledger-budgets")
        left_s = self._budgets_asked_s + BUDGETS_PATIENCE_S - now_s
        await asyncio.wait({self._budgets_reading}, timeout=max(0.0, left_s))

    async def _refresh(self) -> None:
        asked_at_s = self._clock.steady_s()
        with contextlib.suppress(DatabaseUnavailableError):
            self._budgets = await asyncio.to_thread(self._read_budgets)
            self._budgets_at_s = asked_at_s

    def _read_budgets(self) -> list[Budget]:
        if not self._has_defaults:
            self._reader.add_missing(self._catalog.limits)
            self._has_defaults = True
        return self._reader.budgets()

    def _first_checkpoint(self, request: ModelRequest, model: Model) -> Spend | None:
        """Return what a stream that has hardly begun is charged, when its worker dies."""
        if not request.is_stream:
            return None
        return _spend(model, _counted(request, None, ALLOWANCE_TOKENS))

    async def _checkpoint(self, hold: Hold, spend: Spend) -> None:
        expires_at = self._clock.now() + self._hold_lifetime
        # While Postgres is away an answer goes on all the same: only if its worker dies as well
        # would too little be charged.
        with contextlib.suppress(SolarisError):
            await self._batcher.run(Checkpoint(hold.id, expires_at, spend))

    async def _take_all(self, wish: Reserve) -> tuple[Outcome, Taken | None]:
        """Take the windows first, since they are quick and refuse most; then what must last."""
        if self._windows is None:
            return await self._take(wish), None
        short, durable = split(wish.accounts)
        taken = await self._windows.take(replace(wish, accounts=short))
        if isinstance(taken, Refused):
            return taken, None
        demand = replace(wish.demand, output_tokens=taken.output_tokens)
        outcome: Outcome | None = None
        try:
            outcome = await self._take(replace(wish, accounts=durable, demand=demand))
        finally:
            if not isinstance(outcome, Granted):
                self._soon(self._windows.give_back(taken))
        if isinstance(outcome, Granted):
            shadows = taken.would_refuse + outcome.would_refuse
            standings = taken.standings + outcome.standings
            return replace(outcome, would_refuse=shadows, standings=standings), taken
        if isinstance(outcome, Refused):
            return replace(outcome, standings=taken.standings + outcome.standings), None
        return outcome, None

    async def _take(self, wish: Reserve) -> Outcome:
        if self._leases is None:
            return await self._ask(wish)
        try:
            outcome = await self._ask(wish)
        except DatabaseUnavailableError:
            return await self._leases.grant(wish)
        self._leases.note(wish.accounts)
        return outcome

    async def _ask(self, wish: Reserve) -> Outcome:
        try:
            return await self._batcher.run(wish)
        except DatabaseUnreachableError:
            raise
        except (asyncio.CancelledError, DatabaseUnavailableError):
            # It may be held all the same; whoever waited for it is gone.
            self._send_soon(Release(wish.request_id))
            raise

    def _resolve(self, hold: Hold, operation: Settle | Release) -> None:
        if isinstance(operation, Settle):
            hold.posted, hold.is_estimated = operation.spend, operation.is_estimated
        if hold in self._held:
            self._held.discard(hold)
            hold.allowance.taken = hold.posted
            if self._leases is not None and self._leases.has(hold.id):
                self._end_lease(self._leases, operation)
            else:
                self._send_soon(operation)
            if self._windows is not None and hold.windows is not None:
                self._soon(
                    self._windows.settle(hold.windows, operation.spend)
                    if isinstance(operation, Settle)
                    else self._windows.give_back(hold.windows)
                )

    def _end_lease(self, leases: Leases, operation: Settle | Release) -> None:
        post = leases.end(operation)

        async def send(post: Post) -> None:
            await self._send(post, None)
            leases.posted(post.request_id)

        if post is not None:
            self._soon(send(post))

    def _send_soon(self, operation: Operation) -> None:
        """Send an operation before any that comes after: a fallback needs the room of the attempt
        that failed."""
        first = None
        with contextlib.suppress(SolarisError):
            first = self._batcher.submit(operation)
        self._soon(self._send(operation, first))

    def _soon(self, work: Awaitable[object]) -> None:
        task = asyncio.ensure_future(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _send(self, operation: Operation, outcome: Awaitable[Outcome] | None) -> None:
        """Run an operation until it is done: it is the only word of what was spent."""
        delay_s = 0.1
        self._ending.add(operation.request_id)
        try:
            while not await self._is_done(outcome or self._batcher.run(operation)):
                outcome = None
                await asyncio.sleep(delay_s)
                delay_s = min(delay_s * 2, LONGEST_DELAY_S)
        finally:
            self._ending.discard(operation.request_id)

    async def _is_done(self, outcome: Awaitable[Outcome]) -> bool:
        try:
            await outcome
        except SolarisError:
            return False
        return True

    async def _keep_alive(self) -> None:
        while True:
            await asyncio.sleep(self._settings.hold_lifetime_s / SIGNS_A_LIFETIME)
            expires_at = self._clock.now() + self._hold_lifetime
            # Those that wait to be settled too: else a sweeper charges them in full.
            ids = [*(hold.id for hold in self._held), *self._ending]
            await self._try_all(Checkpoint(request_id, expires_at) for request_id in ids)
            if self._slots is not None:
                await self._slots.keep_alive()

    async def _sweep(self) -> None:
        """Resolve the holds of workers that are gone."""
        looks_to_skip = 0
        while True:
            await asyncio.sleep(self._settings.hold_lifetime_s / SIGNS_A_LIFETIME)
            try:
                now = self._clock.now()
                ids = await asyncio.to_thread(self._reader.expired, now, SWEEP_AT_ONCE)
            except DatabaseUnavailableError:
                looks_to_skip = SIGNS_A_LIFETIME
                continue
            except Exception:
                # Migrations that are not done yet, for one: whatever it is, it may pass.
                logger.exception("sweep_failed")
                continue
            if looks_to_skip:
                # After an absence everybody's holds look forsaken, until their workers have had
                # time to sign, or to settle.
                looks_to_skip -= 1
            elif ids:
                logger.warning("holds_expired", extra={"holds": len(ids)})
                await self._expire(ids, now)

    async def _expire(self, ids: Iterable[str], now: datetime) -> None:
        for outcome in await self._try_all(Expire(request_id, now) for request_id in ids):
            if isinstance(outcome, Resolved) and outcome.hold is not None:
                hold = outcome.hold
                if hold.state is HoldState.EXPIRED and hold.model != LEASE_MODEL:
                    self.on_expired(hold)

    async def _try_all(self, operations: Iterable[Operation]) -> list[Outcome | BaseException]:
        """Run operations that may fail: they come again."""
        return await asyncio.gather(*map(self._batcher.run, operations), return_exceptions=True)


def _is_waited_for(operation: Operation) -> bool:
    return isinstance(operation, Reserve)


def _counted(request: ModelRequest, usage: Usage | None, output_tokens: int) -> Usage:
    """Return what a stream took so far, from its own words and from what was counted."""
    if usage is None:
        return Usage(likely_input_tokens(request.needs), output_tokens)
    return replace(usage, output_tokens=max(output_tokens, usage.output_tokens))


def _spend(model: Model, usage: Usage) -> Spend:
    return Spend(usage.input_tokens + usage.output_tokens, cost_of(model, usage))


def cost_of(model: Model, usage: Usage) -> int:
    """Return what a call costs, in micro-USD."""
    prices = model.prices
    fresh = usage.input_tokens - usage.cached_input_tokens - usage.cache_write_tokens
    return calculate_cost(
        (fresh, prices.input),
        (usage.cached_input_tokens, prices.cached_input),
        (usage.cache_write_tokens, prices.cache_write),
        (usage.output_tokens, prices.output),
    )
