"""E-mail by SMTP: smtps:// is TLS from the start, smtp:// STARTTLS where the server has it; a
password never goes without either."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from html import escape
from typing import cast
from urllib.parse import unquote, urlsplit

import aiosmtplib

from app.alerting.message import Message
from app.config.alert_words import AlertText, AlertWords
from app.services.alerts.channel import TransportError, colour_of
from app.services.alerts.identifiers import header_safe
from app.services.alerts.outbound import Outbound
from app.utils.clock import Clock

PRODUCT = "IA SOLARIS"
DEFAULT_PORTS = {"smtp": 587, "smtps": 465}
# Bodies in ASCII: not every server takes eight bits.
POLICY = SMTP.clone(cte_type="7bit")
FIRST_PERMANENT = 500
QUIT_TIMEOUT_S = 1.0


@dataclass(frozen=True, slots=True)
class MailServer:
    host: str
    port: int
    is_tls: bool
    user: str
    password: str = field(repr=False)

    @classmethod
    def of(cls, url: str) -> MailServer:
        parts = urlsplit(url)
        return cls(
            parts.hostname or "",
            parts.port or DEFAULT_PORTS[parts.scheme],
            parts.scheme == "smtps",
            unquote(parts.username or ""),
            unquote(parts.password or ""),
        )


@dataclass(frozen=True, slots=True)
class EmailChannel:
    server: MailServer
    sender: str
    recipient: str
    outbound: Outbound
    words: AlertWords
    clock: Clock
    dashboard_url: str = ""

    async def send(self, message: Message) -> None:
        letter = self.letter(message).as_bytes()
        try:
            async with self._session() as client:
                await client.sendmail(self.sender, [self.recipient], letter)
        except (aiosmtplib.SMTPException, ssl.SSLError, OSError) as fault:
            raise transport_error(fault) from fault

    def letter(self, message: Message) -> EmailMessage:
        text, domain = self.words.text(message), self.sender.rpartition("@")[2]
        letter = EmailMessage(POLICY)
        letter["Subject"] = f"[{PRODUCT}] {text.title}"
        letter["From"] = f"{PRODUCT} <{self.sender}>"
        letter["To"] = self.recipient
        letter["Date"] = format_datetime(message.at)
        # The same for each attempt, so that mailboxes know a repetition.
        letter["Message-ID"] = f"<{header_safe(message.id)}@{domain}>"
        if message.rule:
            # What belongs to one alert is one conversation.
            letter["References"] = f"<{_conversation(message)}@{domain}>"
        letter["Auto-Submitted"] = "auto-generated"
        letter.set_content(plain_body(text, self.words, self.dashboard_url))
        html = html_body(text, self.words, colour_of(message), self.dashboard_url)
        letter.add_alternative(html, subtype="html")
        return letter

    @asynccontextmanager
    async def _session(self) -> AsyncIterator[aiosmtplib.SMTP]:
        server = self.server
        connection = await self.outbound.connect(server.host, server.port)
        client = aiosmtplib.SMTP(
            hostname=server.host,
            sock=connection,
            use_tls=server.is_tls,
            start_tls=False,
            tls_context=self.outbound.tls,
            local_hostname=self.sender.rpartition("@")[2],
            # There is a time for all of it together.
            timeout=None,
        )
        try:
            await client.connect()
            await self._secure(client)
            yield client
            # It has arrived, whatever the server says at parting.
            with contextlib.suppress(aiosmtplib.SMTPException):
                await client.execute_command(b"QUIT", timeout=QUIT_TIMEOUT_S)
        finally:
            # At once: closing TLS politely would wait for the server, in a loop that may be over.
            if client.transport is not None:
                cast("asyncio.WriteTransport", client.transport).abort()
            client.close()

    async def _secure(self, client: aiosmtplib.SMTP) -> None:
        await client.ehlo()
        if not self.server.is_tls and client.supports_extension("starttls"):
            await client.starttls()
            await client.ehlo()
        if not self.server.user:
            return
        if client.get_transport_info("sslcontext") is None:
            raise TransportError("smtp_no_tls", permanent=True)
        await client.login(self.server.user, self.server.password)


def transport_error(fault: Exception) -> TransportError:
    """Say what a fault means; 5xx about us or the recipient is for good (RFC 5321 §4.2.1)."""
    if isinstance(fault, aiosmtplib.SMTPRecipientsRefused):
        fault = fault.recipients[0]
    if isinstance(fault, aiosmtplib.SMTPResponseException):
        code, is_final = f"smtp_{fault.code}", fault.code >= FIRST_PERMANENT
        about_us = (
            aiosmtplib.SMTPAuthenticationError,
            aiosmtplib.SMTPRecipientRefused,
            aiosmtplib.SMTPSenderRefused,
        )
        if isinstance(fault, about_us):
            return TransportError(code, permanent=is_final)
        is_of_message = is_final and isinstance(fault, aiosmtplib.SMTPDataError)
        return TransportError(code, is_of_message=is_of_message)
    if isinstance(fault, aiosmtplib.SMTPNotSupported):
        return TransportError("smtp_not_supported", permanent=True)
    is_tls = isinstance(fault, ssl.SSLError) or isinstance(fault.__cause__, ssl.SSLError)
    return TransportError("tls" if is_tls else "broken")


def plain_body(text: AlertText, words: AlertWords, dashboard_url: str) -> str:
    parts = [
        text.title,
        text.sentence,
        "\n".join(f"- {it}" for it in text.items),
        "\n".join(f"{label}: {value}" for label, value in text.rows),
        text.advice,
        f"{words.label('open')}: {dashboard_url}" if dashboard_url else "",
    ]
    return "\n\n".join(it for it in parts if it) + "\n"


def html_body(text: AlertText, words: AlertWords, colour: str, dashboard_url: str) -> str:
    """Tables and inline styles, which is all that mail clients agree on."""
    rows = "".join(
        f'<tr><td style="{_LABEL}">{escape(label)}</td><td style="{_VALUE}">{escape(value)}</td>'
        "</tr>"
        for label, value in text.rows
    )
    items = "".join(f'<li style="margin:4px 0">{escape(it)}</li>' for it in text.items)
    parts = [
        f'<h1 style="{_TITLE}">{escape(text.title)}</h1>',
        _paragraph(text.sentence),
        f'<ul style="padding-left:20px;{_TEXT}">{items}</ul>' if items else "",
        f'<table role="presentation" cellspacing="0" style="margin:16px 0">{rows}</table>',
        _paragraph(text.advice, "color:#57606a;"),
        _button(words.label("open"), dashboard_url, colour) if dashboard_url else "",
    ]
    return _PAGE.format(
        language=words.locale.replace("_", "-"),
        colour=colour,
        content="\n".join(filter(None, parts)),
    )


_FONT = "font-family:-apple-system,Segoe UI,Roboto,Helvetica,Arial,sans-serif;"
_TEXT = f"{_FONT}font-size:15px;line-height:22px;"
_TITLE = f"margin:0 0 12px;{_FONT}font-size:19px;line-height:26px;color:#1f2328"
_CELL = f"{_FONT}font-size:14px;line-height:20px;padding:4px 16px 4px 0;vertical-align:top;"
_LABEL = f"{_CELL}color:#57606a;white-space:nowrap"
_VALUE = f"{_CELL}color:#1f2328"
_PAGE = """<!doctype html>
<html lang="{language}">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width"></head>
<body style="margin:0;padding:24px 12px;background:#f6f8fa">
<table role="presentation" align="center" width="100%" cellspacing="0" cellpadding="0"
 style="max-width:600px;background:#ffffff;border:1px solid #d1d9e0">
<tr><td style="height:6px;background:{colour};font-size:0;line-height:0">&nbsp;</td></tr>
<tr><td style="padding:24px">
{content}
</td></tr>
</table>
</body>
</html>
"""


def _paragraph(text: str, style: str = "color:#1f2328;") -> str:
    return f'<p style="margin:0 0 12px;{_TEXT}{style}">{escape(text)}</p>' if text else ""


def _button(label: str, url: str, colour: str) -> str:
    style = f"display:inline-block;padding:10px 18px;background:{colour};color:#ffffff;"
    return (
        f'<a href="{escape(url)}" style="{style}{_FONT}font-size:14px;text-decoration:none">'
        f"{escape(label)}</a>"
    )


def _conversation(message: Message) -> str:
    about = f"{message.rule}\0{message.subject}".encode(errors="surrogatepass")
    return hashlib.sha256(about).hexdigest()[:32]
