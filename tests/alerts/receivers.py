"""Where alerts arrive in tests: an HTTP server and an SMTP server that really run."""

from __future__ import annotations

import asyncio
import datetime as dt
import email
import ipaddress
import socket
import ssl
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Any, cast

import orjson
from aiohttp import web
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from app.utils.background_loop import BackgroundLoop


@dataclass(frozen=True)
class Answer:
    status: int = 200
    body: str = "ok"
    headers: dict[str, str] = field(default_factory=dict)


CUT = Answer(0)
HANG = Answer(-1)


@dataclass(frozen=True)
class Received:
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)


class HttpReceiver:
    """Answers ``answers`` one after the other, then ``default``."""

    def __init__(self, loop: BackgroundLoop) -> None:
        self._loop = loop
        self.received: list[Received] = []
        self.answers: deque[Answer] = deque()
        self.default = Answer()
        self.port = 0
        self._stopping = asyncio.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        self._loop.run(self._start())

    def stop(self) -> None:
        self._loop.run(self._stop())

    async def _stop(self) -> None:
        self._stopping.set()
        await self._runner.cleanup()

    async def _start(self) -> None:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._take)
        self._runner = web.AppRunner(app, shutdown_timeout=1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def _take(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.received.append(Received(request.path, dict(request.headers), body))
        answer = self.answers.popleft() if self.answers else self.default
        if answer is HANG:
            await self._stopping.wait()
        if answer is CUT and request.transport is not None:
            request.transport.abort()
        return web.Response(status=answer.status or 200, text=answer.body, headers=answer.headers)


class MailReceiver:
    """Takes letters, unless a reply says otherwise: ``refusals["RCPT"] = "550 no such person"``."""

    def __init__(self, loop: BackgroundLoop, **options: Any) -> None:
        self._loop = loop
        self._options = options
        self.letters: list[bytes] = []
        self.recipients: list[str] = []
        self.was_tls: list[bool] = []
        self.logins: list[tuple[str, str]] = []
        self.refusals: dict[str, str] = {}
        self.port = 0
        self._connections: list[SMTP] = []

    @property
    def messages(self) -> list[EmailMessage]:
        return [email.message_from_bytes(it, policy=default) for it in self.letters]

    def start(self, tls: ssl.SSLContext | None = None) -> None:
        self._loop.run(self._start(tls))

    def stop(self) -> None:
        self._loop.run(self._stop())

    async def _start(self, tls: ssl.SSLContext | None) -> None:
        def protocol() -> SMTP:
            it = SMTP(self, hostname="mail.test", authenticator=self._login, **self._options)
            self._connections.append(it)
            return it

        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(protocol, "127.0.0.1", 0, ssl=tls)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _stop(self) -> None:
        self._server.close()
        for connection in self._connections:
            if connection.transport is not None:
                cast("asyncio.Transport", connection.transport).abort()
        # What is closed is closed by the loop, a turn later.
        await asyncio.sleep(0.01)

    def _login(
        self, _server: SMTP, _session: Session, _envelope: Envelope, _kind: str, data: Any
    ) -> AuthResult:
        assert isinstance(data, LoginPassword)
        self.logins.append((data.login.decode(), data.password.decode()))
        return AuthResult(success=data.password == b"right & good", handled=False)

    async def handle_RCPT(  # noqa: N802  # aiosmtpd's name
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: Any
    ) -> str:
        if refusal := self.refusals.get("RCPT"):
            return refusal
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(  # noqa: N802  # aiosmtpd's name
        self, server: SMTP, _session: Session, envelope: Envelope
    ) -> str:
        if refusal := self.refusals.get("DATA"):
            return refusal
        self.letters.append(cast("bytes", envelope.content))
        self.recipients += envelope.rcpt_tos
        assert server.transport is not None
        self.was_tls.append(server.transport.get_extra_info("sslcontext") is not None)
        return "250 OK"


@contextmanager
def running_http() -> Iterator[HttpReceiver]:
    loop = BackgroundLoop()
    receiver = HttpReceiver(loop)
    receiver.start()
    yield receiver
    receiver.stop()
    loop.stop()


@contextmanager
def running_mail(tls: ssl.SSLContext | None = None, **options: Any) -> Iterator[MailReceiver]:
    """Run a mail server; with ``tls``, of TLS from the start."""
    loop = BackgroundLoop()
    receiver = MailReceiver(loop, **options)
    receiver.start(tls)
    yield receiver
    receiver.stop()
    loop.stop()


@contextmanager
def closed_port() -> Iterator[int]:
    """Yield a port where nobody listens, and nobody else can."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


def make_certificate(folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Return the contexts of a server at 127.0.0.1, and of a client that trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mail.test")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    path = folder / "certificate.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM) + private)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(path)
    return server, ssl.create_default_context(cafile=str(path))
