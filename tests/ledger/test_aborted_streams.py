"""500 streams whose callers leave, each at a byte and in a way of its own, and what they pay."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import sys
from collections import Counter
from collections.abc import Callable

import pytest

from app.config.settings import Settings
from tests.fakes.litellm import FakeLiteLLM
from tests.ledger.streams import BODY, TOKEN, CountingProvider, charges
from tests.raw_http import request_bytes
from tests.servers import ProxyServer

STREAMS, TOKENS, PAUSE_S = 500, 100, 0.1
# A caller reads between the headers and some forty tokens.
MOST_BYTES = 40 * len(TOKEN)
SEED = 20261123
# Written while the caller's leaving is noticed: one, and a second's worth on a busy machine.
TOKENS_OFF = 1 + int(1 / PAUSE_S)


@pytest.mark.timeout(240)
def test_streams_given_up_at_any_byte_are_charged_what_had_come(
    start_proxy: Callable[..., ProxyServer],
    upstream: FakeLiteLLM,
    settings: Settings,
    make_key: Callable[..., str],
) -> None:
    provider = CountingProvider(TOKENS, PAUSE_S)
    upstream.default = provider
    proxy = start_proxy(workers=2, env={"USER_CONCURRENCY": "0"})
    request = request_bytes(
        "POST", "/v1/chat/completions", BODY, {"Authorization": f"Bearer {make_key()}"}
    )

    asyncio.run(_leave_all(proxy.port, request))

    charged = charges(settings.database.url, within_s=30)
    assert len(charged) == len(provider.written) == STREAMS
    off = Counter(
        provider.written[request_id] - charge.output_tokens
        for request_id, charge in charged.items()
    )
    sys.stdout.write(f"\ntokens written beyond those charged, and streams: {dict(off)}\n")
    assert set(off) <= set(range(TOKENS_OFF + 1))
    assert {(charge.state, charge.is_estimated) for charge in charged.values()} == {
        ("settled", True)
    }


async def _leave_all(port: int, request: bytes) -> None:
    chance = random.Random(SEED)  # no secret
    ways = [_reset, _close, _half_close]
    await asyncio.gather(
        *(
            _leave(port, request, chance.randrange(1, MOST_BYTES), chance.choice(ways), i / 100)
            for i in range(STREAMS)
        )
    )


async def _leave(
    port: int,
    request: bytes,
    after_bytes: int,
    way: Callable[[asyncio.StreamWriter], None],
    begin_after_s: float,
) -> None:
    await asyncio.sleep(begin_after_s)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    await reader.readuntil(b"\r\n\r\n")
    await reader.readexactly(after_bytes)
    way(writer)
    await reader.read()
    writer.close()


def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()


def _reset(writer: asyncio.StreamWriter) -> None:
    raw: socket.socket = writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def _half_close(writer: asyncio.StreamWriter) -> None:
    writer.write_eof()
