"""What others wrote does nothing where it is shown: no ping, no markup, no header, no escape."""

from __future__ import annotations

import asyncio
import re
from html.parser import HTMLParser
from typing import Any

import orjson
import pytest

from app.alerting.message import Message
from app.services.alerts.email import EmailChannel, MailServer
from app.services.alerts.outbound import Outbound
from app.services.alerts.slack import SlackChannel, escaped
from app.services.alerts.webhook import WebhookChannel
from tests.alerts.receivers import running_http, running_mail
from tests.alerts.samples import FACTS, PORTUGUESE, digest, message
from tests.fakes.clock import FakeClock

CANARIES = [
    "<!channel>",
    "<!here|x>",
    "<@U012AB3CD>",
    "<!subteam^S01>",
    "<https://evil.test|click>",
    "@here",
    "@Channel",
    "@everyone",
    "*bold* _it_ `code`",
    "&lt;!channel&gt;",
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='x",
    "{count.__class__} {0} {nothing}",
    "%s%n",
    "line\r\nBcc: victim@evil.test",
    "line\nX-Injected: yes",
    "\x1b[31mred\x1b]0;title\x07",
    "\u202egnp.exe",
    "nul\0byte",
    "\u2028separator",
    "=HYPERLINK(1)",
    "a" * 5000,
]
OUTBOUND = Outbound(FakeClock(), allow_private=True)
CLOCK = FakeClock()


def poisoned(canary: str) -> list[Message]:
    """Return messages of every rule with the text in every place that others may fill."""
    messages = [
        message(
            f"m-{rule}",
            rule,
            subject=canary,
            facts={name: canary if isinstance(it, str) else it for name, it in facts.items()},
        )
        for rule, facts in FACTS.items()
    ]
    wild = dict.fromkeys(("model", "reason", "count", "window_s", "used"), canary)
    item = {"rule": canary, "subject": canary, "severity": canary, "count": 1}
    odd: dict[str, Any] = {"kind": canary, "subject": canary, "severity": canary, "facts": wild}
    return [*messages, digest(item, item), message("m-odd", canary, **odd)]


class Page(HTMLParser):
    """What a browser would make of a page: elements and attributes, and the text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: set[str] = set()
        self.attributes: set[str] = set()
        self.links: set[str] = set()
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.links |= {value or "" for name, value in attrs if name in ("href", "src")}

    def handle_data(self, data: str) -> None:
        self.text += data


def texts_in(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [it for each in value.values() for it in texts_in(each)]
    if isinstance(value, list):
        return [it for each in value for it in texts_in(each)]
    return [value] if isinstance(value, str) else []


def has_commands(text: str) -> bool:
    return any(not it.isprintable() and it not in "\r\n\u200b\xa0" for it in text)


@pytest.mark.parametrize("canary", CANARIES)
def test_slack_payload_is_inert(canary: str) -> None:
    channel = SlackChannel("http://127.0.0.1:1", OUTBOUND, PORTUGUESE, "https://ia.test/")

    for it in poisoned(canary):
        payload = channel.payload(it)
        for text in texts_in(payload):
            assert not re.search(r"[<>]", text)
            assert not re.search(r"&(?!amp;|lt;|gt;)", text)
            assert not re.search(r"@(here|channel|everyone)", text, re.IGNORECASE)
            assert not has_commands(text)
        assert "mrkdwn" not in texts_in(payload)
        blocks = payload["attachments"][0]["blocks"]
        assert len(blocks[0]["text"]["text"]) <= 150
        assert all(len(it) <= 3000 for it in texts_in(blocks))


@pytest.mark.parametrize("canary", CANARIES)
def test_email_is_inert(canary: str) -> None:
    server = MailServer.of("smtp://127.0.0.1:1")
    channel = EmailChannel(
        server, "a@ia.test", "b@ia.test", OUTBOUND, PORTUGUESE, CLOCK, "https://ia.test/"
    )
    shown = channel.letter(message("m-0", "breaker", facts={}))
    ours = Page(html_of(shown))

    for it in poisoned(canary):
        letter = channel.letter(it)
        page = Page(html_of(letter))
        assert set(letter.keys()) <= {*shown.keys(), "References"}
        assert len(str(letter["Subject"]).splitlines()) == 1
        assert page.elements <= ours.elements | {"ul", "li"}
        assert page.attributes <= ours.attributes
        assert page.links == {"https://ia.test/"}
        assert not has_commands(page.text)
        plain = letter.get_body(("plain",))
        assert plain is not None
        assert not has_commands(plain.get_content())


def html_of(letter: Any) -> str:
    return str(letter.get_body(("html",)).get_content())


@pytest.mark.parametrize("canary", CANARIES)
def test_webhook_body_is_inert(canary: str) -> None:
    channel = WebhookChannel("http://127.0.0.1:1", "secret", OUTBOUND, PORTUGUESE, CLOCK)

    for it in poisoned(canary):
        body = orjson.loads(orjson.dumps(channel.payload(it)))
        assert not any(map(has_commands, texts_in(body["data"]["text"])))
        assert not any(map(has_commands, texts_in(body["data"]["facts"])))


def test_id_that_would_break_a_header_is_sent_as_its_hash() -> None:
    evil = message("m-1\r\nX-Injected: yes")
    with running_http() as receiver, running_mail() as mail:
        webhook = WebhookChannel(receiver.url, "secret", OUTBOUND, PORTUGUESE, CLOCK)
        server = MailServer.of(f"smtp://127.0.0.1:{mail.port}")
        email = EmailChannel(server, "a@ia.test", "b@ia.test", OUTBOUND, PORTUGUESE, CLOCK)
        for channel in (webhook, email):
            asyncio.run(channel.send(evil))

    headers = receiver.received[0].headers
    assert re.fullmatch(r"[0-9a-f]{64}", headers["webhook-id"])
    assert "X-Injected" not in headers
    assert mail.messages[0]["X-Injected"] is None


@pytest.mark.parametrize("longest", range(2, 14))
def test_text_that_is_cut_ends_with_no_half_escape(longest: int) -> None:
    cut = escaped("a<b>&c", longest)

    assert len(cut) <= longest
    assert not re.search(r"&(?!amp;|lt;|gt;)", cut)
