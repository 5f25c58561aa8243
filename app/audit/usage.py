"""What was used, summed by day: kept with the rows, so that questions need not read them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from zoneinfo import ZoneInfo

from app.audit.event import REFUSAL, REQUEST, AuditEvent
from app.audit.names import KEY, MODEL, TEAM, USER, Name

# Events that are a call to a model.
CALL_EVENTS = frozenset({REQUEST, REFUSAL})
# Says by how much a call was something else than its own event says; it is no call.
ADJUSTMENT = "adjustment"
SUMMED_EVENTS = CALL_EVENTS | {ADJUSTMENT}
FIRST_ERROR_STATUS = 400


def usage_rows(
    events: Iterable[AuditEvent], names: Mapping[tuple[str, str], Name], zone: ZoneInfo
) -> list[tuple[object, ...]]:
    """Return (day, user, team, key, model, and sums) of the events, each combination once, in
    order: requests, failed, estimated, input tokens, output tokens, micro-USD."""
    sums: dict[tuple[object, ...], list[int]] = {}

    def number(kind: str, value: str | None) -> int:
        return 0 if value is None else names[kind, value].id

    for event in events:
        if event.event not in SUMMED_EVENTS:
            continue
        place = (
            event.at.astimezone(zone).date(),
            number(USER, event.user),
            number(TEAM, event.team),
            number(KEY, event.key),
            number(MODEL, event.model_used or event.model),
        )
        usage = event.usage
        amounts = (
            int(event.event in CALL_EVENTS),
            int((event.status or 0) >= FIRST_ERROR_STATUS),
            int(event.is_estimated),
            usage.input_tokens if usage else 0,
            usage.output_tokens if usage else 0,
            event.cost_micro_usd or 0,
        )
        known = sums.setdefault(place, [0] * len(amounts))
        for index, amount in enumerate(amounts):
            known[index] += amount
    return [(*place, *amounts) for place, amounts in sorted(sums.items(), key=lambda it: it[0][1:])]
