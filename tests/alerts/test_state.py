"""The state machine by itself: what follows from what, and what is told."""

from __future__ import annotations

import itertools
from datetime import timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from app.alerting.message import Message
from app.alerting.rules import RULES, Rule
from app.alerting.state import (
    ACKNOWLEDGED,
    ESCALATED,
    OPENED,
    REPEATED,
    RESOLVED,
    Alert,
    Seen,
    acknowledge,
    advance,
    digest_of,
    last_above,
    present,
)
from tests.alerts.samples import AT

RULE = Rule("model_errors", more_than=10, within_s=300, window_s=900, quiet_s=900)
CRITICAL = Rule("litellm_away", "critical", window_s=900, escalate_after_s=600)
ON = Seen(is_on=True, new=20, at=AT, facts={"count": 20})


def after(seconds: float) -> Any:
    return AT + timedelta(seconds=seconds)


def begun(rule: Rule = RULE, **facts: Any) -> tuple[Alert, tuple[Message, ...]]:
    return advance(present(None, rule, "gpt-4o", AT, "a1"), ON, rule, AT, **facts)


def kinds(messages: tuple[Message, ...]) -> list[str]:
    return [it.kind for it in messages]


def test_trouble_opens_an_alert_and_is_told() -> None:
    alert, (message,) = begun()

    assert (alert.state, alert.total, alert.untold) == (OPENED, 20, 0)
    assert (message.id, message.kind, message.severity) == ("a1.1", "opened", "warning")
    assert message.facts == {"count": 20}


def test_what_is_no_trouble_opens_nothing() -> None:
    nothing = present(None, RULE, "gpt-4o", AT, "a1")

    assert advance(nothing, Seen(new=5), RULE, AT) == (nothing, ())


def test_more_within_the_window_is_counted_and_not_told() -> None:
    alert, messages = advance(begun()[0], ON, RULE, after(899))

    assert (alert.untold, alert.total, messages) == (20, 40, ())


def test_more_after_the_window_is_told_with_nothing_left_over() -> None:
    alert, _ = advance(begun()[0], ON, RULE, after(10))
    alert, messages = advance(alert, ON, RULE, after(900))

    assert (alert.state, alert.untold, kinds(messages)) == (REPEATED, 0, ["repeated"])
    assert [it.id for it in messages] == ["a1.2"]


def test_stragglers_after_the_window_are_not_told_as_trouble() -> None:
    alert, messages = advance(begun()[0], Seen(new=3), RULE, after(899))

    assert (alert.untold, messages) == (3, ())


def test_quiet_for_long_enough_is_over() -> None:
    alert, _ = begun()

    assert advance(alert, Seen(), RULE, after(899)) == (alert, ())
    alert, messages = advance(alert, Seen(), RULE, after(900))
    assert (alert.state, alert.ended_at, kinds(messages)) == (RESOLVED, after(900), ["resolved"])


def test_what_is_said_to_be_over_is_over_at_once() -> None:
    alert, messages = advance(begun(CRITICAL)[0], Seen(is_over=True), CRITICAL, after(1))

    assert (alert.state, kinds(messages)) == (RESOLVED, ["resolved"])


def test_what_begins_again_within_the_window_is_not_told_nor_its_end() -> None:
    alert, _ = advance(begun(CRITICAL)[0], Seen(is_over=True), CRITICAL, after(1))
    same = present(alert, CRITICAL, "gpt-4o", after(2), "a2")
    again, messages = advance(same, ON, CRITICAL, after(2))
    over, more = advance(again, Seen(is_over=True), CRITICAL, after(3))

    assert (again.id, again.state, messages) == ("a1", OPENED, ())
    assert (over.state, over.untold, more) == (RESOLVED, 20, ())


def test_what_begins_again_after_the_window_is_a_new_alert() -> None:
    alert, _ = advance(begun(CRITICAL)[0], Seen(is_over=True), CRITICAL, after(1))

    assert present(alert, CRITICAL, "gpt-4o", after(899), "a2").id == "a1"
    assert present(alert, CRITICAL, "gpt-4o", after(900), "a2").id == "a2"


def test_acknowledged_is_silent_and_counts_nothing_as_untold() -> None:
    alert = acknowledge(begun()[0], "ana", after(5))
    alert, messages = advance(alert, ON, RULE, after(2000))

    assert (alert.state, alert.acknowledged_by, alert.untold) == (ACKNOWLEDGED, "ana", 0)
    assert messages == ()


def test_acknowledged_that_gets_worse_is_told_and_no_longer_acknowledged() -> None:
    alert = acknowledge(begun()[0], "ana", after(5))
    worse = Seen(is_on=True, new=1, at=after(6), level=80, severity="critical")
    alert, messages = advance(alert, worse, RULE, after(6))

    assert (alert.state, alert.level, alert.acknowledged_at) == (OPENED, 80, None)
    assert [(it.kind, it.severity) for it in messages] == [("escalated", "critical")]


