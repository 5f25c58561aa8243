"""What a visit costs: bytes on the wire, and nothing at any provider."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import Page, Request, Response

from tests.conftest import ADMIN_KEY
from tests.pages import company
from tests.pages.addresses import addresses
from tests.pages.conftest import SignIn, Site

MOST_BYTES = 150_000


def test_first_visit_weighs_little(browse: Callable[..., Page], site: Site) -> None:
    company.work(site.url, site.company, site.upstream)
    page = browse()
    seen: list[Request] = []
    page.on("requestfinished", lambda it: seen.append(it))  # noqa: PLW0108  # needs a function

    page.goto("/admin/")
    page.get_by_label("Chave").fill(ADMIN_KEY)
    page.get_by_role("button", name="Entrar").click()
    page.wait_for_url(f"{site.url}/admin/")
    page.wait_for_load_state("networkidle")

    # Uncompressed, as without nginx.
    sizes = [it.sizes() for it in seen]
    size = sum(it["responseHeadersSize"] + it["responseBodySize"] for it in sizes)
    assert {it.url.removeprefix(site.url).split("?")[0] for it in seen} >= {
        "/admin/",
        "/static/style.css",
        "/static/htmx.min.js",
    }
    assert all(it.url.startswith(site.url) for it in seen)
    assert 40_000 < size <= MOST_BYTES


def test_looking_at_every_page_asks_no_provider(sign_in: SignIn, site: Site) -> None:
    page = sign_in()
    known = addresses(site)
    site.upstream.forget()

    for address in known.values():
        page.goto(address)
        page.wait_for_timeout(200)

    assert site.upstream.calls == []


def test_files_are_kept_by_the_browser_for_good(browse: Callable[..., Page]) -> None:
    page = browse()
    seen: list[Response] = []
    page.on("response", lambda it: seen.append(it))  # noqa: PLW0108

    page.goto("/admin/sign-in")
    page.wait_for_load_state("networkidle")

    files = [it for it in seen if "/static/" in it.url]
    assert len(files) >= 3
    assert all("max-age=31536000" in it.headers["cache-control"] for it in files)
    assert all("?v=" in it.url for it in files)
