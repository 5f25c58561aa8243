"""What was settled on an estimate is corrected by what LiteLLM knows exactly: in the ledger, and on
record in an event that says from what to what.

Whatever breaks off is done again by the next run: the ledger corrects a hold once, the trail
takes an event once, and what the event says is what the ledger has posted.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from sqlalchemy import Engine

from app.audit.event import AuditEvent
from app.audit.reading import snapshot
from app.audit.store import AuditStore, lock_trail, transaction
from app.audit.usage import ADJUSTMENT
from app.dialects.base import MAX_COUNT, Usage
from app.ledger.book import MOST, Adjust, Hold, HoldState, Operation, Outcome, Resolved, Spend
from app.reconciliation.compare import Amounts, Ours, Pair
from app.reconciliation.sides import ANSWERS, plus

# More than there are models in any chain.
MOST_ATTEMPTS = 16
REASON = "exact_usage"
HOLDS = """
    SELECT request_id, model, state, posted, credited, is_estimated FROM holds
    WHERE request_id = ANY (%s)
"""
ANSWERS_TO = ANSWERS.format(which="request_id = ANY (%s)")
# Whose a request was; nobody's, where they were erased.
OWNERS = """
    SELECT event.event_id::text, person.value, team.value, key.value, asked.value, used.value
    FROM audit_events AS event
    LEFT JOIN audit_names AS person ON person.id = event.user_id
    LEFT JOIN audit_names AS team ON team.id = event.team_id
    LEFT JOIN audit_names AS key ON key.id = event.key_id
    LEFT JOIN audit_names AS asked ON asked.id = event.model_id
    LEFT JOIN audit_names AS used ON used.id = event.model_used_id
    WHERE event.event_id = ANY (%s::uuid[]) AND event.at >= %s AND event.at <= %s
"""

# The micro-USD that a model takes for so much; None: it is in no price list of ours.
Price = Callable[[str, Usage], int | None]
Apply = Callable[[Sequence[Operation]], Sequence[Outcome]]


@dataclass(frozen=True, slots=True)
class Attempt:
    """One model that was asked, as the ledger has it."""

    hold_id: str
    model: str
    state: str
    charged: Spend
    is_estimated: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """What LiteLLM has counted of one model's answer."""

    model: str
    usage: Usage
    # None where LiteLLM knows no price.
    cost_micro_usd: int | None

    @property
    def tokens(self) -> int:
        return self.usage.input_tokens + self.usage.output_tokens


def as_asked(attempts: Sequence[Attempt], answers: Mapping[str, Answer]) -> Mapping[str, Answer]:
    """Return the answers by the models' names here: where one was asked and one has answered it
    is that one, whatever LiteLLM calls it."""
    if len(attempts) == len(answers) == 1:
        return {attempts[0].model: next(iter(answers.values()))}
    return answers


def corrections(attempts: Iterable[Attempt], answers: Mapping[str, Answer]) -> list[Adjust]:
    """Return what the ledger is told of one request."""
    return [
        Adjust(it.hold_id, _spend(answers[it.model], it.charged))
        for it in attempts
        if it.is_estimated and it.model in answers
    ]


def amounts_after(
    ours: Ours, attempts: Sequence[Attempt], answers: Mapping[str, Answer]
) -> Amounts:
    """Return what a request was in truth, when its attempts are corrected: tokens as they were
    counted, money as it is posted."""
    if not attempts:
        return _sum(ours, answers)
    given = written = 0
    for it in attempts:
        if answer := answers.get(it.model):
            given += answer.usage.input_tokens
            written += answer.usage.output_tokens
        elif it.model == ours.model:
            given += ours.amounts.input_tokens or 0
            written += ours.amounts.output_tokens or 0
    return Amounts(given, written, sum(it.charged.cost_micro_usd for it in attempts))


def _sum(ours: Ours, answers: Mapping[str, Answer]) -> Amounts:
    """Of a request that no budget held anything for."""
    usages = [it.usage for it in answers.values()]
    costs = [it.cost_micro_usd for it in answers.values()]
    return Amounts(
        sum(it.input_tokens for it in usages),
        sum(it.output_tokens for it in usages),
        ours.amounts.cost if None in costs else sum(filter(None, costs)),
    )


def _spend(answer: Answer, charged: Spend) -> Spend:
    cost = answer.cost_micro_usd
    cost = charged.cost_micro_usd if cost is None else cost
    return Spend(min(MOST, answer.tokens), min(MOST, cost))


