"""A proxy to be looked at, and what whoever looks at it has in the environment."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from app.config.catalog import load_catalog
from app.config.settings import (
    DatabaseSettings,
    LiteLLMSettings,
    SecuritySettings,
    ServerSettings,
    Settings,
)
from tests.conftest import ADMIN_KEY, MASTER_KEY, SECRET_KEY, WEBHOOK_SECRET, another_database
from tests.fakes.litellm import FakeLiteLLM
from tests.servers import ProxyServer


def every_model() -> tuple[str, ...]:
    return tuple(load_catalog(LiteLLMSettings().config_path).names())


def variables(proxy_url: str, litellm_url: str) -> dict[str, str]:
    return {
        "PROXY_URL": proxy_url,
        "LITELLM_BASE_URL": litellm_url,
        "ADMIN_API_KEY": ADMIN_KEY,
        "LITELLM_MASTER_KEY": MASTER_KEY,
        "WEBHOOK_SECRET": WEBHOOK_SECRET,
    }


@pytest.fixture(scope="module")
def standing(
    database_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[ProxyServer, FakeLiteLLM]]:
    """A proxy that is well, for tests that only look; with a database of its own."""
    upstream = FakeLiteLLM(models=every_model(), master_key=MASTER_KEY).start()
    folder = tmp_path_factory.mktemp("diagnosis")
    url = another_database(database_url, "diagnosis")
    settings = Settings(
        server=ServerSettings(state_dir=folder / "state", workers=1, drain_grace_s=4),
        database=DatabaseSettings(url, url),
        litellm=LiteLLMSettings(base_url=upstream.url, master_key=MASTER_KEY),
        security=SecuritySettings(SECRET_KEY, ADMIN_KEY, (WEBHOOK_SECRET,)),
    )
    proxy = ProxyServer(settings, folder, {})
    proxy.start()
    yield proxy, upstream
    proxy.stop()
    upstream.stop()


@pytest.fixture
def litellm(standing: tuple[ProxyServer, FakeLiteLLM]) -> Iterator[FakeLiteLLM]:
    """What the standing proxy calls."""
    upstream = standing[1]
    upstream.forget()
    yield upstream
    upstream.default = None
    upstream.forget()


@pytest.fixture
def env(standing: tuple[ProxyServer, FakeLiteLLM], litellm: FakeLiteLLM) -> dict[str, str]:
    return variables(standing[0].url, litellm.url)


@pytest.fixture
def own(upstream: FakeLiteLLM, start_proxy: Callable[..., ProxyServer]) -> ProxyServer:
    """A proxy of the test's own, for what makes it unwell."""
    upstream.models = every_model()
    return start_proxy(workers=1)


@pytest.fixture
def own_env(own: ProxyServer, upstream: FakeLiteLLM) -> dict[str, str]:
    return variables(own.url, upstream.url)
