"""What would become of a call now: which model answers it, and why each other one does not.

The decisions are `fallback.first_answer`'s and the ledger's own, over the models' live health, what
kill switches say and how budgets stand. Nothing is asked of a model, held or changed. Limits by the
minute are left out: they are others by the time the answer is read.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from app.config.catalog import Catalog, Model
from app.dialects.base import ModelRequest, Needs, Usage
from app.dialects.openai_chat import CHAT
from app.ledger.book import Book, Refused, Reserve
from app.ledger.rules import Account, Payer, accounts_for
from app.ledger.size import demand_of
from app.ledger.standings import lines_of
from app.ledger.store import LedgerStore
from app.services.database import in_thread
from app.services.fallback import Candidate, Step, candidates, first_answer
from app.services.health_service import HealthService, Refusal
from app.services.kill_switches import KillSwitches
from app.services.people_store import PeopleStore, PersonNotFoundError
from app.services.quota_errors import refusal
from app.services.token_service import cost_of
from app.utils.clock import Clock
from app.utils.exceptions import (
    DatabaseUnavailableError,
    InvalidFieldError,
    LiteLLMError,
    SolarisError,
)

NOT_TRIED = "not_tried"


@dataclass(frozen=True, slots=True)
class SimulatedStep:
    """One model of the chain: answered, failed, skipped or not tried; and what it would cost."""

    model: str
    provider: str
    outcome: str
    reason: str | None
    cost_micro_usd: int
    # Than the first of the chain, which is the one that was asked for.
    difference_micro_usd: int


@dataclass(frozen=True, slots=True)
class SimulatedError:
    """What the caller would get in place of an answer."""

    status: int
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Simulated:
    """Either ``answered_by`` or ``error`` is None."""

    model: str
    user: str | None
    team: str | None
    input_tokens: int
    output_tokens: int
    answered_by: str | None
    error: SimulatedError | None
    path: tuple[SimulatedStep, ...]


class SimulatedFailureError(LiteLLMError):
    """The model is assumed to be down."""

    reason = "assumed_down"


class _Leave:
    """Leave that is not taken: nothing is learned of the model."""

    def succeeded(self) -> None:
        pass

    def failed(self, reason: str) -> None:
        pass

    def rate_limited(self, retry_after_s: float | None) -> None:
        pass

    def release(self) -> None:
        pass


class _Peek:
    """Says who would be let in, and takes nothing."""

    def __init__(self, health: HealthService, down: Collection[str]) -> None:
        self._health = health
        self._down = down

    async def admit(self, model: str) -> _Leave | Refusal:
        # One that is assumed down is asked, whatever calls have shown.
        refused = None if model in self._down else self._health.peek(model)
        return refused or _Leave()


class FallbackSimulation:
    """For the event loop."""

    def __init__(
        self,
        catalog: Catalog,
        health: HealthService,
        switches: KillSwitches,
        people: PeopleStore,
        ledger: LedgerStore,
        zone: ZoneInfo,
        clock: Clock,
        describe: Callable[[SolarisError], str],
    ) -> None:
        self._catalog = catalog
        self._health = health
        self._switches = switches
        self._people = people
        self._ledger = ledger
        self._zone = zone
        self._clock = clock
        self._describe = describe

    async def simulate(
        self,
        model: str,
        *,
        down: Sequence[str] = (),
        user: str | None = None,
        input_tokens: int,
        output_tokens: int,
    ) -> Simulated:
        """Return what would become of a call for ``model``, were the models in ``down`` down.

        Raises: InvalidFieldError, DatabaseUnavailableError.
        """
        models = self._catalog.resolve(model)
        if models is None:
            raise _not_one_of("model", self._catalog.names())
        if not set(down) <= self._catalog.models.keys():
            raise _not_one_of("down", self._catalog.models)
        needs = Needs(models[0].mode, text_bytes=input_tokens, output_tokens=output_tokens)
        payer = await self._payer(user)
        path: list[Step] = []
        answered_by, error = None, None
        try:
            answered_by = await self._answered_by(_request(model, needs), payer, down, path)
        except DatabaseUnavailableError:
            raise
        except SolarisError as fault:
            error = SimulatedError(fault.status, fault.code, self._describe(fault))
        usage = Usage(input_tokens, output_tokens)
        steps = tuple(_priced(path, models, usage))
        return Simulated(
            model, user, payer.team, input_tokens, output_tokens, answered_by, error, steps
        )

    async def _answered_by(
        self, request: ModelRequest, payer: Payer, down: Collection[str], path: list[Step]
    ) -> str:
        await self._switches.require_admitted(payer)
        chain = candidates(self._catalog, request, None, self._switches.stopped_models())
        room = await in_thread(self._room, request, payer, chain)

        async def attempt(model: Model) -> str:
            if error := room[model.name]:
                raise error
            if model.name in down:
                raise SimulatedFailureError
            return model.name

        _, answer = await first_answer(
            chain, _Peek(self._health, down), attempt, path, lambda: True
        )
        return answer

    async def _payer(self, user: str | None) -> Payer:
        if user is None:
            return Payer(None, None, None)
        try:
            person = await in_thread(self._people.person, user)
        except PersonNotFoundError:
            # Whoever has not called yet is bound by budgets for everybody.
            return Payer(user, None, None)
        return Payer(user, person.team_id, None)

    def _room(
        self, request: ModelRequest, payer: Payer, chain: Sequence[Candidate]
    ) -> Mapping[str, SolarisError | None]:
        """Return what the ledger would say of each model: an error, or nothing. Blocking."""
        now = self._clock.now()
        budgets = [it for it in self._ledger.budgets() if it.period != "minute"]
        accounts = {
            it.model.name: tuple(
                accounts_for(
                    budgets, payer, self._catalog.budgeted_names(it.model.name), now, self._zone
                )
            )
            for it in chain
        }
        keys = {account.key for found in accounts.values() for account in found}
        with self._ledger.asking() as cursor:
            book = Book(lines=lines_of(cursor, keys))
        return {
            it.model.name: self._refused(book, request, it.model, accounts[it.model.name], now)
            for it in chain
        }

    def _refused(
        self,
        book: Book,
        request: ModelRequest,
        model: Model,
        accounts: tuple[Account, ...],
        now: datetime,
    ) -> SolarisError | None:
        demand = demand_of(request.needs, model)
        wish = Reserve("simulated", model.name, accounts, demand, now + timedelta(seconds=1))
        # On a copy: what is held for one model must not be missing for the next.
        outcome = Book(lines=book.copied_lines()).run(wish)
        return refusal(outcome, now, self._zone) if isinstance(outcome, Refused) else None


def _not_one_of(field: str, names: Iterable[str]) -> InvalidFieldError:
    return InvalidFieldError("not_one_of", param=field, allowed=", ".join(names))


def _request(model: str, needs: Needs) -> ModelRequest:
    return ModelRequest(CHAT, model, {}, needs=needs)


def _priced(path: Sequence[Step], models: Sequence[Model], usage: Usage) -> list[SimulatedStep]:
    """Return every model of the chain in order, those that were not reached included."""
    taken: dict[str, Step] = {it.model: it for it in path}
    first = cost_of(models[0], usage)
    steps = []
    for model in models:
        step = taken.get(model.name, Step(model.name, NOT_TRIED))
        cost = cost_of(model, usage)
        steps.append(
            SimulatedStep(model.name, model.provider, step.outcome, step.reason, cost, cost - first)
        )
    return steps
