"""Every page, for everybody: axe-core finds nothing grave, and nothing is cut off on a phone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page

from app.config.settings import PROJECT_ROOT
from tests.pages import company
from tests.pages.addresses import PAGES, addresses, ask
from tests.pages.conftest import DESKTOP, PHONE, SignIn, Site

AXE = PROJECT_ROOT / "tests" / "clients" / "node" / "node_modules" / "axe-core" / "axe.min.js"
GRAVE = {"serious", "critical"}
LOOKS = {
    "desktop": (DESKTOP, "light"),
    "desktop-dark": (DESKTOP, "dark"),
    "phone": (PHONE, "light"),
    "phone-dark": (PHONE, "dark"),
}


@pytest.fixture(scope="module")
def axe() -> str:
    if not AXE.exists():
        pytest.skip("needs axe-core: make test installs it")
    return AXE.read_text()


@pytest.fixture(scope="module")
def worked(site: Site) -> dict[str, str]:
    company.work(site.url, site.company, site.upstream)
    return addresses(site)


def grave_faults(page: Page, axe: str) -> list[str]:
    """Return what axe-core finds serious or critical."""
    page.evaluate(axe)
    found: dict[str, Any] = page.evaluate("() => axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{page.url}: {it['id']}: {node['html'][:200]}"
        for it in found["violations"]
        if it["impact"] in GRAVE
        for node in it["nodes"]
    ]


def is_cut_off(page: Page) -> bool:
    script = "() => document.documentElement.scrollWidth > document.documentElement.clientWidth"
    return bool(page.evaluate(script))


@pytest.mark.parametrize("look", list(LOOKS))
def test_no_page_has_a_grave_fault_or_is_cut_off(
    sign_in: SignIn, worked: dict[str, str], axe: str, look: str
) -> None:
    size, scheme = LOOKS[look]
    page = sign_in(size, color_scheme=scheme)
    faults, cut_off = [], []

    for name, address in worked.items():
        page.goto(address)
        faults += grave_faults(page, axe)
        cut_off += [name] if is_cut_off(page) else []

    assert len(worked) == len(PAGES)
    assert (faults, cut_off) == ([], [])


@pytest.mark.parametrize("look", list(LOOKS))
def test_no_page_of_a_person_has_a_grave_fault_or_is_cut_off(
    browse: Callable[..., Page], site: Site, axe: str, worked: dict[str, str], look: str
) -> None:
    size, scheme = LOOKS[look]
    assert worked
    page = browse(size, color_scheme=scheme)
    link = ask(site, "/users/elisa/sign-in-link", "POST").json()["url"]
    faults, cut_off = [], []

    def look_at(address: str) -> None:
        page.goto(address)
        faults.extend(grave_faults(page, axe))
        cut_off.extend([address] if is_cut_off(page) else [])

    for address in ("/admin/sign-in", "/me/sign-in", link):
        look_at(address)
    page.get_by_role("button", name="Continuar").click()
    look_at("/me")

    assert (faults, cut_off) == ([], [])


def test_form_that_was_refused_says_where_and_keeps_what_was_written(
    sign_in: SignIn, axe: str
) -> None:
    page = sign_in(PHONE)
    page.goto("/admin/budgets")
    form = page.locator("form", has=page.get_by_role("button", name="Definir o orçamento"))
    form.get_by_label("Quem").fill("alguém")
    form.get_by_label("Limite").fill("doze")
    page.get_by_role("button", name="Definir o orçamento").click()

    refused = page.get_by_role("alert")
    assert "“Limite” deve ser um número" in refused.inner_text()
    assert form.get_by_label("Limite").get_attribute("aria-invalid") == "true"
    assert form.get_by_label("Limite").input_value() == "doze"
    assert form.get_by_label("Quem").input_value() == "alguém"
    assert grave_faults(page, axe) == []