class LaterTruth:
    """Blocking. Raises DatabaseUnavailableError while Postgres is away."""

    def __init__(self, engine: Engine, apply: Apply, trail: AuditStore, price: Price) -> None:
        """``apply`` runs operations of the ledger."""
        self._engine = engine
        self._apply = apply
        self._trail = trail
        self._price = price

    def correct(self, pairs: Sequence[Pair], by: str, now: datetime) -> list[Pair]:
        """Correct what can be; return the pairs as they are then."""
        ids = [it.request_id for it in pairs]
        with self._cursor() as cursor:
            attempts = _attempts(cursor, ids)
            told = self._answers(cursor, ids)
        answers = {it: as_asked(attempts[it], told[it]) for it in ids}
        # What is still under way may yet be settled by whoever has it.
        ready = [it for it in pairs if not any(map(_is_pending, attempts[it.request_id]))]
        attempts |= self._corrected(ready, attempts, answers)
        changes = {it.request_id: _change(it, attempts, answers) for it in ready}
        if changed := [it for it in ready if any(changes[it.request_id])]:
            self._record(changed, changes, by, now)
        return [_adjusted(it, changes.get(it.request_id)) for it in pairs]

    def _record(
        self, pairs: Sequence[Pair], changes: Mapping[str, Amounts], by: str, now: datetime
    ) -> None:
        with transaction(self._engine) as cursor:
            # Nobody is erased between this question and the answer's use.
            lock_trail(cursor)
            owners = _owners(cursor, pairs)
            events = [
                _event(it, changes[it.request_id], owners[it.request_id], by, now) for it in pairs
            ]
            self._trail.append_in(cursor, events)

    def _corrected(
        self,
        pairs: Iterable[Pair],
        attempts: Mapping[str, list[Attempt]],
        answers: Mapping[str, Mapping[str, Answer]],
    ) -> dict[str, list[Attempt]]:
        """Correct the ledger; return the attempts that are others now."""
        operations = [
            operation
            for it in pairs
            for operation in corrections(attempts[it.request_id], answers[it.request_id])
        ]
        outcomes = self._apply(operations) if operations else []
        holds = {
            it.hold.request_id: it.hold for it in outcomes if isinstance(it, Resolved) and it.hold
        }
        return {
            it.request_id: [_as_posted(one, holds) for one in attempts[it.request_id]]
            for it in pairs
        }

    def _answers(self, cursor: Any, ids: Sequence[str]) -> dict[str, dict[str, Answer]]:
        """Return, by request and model, the answers that were not only estimated."""
        found: dict[str, dict[str, Answer]] = defaultdict(dict)
        cursor.execute(ANSWERS_TO, (list(ids),))
        for request_id, model, _, has_answered, is_cached, is_estimated, *counts in cursor:
            given, written, cost = counts
            if not has_answered or is_estimated or given is None:
                continue
            usage = Usage(given, written or 0)
            known = 0 if is_cached else cost or self._price(model or "", usage)
            found[request_id][model] = Answer(model, usage, known)
        return found

    @contextmanager
    def _cursor(self) -> Any:
        with snapshot(self._engine) as connection, connection.cursor() as cursor:
            yield cursor


def _attempts(cursor: Any, ids: Sequence[str]) -> dict[str, list[Attempt]]:
    holds = [*ids, *(f"{it}.{n}" for it in ids for n in range(2, MOST_ATTEMPTS + 1))]
    cursor.execute(HOLDS, (holds,))
    found: dict[str, list[Attempt]] = defaultdict(list)
    for hold_id, model, state, posted, credited, is_estimated in cursor:
        charged = Spend(*posted).minus(Spend(*(credited or (0, 0, 0))))
        found[hold_id.partition(".")[0]].append(
            Attempt(hold_id, model, state, charged, is_estimated)
        )
    return found


def _owners(cursor: Any, pairs: Sequence[Pair]) -> dict[str, tuple[str | None, ...]]:
    times = [it.ours.at for it in pairs if it.ours]
    ids = [it.request_id for it in pairs]
    cursor.execute(OWNERS, (ids, min(times), max(times)))
    return {request_id: tuple(names) for request_id, *names in cursor}


def _is_pending(attempt: Attempt) -> bool:
    return attempt.state == HoldState.PENDING.value


def _as_posted(attempt: Attempt, holds: Mapping[str, Hold]) -> Attempt:
    hold = holds.get(attempt.hold_id)
    if hold is None:
        return attempt
    return replace(attempt, charged=hold.charged, is_estimated=hold.is_estimated)


def _change(
    pair: Pair,
    attempts: Mapping[str, Sequence[Attempt]],
    answers: Mapping[str, Mapping[str, Answer]],
) -> Amounts:
    """Return by how much more a request was than its own event says."""
    if pair.ours is None:
        return Amounts(0, 0, 0)
    after = amounts_after(
        pair.ours, attempts.get(pair.request_id, ()), answers.get(pair.request_id, {})
    )
    before = pair.ours.amounts
    return Amounts(*((late or 0) - (early or 0) for late, early in zip(after, before, strict=True)))


def _event(
    pair: Pair, change: Amounts, owner: tuple[str | None, ...], by: str, now: datetime
) -> AuditEvent:
    """Return the one adjustment that a request can have: it counts where the request counts."""
    if pair.ours is None:
        raise ValueError(pair.request_id)
    user, team, key, model, model_used = owner
    before = pair.ours.amounts
    after = plus(before, change)
    return AuditEvent(
        event_id=str(uuid5(NAMESPACE_URL, f"solaris:{ADJUSTMENT}:{pair.request_id}")),
        at=pair.ours.at,
        event=ADJUSTMENT,
        request_id=pair.request_id,
        user=user,
        team=team,
        key=key,
        model=model,
        model_used=model_used,
        usage=Usage(_bounded(change.input_tokens), _bounded(change.output_tokens)),
        cost_micro_usd=change.cost,
        detail={
            "by": by,
            "reason": REASON,
            "adjusted_at": now.isoformat(),
            "before": before._asdict(),
            "after": after._asdict(),
        },
    )


def _bounded(tokens: int | None) -> int:
    return max(-MAX_COUNT + 1, min(MAX_COUNT - 1, tokens or 0))


def _adjusted(pair: Pair, change: Amounts | None) -> Pair:
    if pair.ours is None or change is None or not any(change):
        return pair
    amounts = plus(pair.ours.amounts, change)
    ours = replace(pair.ours, amounts=amounts, adjusted_micro_usd=change.cost)
    return replace(pair, ours=ours)
