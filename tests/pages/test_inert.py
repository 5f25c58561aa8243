"""What people, clients, models and providers write is shown as it is, and does nothing."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import httpx2 as httpx
import pytest
from playwright.sync_api import Page

from tests.conftest import ADMIN_KEY
from tests.fakes.litellm import completion, status
from tests.pages.addresses import ask as ask_api
from tests.pages.conftest import DESKTOP, PHONE, SignIn, Site
from tests.waiting import wait_until

SCRIPT = "<script>window.done=1</script>"
MARKUP = '"><img src=x onerror="window.done=1"><b>negrito</b>'
LINK = "javascript:window.done=1"
LONG = "Donaudampfschifffahrtsgesellschaft" * 7
RIGHT_TO_LEFT = "\u0627\u0644\u0639\u0631\u0628\u064a\u0629 fdp.exe"
# Turns what follows it around; names may not have it, reasons may.
OVERRIDE = "\u202e"
TEMPLATE = "{{ 7*7 }}{% raw %}${7*7}"
TEXTS = {
    "script": SCRIPT,
    "markup": MARKUP,
    "link": LINK,
    "long": LONG,
    "rtl": RIGHT_TO_LEFT,
    "template": TEMPLATE,
}


def ask(site: Site, method: str, path: str, json: Any = None) -> httpx.Response:
    headers = {"Authorization": f"Bearer {ADMIN_KEY}"}
    answer = httpx.request(method, f"{site.url}/api/admin{path}", headers=headers, json=json)
    assert answer.status_code < 300, answer.text
    return answer


def in_header(text: str) -> str:
    return "b64:" + base64.b64encode(text.encode()).decode()


def call(site: Site, person: str, team: str, model: str) -> None:
    headers = {
        "Authorization": f"Bearer {site.company.trusted_key}",
        "X-Solaris-User-Id": in_header(person),
        "X-Solaris-User-Team": in_header(team),
        "User-Agent": SCRIPT,
    }
    body = {"model": model, "max_tokens": 9, "messages": [{"role": "user", "content": SCRIPT}]}
    httpx.post(f"{site.url}/v1/chat/completions", json=body, headers=headers, timeout=30)


@pytest.fixture(scope="module")
def full_of_it(site: Site) -> list[str]:
    """Have these texts wherever others may write; return the pages that show them."""
    site.upstream.default = completion(text=SCRIPT)
    pages = ["/admin/", "/admin/people", "/admin/teams", "/admin/keys", "/admin/budgets"]
    month = {"scope": "user", "metric": "cost", "period": "month", "limit": 1_000_000}
    for number, text in enumerate(TEXTS.values()):
        person = f"p{number} {text}"[:120]
        team = f"t{number} {text}"[:120]
        ask(site, "POST", "/teams", {"id": team, "name": text})
        ask(site, "POST", "/users", {"id": person, "name": text, "team": team})
        budget = ask(site, "POST", "/budgets", {**month, "subject": person}).json()["id"]
        ask(site, "POST", "/keys", {"name": f"k{number} {text}"[:120], "user": person})
        raised = {"amount": 1, "expires_at": "2999-01-01T00:00:00Z", "reason": OVERRIDE + text}
        ask(site, "POST", f"/budgets/{budget}/raises", raised)
        body = {"scope": "user", "subject": person, "reason": (OVERRIDE + text)[:120]}
        call(site, person, team, "gpt-4o")
        call(site, person, team, text)
        ask(site, "POST", "/killswitch", body)
        pages += [f"/admin/budgets/{budget}", f"/admin/keys/{number + 4}"]
    site.upstream.for_model("gpt-4o", status(500, {"error": {"message": SCRIPT, "code": MARKUP}}))
    call(site, "ana", "vendas", "gpt-4o")
    wait_until(lambda: len(ask_api(site, "/audit?event=request").json()["data"]) >= 5, 10)
    found = ask_api(site, "/audit?limit=40").json()["data"]
    pages += [f"/admin/requests/{it['request_id']}" for it in found if it["request_id"]]
    pages += ["/admin/requests", "/admin/audit", "/admin/kill-switch", "/admin/requests-for-more"]
    pages += [f"/admin/requests?user={SCRIPT}&model={MARKUP}", f"/admin/people?q={MARKUP}"]
    return pages


def faults(page: Page) -> list[str]:
    script = """() => [
      ...(window.done ? ['a script ran'] : []),
      ...[...document.querySelectorAll('main script, main img[src="x"], main b')].map(
        it => it.outerHTML),
      ...[...document.querySelectorAll('a[href], form[action]')].filter(
        it => /^\\s*javascript:/i.test(it.getAttribute('href') ?? it.getAttribute('action'))
      ).map(it => it.outerHTML),
      ...(document.documentElement.scrollWidth > document.documentElement.clientWidth
        ? ['wider than the screen'] : []),
      ...[...document.querySelectorAll('body *')].filter(
        it => [...it.childNodes].some(node => node.nodeType === 3 && node.data.includes('\\u202e'))
          && !it.closest('bdi, option, textarea, title') ).map(it => 'loose: ' + it.outerHTML),
      ...(document.body.innerText.includes('49') && document.body.innerText.includes('${49}')
        ? ['a template ran'] : []),
    ]"""
    return [f"{page.url}: {it[:200]}" for it in page.evaluate(script)]


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_text_of_others_is_inert_on_every_page(
    sign_in: SignIn, full_of_it: list[str], size: dict[str, int]
) -> None:
    page = sign_in(size)
    found = []

    for address in full_of_it:
        page.goto(address)
        found += faults(page)

    assert len(full_of_it) > 30
    assert found == []


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
def test_persons_page_shows_a_name_as_it_was_written(
    sign_in: SignIn, full_of_it: list[str], site: Site, text: str
) -> None:
    page = sign_in(DESKTOP)
    page.goto("/admin/people")
    number = list(TEXTS.values()).index(text)

    page.locator("tbody a", has_text=f"p{number} ").first.click()

    assert full_of_it
    assert page.locator("h1").inner_text().strip() == " ".join(text.split())
    assert faults(page) == []


def test_persons_own_page_is_inert_too(
    browse: Callable[..., Page], full_of_it: list[str], site: Site
) -> None:
    page = browse(PHONE)
    assert full_of_it
    for person in (it["id"] for it in ask_api(site, "/users?q=p").json()["data"][:12]):
        link = ask_api(site, f"/users/{httpx.URL('/' + person).path[1:]}/sign-in-link", "POST")
        if link.status_code != 201:
            continue
        page.goto(link.json()["url"])
        page.get_by_role("button", name="Continuar").click()
        page.wait_for_url("**/me")
        page.get_by_label("Quanto a mais").fill("1")
        page.get_by_label("Para quê").fill(MARKUP)
        page.get_by_role("button", name="Enviar o pedido").click()
        page.wait_for_url("**/me")
        assert faults(page) == []
