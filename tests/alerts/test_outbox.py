"""The outbox and whoever empties it: each message arrives once, and only ever once."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, text

from app.alerting.message import Message
from app.alerting.outbox import GIVE_UP_AFTER_S, LEASE_S, STRANGER_GRACE_S, Outbox
from app.config.settings import PROJECT_ROOT, AlertSettings
from app.services.alert_delivery import TEND_S, AlertDelivery
from app.services.alerts.configured import configured_channels
from app.utils.exceptions import DatabaseUnavailableError
from tests.alerts.receivers import (
    CUT,
    HANG,
    Answer,
    HttpReceiver,
    MailReceiver,
    running_http,
    running_mail,
)
from tests.alerts.samples import PORTUGUESE, message
from tests.fakes.clock import FakeClock
from tests.waiting import wait_until

AWAY = Answer(503, "no_service")


@dataclass
class Office:
    """One process that delivers, and what it has put on record."""

    outbox: Outbox
    delivery: AlertDelivery
    engine: Engine
    recorded: list[tuple[str, dict[str, Any]]]

    def add(self, *messages: Message) -> None:
        connection: Any = self.engine.raw_connection()
        with connection.cursor() as cursor:
            self.outbox.add(cursor, messages)
        connection.commit()
        connection.close()

    def deliver(self) -> int:
        return asyncio.run(self.delivery.deliver_due())

    def drain(self) -> None:
        while self.deliver():
            pass

    def rows(self) -> list[tuple[str, str, str]]:
        query = "SELECT message_id, channel, state FROM alert_deliveries ORDER BY id"
        with self.engine.connect() as connection:
            return [tuple(row) for row in connection.execute(text(query))]

    def name(self, name: str) -> Any:
        return next(it for it in self.outbox.targets if it.name == name)

    def standing(self, name: str) -> Any:
        return next(it for it in self.outbox.standings() if it.target.name == name)


Open = Callable[..., Office]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def slack() -> Iterator[HttpReceiver]:
    with running_http() as receiver:
        yield receiver


@pytest.fixture
def mail() -> Iterator[MailReceiver]:
    with running_mail() as receiver:
        yield receiver


@pytest.fixture
def engine(clean_database: str) -> Iterator[Engine]:
    engine = create_engine(clean_database)
    yield engine
    engine.dispose()


@pytest.fixture
def everywhere(slack: HttpReceiver, mail: MailReceiver) -> AlertSettings:
    return AlertSettings(
        slack_urls=(f"{slack.url}/slack",),
        emails=("admin@empresa.test",),
        smtp_url=f"smtp://127.0.0.1:{mail.port}",
        sender="solaris@empresa.test",
        allow_private=True,
    )


@pytest.fixture
def slack_only(everywhere: AlertSettings) -> AlertSettings:
    return replace(everywhere, emails=())


@pytest.fixture
def open_office(engine: Engine, clock: FakeClock) -> Iterator[Open]:
    """Open one: ``open_office(settings)``."""
    with ExitStack() as opened:

        def start(settings: AlertSettings) -> Office:
            channels = configured_channels(settings, PORTUGUESE, clock, "a-secret-key")
            outbox = Outbox(engine, [it.target for it in channels], clock)
            recorded: list[tuple[str, dict[str, Any]]] = []

            def record(action: str, **facts: Any) -> None:
                recorded.append((action, facts))

            delivery = AlertDelivery(outbox, channels, clock, record, jitter=lambda: 1.0)
            opened.callback(lambda: asyncio.run(delivery.close()))
            return Office(outbox, delivery, engine, recorded)

        yield start


def states(office: Office) -> list[str]:
    return [state for _, _, state in office.rows()]


def test_message_arrives_at_every_channel_once(
    open_office: Open, everywhere: AlertSettings, slack: HttpReceiver, mail: MailReceiver
) -> None:
    office = open_office(everywhere)
    office.add(message())

    office.drain()

    assert (len(slack.received), len(mail.letters)) == (1, 1)
    assert states(office) == ["sent", "sent"]


def test_message_of_a_transaction_that_fails_is_not_sent(
    open_office: Open, slack_only: AlertSettings, engine: Engine
) -> None:
    office = open_office(slack_only)
    connection: Any = engine.raw_connection()
    with connection.cursor() as cursor:
        office.outbox.add(cursor, [message()])
    connection.rollback()
    connection.close()

    assert office.deliver() == 0
    assert office.rows() == []


def test_message_that_is_added_again_is_sent_once(
    open_office: Open, slack_only: AlertSettings, slack: HttpReceiver
) -> None:
    office = open_office(slack_only)
    office.add(message(), message())
    office.drain()

    office.add(message())
    office.drain()

    assert len(slack.received) == 1


def test_slack_away_for_ten_minutes_gets_it_once_when_it_is_back(
    open_office: Open, slack_only: AlertSettings, slack: HttpReceiver, clock: FakeClock
) -> None:
    office = open_office(slack_only)
    office.add(message())
    slack.default = AWAY
    for _ in range(30):
        slack.answers.append(CUT)
        office.deliver()
        slack.answers.clear()
        clock.advance(20)
    attempts = len(slack.received)
    slack.received.clear()
    slack.default = Answer()

    for _ in range(60):
        office.deliver()
        clock.advance(20)

    assert len(slack.received) == 1
    assert states(office) == ["sent"]
    # 10, 20, 40, … 320 s apart.
    assert attempts == 6


def test_receiver_that_says_when_is_left_alone_until_then(
    open_office: Open, slack_only: AlertSettings, slack: HttpReceiver, clock: FakeClock
) -> None:
    office = open_office(slack_only)
    office.add(message())
    slack.answers.append(Answer(429, "rate_limited", {"Retry-After": "300"}))
    office.deliver()

    clock.advance(299)
    before = office.deliver()
    clock.advance(1)
    after = office.deliver()

    assert (before, after) == (0, 1)
    assert states(office) == ["sent"]


def test_two_deliverers_at_once_send_each_message_once(
    open_office: Open, slack_only: AlertSettings, slack: HttpReceiver
) -> None:
    offices = [open_office(slack_only) for _ in range(2)]
    offices[0].add(*(message(f"m-{number}") for number in range(20)))
    start = threading.Barrier(2)

    def work(office: Office) -> None:
        start.wait()
        # Until there is nothing left, not until it gets nothing.
        while "pending" in states(office):
            office.deliver()

    threads = [threading.Thread(target=work, args=(it,)) for it in offices]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert len(slack.received) == 20
    assert states(offices[0]) == ["sent"] * 20


def test_target_gets_its_messages_in_order_also_after_failures(
    open_office: Open, slack_only: AlertSettings, slack: HttpReceiver, clock: FakeClock
) -> None:
    office = open_office(slack_only)
    slack.answers.append(AWAY)
    office.add(message("m-1"), message("m-2", kind="resolved"))

    for _ in range(10):
        office.deliver()
        clock.advance(60)

    titles = [it.json["text"].partition(":")[0] for it in slack.received]
    assert titles == ["Crítico", "Crítico", "Resolvido"]


def test_deliverer_killed_with_a_claim_is_followed_by_another_after_the_lease(
    open_office: Open,
    slack_only: AlertSettings,
    slack: HttpReceiver,
    clock: FakeClock,
    clean_database: str,
) -> None:
    office = open_office(slack_only)
    office.add(message())
    fingerprint = office.outbox.targets[0].fingerprint
    with claiming_process(clean_database, fingerprint) as process:
        process.kill()
        process.wait()

    clock.advance(LEASE_S - 1)
    office.deliver()
    before = len(slack.received)
    clock.advance(1)
    office.deliver()

    assert (before, len(slack.received)) == (0, 1)


CLAIM = """
import sys, time
from sqlalchemy import create_engine
from app.alerting.outbox import Outbox, Target
from tests.fakes.clock import FakeClock
outbox = Outbox(create_engine(sys.argv[1]), [Target("slack", "slack", sys.argv[2])], FakeClock())
print(len(outbox.claim()), flush=True)
time.sleep(600)
"""


class claiming_process:  # noqa: N801  # a context manager
    """A process that has claimed what is due, and sends nothing."""

    def __init__(self, url: str, fingerprint: str) -> None:
        self._arguments = [sys.executable, "-c", CLAIM, url, fingerprint]

    def __enter__(self) -> subprocess.Popen[str]:
        self._process = subprocess.Popen(
            self._arguments, stdout=subprocess.PIPE, text=True, cwd=PROJECT_ROOT
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline().strip() == "1"
        return self._process

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Answer(404, "<html>not here</html>"), "http_404"),
        (Answer(404, "no_team"), "no_team"),
        (Answer(410, "channel_is_archived"), "http_410"),
        (Answer(403, "action_prohibited"), "http_403"),
        (Answer(400, "invalid_token"), "invalid_token"),
        (Answer(400, "no_service"), "no_service"),
        (Answer(302, "", {"Location": "/elsewhere"}), "http_302"),
    ],
)
def test_permanent_failure_switches_the_target_off_and_is_on_record(
    open_office: Open,
    everywhere: AlertSettings,
    slack: HttpReceiver,
    mail: MailReceiver,
    answer: Answer,
    reason: str,
) -> None:
    office = open_office(everywhere)
    slack.default = answer
    office.add(message("m-1"))
    office.drain()
    office.add(message("m-2"))

    office.drain()

    assert [it.path for it in slack.received] == ["/slack"]
    assert len(mail.letters) == 2
    assert office.standing("slack").reason == reason
    assert office.recorded == [("alert_channel_disabled", {"channel": "slack", "reason": reason})]
    assert office.rows() == [
        ("m-1", "slack", "moved"),
        ("m-1", "email", "sent"),
        ("m-2", "email", "sent"),
    ]


def test_message_that_went_to_one_channel_falls_over_to_another(
    open_office: Open, everywhere: AlertSettings, slack: HttpReceiver, mail: MailReceiver
) -> None:
    office = open_office(everywhere)
    office.outbox.disable(office.name("email"), "by hand")
    office.add(message())
    office.outbox.enable(office.name("email"))
    slack.default = Answer(404)

    office.drain()

    assert len(mail.letters) == 1
    assert office.rows() == [("m-1", "slack", "moved"), ("m-1", "email", "sent")]


def test_message_refused_everywhere_waits_for_whichever_is_enabled_first(
    open_office: Open, everywhere: AlertSettings, slack: HttpReceiver, mail: MailReceiver
) -> None:
    office = open_office(everywhere)
    slack.default, mail.refusals["RCPT"] = Answer(404), "550 no such person"
    office.add(message())
    office.drain()
    assert not mail.letters
    slack.default = Answer()
    slack.received.clear()

    office.outbox.enable(office.name("slack"))
    office.drain()

    assert len(slack.received) == 1
    assert sorted(states(office)) == ["moved", "sent"]


def test_message_added_while_every_channel_is_off_waits(
    open_office: Open, slack_only: AlertSettings, slack: HttpReceiver
) -> None:
    office = open_office(slack_only)
    office.outbox.disable(office.name("slack"), "http_404")
    office.add(message())
    office.drain()
    before = len(slack.received)

    office.outbox.enable(office.name("slack"))
    office.drain()

    assert (before, len(slack.received)) == (0, 1)


@pytest.mark.parametrize("answer", [Answer(400, "invalid_blocks"), Answer(413)])
def test_message_that_no_receiver_would_take_is_given_up_and_the_target_stays(
    open_office: Open, slack_only: AlertSettings, slack: HttpReceiver, answer: Answer
) -> None:
    office = open_office(slack_only)
    slack.answers.append(answer)
    office.add(message("m-1"), message("m-2"))

    office.drain()

    assert states(office) == ["failed", "sent"]
    assert office.standing("slack").disabled_at is None
    assert [action for action, _ in office.recorded] == ["alert_given_up"]


def test_changed_configuration_makes_the_channel_a_new_one_and_takes_what_waits(
    open_office: Open, slack_only: AlertSettings, slack: HttpReceiver, clock: FakeClock
) -> None:
    office = open_office(slack_only)
    slack.answers.append(Answer(404))
    office.add(message())
    office.drain()

    later = open_office(replace(slack_only, slack_urls=(f"{slack.url}/new",)))
    clock.advance(STRANGER_GRACE_S + TEND_S)
    later.drain()

    assert [it.path for it in slack.received] == ["/slack", "/new"]
    assert later.standing("slack").disabled_at is None


def test_delivery_of_a_target_that_another_process_may_know_is_left_to_it(
    open_office: Open, slack_only: AlertSettings, slack: HttpReceiver, clock: FakeClock
) -> None:
    office = open_office(slack_only)
    other = open_office(replace(slack_only, slack_urls=(f"{slack.url}/new",)))
    office.add(message())

    clock.advance(STRANGER_GRACE_S - 1)
    other.drain()
    office.drain()

    assert [it.path for it in slack.received] == ["/slack"]


def test_receiver_away_for_days_is_given_up_and_that_is_on_record(
    open_office: Open, slack_only: AlertSettings, slack: HttpReceiver, clock: FakeClock
) -> None:
    office = open_office(slack_only)
    slack.default = AWAY
    office.add(message())
    office.deliver()

    clock.advance(GIVE_UP_AFTER_S - 1)
    office.deliver()
    before = states(office)
    clock.advance(3600)
    office.deliver()

    assert (before, states(office)) == (["pending"], ["failed"])
    assert office.recorded == [
        (
            "alert_given_up",
            {"message_id": "m-1", "channel": "slack", "reason": "http_503"},
        )
    ]


def test_message_that_has_nowhere_to_go_is_given_up_after_days(
    open_office: Open, slack_only: AlertSettings, clock: FakeClock
) -> None:
    office = open_office(slack_only)
    office.outbox.disable(office.name("slack"), "http_404")
    office.add(message())

    clock.advance(GIVE_UP_AFTER_S)
    office.deliver()

    assert states(office) == ["failed"]
    assert [action for action, _ in office.recorded] == ["alert_given_up"]


def test_receiver_that_hangs_holds_up_no_other_channel(
    open_office: Open, everywhere: AlertSettings, slack: HttpReceiver, mail: MailReceiver
) -> None:
    office = open_office(everywhere)
    slack.default = HANG
    office.add(message())

    async def deliver_until_mailed() -> None:
        delivering = asyncio.create_task(office.delivery.deliver_due())
        await asyncio.to_thread(wait_until, lambda: mail.letters)
        delivering.cancel()
        await asyncio.wait([delivering])

    asyncio.run(deliver_until_mailed())

    assert len(mail.letters) == 1


def test_late_word_of_a_lost_claim_changes_nothing_but_that_it_was_sent(
    open_office: Open, slack_only: AlertSettings, clock: FakeClock
) -> None:
    office = open_office(slack_only)
    office.add(message())
    (late,) = office.outbox.claim()
    clock.advance(LEASE_S)
    (current,) = office.outbox.claim()

    office.outbox.give_up(late, "timeout")
    office.outbox.retry(late, "timeout", 0)
    given_up, free = states(office), office.outbox.claim()
    office.outbox.sent(late)

    assert (given_up, free) == (["pending"], [])
    assert states(office) == ["sent"]
    assert office.outbox.retry(current, "timeout", 0)
    assert states(office) == ["sent"]


def test_messages_without_a_channel_go_into_the_log(
    open_office: Open, caplog: pytest.LogCaptureFixture
) -> None:
    office = open_office(AlertSettings())
    office.add(message(subject="ana@empresa.test"))

    office.drain()

    (line,) = [it for it in caplog.records if it.message == "alert"]
    assert (line.levelname, line.__dict__["rule"]) == ("CRITICAL", "model_errors")
    assert "ana@empresa.test" not in str(line.__dict__)
    assert office.rows() == [("m-1", "null", "sent")]


def test_database_away_is_waited_for(clock: FakeClock) -> None:
    engine = create_engine("postgresql+psycopg2://127.0.0.1:1/nowhere")
    channels = configured_channels(AlertSettings(), PORTUGUESE, clock, "key")
    outbox = Outbox(engine, [it.target for it in channels], clock)
    delivery = AlertDelivery(outbox, channels, clock)

    async def deliver() -> int:
        try:
            return await delivery.deliver_due()
        finally:
            await delivery.close()

    assert asyncio.run(deliver()) == 0
    with pytest.raises(DatabaseUnavailableError):
        outbox.standings()


def test_message_with_what_no_database_takes_is_stored_without_it(
    open_office: Open, slack_only: AlertSettings, slack: HttpReceiver
) -> None:
    office = open_office(slack_only)

    office.add(message(facts={"model": "a\0b\ud800", "count": 1, "window_s": 60, "reason": "x"}))
    office.drain()

    assert len(slack.received) == 1


def test_long_sent_messages_are_forgotten(
    open_office: Open, slack_only: AlertSettings, clock: FakeClock
) -> None:
    office = open_office(slack_only)
    office.add(message("m-1"))
    office.drain()
    clock.advance(91 * 86_400)
    office.add(message("m-2"))

    office.drain()

    assert [message_id for message_id, _, _ in office.rows()] == ["m-2"]


def test_tables_hold_no_address_and_no_secret(
    open_office: Open, everywhere: AlertSettings, engine: Engine
) -> None:
    office = open_office(
        replace(
            everywhere,
            slack_urls=("http://127.0.0.1:1/T0/B0/slack-secret",),
            smtp_url="smtp://user:mail-secret@127.0.0.1:1",
        )
    )
    office.add(message())
    office.drain()
    office.outbox.disable(office.name("email"), "http_404")

    with engine.connect() as connection:
        found = "".join(
            str(connection.execute(text(f"SELECT * FROM {table}")).all())
            for table in ("alert_messages", "alert_deliveries", "alert_channels")
        )

    assert "connect" in found
    for secret in ("slack-secret", "mail-secret", "127.0.0.1", "empresa.test"):
        assert secret not in found
