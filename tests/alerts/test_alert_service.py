"""Alerts from end to end: from what is on record, to what is in the outbox."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import create_engine, text

from app.alerting.rules import MOST_MESSAGES_AT_ONCE
from app.audit.event import AuditEvent
from app.config.quiet_hours import parse_quiet_hours
from app.ledger.periods import window_at
from app.services.alert_service import AlertNotFoundError
from app.utils.helpers import generate_request_id
from tests.alerts.occurrences import MODEL, ZONE, Watch, failed, fell_back, happened
from tests.fakes.clock import FakeClock

MINUTE_S, HOUR_S, DAY_S = 60, 3600, 86_400


@pytest.fixture
def watch(clean_database: str) -> Iterator[Watch]:
    engine = create_engine(clean_database)
    yield Watch(engine, FakeClock())
    engine.dispose()


def add_budget(watch: Watch, *, subject: str = "sales", limit: int = 1000, used: int = 0) -> None:
    """A month's budget in money, of a team, that is used so far in the present month."""
    with watch.engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO budgets (scope, subject, metric, period, limit_amount)"
                " VALUES ('team', :subject, 'cost', 'month', :limit)"
            ),
            {"subject": subject, "limit": limit},
        )
    use(watch, used, subject)


def use(watch: Watch, posted: int, subject: str = "sales") -> None:
    start = window_at("month", watch.clock.now(), ZONE).start
    with watch.engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO budget_lines (budget_id, subject, period_start, posted)"
                " SELECT id, :subject, :start, :posted FROM budgets WHERE subject = :subject"
                " ON CONFLICT (budget_id, subject, period_start)"
                " DO UPDATE SET posted = excluded.posted"
            ),
            {"subject": subject, "start": start, "posted": posted},
        )


def test_storm_is_told_in_one_alert_and_one_digest(watch: Watch) -> None:
    watch.fail(100)
    first = watch.look()
    begun = watch.clock.now()
    batches = [
        [failed(begun + timedelta(seconds=number % 10)) for number in range(990)] for _ in range(10)
    ]

    def append(batches: list[list[AuditEvent]]) -> None:
        for batch in batches:
            watch.append(batch)

    threads = [
        threading.Thread(target=append, args=(mine,)) for mine in (batches[::2], batches[1::2])
    ]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        watch.service.look()
    for thread in threads:
        thread.join()

    for _ in range(180):
        watch.look_after(10)

    assert [it.kind for it in first] == ["opened"]
    assert [it["kind"] for it in watch.sent()] == ["opened", "digest", "resolved"]
    assert watch.sent()[0]["facts"]["count"] == 100
    assert [it["count"] for it in watch.sent()[1]["items"]] == [9_900]
    assert watch.rows("SELECT total FROM alerts") == [(10_000,)]
    (rows,) = watch.rows("SELECT count(*) FROM alert_counts")[0]
    assert rows <= 2


def test_ten_errors_are_not_told_and_the_eleventh_is(watch: Watch) -> None:
    watch.fail(10)
    assert watch.look() == []

    watch.clock.advance(60)
    watch.fail(1)
    (message,) = watch.look()

    assert (message.kind, message.rule, message.subject) == ("opened", "model_errors", MODEL)
    assert message.facts == {
        "model": MODEL,
        "count": 11,
        "window_s": 300,
        "reason": "upstream_error",
    }


def test_errors_further_apart_than_five_minutes_are_not_told(watch: Watch) -> None:
    watch.fail(10)
    watch.clock.advance(5 * MINUTE_S + 10)
    watch.fail(10)

    assert watch.look() == []


def test_reason_is_the_most_frequent_one(watch: Watch) -> None:
    watch.fail(4, reason="upstream_error")
    watch.fail(8, reason="upstream_timeout")

    assert watch.look()[0].facts["reason"] == "upstream_timeout"


def test_sixth_fallback_within_ten_minutes_is_told(watch: Watch) -> None:
    for _ in range(5):
        watch.append([fell_back(watch.clock.now())])
        assert watch.look_after(100) == []
    watch.append([fell_back(watch.clock.now())])

    (message,) = watch.look()

    assert (message.rule, message.facts["count"]) == ("model_fallbacks", 6)
    assert message.facts["reason"] == "breaker_open"


