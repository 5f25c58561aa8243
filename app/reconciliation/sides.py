"""Both sides of a day, joined by Postgres and read a few rows at a time: a day of a million
requests never is in memory.

A request belongs to the day that the time in its id says, whenever its events came; a call that
did not come through us belongs to the day that LiteLLM says.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import orjson
from sqlalchemy import Engine

from app.audit.days import DAY, Span
from app.audit.names import EVENT, MODEL
from app.audit.reading import Labels, snapshot
from app.audit.usage import ADJUSTMENT
from app.reconciliation.compare import Amounts, Ours, Pair, Theirs
from app.utils.helpers import time_of_request_id

AT_ONCE = 5_000
# LiteLLM's clock is another one than ours.
EARLY = timedelta(hours=1)
# So long after a day's end one of its calls may be over, and the event of one be on its way.
LONGEST_CALL, LONGEST_WAY = DAY, timedelta(days=8)
CLIENT_LEFT = "client_left"

# An answer is told once for each model that was asked; it is the same answer when it is told again
# under another id. What the provider has counted stands before an estimate; what LiteLLM kept was
# counted, and paid for, another time.
ANSWERS = """
    SELECT DISTINCT ON (request_id, event_type, coalesce(model, model_used))
      request_id, coalesce(model, model_used) AS model, at,
      event_type = 'request_end' AS has_answered, is_cached,
      coalesce(status = 'client_left', false) AS is_estimated,
      CASE WHEN is_cached THEN 0 ELSE input_tokens END AS input_tokens,
      CASE WHEN is_cached THEN 0 ELSE output_tokens END AS output_tokens,
      CASE WHEN is_cached THEN 0 ELSE cost_micro_usd END AS cost_micro_usd
    FROM litellm_events
    WHERE event_type IN ('request_end', 'request_error') AND {which}
    ORDER BY request_id, event_type, coalesce(model, model_used),
      coalesce(status = 'client_left', false), litellm_events.input_tokens IS NULL, at, id
"""
# Those of the day, and of a margin around it.
TOLD_ABOUT = """
    received_at >= %(received_from)s AND received_at < %(received_to)s
    AND at >= %(told_from)s AND at < %(told_to)s
"""
# The time in an id of ours; of an id that was made a while before its call, LiteLLM's.
MADE_AT = """
    CASE WHEN request_id ~ '^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}$'
      THEN to_timestamp(
        ('x' || substr(request_id, 1, 8) || substr(request_id, 10, 4))::bit(48)::bigint / 1000.0)
    END
"""
PAIRS = """
    WITH theirs AS (
      SELECT request_id, min(at) AS at, max(model) AS model, {made_at} AS made_at,
        bool_or(has_answered) AS has_answered,
        bool_and(is_cached) FILTER (WHERE has_answered) AS is_cached,
        bool_or(is_estimated) FILTER (WHERE has_answered) AS is_estimated,
        bool_or(NOT is_estimated AND input_tokens IS NOT NULL)
          FILTER (WHERE has_answered) AS is_exact,
        sum(input_tokens) FILTER (WHERE has_answered)::bigint AS input_tokens,
        sum(output_tokens) FILTER (WHERE has_answered)::bigint AS output_tokens,
        sum(cost_micro_usd) FILTER (WHERE has_answered)::bigint AS cost
      FROM ({answers}) AS answers GROUP BY request_id
    ), adjustments AS (
      SELECT request_id, input_tokens, output_tokens, cost_micro_usd FROM audit_events
      WHERE at >= %(start)s AND at < %(end)s AND event = {adjustment}
    ), ours AS (
      SELECT calls.event_id::text AS request_id, calls.at,
        coalesce(calls.model_used_id, calls.model_id) AS model,
        -- Nobody may have been refused yet, and so nothing have the name.
        calls.event IS NOT DISTINCT FROM {refusal} AS refused,
        calls.input_tokens, calls.output_tokens, calls.cost_micro_usd, calls.is_estimated,
        calls.detail, later.request_id IS NOT NULL AS is_adjusted,
        later.input_tokens AS later_input, later.output_tokens AS later_output,
        later.cost_micro_usd AS later_cost
      FROM audit_events AS calls
      LEFT JOIN adjustments AS later ON later.request_id = calls.event_id
      WHERE calls.at >= %(start)s AND calls.at < %(end)s AND calls.event IN ({request}, {refusal})
    )
    SELECT coalesce(ours.request_id, theirs.request_id) AS id, ours.at, ours.model, ours.refused,
      ours.input_tokens, ours.output_tokens, ours.cost_micro_usd, ours.is_estimated, ours.detail,
      ours.is_adjusted, ours.later_input, ours.later_output, ours.later_cost,
      theirs.at, theirs.model, theirs.has_answered, theirs.is_cached, theirs.is_estimated,
      theirs.is_exact, theirs.input_tokens, theirs.output_tokens, theirs.cost,
      CASE WHEN ours.request_id IS NULL THEN (
        SELECT (posted->>1)::bigint FROM holds
        WHERE request_id = theirs.request_id AND state IN ('settled', 'expired')
      ) END
    FROM ours FULL JOIN theirs ON theirs.request_id = ours.request_id
    WHERE CASE WHEN ours.request_id IS NOT NULL
      THEN NOT ours.refused OR theirs.request_id IS NOT NULL
      WHEN theirs.made_at BETWEEN theirs.at - %(longest)s AND theirs.at + %(early)s
      THEN theirs.made_at >= %(start)s AND theirs.made_at < %(end)s
      ELSE theirs.at >= %(start)s AND theirs.at < %(end)s END
    ORDER BY id