def test_critical_is_escalated_once_where_nobody_acknowledges() -> None:
    alert, _ = begun(CRITICAL)
    assert advance(alert, Seen(is_on=True), CRITICAL, after(599)) == (alert, ())

    alert, messages = advance(alert, Seen(is_on=True), CRITICAL, after(600))
    assert (alert.state, kinds(messages)) == (ESCALATED, ["escalated"])
    assert advance(alert, Seen(is_on=True), CRITICAL, after(90_000)) == (alert, ())


def test_hushed_is_kept_for_a_digest_unless_it_is_critical() -> None:
    alert, messages = begun(is_hushed=True)
    assert (alert.state, alert.untold, alert.is_hushed, messages) == (OPENED, 20, True, ())

    _, messages = begun(CRITICAL, is_hushed=True)
    assert kinds(messages) == ["opened"]


def test_end_of_what_was_hushed_is_kept_for_the_digest_too() -> None:
    alert, _ = begun()
    alert, messages = advance(alert, Seen(is_over=True), RULE, after(9), is_hushed=True)

    assert (alert.state, alert.untold, messages) == (RESOLVED, 1, ())
    told, digest = digest_of([alert], after(9), "d1", is_quiet=True)
    assert (told, digest) == ([], ())
    told, (message,) = digest_of([alert], after(10), "d1", is_quiet=False)
    assert message.items[0]["count"] == 1
    assert [(it.untold, it.is_hushed) for it in told] == [(0, False)]


def test_end_of_what_a_digest_has_yet_to_tell_of_is_not_told_before_it() -> None:
    alert, _ = begun(is_hushed=True)
    alert, messages = advance(alert, Seen(is_over=True), RULE, after(9))

    assert (alert.state, alert.untold, alert.is_hushed, messages) == (RESOLVED, 20, True, ())


def test_digest_tells_of_what_is_untold_when_its_window_is_over() -> None:
    alert, _ = advance(begun()[0], ON, RULE, after(10))

    assert digest_of([alert], after(899), "d1", is_quiet=False) == ([], ())
    (told,), (message,) = digest_of([alert], after(900), "d1", is_quiet=False)
    assert told.untold == 0
    assert (message.kind, message.severity, message.rule) == ("digest", "warning", "")
    assert message.items == (
        {"rule": "model_errors", "subject": "gpt-4o", "severity": "warning", "count": 20},
    )


def test_last_span_with_too_many_is_found_wherever_it_is() -> None:
    counts = {after(0): 6, after(290): 5, after(600): 5, after(900): 1}

    assert last_above(counts, list(counts), RULE, "x") == (11, after(300))
    assert last_above(counts, [after(900)], RULE, "x") is None
    assert last_above({after(0): 6, after(300): 5}, [after(300)], RULE, "x") is None


LOOKS = st.lists(
    st.tuples(
        st.integers(1, 600),
        st.sampled_from(["on", "few", "over", "nothing", "ack"]),
        st.booleans(),
    ),
    max_size=60,
)


@settings(deadline=None, max_examples=200)
@given(LOOKS)
def test_no_subject_is_told_of_more_than_once_a_window_and_nothing_is_lost(
    looks: list[tuple[int, str, bool]],
) -> None:
    now, last, numbers = AT, None, iter(range(1000))
    told: list[tuple[Any, str]] = []
    ids: list[str] = []
    for seconds, what, is_hushed in looks:
        now += timedelta(seconds=seconds)
        seen = {
            "on": Seen(is_on=True, new=3, at=now),
            "few": Seen(new=1),
            "over": Seen(is_over=True),
        }.get(what, Seen())
        alert = present(last, RULE, "x", now, f"a{next(numbers)}")
        if what == "ack" and alert.is_live:
            alert = acknowledge(alert, "ana", now)
            # Whoever does knows of it.
            told.append((now, "acknowledged"))
        last, messages = advance(alert, seen, RULE, now, is_hushed=is_hushed)
        told += [(now, it.kind) for it in messages]
        ids += [it.id for it in messages]

        assert last.untold <= last.total
        assert (last.ended_at is not None) == (last.state == RESOLVED)
    starts = [at for at, kind in told if kind in ("opened", "repeated")]
    window = timedelta(seconds=RULE.window_s)
    assert all(later - earlier >= window for earlier, later in itertools.pairwise(starts))
    assert len(ids) == len(set(ids))
    ends = [kind == "resolved" for _, kind in told]
    assert not any(one and two for one, two in itertools.pairwise(ends))


def test_windows_of_counted_rules_are_longer_than_what_they_count() -> None:
    counted = [it for it in RULES.values() if it.is_counted]

    assert len(counted) == 4
    assert all(it.window_s > it.within_s and it.quiet_s for it in counted)