def test_any_rate_limit_of_litellms_is_told_with_its_figures(watch: Watch) -> None:
    detail = {"limit_type": "tpm", "current_usage": 50_100, "limit": 50_000}
    at = watch.clock.now()
    watch.append([happened("rate_limit_hit", at, request_id="x", model=MODEL, detail=detail)])

    (message,) = watch.look()

    assert message.facts == {"model": MODEL, "count": 1, "window_s": 60, **detail}


def test_errors_of_our_own_calls_in_litellms_events_are_not_counted_twice(watch: Watch) -> None:
    at, error = watch.clock.now(), {"reason": "Timeout"}
    ours = [
        happened("litellm_request_error", at, request_id=it, model=MODEL, detail=error)
        for it in (generate_request_id() for _ in range(20))
    ]
    watch.fail(10)
    watch.append(ours)
    assert watch.look() == []

    theirs = happened("litellm_request_error", at, request_id="other", model=MODEL, detail=error)
    watch.append([theirs])

    assert [it.facts["count"] for it in watch.look()] == [11]


def test_event_that_is_said_again_is_counted_once(watch: Watch) -> None:
    events = [failed(watch.clock.now()) for _ in range(10)]
    watch.append(events)
    watch.append([*events, happened("request", watch.clock.now(), status=200)])

    assert watch.look() == []


def test_counts_survive_a_restart(watch: Watch) -> None:
    watch.fail(6)
    watch.look()
    again = Watch(watch.engine, watch.clock)
    again.fail(5)

    assert [it.facts["count"] for it in again.look()] == [11]


