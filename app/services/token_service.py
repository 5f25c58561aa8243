"""Token control: what a call may take is held before it is made, and posted when it is known.

`reserve` is where a call is admitted or refused. Postgres is the authority; the operations go to
it in micro-batches, in the order in which they came.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import timedelta
from zoneinfo import ZoneInfo

from app.config.catalog import Catalog, Model
from app.config.settings import BudgetSettings
from app.dialects.base import ModelRequest, Usage
from app.ledger.batcher import LedgerBatcher
from app.ledger.book import (
    Checkpoint,
    Expire,
    Granted,
    Operation,
    Outcome,
    Refused,
    Release,
    Reserve,
    Settle,
    Spend,
)
from app.ledger.rules import Account, AccountFinder, Budget, Payer
from app.ledger.size import demand_of, likely_input_tokens
from app.ledger.store import LedgerStore
from app.services.quota_errors import refusal
from app.utils.clock import Clock
from app.utils.exceptions import DatabaseUnavailableError, SolarisError
from app.utils.helpers import calculate_cost

logger = logging.getLogger("ledger")

# A hold is kept alive this often, and given up by others when it was not for so long.
KEEP_ALIVE_S = 10.0
HOLD_LIFETIME_S = 30.0
# A changed budget binds everywhere after this long at most.
BUDGETS_LIFETIME_S = 2.0
SWEEP_AT_ONCE = 500
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


class TokenService:
    """The way into the ledger. One instance a process, on its one loop."""

    def __init__(
        self,
        settings: BudgetSettings,
        catalog: Catalog,
        store: LedgerStore,
        reader: LedgerStore,
        clock: Clock,
    ) -> None:
        """``reader`` asks beside the batches, which have ``store`` to themselves."""
        self._settings = settings
        self._zone = ZoneInfo(settings.timezone)
        self._accounts = AccountFinder(self._zone)
        self._catalog = catalog
        self._store = store
        self._reader = reader
        self._has_defaults = False
        self._batcher = LedgerBatcher(store.apply)
        self._clock = clock
        self._budgets: list[Budget] = []
        self._budgets_at_s = float("-inf")
        self._budgets_lock = asyncio.Lock()
        self._held: set[Hold] = set()
        self._background: set[asyncio.Task[None]] = set()
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self) -> None:
        """Start the sweeper, and what keeps holds alive."""
        self._tasks = [
            asyncio.create_task(self._keep_alive(), name="ledger-keep-alive"),
            asyncio.create_task(self._sweep(), name="ledger-sweep"),
        ]

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self._tasks = []
        if self._background:
            await asyncio.wait(self._background, timeout=CLOSE_PATIENCE_S)
        await asyncio.to_thread(self._batcher.close)
        await asyncio.to_thread(self._store.close)
        await asyncio.to_thread(self._reader.close)

    async def reserve(
        self, hold_id: str, request: ModelRequest, model: Model, payer: Payer
    ) -> Hold:
        """Hold what ``model`` may take to answer, on every budget that applies or on none.

        Raises: InsufficientQuotaError, TooManyRequestsError; DatabaseUnavailableError.
        """
        now = self._clock.now()
        budgets = await self._current_budgets()
        accounts = self._accounts.find(budgets, payer, self._names(model), now)
        demand = demand_of(request.needs, model)
        hold = Hold(hold_id, model, request, demand.output_tokens, Spend(0, 0), accounts)
        if not accounts or request.needs.is_free:
            return hold
        expires_at = now + timedelta(seconds=HOLD_LIFETIME_S)
        outcome = await self._take(
            Reserve(
                hold_id,
                model.name,
                accounts,
                demand,
                expires_at,
                payer.user,
                payer.team,
                payer.key,
            )
        )
        if isinstance(outcome, Refused):
            raise refusal(outcome, now, self._zone, self._settings.quota_status)
        if not isinstance(outcome, Granted):
            raise DatabaseUnavailableError(retry_after_s=1)
        hold.output_tokens = outcome.output_tokens
        hold.spend = demand.spend(outcome.output_tokens)
        hold.would_refuse = outcome.would_refuse
        self._held.add(hold)
        return hold

    def settle(self, hold: Hold, usage: Usage, *, is_estimated: bool = False) -> None:
        """Post what a call took, soon; the answer need not wait for it."""
        spend = Spend(usage.input_tokens + usage.output_tokens, cost_of(hold.model, usage))
        self._resolve(hold, Settle(hold.id, spend, is_estimated))

    def settle_unknown(self, hold: Hold) -> None:
        """Post all that was held: it may have been billed, and nobody says how much."""
        self._resolve(hold, Settle(hold.id, hold.spend, is_estimated=True))

    def settle_received(self, hold: Hold, usage: Usage | None, received_tokens: int) -> None:
        """Post what came of an answer that broke off: the provider's counts where there are any,
        else the prompt's likely size."""
        given = usage.input_tokens if usage else likely_input_tokens(hold.request.needs)
        written = max(received_tokens, usage.output_tokens if usage else 0)
        counted = Usage(given, written) if usage is None else replace(usage, output_tokens=written)
        self.settle(hold, counted, is_estimated=True)

    def release(self, hold: Hold) -> None:
        """Give everything back: nothing was sent, or nothing is billed."""
        self._resolve(hold, Release(hold.id))

    def _names(self, model: Model) -> tuple[str, ...]:
        """Return the names under which a model is budgeted: a group counts as its models."""
        groups = self._catalog.groups.values()
        return (model.name, *(group.name for group in groups if model.name in group.members))

    async def _current_budgets(self) -> list[Budget]:
        """Return the budgets as they were two seconds ago at most."""
        if self._clock.steady_s() - self._budgets_at_s >= BUDGETS_LIFETIME_S:
            # Who comes meanwhile waits too: an old list might let them pass.
            async with self._budgets_lock:
                if self._clock.steady_s() - self._budgets_at_s >= BUDGETS_LIFETIME_S:
                    self._budgets = await asyncio.to_thread(self._read_budgets)
                    self._budgets_at_s = self._clock.steady_s()
        return self._budgets

    def _read_budgets(self) -> list[Budget]:
        if not self._has_defaults:
            self._reader.add_missing(self._catalog.limits)
            self._has_defaults = True
        return self._reader.budgets()

    async def _take(self, wish: Reserve) -> Outcome:
        try:
            return await self._batcher.run(wish)
        except (asyncio.CancelledError, DatabaseUnavailableError):
            # It may be held all the same; whoever waited for it is gone.
            self._send_soon(Release(wish.request_id))
            raise

    def _resolve(self, hold: Hold, operation: Operation) -> None:
        if hold in self._held:
            self._held.discard(hold)
            self._send_soon(operation)

    def _send_soon(self, operation: Operation) -> None:
        task = asyncio.get_running_loop().create_task(self._send(operation))
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _send(self, operation: Operation) -> None:
        """Run an operation until it is done: it is the only word of what was spent."""
        delay_s = 0.1
        while True:
            try:
                await self._batcher.run(operation)
            except SolarisError:
                await asyncio.sleep(delay_s)
                delay_s = min(delay_s * 2, 5.0)
            else:
                return

    async def _keep_alive(self) -> None:
        while True:
            await asyncio.sleep(KEEP_ALIVE_S)
            expires_at = self._clock.now() + timedelta(seconds=HOLD_LIFETIME_S)
            await self._try_all(Checkpoint(hold.id, expires_at) for hold in list(self._held))

    async def _sweep(self) -> None:
        """Resolve the holds of workers that are gone."""
        while True:
            await asyncio.sleep(KEEP_ALIVE_S)
            with contextlib.suppress(DatabaseUnavailableError):
                now = self._clock.now()
                ids = await asyncio.to_thread(self._reader.expired, now, SWEEP_AT_ONCE)
                if ids:
                    logger.warning("holds_expired", extra={"holds": len(ids)})
                    await self._try_all(Expire(request_id) for request_id in ids)

    async def _try_all(self, operations: Iterable[Operation]) -> None:
        """Run operations that may fail: they come again."""
        await asyncio.gather(*map(self._batcher.run, operations), return_exceptions=True)


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
