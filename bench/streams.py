"""The load of streams: many at a time, each read to its end and compared with what was sent."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast

from bench import wire

HOST = "127.0.0.1"
SAMPLE_INTERVAL_S = 0.1
# How long after its due time a stream is given up.
PATIENCE_S = 30.0


@dataclass(frozen=True, slots=True)
class StreamPlan:
    """How many streams, how long each, and over which time they begin."""

    streams: int
    chunks: int
    ramp_s: float

    @property
    def stream_s(self) -> float:
        """Return how long the upstream takes for one stream: the end comes one beat after."""
        return self.chunks / wire.CHUNKS_PER_S

    @property
    def deadline_s(self) -> float:
        return self.ramp_s + self.stream_s + PATIENCE_S


@dataclass(frozen=True, slots=True)
class StreamsOutcome:
    """What became of all streams of one measurement."""

    streams: int
    complete: int
    identical: int
    bytes_expected: int
    bytes_received: int
    # Since the connection was begun; only of streams that got so far.
    first_byte_s: list[float]
    # How much longer each stream took than the upstream meant it to.
    late_s: list[float]


class StreamReader(asyncio.Protocol):
    """One client with one stream. Bytes are only kept here, and looked at when all is over."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self._pieces: list[bytes] = []
        self._tail = b""
        self._transport: asyncio.WriteTransport | None = None
        self.asked_at_s = time.perf_counter()
        self.first_byte_at_s: float | None = None
        self.ended_at_s: float | None = None
        self.finished = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have no part in asyncio's class tree.
        self._transport = cast("asyncio.WriteTransport", transport)
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        now_s = time.perf_counter()
        self._pieces.append(data)
        if self.first_byte_at_s is None and self._has_body():
            self.first_byte_at_s = now_s
        self._tail = (self._tail + data)[-len(wire.LAST_CHUNK) :]
        if self._tail == wire.LAST_CHUNK:
            self.ended_at_s = now_s
            self._finish()

    def connection_lost(self, _exc: Exception | None) -> None:
        self._finish()

    def answer(self) -> tuple[bytes, bytes]:
        """Return (head, body) of what has come."""
        head, _, body = b"".join(self._pieces).partition(b"\r\n\r\n")
        is_chunked = b"transfer-encoding: chunked" in head.lower()
        return head, _dechunked(body) if is_chunked else body

    def _has_body(self) -> bool:
        _, found, body = b"".join(self._pieces).partition(b"\r\n\r\n")
        return bool(found and body)

    def _finish(self) -> None:
        if not self.finished.done():
            self.finished.set_result(None)
        if self._transport is not None:
            self._transport.close()


async def run_streams(
    port: int,
    headers: Mapping[str, str],
    plan: StreamPlan,
    sample: Callable[[], None] = lambda: None,
) -> StreamsOutcome:
    """Open ``plan.streams`` streams and read them; ``sample`` is called every 100 ms meanwhile."""
    requests = [wire.stream_request(headers, n, plan.chunks) for n in range(plan.streams)]
    sampling = asyncio.create_task(_sample_for_ever(sample))
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        readers = await _read_all(port, requests, plan)
    finally:
        gc.enable()
        gc.unfreeze()
        sampling.cancel()
    return _outcome(readers, plan)


async def _read_all(port: int, requests: list[bytes], plan: StreamPlan) -> list[StreamReader]:
    started_at_s = time.perf_counter()
    tasks = []
    for number, request in enumerate(requests):
        due_at_s = started_at_s + plan.ramp_s * number / plan.streams
        await asyncio.sleep(max(0.0, due_at_s - time.perf_counter()))
        tasks.append(asyncio.create_task(_read_one(port, request, plan)))
    return await asyncio.gather(*tasks)


async def _read_one(port: int, request: bytes, plan: StreamPlan) -> StreamReader:
    reader = StreamReader(request)
    # A stream that is refused or never ends counts as incomplete.
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(plan.deadline_s):
            await asyncio.get_running_loop().create_connection(lambda: reader, HOST, port)
            await reader.finished
    return reader


async def _sample_for_ever(sample: Callable[[], None]) -> None:
    while True:
        sample()
        await asyncio.sleep(SAMPLE_INTERVAL_S)


def _outcome(readers: list[StreamReader], plan: StreamPlan) -> StreamsOutcome:
    complete = identical = expected_bytes = received_bytes = 0
    for number, reader in enumerate(readers):
        expected = wire.stream_body(number, plan.chunks)
        head, body = reader.answer()
        expected_bytes += len(expected)
        received_bytes += len(body)
        is_complete = reader.ended_at_s is not None and head.startswith(b"HTTP/1.1 200")
        complete += is_complete and body.endswith(b"data: [DONE]\n\n")
        identical += is_complete and body == expected
    return StreamsOutcome(
        streams=plan.streams,
        complete=complete,
        identical=identical,
        bytes_expected=expected_bytes,
        bytes_received=received_bytes,
        first_byte_s=[
            reader.first_byte_at_s - reader.asked_at_s
            for reader in readers
            if reader.first_byte_at_s is not None
        ],
        late_s=[
            reader.ended_at_s - reader.asked_at_s - plan.stream_s
            for reader in readers
            if reader.ended_at_s is not None
        ],
    )


def _dechunked(body: bytes) -> bytes:
    """Undo the chunked encoding, as far as it goes."""
    chunks = []
    start = 0
    while (line_end := body.find(b"\r\n", start)) > start:
        size = int(body[start:line_end].split(b";")[0], 16)
        chunks.append(body[line_end + 2 : line_end + 2 + size])
        start = line_end + 2 + size + 2
    return b"".join(chunks)
