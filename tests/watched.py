"""A proxy under watch: it must have nothing left of a test's calls, and must still work."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from uuid import uuid4

from app import create_app
from app.asgi import AsgiServer
from app.config.settings import Settings
from app.extensions import db, services_of
from tests.asgi_client import AsgiClient, Exchange, Reply
from tests.catalogs import ALONE, EMBEDDER, WELL
from tests.fakes.litellm import FakeLiteLLM
from tests.leaks import Held, settled
from tests.waiting import wait_until
from tests.wire import CHAT, Api

CALL_ENDS_WITHIN_S = 25.0
# From a socket's bytes to what is sent to the caller are fewer turns of the loop than this.
TURNS = 12


@contextmanager
def serve_watched(settings: Settings, upstream: FakeLiteLLM | None) -> Iterator[WatchedProxy]:
    """Serve a proxy over ASGI; without ``upstream`` nobody answers at its LiteLLM's address."""
    app = create_app(settings)
    key, _ = services_of(app).access.create_key(f"watched-{uuid4()}")
    client = AsgiClient(AsgiServer(app)).start()
    try:
        yield WatchedProxy(client, key, upstream)
    finally:
        client.stop()
        with app.app_context():
            db.engine.dispose()


class WatchedProxy:
    """Calls a proxy in each API; ``assert_nothing_left`` compares it with what it was at first."""

    def __init__(self, client: AsgiClient, key: str, upstream: FakeLiteLLM | None) -> None:
        self.client = client
        self._auth = [("Authorization", f"Bearer {key}")]
        self._upstream = upstream
        url = client.server.services.settings.litellm.base_url
        self._port = int(url.rpartition(":")[2])
        self._at_rest = self._first_rest()

    @property
    def upstream(self) -> FakeLiteLLM:
        assert self._upstream is not None, "there is nobody"
        return self._upstream

    def ask(
        self, api: Api, model: str | None = None, *, streamed: bool = False, **changed: Any
    ) -> Reply:
        """Make one call to its end; by default of a model that has no fallbacks."""
        return self.begin(api, model, streamed=streamed, **changed)[1].result(CALL_ENDS_WITHIN_S)

    def begin(
        self, api: Api, model: str | None = None, *, streamed: bool = False, **changed: Any
    ) -> tuple[Exchange, concurrent.futures.Future[Reply]]:
        """Make one call, and leave it under way."""
        exchange = self.exchange(api, model, streamed=streamed, **changed)
        return exchange, self.client.submit(exchange.run())

    def exchange(
        self, api: Api, model: str | None = None, *, streamed: bool = False, **changed: Any
    ) -> Exchange:
        """Return a call that is yet to be made; ``changed`` are fields of its body."""
        body = api.asking(model or model_for(api), streamed=streamed, **changed)
        return self.exchange_of(api.path, body)

    def exchange_of(self, path: str, body: bytes) -> Exchange:
        """Return a call with any body that is yet to be made."""
        return self.client.exchange("POST", path, self._auth, body)

    async def has_read(self) -> None:
        """Return when everything that LiteLLM has sent was read; for any loop."""
        await asyncio.wrap_future(self.client.submit(_turns()))

    def forget(self) -> None:
        """Have the proxy and its LiteLLM know nothing of earlier calls."""
        self.upstream.forget()
        self.client.run(self.client.server.services.litellm.force_model_refresh())

    def assert_nothing_left(self) -> None:
        """The next caller is served, by the one idle connection; all else is as at the start."""
        if self._upstream is not None:
            # A connection that is just being closed must not be taken for idle.
            wait_until(lambda: not self.upstream.open_streams)
            self.client.run(_turns())
            assert self.ask(CHAT, WELL).status == 200
        assert settled(self._held, self._at_rest) == self._at_rest

    def _first_rest(self) -> Held:
        if self._upstream is not None:
            # The check of health at the start would take a connection of its own meanwhile.
            wait_until(lambda: any(it.method == "GET" for it in self.upstream.received))
            assert self.ask(CHAT, WELL).status == 200
        return replace(self._held(), sockets=0)

    def _held(self) -> Held:
        return Held.by(self.client, self._port, kept=0 if self._upstream is None else 1)


async def _turns() -> None:
    """Let the loop look at its sockets, and whoever waits for them run, a few times."""
    for _ in range(TURNS):
        await asyncio.sleep(0)


def model_for(api: Api) -> str:
    """Return a model that speaks the API and has no fallbacks."""
    return EMBEDDER if api.mode == "embedding" else ALONE
