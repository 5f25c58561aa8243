"""The one way out for alerts: to checked addresses only, and wherever they were checked.

A name is looked up once, every address that it has is checked, and the connection is made to one of
those: an answer that is another the next time changes nothing. Redirects are not followed.
"""

from __future__ import annotations

import asyncio
import email.utils
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from ipaddress import ip_address

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.http_exceptions import HttpProcessingError
from yarl import URL

from app.config.addresses import may_send_to
from app.services.alerts.channel import TransportError
from app.utils.clock import Clock
from app.version import __version__

CONNECT_TIMEOUT_S = 5.0
# Of an answer that says why a message was refused.
MAX_ANSWER_BYTES = 1024
HEADERS = {
    "Content-Type": "application/json",
    "Accept-Encoding": "identity",
    "User-Agent": f"IA-SOLARIS-Proxy/{__version__}",
}
# 4xx that may be otherwise next time.
PASSING = frozenset({408, 425, 429})
# 4xx that are about what was sent.
OF_MESSAGE = frozenset({400, 413, 415, 422})

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]


async def look_up(host: str, port: int) -> list[str]:
    """Return the addresses of a host, as the machine knows them. Raises: OSError."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


class _Fixed(AbstractResolver):
    """Knows only what was looked up and checked before."""

    def __init__(self, addresses: Sequence[str]) -> None:
        self._addresses = addresses

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: socket.AddressFamily = socket.AF_UNSPEC,  # noqa: ARG002  # all there are
    ) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=_family(address),
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in self._addresses
        ]

    async def close(self) -> None:
        pass


@dataclass(frozen=True, slots=True)
class Outbound:
    clock: Clock
    allow_private: bool = False
    resolve: Resolve = look_up
    # Whom to trust; the system's authorities if not given.
    tls: ssl.SSLContext = field(default_factory=ssl.create_default_context)

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> None:
        """POST JSON. Raises: TransportError, unless the answer is 2xx."""
        place = URL(url)
        addresses = await self.addresses(place.raw_host or "", place.port or 0)
        connector = aiohttp.TCPConnector(
            resolver=_Fixed(addresses), use_dns_cache=False, force_close=True, ssl=self.tls
        )
        session = aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            auto_decompress=False,
        )
        try:
            async with (
                session,
                session.post(
                    place, data=body, headers={**HEADERS, **headers}, allow_redirects=False
                ) as response,
            ):
                await self._require_success(response)
        except aiohttp.ClientSSLError as fault:
            raise TransportError("tls") from fault
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as fault:
            raise TransportError("connect") from fault
        except (aiohttp.ClientError, HttpProcessingError) as fault:
            raise TransportError("broken") from fault

    async def connect(self, host: str, port: int) -> socket.socket:
        """Return a connected socket, for a protocol that is not HTTP. Raises: TransportError."""
        for address in await self.addresses(host, port):
            if opened := await _opened(address, port):
                return opened
        raise TransportError("connect")

    async def addresses(self, host: str, port: int) -> Sequence[str]:
        """Raises: TransportError, where it has none, or one that nothing may be sent to."""
        try:
            addresses = await self.resolve(host, port)
        except (OSError, UnicodeError) as fault:
            raise TransportError("dns") from fault
        if not addresses:
            raise TransportError("dns")
        for address in addresses:
            if not may_send_to(ip_address(address), allow_private=self.allow_private):
                raise TransportError("private_address", permanent=True)
        return addresses

    async def _require_success(self, response: aiohttp.ClientResponse) -> None:
        status = response.status
        if response.ok and status < 300:
            return
        code = f"http_{status}"
        if 300 <= status < 400:
            raise TransportError(code, permanent=True)
        if status in PASSING or status >= 500:
            raise TransportError(code, retry_after_s=self._retry_after_s(response))
        answer = await _start_of(response)
        raise RefusedError(code, status, answer)

    def _retry_after_s(self, response: aiohttp.ClientResponse) -> float | None:
        return retry_after_s(response.headers.get("Retry-After", ""), self.clock.now())


class RefusedError(TransportError):
    """A 4xx, with the start of what the answer says."""

    def __init__(self, code: str, status: int, answer: str) -> None:
        is_of_message = status in OF_MESSAGE
        super().__init__(code, permanent=not is_of_message, is_of_message=is_of_message)
        self.answer = answer


def retry_after_s(said: str, now: datetime) -> float | None:
    """Return the seconds of a Retry-After header, in either of its forms (RFC 9110 §10.2.3)."""
    if said.strip().isascii() and said.strip().isdigit():
        return float(said)
    try:
        at = email.utils.parsedate_to_datetime(said)
    except ValueError:
        return None
    return (at - now).total_seconds() if at.tzinfo else None


async def _start_of(response: aiohttp.ClientResponse) -> str:
    start = b""
    while len(start) < MAX_ANSWER_BYTES and (chunk := await response.content.readany()):
        start += chunk
    return start[:MAX_ANSWER_BYTES].decode(errors="replace")


async def _opened(address: str, port: int) -> socket.socket | None:
    """Return a connected socket, or None."""
    connection = socket.socket(_family(address), socket.SOCK_STREAM)
    connection.setblocking(False)  # noqa: FBT003  # as it is called there
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            await asyncio.get_running_loop().sock_connect(connection, (address, port))
    except OSError:  # of which TimeoutError is one
        connection.close()
        return None
    except BaseException:
        connection.close()
        raise
    return connection


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET
