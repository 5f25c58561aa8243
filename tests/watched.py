"""A proxy under watch: it must have nothing left of a test's calls, and must still work."""

from __future__ import annotations

import concurrent.futures
import time
from collections.abc import Iterable

from tests.asgi_client import AsgiClient, Exchange, Reply
from tests.catalogs import ALONE, EMBEDDER, WELL
from tests.fakes.litellm import FakeLiteLLM
from tests.leaks import Held, settled
from tests.wire import CHAT, Api

STARTS_WITHIN_S = 5.0


class WatchedProxy:
    """Calls a proxy whose only upstream is ``upstream``, or one where nobody answers."""

    def __init__(
        self, client: AsgiClient, auth: Iterable[tuple[str, str]], upstream: FakeLiteLLM
    ) -> None:
        self.client = client
        self._auth = list(auth)
        self._upstream = upstream
        self._port = int(client.server.services.settings.litellm.base_url.rpartition(":")[2])
        self._is_upstream_well = client.server.services.settings.litellm.base_url == upstream.url
        self._at_rest = self._first_rest()

    def ask(self, api: Api, model: str | None = None, *, streamed: bool = False) -> Reply:
        """Make one call to its end; by default of a model that has no fallbacks."""
        return self.client.run(self.exchange(api, model, streamed=streamed).run())

    def begin(
        self, api: Api, model: str | None = None, *, streamed: bool = False
    ) -> tuple[Exchange, concurrent.futures.Future[Reply]]:
        """Make one call, and leave it under way."""
        body = api.asking(model or model_for(api), streamed=streamed)
        return self.client.begin("POST", api.path, self._auth, body)

    def exchange(
        self, api: Api, model: str | None = None, *, streamed: bool = False
    ) -> Exchange:
        body = api.asking(model or model_for(api), streamed=streamed)
        return self.client.exchange("POST", api.path, self._auth, body)

    def assert_nothing_left(self) -> None:
        """The next caller is served, by the one idle connection; all else is as at the start."""
        if self._is_upstream_well:
            assert self.ask(CHAT, WELL).status == 200
        assert settled(self.client, self._port, self._at_rest) == self._at_rest

    def _first_rest(self) -> Held:
        if self._is_upstream_well:
            # The check of health at the start would take a connection of its own meanwhile.
            self._wait_for_health_check()
            assert self.ask(CHAT, WELL).status == 200
        held = Held.by(self.client, self._port)
        resting = Held(held.tasks, int(self._is_upstream_well), held.gate)
        return settled(self.client, self._port, resting) if self._is_upstream_well else resting

    def _wait_for_health_check(self) -> None:
        deadline_s = time.monotonic() + STARTS_WITHIN_S
        while not any(request.method == "GET" for request in self._upstream.received):
            assert time.monotonic() < deadline_s, "the proxy did not ask for LiteLLM's models"
            time.sleep(0.005)


def model_for(api: Api) -> str:
    """Return a model that speaks the API and has no fallbacks."""
    return EMBEDDER if api.mode == "embedding" else ALONE
