"""What each channel sends, and what it makes of the answer."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import ssl
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from app.alerting.message import Message
from app.config.alert_words import AlertWords
from app.services.alerts.channel import Channel, TransportError
from app.services.alerts.email import EmailChannel, MailServer
from app.services.alerts.outbound import Outbound, retry_after_s
from app.services.alerts.slack import SlackChannel
from app.services.alerts.webhook import WebhookChannel
from tests.alerts.receivers import (
    CUT,
    Answer,
    HttpReceiver,
    closed_port,
    make_certificate,
    running_http,
    running_mail,
)
from tests.alerts.samples import AT, ENGLISH, PORTUGUESE, digest, message
from tests.fakes.clock import FakeClock

SECRET = "webhook-secret-0123456789"
LINK = "https://ia.empresa.test/admin/"
SENDER, RECIPIENT = "solaris@empresa.test", "admin@empresa.test"


@pytest.fixture
def receiver() -> Iterator[HttpReceiver]:
    with running_http() as receiver:
        yield receiver


@pytest.fixture
def outbound() -> Outbound:
    return Outbound(FakeClock(), allow_private=True)


@pytest.fixture
def slack(receiver: HttpReceiver, outbound: Outbound) -> SlackChannel:
    return SlackChannel(f"{receiver.url}/services/T0/B0/x", outbound, PORTUGUESE, LINK)


@pytest.fixture
def webhook(receiver: HttpReceiver, outbound: Outbound) -> WebhookChannel:
    return WebhookChannel(f"{receiver.url}/hook", SECRET, outbound, ENGLISH, FakeClock(), LINK)


def emailing(url: str, outbound: Outbound, words: AlertWords = PORTUGUESE) -> EmailChannel:
    server = MailServer.of(url)
    return EmailChannel(server, SENDER, RECIPIENT, outbound, words, FakeClock(), LINK)


def send(channel: Channel, it: Message) -> None:
    asyncio.run(channel.send(it))


def refused(channel: Channel, it: Message | None = None) -> TransportError:
    with pytest.raises(TransportError) as caught:
        send(channel, it or message())
    return caught.value


# --- Slack ---------------------------------------------------------------------------------------


def test_slack_gets_blocks_with_a_colour_and_a_link(
    slack: SlackChannel, receiver: HttpReceiver
) -> None:
    send(slack, message())

    (received,) = receiver.received
    (attachment,) = received.json["attachments"]
    header, section, fields, actions = attachment["blocks"]
    assert received.path == "/services/T0/B0/x"
    assert received.headers["Content-Type"] == "application/json"
    assert received.json["text"] == "Crítico: Erros no modelo gpt-4o"
    assert attachment["color"] == "#cf222e"
    assert header["text"]["text"] == "Crítico: Erros no modelo gpt-4o"
    assert (
        "falharam em 5 minutos: 1.234. Motivo mais frequente: demora demais."
        in (section["text"]["text"])
    )
    assert [it["text"] for it in fields["fields"]] == [
        "Gravidade\nCrítico",
        "Quando\n23/11/2026 09:00",
        "Modelo\ngpt-4o",
        "Ocorrências\n1.234",
        "Em\n5 minutos",
        "Motivo\ndemora demais",
    ]
    assert actions["elements"][0]["url"] == LINK


@pytest.mark.parametrize(
    ("changes", "colour"),
    [
        ({"severity": "info"}, "#2f6feb"),
        ({"severity": "warning"}, "#9a6700"),
        ({"severity": "critical"}, "#cf222e"),
        ({"severity": "critical", "kind": "resolved"}, "#1a7f37"),
    ],
)
def test_slack_colour_says_how_bad_it_is(
    slack: SlackChannel, changes: dict[str, str], colour: str
) -> None:
    assert slack.payload(message(**changes))["attachments"][0]["color"] == colour


def test_slack_digest_lists_what_was_held_back(slack: SlackChannel) -> None:
    items = [
        {"rule": "model_errors", "subject": f"gpt-{number}", "severity": "info", "count": 37}
        for number in range(23)
    ]

    blocks = slack.payload(digest(*items))["attachments"][0]["blocks"]

    assert blocks[0]["text"]["text"] == "Resumo: outros avisos (851)"
    lines = blocks[2]["text"]["text"].splitlines()
    assert (lines[0], lines[-1], len(lines)) == (
        "• Erros de modelo: gpt-0 (37×)",
        "• e mais 3",
        21,
    )


@pytest.mark.parametrize(
    ("answer", "code", "permanent", "of_message", "retry_after"),
    [
        (Answer(400, "invalid_token"), "invalid_token", True, False, None),
        (Answer(404, "no_service"), "no_service", True, False, None),
        (Answer(404, "channel_not_found"), "http_404", True, False, None),
        (Answer(410, "channel_is_archived"), "http_410", True, False, None),
        (Answer(302, "", {"Location": "/x"}), "http_302", True, False, None),
        (Answer(400, "invalid_blocks"), "http_400", False, True, None),
        (Answer(429, "", {"Retry-After": "30"}), "http_429", False, False, 30.0),
        (Answer(429), "http_429", False, False, None),
        (Answer(500, "rollup_error"), "http_500", False, False, None),
        (Answer(503, "", {"Retry-After": "junk"}), "http_503", False, False, None),
        (CUT, "broken", False, False, None),
    ],
)
def test_slack_answer_says_whether_to_try_again(
    slack: SlackChannel,
    receiver: HttpReceiver,
    answer: Answer,
    code: str,
    permanent: bool,
    of_message: bool,
    retry_after: float | None,
) -> None:
    receiver.default = answer

    error = refused(slack)

    said = (error.code, error.permanent, error.is_of_message, error.retry_after_s)
    assert said == (code, permanent, of_message, retry_after)
    assert len(receiver.received) == 1


def test_slack_that_is_not_there_is_tried_again(slack: SlackChannel) -> None:
    with closed_port() as port:
        error = refused(replace(slack, url=f"http://127.0.0.1:{port}/"))

    assert (error.code, error.permanent) == ("connect", False)


def test_retry_after_may_be_a_date() -> None:
    assert retry_after_s("Mon, 23 Nov 2026 12:01:30 GMT", AT) == 90.0


# --- webhook -------------------------------------------------------------------------------------


def test_webhook_is_signed_in_both_ways(webhook: WebhookChannel, receiver: HttpReceiver) -> None:
    send(webhook, message("m-7"))

    (received,) = receiver.received
    headers = received.headers
    signed = f"m-7.{headers['webhook-timestamp']}.".encode() + received.body
    v1 = base64.b64encode(hmac.new(SECRET.encode(), signed, hashlib.sha256).digest()).decode()
    plain = hmac.new(SECRET.encode(), received.body, hashlib.sha256).hexdigest()
    assert headers["webhook-id"] == "m-7"
    assert headers["webhook-timestamp"] == str(int(AT.timestamp()))
    assert headers["webhook-signature"] == f"v1,{v1}"
    assert headers["X-Signature-256"] == f"sha256={plain}"


def test_webhook_secret_in_the_standard_form_is_a_key_in_base64(
    webhook: WebhookChannel, receiver: HttpReceiver
) -> None:
    key = bytes(range(32))
    secret = f"whsec_{base64.b64encode(key).decode()}"

    send(replace(webhook, secret=secret), message("m-7"))

    (received,) = receiver.received
    signed = f"m-7.{received.headers['webhook-timestamp']}.".encode() + received.body
    v1 = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    assert received.headers["webhook-signature"] == f"v1,{v1}"


def test_webhook_body_has_the_facts_and_the_text(
    webhook: WebhookChannel, receiver: HttpReceiver
) -> None:
    send(webhook, message("m-7"))

    body = receiver.received[0].json
    data = body["data"]
    assert (body["type"], body["timestamp"]) == ("alert.opened", "2026-11-23T12:00:00+00:00")
    assert (data["id"], data["rule"], data["severity"]) == ("m-7", "model_errors", "critical")
    assert data["facts"]["count"] == 1234
    assert data["text"]["title"] == "Critical: Errors of the model gpt-4o"
    assert data["dashboard_url"] == LINK


# --- e-mail --------------------------------------------------------------------------------------


def test_email_has_a_text_and_a_page(outbound: Outbound) -> None:
    with running_mail() as mail:
        channel = emailing(f"smtp://127.0.0.1:{mail.port}", outbound)
        send(channel, message("m-7"))

    (letter,) = mail.messages
    text, page = letter.get_body(("plain",)), letter.get_body(("html",))
    assert text is not None
    assert page is not None
    assert letter["Subject"] == "[IA SOLARIS] Crítico: Erros no modelo gpt-4o"
    assert letter["Message-ID"] == "<m-7@empresa.test>"
    assert (letter["From"].addresses[0].addr_spec, letter["To"]) == (SENDER, RECIPIENT)
    assert mail.recipients == [RECIPIENT]
    assert "Ocorrências: 1.234" in text.get_content().splitlines()
    assert f'href="{LINK}"' in page.get_content()
    assert "<title" not in page.get_content()
    assert all(byte < 128 for byte in mail.letters[0])


def test_email_of_one_alert_is_one_conversation(outbound: Outbound) -> None:
    channel = emailing("smtp://127.0.0.1:1", outbound)
    opened, resolved, other = (
        channel.letter(message("m-1")),
        channel.letter(message("m-2", kind="resolved")),
        channel.letter(message("m-3", subject="another")),
    )

    assert opened["Message-ID"] != resolved["Message-ID"]
    assert opened["References"] == resolved["References"] != other["References"]


@pytest.fixture
def contexts(tmp_path: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    return make_certificate(tmp_path)


@pytest.fixture
def trusting(outbound: Outbound, contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> Outbound:
    return replace(outbound, tls=contexts[1])


def test_email_takes_starttls_where_it_is_offered_and_logs_in(
    trusting: Outbound, contexts: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    with running_mail(tls_context=contexts[0]) as mail:
        url = f"smtp://user%40empresa:right%20%26%20good@127.0.0.1:{mail.port}"
        send(emailing(url, trusting), message())

    assert mail.was_tls == [True]
    assert mail.logins == [("user@empresa", "right & good")]


def test_email_with_smtps_is_encrypted_from_the_start(
    trusting: Outbound, contexts: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    with running_mail(tls=contexts[0]) as mail:
        send(emailing(f"smtps://127.0.0.1:{mail.port}", trusting), message())

    assert mail.was_tls == [True]


def test_email_to_a_server_of_an_unknown_authority_is_not_sent(
    outbound: Outbound, contexts: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    with running_mail(tls_context=contexts[0]) as mail, running_mail(tls=contexts[0]) as other:
        by_starttls = refused(emailing(f"smtp://127.0.0.1:{mail.port}", outbound))
        at_once = refused(emailing(f"smtps://127.0.0.1:{other.port}", outbound))

    assert (by_starttls.code, at_once.code) == ("tls", "tls")
    assert not mail.letters + other.letters


def test_email_password_never_goes_in_the_clear(outbound: Outbound) -> None:
    with running_mail(auth_require_tls=False) as mail:
        error = refused(emailing(f"smtp://user:right%20%26%20good@127.0.0.1:{mail.port}", outbound))

    assert (error.code, error.permanent) == ("smtp_no_tls", True)
    assert mail.logins == []


def test_email_with_a_wrong_password_is_for_good(
    trusting: Outbound, contexts: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    with running_mail(tls_context=contexts[0]) as mail:
        error = refused(emailing(f"smtp://user:wrong@127.0.0.1:{mail.port}", trusting))

    assert (error.code, error.permanent) == ("smtp_535", True)


@pytest.mark.parametrize(
    ("command", "reply", "code", "permanent", "of_message"),
    [
        ("RCPT", "550 no such person", "smtp_550", True, False),
        ("RCPT", "451 try later", "smtp_451", False, False),
        ("DATA", "554 looks like spam", "smtp_554", False, True),
        ("DATA", "452 disk is full", "smtp_452", False, False),
    ],
)
def test_email_refusal_says_whether_to_try_again(
    outbound: Outbound, command: str, reply: str, code: str, permanent: bool, of_message: bool
) -> None:
    with running_mail() as mail:
        mail.refusals[command] = reply
        error = refused(emailing(f"smtp://127.0.0.1:{mail.port}", outbound))

    assert (error.code, error.permanent, error.is_of_message) == (code, permanent, of_message)


def test_email_to_a_server_that_is_not_there_is_tried_again(outbound: Outbound) -> None:
    with closed_port() as port:
        error = refused(emailing(f"smtp://127.0.0.1:{port}", outbound))

    assert (error.code, error.permanent) == ("connect", False)
