"""The whole way, real: client, gunicorn, proxy and LiteLLM 1.106.2; only the provider is ours."""

from __future__ import annotations

import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from openai import OpenAI

from app import create_app
from app.config.catalog import Catalog, load_catalog
from app.config.settings import (
    PROJECT_ROOT,
    DatabaseSettings,
    LiteLLMSettings,
    SecuritySettings,
    ServerSettings,
    Settings,
)
from app.embedded.litellm_server import LiteLLMEnvironment, LiteLLMServer
from app.embedded.network import free_port
from app.extensions import services_of
from app.services.access_service import AccessService
from tests.conftest import ADMIN_KEY, MASTER_KEY, SECRET_KEY, WEBHOOK_SECRET
from tests.fakes.litellm import FakeLiteLLM
from tests.fakes.provider import provider
from tests.servers import ProxyServer

LITELLM_START_TIMEOUT_S = 90.0


@dataclass(frozen=True)
class Stack:
    """Real proxy, real LiteLLM; OpenAI's and Anthropic's models reach ``provider``, Google's are
    mocked by LiteLLM."""

    proxy: ProxyServer
    litellm: LiteLLMServer
    provider: FakeLiteLLM
    catalog: Catalog
    access: AccessService


@pytest.fixture(scope="session")
def litellm_environment() -> LiteLLMEnvironment:
    environment = LiteLLMEnvironment(PROJECT_ROOT / "var" / "litellm-venv")
    if not environment.is_installed:
        pytest.skip("LiteLLM is not installed in var/litellm-venv; `make test` installs it")
    return environment


@pytest.fixture(scope="session")
def fake_provider() -> Iterator[FakeLiteLLM]:
    fake = FakeLiteLLM(default=provider()).start()
    yield fake
    fake.stop()


@pytest.fixture(scope="session")
def litellm(
    litellm_environment: LiteLLMEnvironment,
    fake_provider: FakeLiteLLM,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[LiteLLMServer]:
    server = LiteLLMServer(
        litellm_environment,
        shipped_config=LiteLLMSettings().config_path,
        state_dir=tmp_path_factory.mktemp("litellm"),
        port=free_port(),
        variables={
            "PATH": "/usr/bin:/bin",
            "HOME": str(tmp_path_factory.mktemp("home")),
            "LITELLM_MASTER_KEY": MASTER_KEY,
            "OPENAI_API_KEY": "sk-provider-key-for-the-tests",
            "OPENAI_BASE_URL": f"{fake_provider.url}/v1",
            "OPENAI_API_BASE": f"{fake_provider.url}/v1",
            "ANTHROPIC_API_KEY": "sk-ant-provider-key-for-the-tests",
            "ANTHROPIC_API_BASE": fake_provider.url,
            "ANTHROPIC_BASE_URL": fake_provider.url,
        },
    )
    wait_until_ready(server)
    yield server
    server.stop()


@pytest.fixture(scope="session")
def stack(
    litellm: LiteLLMServer,
    fake_provider: FakeLiteLLM,
    lasting_database_url: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("stack")
    settings = Settings(
        server=ServerSettings(state_dir=folder / "state", workers=1, drain_grace_s=4),
        database=DatabaseSettings(lasting_database_url, lasting_database_url),
        litellm=LiteLLMSettings(base_url=litellm.base_url, master_key=MASTER_KEY),
        security=SecuritySettings(SECRET_KEY, ADMIN_KEY, (WEBHOOK_SECRET,)),
    )
    proxy = ProxyServer(settings, folder, {})
    proxy.start()
    catalog = load_catalog(settings.litellm.config_path)
    access = services_of(create_app(settings)).access
    yield Stack(proxy, litellm, fake_provider, catalog, access)
    proxy.stop()


@pytest.fixture
def api_key(stack: Stack) -> str:
    key, _ = stack.access.create_key(f"e2e-{uuid.uuid4()}", user_id="ana", trusted=True)
    return key


@pytest.fixture
def openai(stack: Stack, api_key: str) -> Iterator[OpenAI]:
    """openai-python as anyone would make it, but that a failure is not tried again."""
    with OpenAI(base_url=f"{stack.proxy.url}/v1", api_key=api_key, max_retries=0) as client:
        yield client


@pytest.fixture
def state_dir(litellm_environment: LiteLLMEnvironment, tmp_path: Path) -> Path:
    """A state directory that has LiteLLM installed already."""
    folder = tmp_path / "var"
    folder.mkdir()
    (folder / "litellm-venv").symlink_to(litellm_environment.python.parents[1])
    return folder


def wait_until_ready(server: LiteLLMServer) -> None:
    deadline_s = time.monotonic() + LITELLM_START_TIMEOUT_S
    while True:
        server.child.require_alive()
        try:
            with urllib.request.urlopen(f"{server.base_url}/health/readiness", timeout=1):
                return
        except (urllib.error.URLError, OSError):
            if time.monotonic() > deadline_s:
                raise RuntimeError(server.child.log_tail()) from None
            time.sleep(0.2)
