"""One gunicorn with the proxy for all clients, and a LiteLLM that does what a test says."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from app import create_app
from app.config.settings import (
    DatabaseSettings,
    LiteLLMSettings,
    SecuritySettings,
    ServerSettings,
    Settings,
)
from app.embedded.network import free_port
from app.extensions import services_of
from app.services.token_service import BUDGETS_LIFETIME_S
from tests.conftest import ADMIN_KEY, MASTER_KEY, SECRET_KEY, WEBHOOK_SECRET
from tests.fakes.litellm import FakeLiteLLM
from tests.servers import ProxyServer
from tests.waiting import wait_until

JWT_SECRET = "open-webui-secret-for-the-tests-only"


@dataclass
class Shop:
    """The proxy, what stands behind it, a personal key and LibreChat's."""

    proxy: ProxyServer
    upstream: FakeLiteLLM
    key: str
    librechat_key: str
    logged_before: int

    @property
    def url(self) -> str:
        return f"{self.proxy.url}/v1"

    def served(self, calls: int = 1) -> list[dict[str, Any]]:
        """Return the log line of each model call that the proxy has served, in order.

        Waits for those of ``calls``: a line is written just after its answer has been sent.
        """
        wait_until(lambda: len(self._served()) >= calls)
        return self._served()

    def _served(self) -> list[dict[str, Any]]:
        complete = self.proxy.log[self.logged_before :].rpartition("\n")[0]
        lines = [json.loads(line) for line in complete.splitlines()]
        return [
            line for line in lines if line["event"] == "http_request" and line["method"] == "POST"
        ]


@pytest.fixture(scope="session")
def proxy_and_upstream(
    lasting_database_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[ProxyServer, FakeLiteLLM, Settings]]:
    upstream = FakeLiteLLM().start()
    folder = tmp_path_factory.mktemp("clients")
    settings = Settings(
        server=ServerSettings(state_dir=folder / "state", workers=1, drain_grace_s=4),
        database=DatabaseSettings(lasting_database_url, lasting_database_url),
        litellm=LiteLLMSettings(base_url=upstream.url, master_key=MASTER_KEY, timeout_s=60),
        security=SecuritySettings(SECRET_KEY, ADMIN_KEY, (WEBHOOK_SECRET,)),
    )
    proxy = ProxyServer(settings, folder, {"OPENWEBUI_JWT_SECRET": JWT_SECRET})
    proxy.start()
    yield proxy, upstream, settings
    proxy.stop()
    upstream.stop()


def _heal(proxy: ProxyServer) -> None:
    """Have the proxy forget what a test has made ill."""
    url, headers = f"{proxy.url}/api/admin/models/refresh", {"Authorization": f"Bearer {ADMIN_KEY}"}
    with urllib.request.urlopen(urllib.request.Request(url, b"", headers), timeout=10) as response:
        assert response.status == 200


@pytest.fixture
def shop(
    proxy_and_upstream: tuple[ProxyServer, FakeLiteLLM, Settings], request: pytest.FixtureRequest
) -> Iterator[Shop]:
    proxy, upstream, settings = proxy_and_upstream
    app = create_app(replace(settings))
    access = services_of(app).access
    name = request.node.name[:80]
    key, _ = access.create_key(f"{name}-person", user_id="ana")
    librechat_key, _ = access.create_key(f"{name}-librechat", trusted=True)
    upstream.received.clear()
    upstream.default = None
    yield Shop(proxy, upstream, key, librechat_key, len(proxy.log))
    upstream.default = None
    _heal(proxy)
    engine = create_engine(settings.database.url)
    with engine.begin() as connection:
        connection.execute(text("TRUNCATE api_keys RESTART IDENTITY"))
    engine.dispose()


@pytest.fixture
def spent(
    shop: Shop, proxy_and_upstream: tuple[ProxyServer, FakeLiteLLM, Settings]
) -> Iterator[Shop]:
    """A proxy whose people have nothing left today."""
    budgets = services_of(create_app(proxy_and_upstream[2])).budgets
    place = {"scope": "user", "subject": "*", "metric": "requests", "period": "day"}
    budgets.set(**place, limit=0, mode="enforce")
    time.sleep(BUDGETS_LIFETIME_S)
    yield shop
    budgets.remove(**place)
    time.sleep(BUDGETS_LIFETIME_S)


@pytest.fixture
def down(
    shop: Shop,
    proxy_and_upstream: tuple[ProxyServer, FakeLiteLLM, Settings],
    tmp_path: Path,
) -> Iterator[Shop]:
    """A proxy of its own, whose LiteLLM does not listen."""
    nowhere = replace(
        proxy_and_upstream[2],
        litellm=LiteLLMSettings(base_url=f"http://127.0.0.1:{free_port()}", master_key=MASTER_KEY),
    )
    proxy = ProxyServer(nowhere, tmp_path, {})
    proxy.start()
    yield replace(shop, proxy=proxy, logged_before=len(proxy.log))
    proxy.stop()
