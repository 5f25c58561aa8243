"""The pages as people see them: a real proxy, a real browser, and a company that has used it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from app.config.settings import (
    AlertSettings,
    DatabaseSettings,
    LiteLLMSettings,
    SecuritySettings,
    ServerSettings,
    Settings,
)
from tests.admin.conftest import ask
from tests.conftest import ADMIN_KEY, MASTER_KEY, SECRET_KEY, WEBHOOK_SECRET, another_database
from tests.fakes.litellm import FakeLiteLLM
from tests.pages import company
from tests.servers import ProxyServer

DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 844}
CHROMIUM = shutil.which("chromium")
# What a page does by itself, it does within this time.
PATIENCE_MS = 10_000

SignIn = Callable[..., Page]


@dataclass(frozen=True, slots=True)
class Site:
    """One proxy with its pages."""

    url: str
    proxy: ProxyServer
    upstream: FakeLiteLLM
    settings: Settings
    company: company.Company


def site_settings(folder: Path, database_url: str, upstream: FakeLiteLLM) -> Settings:
    return Settings(
        server=ServerSettings(state_dir=folder / "state", workers=1, drain_grace_s=4),
        database=DatabaseSettings(database_url, database_url),
        litellm=LiteLLMSettings(base_url=upstream.url, master_key=MASTER_KEY, max_retries=0),
        security=SecuritySettings(SECRET_KEY, ADMIN_KEY, (WEBHOOK_SECRET,)),
        alerts=AlertSettings(),
    )


@pytest.fixture(scope="module")
def site(
    request: pytest.FixtureRequest, database_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    """A proxy for the tests of one file, with a database of its own."""
    name = request.module.__name__.rpartition(".")[2]
    upstream = FakeLiteLLM(master_key=MASTER_KEY).start()
    folder = tmp_path_factory.mktemp(name)
    settings = site_settings(folder, another_database(database_url, name), upstream)
    made = company.found(settings)
    proxy = ProxyServer(settings, folder, {"USD_BRL": "5.40", "USER_CONCURRENCY": "0"})
    proxy.start()
    yield Site(proxy.url, proxy, upstream, settings, made)
    proxy.stop()
    upstream.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's own Chromium, without a screen; of one file, since Playwright's loop runs in the
    thread of the tests, where those of others want one of their own."""
    if CHROMIUM is None:
        pytest.skip("needs chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def browse(browser: Browser, site: Site) -> Iterator[Callable[..., Page]]:
    """Open a window: ``browse(PHONE, color_scheme="dark")``; what its console says is an error."""
    contexts: list[BrowserContext] = []
    complaints: list[str] = []

    def opened(size: dict[str, int] = DESKTOP, **options: Any) -> Page:
        context = browser.new_context(
            base_url=site.url,
            viewport={"width": size["width"], "height": size["height"]},
            locale="pt-BR",
            **options,
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.on("pageerror", lambda fault: complaints.append(str(fault)))
        page.on("console", lambda it: _note(complaints, it))
        return page

    yield opened
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.fixture
def sign_in(browse: Callable[..., Page], site: Site) -> SignIn:
    """Sign in as an administrator, as a person would: ``sign_in(PHONE)``."""

    def signed_in(size: dict[str, int] = DESKTOP, *, key: str = ADMIN_KEY, **options: Any) -> Page:
        page = browse(size, **options)
        page.goto("/admin/")
        page.get_by_label("Chave").fill(key)
        page.get_by_role("button", name="Entrar").click()
        page.wait_for_url(f"{site.url}/admin/")
        return page

    return signed_in


def _note(complaints: list[str], message: Any) -> None:
    # Chromium itself tells of each answer that is no success; tests look at those by themselves.
    if message.type == "error" and "Failed to load resource" not in message.text:
        complaints.append(message.text)


__all__ = ["DESKTOP", "PHONE", "SignIn", "Site", "ask", "replace"]
