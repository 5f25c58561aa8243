"""One LiteLLM and one proxy a module, for tests that make hundreds of calls; each test begins with
both as new, and ends with a check that nothing was left behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from app.config.settings import (
    DatabaseSettings,
    LiteLLMSettings,
    SecuritySettings,
    ServerSettings,
    Settings,
)
from tests.catalogs import MODELS, write_catalog
from tests.conftest import ADMIN_KEY, MASTER_KEY, SECRET_KEY, WEBHOOK_SECRET, empty
from tests.fakes.litellm import FakeLiteLLM
from tests.watched import WatchedProxy, serve_watched
from tests.wire import well

# Long enough for any fault that does not hang, on a busy machine.
PATIENT_S = 15.0
# For those that do.
BRIEF_S = 1.0

SettingsFor = Callable[..., Settings]


@pytest.fixture(scope="module")
def small_settings(
    database_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SettingsFor]:
    """Give settings with the small catalogue: ``small_settings(url, timeout_s=1.0)``."""
    folder = tmp_path_factory.mktemp("watched")
    catalog = write_catalog(folder)

    def make(base_url: str, timeout_s: float = PATIENT_S, retries: int = 1) -> Settings:
        return Settings(
            server=ServerSettings(state_dir=folder / "state"),
            database=DatabaseSettings(database_url, database_url),
            litellm=LiteLLMSettings(
                base_url=base_url,
                master_key=MASTER_KEY,
                timeout_s=timeout_s,
                config_path=catalog,
                max_retries=retries,
                retry_delay_s=0.01,
            ),
            security=SecuritySettings(SECRET_KEY, ADMIN_KEY, (WEBHOOK_SECRET,)),
        )

    yield make
    empty(database_url)


@contextmanager
def scripted_litellm() -> Iterator[FakeLiteLLM]:
    """Run a LiteLLM that answers well in every API until told otherwise."""
    fake = FakeLiteLLM(models=MODELS, default=well()).start()
    yield fake
    fake.stop()


@pytest.fixture(scope="module")
def patient_proxy(small_settings: SettingsFor) -> Iterator[WatchedProxy]:
    with scripted_litellm() as fake, serve_watched(small_settings(fake.url), fake) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def hasty_proxy(small_settings: SettingsFor) -> Iterator[WatchedProxy]:
    with (
        scripted_litellm() as fake,
        serve_watched(small_settings(fake.url, BRIEF_S), fake) as proxy,
    ):
        yield proxy


@pytest.fixture
def proxy(patient_proxy: WatchedProxy) -> Iterator[WatchedProxy]:
    """A proxy and its LiteLLM, ``proxy.upstream``, both as new."""
    patient_proxy.forget()
    yield patient_proxy
    patient_proxy.assert_nothing_left()


@pytest.fixture
def brief_proxy(hasty_proxy: WatchedProxy) -> Iterator[WatchedProxy]:
    """A proxy whose calls must be over in a second."""
    hasty_proxy.forget()
    yield hasty_proxy
    hasty_proxy.assert_nothing_left()


@pytest.fixture
def proxy_before(small_settings: SettingsFor) -> Iterator[Callable[..., WatchedProxy]]:
    """Serve a proxy before an address where LiteLLM does not answer: ``proxy_before(url)``."""
    with ExitStack() as served:
        proxies: list[WatchedProxy] = []

        def start(url: str, **options: Any) -> WatchedProxy:
            settings = small_settings(url, **options)
            proxies.append(served.enter_context(serve_watched(settings, None)))
            return proxies[-1]

        yield start
        for proxy in proxies:
            proxy.assert_nothing_left()