def test_two_who_look_at_once_send_once(watch: Watch) -> None:
    watch.fail(50)
    services = [watch.another() for _ in range(4)]
    start = threading.Barrier(len(services))

    def look(number: int) -> None:
        start.wait()
        services[number].look()

    threads = [threading.Thread(target=look, args=(number,)) for number in range(len(services))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    watch.look()

    assert [it["kind"] for it in watch.sent()] == ["opened"]


def test_look_while_another_looks_does_nothing(watch: Watch) -> None:
    watch.fail(50)
    connection = watch.engine.raw_connection()
    cursor = connection.cursor()
    cursor.execute("SELECT pg_advisory_xact_lock(%s)", (0x616C65727473,))

    assert watch.service.look() is None
    connection.close()
    assert [it.kind for it in watch.look()] == ["opened"]


def test_timed_looks_of_all_workers_are_one_every_few_seconds(watch: Watch) -> None:
    other = watch.another()

    assert watch.service.look(is_timed=True) == []
    assert other.look(is_timed=True) is None
    watch.clock.advance(5)
    assert other.look(is_timed=True) == []


def test_trouble_that_goes_on_is_repeated_once_a_window(watch: Watch) -> None:
    told = []
    for _ in range(31):
        watch.fail(20)
        told += [it.kind for it in watch.look()]
        watch.clock.advance(MINUTE_S)

    assert told == ["opened", "repeated", "repeated"]


def test_resolved_is_told_when_it_was_quiet_for_long_enough(watch: Watch) -> None:
    watch.fail(11)
    watch.look()

    assert watch.look_after(15 * MINUTE_S - 10) == []
    (message,) = watch.look_after(30)

    assert (message.kind, message.subject) == ("resolved", MODEL)
    assert watch.look_after(HOUR_S) == []


def test_acknowledged_alert_is_silent_until_it_is_over(watch: Watch) -> None:
    watch.append([happened("breaker_opened", watch.clock.now(), model="@litellm")])
    watch.look()
    (alert,) = watch.service.listed()

    watch.service.acknowledge(alert.id)

    assert watch.look_after(HOUR_S) == []
    assert watch.recorded == [("alert_acknowledged", {"alert": alert.id, "rule": "litellm_away"})]
    watch.append([happened("breaker_closed", watch.clock.now(), model="@litellm")])
    assert watch.kinds() == ["resolved"]
    with pytest.raises(AlertNotFoundError):
        watch.service.acknowledge(alert.id)


def test_critical_alert_that_nobody_acknowledges_is_escalated_once(watch: Watch) -> None:
    watch.append([happened("breaker_opened", watch.clock.now(), model="@litellm")])

    assert watch.kinds() == ["opened"]
    assert watch.look_after(14 * MINUTE_S) == []
    assert [it.kind for it in watch.look_after(MINUTE_S)] == ["escalated"]
    assert watch.look_after(DAY_S) == []


def test_breaker_that_opens_and_closes_again_and_again_is_told_once_a_window(watch: Watch) -> None:
    told = []
    for _ in range(10):
        for event in ("breaker_opened", "breaker_closed"):
            watch.append([happened(event, watch.clock.now(), model=MODEL)])
            told += watch.kinds()
        watch.clock.advance(30)

    assert told == ["opened", "resolved"]
    assert [it.kind for it in watch.look_after(15 * MINUTE_S)] == ["digest"]


def test_breaker_that_opens_again_and_stays_open_is_told_after_the_window(watch: Watch) -> None:
    for event in ("breaker_opened", "breaker_closed", "breaker_opened"):
        watch.append([happened(event, watch.clock.now(), model=MODEL)])
        watch.look()

    assert [it.kind for it in watch.look_after(15 * MINUTE_S)] == ["repeated"]


def test_breaker_nobody_closed_is_over_when_the_model_answers_a_while_later(watch: Watch) -> None:
    watch.append([happened("breaker_opened", watch.clock.now(), model=MODEL)])
    watch.look()

    def answered() -> list[str]:
        watch.append([happened("request", watch.clock.now(), model_used=MODEL, status=200)])
        return watch.kinds()

    watch.clock.advance(9 * MINUTE_S)
    assert answered() == []
    watch.clock.advance(2 * MINUTE_S)
    assert answered() == ["resolved"]


@pytest.mark.parametrize(
    ("event", "facts", "rule", "severity"),
    [
        ("audit_verified", {"findings": 2, "first_seq": 7}, "audit_verification", "critical"),
        ("reconciled", {"day": "2026-11-22", "differing": 2}, "reconciliation", "warning"),
        ("spool_growing", {"host": "one", "waiting_bytes": 9}, "spool_growing", "warning"),
    ],
)
def test_what_is_put_on_record_is_told_and_its_end_too(
    watch: Watch, event: str, facts: dict[str, object], rule: str, severity: str
) -> None:
    watch.append([happened(event, watch.clock.now(), detail=facts)])
    told = {it.rule: it for it in watch.look()}
    assert (told[rule].kind, told[rule].severity) == ("opened", severity)

    good = {**facts, "findings": 0, "differing": 0, "is_over": True}
    watch.append([happened(event, watch.clock.now(), detail=good)])

    assert {it.rule: it.kind for it in watch.look()}[rule] == "resolved"


def test_burst_of_refused_webhooks_is_a_security_incident(watch: Watch) -> None:
    at = watch.clock.now()
    watch.append([happened("webhook_refused", at, detail={"refused_before": 19})])
    assert watch.look() == []
    watch.append([happened("webhook_refused", at)])

    (message,) = watch.look()

    assert (message.rule, message.severity) == ("security_incident", "critical")
    assert message.facts == {"what": "webhook_refused", "count": 21, "window_s": 300}


def test_budget_is_told_once_for_each_threshold_and_at_its_renewal(watch: Watch) -> None:
    add_budget(watch)
    told = []
    for used in (400, 499, 500, 700, 799, 800, 900, 990, 1000, 1000):
        use(watch, used)
        told += [
            (it.kind, it.facts["percent"], it.severity)
            for it in watch.look_after(MINUTE_S)
            if it.rule == "budget_threshold"
        ]

    assert told == [
        ("opened", 50, "info"),
        ("escalated", 80, "warning"),
        ("escalated", 100, "critical"),
    ]
    watch.service.acknowledge(watch.service.listed()[0].id)
    assert watch.look_after(DAY_S) == []
    assert [it.kind for it in watch.look_after(8 * DAY_S)] == ["resolved"]
    assert watch.look_after(MINUTE_S) == []


def test_budget_of_which_all_is_used_at_once_is_told_once(watch: Watch) -> None:
    add_budget(watch, used=1200)

    (message,) = watch.look()

    assert (message.kind, message.facts["percent"]) == ("opened", 100)
    assert message.facts == {
        "scope": "team",
        "subject": "sales",
        "metric": "cost",
        "period": "month",
        "percent": 100,
        "used": 1200,
        "limit": 1000,
        "renews_at": "2026-12-01T03:00:00+00:00",
    }


def test_budget_that_is_raised_has_room_again(watch: Watch) -> None:
    add_budget(watch, used=850)
    watch.look()
    with watch.engine.begin() as connection:
        connection.execute(text("UPDATE budgets SET limit_amount = 5000"))

    messages = watch.look_after(MINUTE_S)

    assert {(it.kind, it.facts["limit"]) for it in messages} == {("resolved", 5000)}


def test_budget_that_runs_out_before_it_renews_is_forecast_once(watch: Watch) -> None:
    # Of November's 30 days 22.4 have passed.
    add_budget(watch, used=790)
    told = [it for it in watch.look() if it.rule == "budget_forecast"]

    assert [(it.kind, it.facts["runs_out_on"]) for it in told] == [("opened", "2026-11-29")]
    assert watch.look_after(HOUR_S) == []


def test_many_budgets_at_once_are_some_messages_and_a_digest(watch: Watch) -> None:
    for number in range(MOST_MESSAGES_AT_ONCE + 5):
        add_budget(watch, subject=f"team-{number}", used=600)

    messages = [it for it in watch.look() if it.rule in ("", "budget_threshold")]

    assert [it.kind for it in messages] == ["opened"] * MOST_MESSAGES_AT_ONCE + ["digest"]
    assert len(messages[-1].items) == 5


def test_quiet_hours_keep_everything_but_what_is_critical_for_a_digest(watch: Watch) -> None:
    # It is 9 o'clock there.
    quiet = Watch(watch.engine, watch.clock, parse_quiet_hours("08:00-10:00"))
    quiet.fail(11)
    quiet.append([happened("breaker_opened", quiet.clock.now(), model="@litellm")])

    assert [it.rule for it in quiet.look()] == ["litellm_away"]
    quiet.append([happened("breaker_closed", quiet.clock.now(), model="@litellm")])
    assert [it.rule for it in quiet.look_after(59 * MINUTE_S)] == ["litellm_away"]
    (digest,) = quiet.look_after(2 * MINUTE_S)

    assert digest.kind == "digest"
    assert [(it["rule"], it["count"]) for it in digest.items] == [("model_errors", 11)]


def test_seeds_methods_have_it_told(watch: Watch) -> None:
    async def send() -> None:
        await watch.service.send_model_error_alert(MODEL, "upstream_timeout")
        await watch.service.send_model_fallback_alert(MODEL, "it said: sk-secret of ana@x.org")
        await watch.service.send_rate_limit_alert(MODEL, "rpm", 101, 100)

    asyncio.run(send())

    told = {it.rule: it.facts for it in watch.look()}
    assert told == {
        "model_errors": {
            "model": MODEL,
            "count": 1,
            "window_s": 300,
            "reason": "upstream_timeout",
        },
        "model_fallbacks": {
            "model": MODEL,
            "count": 1,
            "window_s": 600,
            "reason": "unspecified",
        },
        "rate_limit": {
            "model": MODEL,
            "limit_type": "rpm",
            "count": 1,
            "window_s": 60,
            "current_usage": 101,
            "limit": 100,
        },
    }


def test_errors_that_come_late_are_told_of_when_they_happened(watch: Watch) -> None:
    at = watch.clock.now()
    watch.clock.advance(40 * MINUTE_S)
    watch.append([failed(at) for _ in range(30)])

    (opened,) = watch.look()

    assert opened.facts["count"] == 30
    assert opened.at == datetime(2026, 11, 23, 12, 0, 10, tzinfo=UTC)
    assert [it.kind for it in watch.look_after(10)] == ["resolved"]


def test_what_is_long_over_is_forgotten(watch: Watch) -> None:
    watch.fail(11)
    watch.look()
    watch.look_after(HOUR_S)

    watch.look_after(3 * HOUR_S)
    assert watch.rows("SELECT count(*) FROM alert_counts") == [(0,)]
    assert len(watch.service.listed(with_past=True)) == 1
    watch.look_after(91 * DAY_S)
    assert watch.service.listed(with_past=True) == []
