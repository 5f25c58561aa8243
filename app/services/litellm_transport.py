"""The one way to LiteLLM: one aiohttp session a process, our master key, our deadline.

Nothing else in the application knows aiohttp. Its exceptions leave here as ours.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import aiohttp
import orjson
from aiohttp.http_exceptions import HttpProcessingError

from app.config.settings import LiteLLMSettings
from app.utils.exceptions import (
    LiteLLMError,
    LiteLLMUnreachableError,
    SolarisError,
    UpstreamTimeoutError,
)
from app.version import __version__

CONNECT_TIMEOUT_S = 5.0
MAX_HEADER_BYTES = 64 * 1024
# How long an idle connection is kept; uvicorn, under LiteLLM, closes its side after 5 s.
KEEPALIVE_S = 4.0
# aiohttp's parser in Python raises the second where the one in C raises the first.
BROKEN = (aiohttp.ClientError, HttpProcessingError)
# How long a silence may last before the connection is looked at.
SILENCE_S = 1.0


class Deadline:
    """The one moment at which a call must be over, whatever it is doing then."""

    def __init__(self, seconds: float) -> None:
        self.at_s = asyncio.get_running_loop().time() + seconds

    def left_s(self) -> float:
        return self.at_s - asyncio.get_running_loop().time()


class UpstreamAnswer:
    """LiteLLM's answer: status and headers are here, the body is still on its way."""

    def __init__(self, response: aiohttp.ClientResponse, deadline: Deadline) -> None:
        self._response = response
        self._deadline = deadline
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers
        # What broke the connection, kept until what came before it is read.
        self._failure: SolarisError | None = None

    @property
    def is_event_stream(self) -> bool:
        return self._response.content_type == "text/event-stream"

    async def json(self) -> Any:
        """Return the parsed body, or None where it is no JSON. Closes the answer.

        Raises: UpstreamTimeoutError, LiteLLMError.
        """
        chunks: list[bytes] = []
        try:
            while chunk := await self._next_or_silence():
                chunks.append(chunk)
        finally:
            self._response.release()
        try:
            return orjson.loads(b"".join(chunks))
        except orjson.JSONDecodeError:
            return None

    async def next_chunk(self, patience_s: float) -> bytes | None:
        """Return the next bytes; b"" when the body has ended, None after ``patience_s`` of silence.

        Raises: UpstreamTimeoutError, LiteLLMError when the connection broke.
        """
        until_s = asyncio.get_running_loop().time() + patience_s
        while (chunk := await self._wait(until_s)) is None:
            if asyncio.get_running_loop().time() >= until_s:
                return None
        return chunk

    async def _next_or_silence(self) -> bytes:
        """Return the next bytes, b"" when the body has ended, however long they take to come."""
        chunk = None
        while chunk is None:
            chunk = await self.next_chunk(self._deadline.left_s())
        return chunk

    async def _wait(self, until_s: float) -> bytes | None:
        """Return the next bytes, or None after a second of silence on a connection that stands."""
        if self._failure is not None:
            raise self._failure
        now_s, deadline_s = asyncio.get_running_loop().time(), self._deadline.at_s
        if now_s >= deadline_s:
            raise UpstreamTimeoutError()
        try:
            async with asyncio.timeout_at(min(until_s, deadline_s, now_s + SILENCE_S)):
                return await self._response.content.readany()
        except TimeoutError:
            self._require_connection()
            return None
        except BROKEN as fault:
            return self._last_words(fault)

    def _last_words(self, fault: Exception) -> bytes:
        """Return what came before the connection broke: aiohttp raises before it hands it out."""
        self._failure = LiteLLMError()
        content = self._response.content
        if content._buffer:  # noqa: SLF001  # it has no public way to what is left
            return content._read_nowait(-1)  # noqa: SLF001
        raise self._failure from fault

    def _require_connection(self) -> None:
        """Raises: LiteLLMError, where aiohttp has closed the connection over bytes that it could
        not parse: it tells nobody who reads the body."""
        connection = self._response.connection
        if connection is None:
            return
        transport = connection.transport
        if transport is None or transport.is_closing():
            self._failure = LiteLLMError()
            raise self._failure

    def fail(self, error: SolarisError) -> None:
        """Have whoever waits for the next bytes, or asks for them, get ``error``."""
        self._failure = error
        self._response.content.set_exception(error)

    def close(self) -> None:
        """Close the connection, unless the body was read to its end: upstream then stops."""
        self._response.close()


class LiteLLMTransport:
    def __init__(self, settings: LiteLLMSettings) -> None:
        self._settings = settings
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    def session(self) -> aiohttp.ClientSession:
        """Return this process's session; it is made on the loop, at first use."""
        if self._session is None or self._session.closed:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEPALIVE_S),
                # The deadline is ours; of aiohttp's own limits only the connect one is used.
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S),
                headers={
                    "Authorization": f"Bearer {self._settings.master_key}",
                    "User-Agent": f"IA-SOLARIS-Proxy/{__version__}",
                    # Streams are passed on byte by byte, so they must not come compressed.
                    "Accept-Encoding": "identity",
                },
                cookie_jar=aiohttp.DummyCookieJar(),
                max_field_size=MAX_HEADER_BYTES,
                trust_env=False,
            )
        return self._session

    async def get(self, path: str, deadline: Deadline) -> UpstreamAnswer:
        return await self._send("GET", path, None, {}, deadline)

    async def post(
        self, path: str, body: bytes, headers: Mapping[str, str], deadline: Deadline
    ) -> UpstreamAnswer:
        """Send ``body`` and return the answer when its headers are here.

        Raises: LiteLLMUnreachableError when there was no connection (nothing was sent),
        UpstreamTimeoutError, LiteLLMError when the connection broke.
        """
        headers = {"Content-Type": "application/json", **headers}
        return await self._send("POST", path, body, headers, deadline)

    async def _send(
        self,
        method: str,
        path: str,
        body: bytes | None,
        headers: Mapping[str, str],
        deadline: Deadline,
    ) -> UpstreamAnswer:
        url = f"{self._settings.base_url}{path}"
        try:
            async with asyncio.timeout_at(deadline.at_s):
                response = await self.session().request(
                    method, url, data=body, headers=headers, allow_redirects=False
                )
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as fault:
            raise LiteLLMUnreachableError() from fault
        except TimeoutError as fault:
            raise UpstreamTimeoutError() from fault
        except BROKEN as fault:
            raise LiteLLMError() from fault
        return UpstreamAnswer(response, deadline)
