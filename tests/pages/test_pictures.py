"""A picture of every page at desktop and phone width; `make pictures` puts them into docs/img."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page

from tests.pages import company
from tests.pages.addresses import PAGES, addresses, ask
from tests.pages.conftest import DESKTOP, PHONE, SignIn, Site
from tests.waiting import wait_until

FOLDER = "SOLARIS_PICTURES"
WIDTHS = {"desktop": DESKTOP, "phone": PHONE}
# A page that shows nothing is smaller than this.
LEAST_BYTES = 5_000
# No higher than this: what is further down is more of the same.
MOST_HEIGHT = {"desktop": 1_600, "phone": 1_900}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    chosen = os.environ.get(FOLDER)
    return Path(chosen) if chosen else tmp_path_factory.mktemp("pictures")


@pytest.fixture(scope="module")
def worked(site: Site) -> dict[str, str]:
    company.work(site.url, site.company, site.upstream)
    # Alerts are looked for every few seconds.
    wait_until(lambda: ask(site, "/alerts").json()["data"] != [], 30)
    assert ask(site, "/audit/verify").status_code == 200
    return addresses(site)


def take(page: Page, folder: Path, name: str, width: str) -> Path:
    path = folder / f"{name}-{width}.png"
    height = min(MOST_HEIGHT[width], page.evaluate("() => document.documentElement.scrollHeight"))
    clip = {"x": 0.0, "y": 0.0, "width": float(WIDTHS[width]["width"]), "height": float(height)}
    page.screenshot(path=path, full_page=True, clip=clip)  # type: ignore[arg-type]
    return path


@pytest.mark.parametrize("width", list(WIDTHS))
def test_every_page_has_its_picture(
    sign_in: SignIn, folder: Path, worked: dict[str, str], width: str
) -> None:
    page = sign_in(WIDTHS[width])
    taken = []

    for name, address in worked.items():
        page.goto(address)
        taken.append(take(page, folder, name, width))

    assert len(taken) == len(PAGES)
    assert [it.name for it in taken if it.stat().st_size < LEAST_BYTES] == []


@pytest.mark.parametrize("width", list(WIDTHS))
def test_persons_pages_have_their_pictures(
    browse: Callable[..., Page], site: Site, folder: Path, worked: dict[str, str], width: str
) -> None:
    assert worked
    page = browse(WIDTHS[width])
    link = ask(site, "/users/elisa/sign-in-link", "POST").json()["url"]
    taken = []

    for name, address in (("sign-in", "/admin/sign-in"), ("me-sign-in", "/me/sign-in")):
        page.goto(address)
        taken.append(take(page, folder, name, width))
    page.goto(link)
    taken.append(take(page, folder, "me-link", width))
    page.get_by_role("button", name="Continuar").click()
    page.wait_for_url("**/me")
    taken.append(take(page, folder, "me", width))

    assert [it.name for it in taken if it.stat().st_size < LEAST_BYTES] == []


def test_home_has_its_picture_in_the_dark(
    sign_in: SignIn, folder: Path, worked: dict[str, str]
) -> None:
    page = sign_in(DESKTOP, color_scheme="dark")
    page.goto(worked["home"])

    picture = take(page, folder, "home-dark", "desktop")

    assert picture.stat().st_size >= LEAST_BYTES
