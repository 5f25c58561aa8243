"""A bare pass-through on aiohttp: what any Python proxy that reads the JSON pays.

The runner, and below it the server itself: `python -m bench.contenders.bare_aiohttp PORT URL`.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import aiohttp
import orjson
import uvloop
from aiohttp import web

from bench import wire
from bench.contenders.base import Contender, Workplace


class BareAiohttp(Contender):
    name = "aiohttp"
    title = "bare aiohttp"

    def command(self, place: Workplace) -> Sequence[str | Path]:
        return [sys.executable, "-m", __name__, str(self.port), place.upstream_url]


class PassThrough:
    """Parses the question and the answer, and looks at neither."""

    def __init__(self, upstream_url: str) -> None:
        self._url = upstream_url + wire.CHAT_PATH
        self._session: aiohttp.ClientSession

    def app(self) -> web.Application:
        app = web.Application(client_max_size=2**26)
        app.router.add_get("/livez", _alive)
        app.router.add_post(wire.CHAT_PATH, self._chat)
        app.cleanup_ctx.append(self._with_session)
        return app

    async def _with_session(self, _app: web.Application) -> AsyncIterator[None]:
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector) as self._session:
            yield

    async def _chat(self, request: web.Request) -> web.Response:
        question = orjson.loads(await request.read())
        headers = {"Content-Type": "application/json"}
        async with self._session.post(
            self._url, data=orjson.dumps(question), headers=headers
        ) as upstream:
            answer = orjson.loads(await upstream.read())
        return web.Response(body=orjson.dumps(answer), content_type="application/json")


async def _alive(_request: web.Request) -> web.Response:
    return web.Response()


def main() -> None:
    port, upstream_url = int(sys.argv[1]), sys.argv[2]
    web.run_app(
        PassThrough(upstream_url).app(),
        host="127.0.0.1",
        port=port,
        access_log=None,
        print=None,
        loop=uvloop.new_event_loop(),
    )


if __name__ == "__main__":
    main()