"""
NUMBER = "(SELECT id FROM audit_names WHERE kind = '{kind}' AND value = '{value}')"
DAY_OF = PAIRS.format(
    answers=ANSWERS.format(which=TOLD_ABOUT),
    made_at=MADE_AT,
    **{
        name: NUMBER.format(kind=EVENT, value=value)
        for name, value in (
            ("request", "request"),
            ("refusal", "refusal"),
            ("adjustment", ADJUSTMENT),
        )
    },
)
MODELS = "SELECT id, value FROM audit_names WHERE kind = %s"


def pairs_of(engine: Engine, day: date, zone: ZoneInfo) -> Iterator[Pair]:
    """Yield every request of ``day`` that is on record or in LiteLLM's events, in order of ids.

    Raises: DatabaseUnavailableError.
    """
    with snapshot(engine, is_thorough=True) as connection:
        with connection.cursor() as cursor:
            cursor.execute(MODELS, (MODEL,))
            models: Labels = dict(cursor.fetchall())
        # With a name it stays on the server, which sends so many rows at once.
        with connection.cursor(name="reconciliation") as cursor:
            cursor.itersize = AT_ONCE
            cursor.execute(DAY_OF, _asked(Span(day, day, zone)))
            for request_id, *row in cursor:
                yield Pair(
                    request_id,
                    _ours(row[:12], models),
                    _theirs(row[12:21]),
                    time_of_request_id(request_id) is not None,
                    row[21],
                )


def _asked(span: Span) -> dict[str, Any]:
    return {
        "start": span.start,
        "end": span.end,
        "early": EARLY,
        "longest": LONGEST_CALL,
        "told_from": span.start - EARLY,
        "told_to": span.end + LONGEST_CALL,
        "received_from": span.start - EARLY,
        "received_to": span.end + LONGEST_WAY,
    }


def _ours(row: list[Any], models: Labels) -> Ours | None:
    at, model, refused, given, written, cost, is_estimated, detail, is_adjusted, *later = row
    if at is None:
        return None
    facts = orjson.loads(detail) if detail else {}
    amounts = Amounts(given, written, cost)
    return Ours(
        at.astimezone(UTC),
        models.get(model),
        plus(amounts, Amounts(*later)) if is_adjusted else amounts,
        is_refused=refused,
        is_estimated=is_estimated,
        adjusted_micro_usd=later[-1] if is_adjusted else None,
        is_cached=bool(facts.get("cache")),
        has_fallbacks="path" in facts,
        stated_cost=facts.get("litellm_cost"),
    )


def plus(amounts: Amounts, later: Amounts) -> Amounts:
    """Return the amounts with an adjustment of theirs."""
    return Amounts(*((mine or 0) + (more or 0) for mine, more in zip(amounts, later, strict=True)))


def _theirs(row: list[Any]) -> Theirs | None:
    at, model, has_answered, is_cached, is_estimated, is_exact, *amounts = row
    if at is None:
        return None
    return Theirs(
        at.astimezone(UTC),
        model,
        Amounts(*amounts),
        has_answered=has_answered,
        is_cached=bool(is_cached),
        is_estimated=bool(is_estimated),
        is_exact=bool(is_exact),
    )
