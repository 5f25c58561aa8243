"""The daily tasks of an administrator, done as a person does them: in a browser, by their words.

Clicks are counted: each task is done within three of home.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import httpx2 as httpx
import pytest
from playwright.sync_api import Page, expect

from tests.conftest import ADMIN_KEY
from tests.fakes.litellm import completion
from tests.pages import company
from tests.pages.conftest import DESKTOP, PHONE, SignIn, Site
from tests.waiting import wait_until

MOST_CLICKS = 3
SIZES = pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])


class Clicks:
    """Goes about as a person does, and counts the clicks; on a phone the menu is one of them."""

    def __init__(self, page: Page, *, is_phone: bool) -> None:
        self.page = page
        self.count = 0
        self._is_phone = is_phone

    def menu(self, name: str) -> None:
        if self._is_phone:
            # Opening the menu shows what a wide screen always shows.
            self.page.locator("details.menu > summary").click()
        places = self.page.get_by_role("navigation").get_by_role("link", name=name, exact=True)
        places.first.click()
        self.count += 1

    def button(self, name: str | re.Pattern[str]) -> None:
        self.page.get_by_role("button", name=name).first.click()
        self.count += 1

    def link(self, name: str | re.Pattern[str]) -> None:
        self.page.get_by_role("main").get_by_role("link", name=name).first.click()
        self.count += 1


@pytest.fixture
def begin(sign_in: SignIn) -> Callable[[dict[str, int]], Clicks]:
    def begun(size: dict[str, int]) -> Clicks:
        return Clicks(sign_in(size), is_phone=size == PHONE)

    return begun


Begin = Callable[[dict[str, int]], Clicks]


def call(site: Site, person: str, model: str = "gpt-4o") -> httpx.Response:
    return httpx.post(
        f"{site.url}/v1/chat/completions",
        json={"model": model, "max_tokens": 50, "messages": [{"role": "user", "content": "oi"}]},
        headers={
            "Authorization": f"Bearer {site.company.trusted_key}",
            "X-Solaris-User-Id": person,
        },
        timeout=30,
    )


def admin(site: Site, method: str, path: str, json: object = None) -> httpx.Response:
    headers = {"Authorization": f"Bearer {ADMIN_KEY}"}
    answer = httpx.request(method, f"{site.url}/api/admin{path}", headers=headers, json=json)
    assert answer.status_code < 300, answer.text
    return answer


@pytest.fixture(autouse=True)
def well(site: Site) -> None:
    site.upstream.forget()
    site.upstream.default = completion()


@SIZES
def test_what_was_spent_is_seen_at_home(begin: Begin, size: dict[str, int]) -> None:
    hand = begin(size)

    expect(hand.page.get_by_role("heading", name="Hoje")).to_be_visible()
    expect(hand.page.get_by_text("Gasto hoje")).to_be_visible()
    expect(hand.page.get_by_role("heading", name="Orçamentos e quando acabam")).to_be_visible()


@SIZES
def test_budget_that_is_set_binds_and_the_refused_call_appears_by_itself_with_its_story(
    begin: Begin, site: Site, size: dict[str, int]
) -> None:
    person = f"novo-{size['width']}"
    hand = begin(size)
    hand.menu("Orçamentos")
    form = hand.page.locator("form", has=hand.page.get_by_role("button", name="Definir o orçam"))
    form.get_by_label("Quem").fill(person)
    form.get_by_label("Conta").select_option("requests")
    form.get_by_label("Limite").fill("1")
    form.get_by_label("A cada").select_option("day")
    hand.button("Definir o orçamento")
    expect(hand.page.get_by_role("status")).to_contain_text("Orçamento definido")
    assert hand.count <= MOST_CLICKS

    hand.menu("Chamadas")
    expect(hand.page.get_by_role("heading", name="Chamadas", exact=True)).to_be_visible()
    wait_until(lambda: call(site, person).status_code == 402, 10)
    row = hand.page.locator("tr", has_text=person).filter(has_text="402")
    expect(row.first).to_be_visible(timeout=10_000)
    row.first.get_by_role("link").click()
    expect(hand.page.get_by_text("Recusada: nenhum modelo foi pago")).to_be_visible()
    expect(hand.page.get_by_text("o orçamento não comporta").first).to_be_visible()


@SIZES
def test_refused_call_appears_within_two_seconds_of_being_on_record(
    begin: Begin, site: Site, size: dict[str, int]
) -> None:
    hand = begin(size)
    hand.menu("Chamadas")
    person = f"recusado-{size['width']}"
    place = {"scope": "user", "subject": person, "metric": "requests", "period": "day"}
    admin(site, "POST", "/budgets", {**place, "limit": 0})
    wait_until(lambda: call(site, person).status_code == 402, 10)
    path = f"/audit?event=refusal&user={person}"
    wait_until(lambda: admin(site, "GET", path).json()["data"] != [], 10)

    row = hand.page.locator("tr", has_text=person)

    # The list asks every two seconds; the rest is for the asking.
    expect(row.first).to_be_visible(timeout=3_000)


@SIZES
def test_request_for_more_is_asked_for_by_the_person_and_approved_at_home(
    begin: Begin, browse: Callable[..., Page], site: Site, size: dict[str, int]
) -> None:
    person = "carla" if size == DESKTOP else "bruno"
    hand = begin(size)
    link = admin(site, "POST", f"/users/{person}/sign-in-link").json()["url"]
    mine = browse(size)
    mine.goto(link)
    mine.get_by_role("button", name="Continuar").click()
    mine.get_by_label("Quanto a mais").fill("12,50")
    mine.get_by_label("Para quê").fill("fechamento do mês")
    mine.get_by_role("button", name="Enviar o pedido").click()
    expect(mine.get_by_role("status")).to_contain_text("Seu pedido foi enviado")

    hand.page.reload()
    hand.button(f"Aprovar o pedido de {person}")

    expect(hand.page.get_by_role("status")).to_contain_text("Aprovado")
    assert hand.count <= MOST_CLICKS
    mine.reload()
    expect(mine.get_by_text("Aprovado", exact=True)).to_be_visible()
    expect(mine.get_by_text("US$ 32,50").first).to_be_visible()


@SIZES
def test_request_for_more_is_declined_with_a_word_that_the_person_reads(
    begin: Begin, browse: Callable[..., Page], site: Site, size: dict[str, int]
) -> None:
    person = "davi" if size == DESKTOP else "ana"
    hand = begin(size)
    mine = browse(size)
    mine.goto(admin(site, "POST", f"/users/{person}/sign-in-link").json()["url"])
    mine.get_by_role("button", name="Continuar").click()
    mine.get_by_label("Quanto a mais").fill("3")
    mine.get_by_label("Para quê").fill("curiosidade")
    mine.get_by_role("button", name="Enviar o pedido").click()

    hand.menu("Pedidos de mais")
    item = hand.page.locator("li", has_text="curiosidade")
    item.get_by_text("Recusar…").click()
    item.get_by_label("O que dizer à pessoa").fill("só depois do dia 1")
    item.get_by_role("button", name="Recusar", exact=True).click()

    expect(hand.page.get_by_role("status")).to_contain_text("Recusado")
    assert hand.count + 2 <= MOST_CLICKS
    mine.reload()
    expect(mine.get_by_text("só depois do dia 1")).to_be_visible()


@SIZES
def test_key_is_made_and_shown_once(begin: Begin, site: Site, size: dict[str, int]) -> None:
    hand = begin(size)

    hand.menu("Chaves")
    hand.page.get_by_label("Nome", exact=True).fill(f"notebook-{size['width']}")
    hand.button("Criar a chave")

    key = hand.page.locator("#made").inner_text()
    assert hand.count <= MOST_CLICKS
    headers = {"Authorization": f"Bearer {key}"}
    assert httpx.get(f"{site.url}/v1/models", headers=headers).status_code == 200
    hand.link("Pronto")
    expect(hand.page.get_by_text(key)).to_have_count(0)


@SIZES
def test_key_is_rotated(begin: Begin, site: Site, size: dict[str, int]) -> None:
    name = f"gira-{size['width']}"
    admin(site, "POST", "/keys", {"name": name})
    hand = begin(size)

    hand.menu("Chaves")
    hand.link(name)
    hand.button("Trocar")

    new = hand.page.locator("#made").inner_text()
    assert hand.count <= MOST_CLICKS
    headers = {"Authorization": f"Bearer {new}"}
    assert httpx.get(f"{site.url}/v1/models", headers=headers).status_code == 200


@SIZES
def test_alert_is_acknowledged_at_home(begin: Begin, site: Site, size: dict[str, int]) -> None:
    person = f"alerta-{size['width']}"
    place = {"scope": "user", "subject": person, "metric": "requests", "period": "day"}
    admin(site, "POST", "/budgets", {**place, "limit": 1})
    wait_until(lambda: call(site, person).status_code == 402, 10)
    hand = begin(size)

    def is_shown() -> bool:
        hand.page.reload()
        return hand.page.get_by_role("button", name=re.compile(person)).count() > 0

    wait_until(is_shown, 60)
    hand.button(re.compile(f"Reconhecer.*{person}"))

    expect(hand.page.get_by_role("status")).to_contain_text("Reconhecido")
    assert hand.count <= MOST_CLICKS


@SIZES
def test_trail_is_verified_with_its_result_shown(begin: Begin, size: dict[str, int]) -> None:
    hand = begin(size)

    hand.menu("Verificação")
    hand.button("Verificar agora")

    expect(hand.page.get_by_text("Nada foi alterado").first).to_be_visible()
    assert hand.count <= MOST_CLICKS


@SIZES
def test_failure_of_a_model_is_simulated(begin: Begin, site: Site, size: dict[str, int]) -> None:
    hand = begin(size)
    hand.menu("Modelos")
    hand.page.get_by_label("Modelo", exact=True).select_option("gpt-4o")
    hand.page.get_by_role("checkbox", name="gpt-4o", exact=True).check()
    hand.count += 1

    hand.button("Simular")

    expect(hand.page.get_by_text(re.compile(r"responderia\."))).to_be_visible()
    assert hand.count <= MOST_CLICKS
    assert site.upstream.calls == []


@SIZES
def test_kill_switch_is_thrown_after_a_confirmation_and_lifted(
    begin: Begin, site: Site, size: dict[str, int]
) -> None:
    team = "juridico"
    hand = begin(size)
    hand.menu("Bloqueio")
    hand.page.get_by_label("Chamadas de quem").select_option("team")
    hand.page.get_by_label("Qual equipe, pessoa ou modelo").fill(team)
    hand.page.get_by_label("Motivo").fill("auditoria em curso")
    hand.page.get_by_role("checkbox", name=re.compile("Tenho certeza")).check()
    hand.count += 1
    hand.button("Acionar o bloqueio")
    assert hand.count <= MOST_CLICKS
    expect(hand.page.get_by_role("status")).to_contain_text("Bloqueio acionado")
    wait_until(lambda: call(site, "elisa").status_code == 403, 5)

    hand.button(re.compile("Desfazer: Equipe: juridico"))

    expect(hand.page.get_by_role("status")).to_contain_text("Desfeito")
    wait_until(lambda: call(site, "elisa").status_code == 200, 5)


@SIZES
def test_kill_switch_is_not_thrown_without_the_confirmation(
    begin: Begin, site: Site, size: dict[str, int]
) -> None:
    hand = begin(size)
    hand.menu("Bloqueio")
    hand.page.get_by_label("Motivo").fill("engano")

    hand.button("Acionar o bloqueio")

    expect(hand.page.get_by_text("Nenhum: as chamadas passam.")).to_be_visible()
    assert admin(site, "GET", "/killswitch").json()["data"] == []


@SIZES
def test_language_is_changed(begin: Begin, size: dict[str, int]) -> None:
    hand = begin(size)
    if size == PHONE:
        hand.page.locator("details.menu > summary").click()

    hand.page.locator("button:visible", has_text="English").click()

    expect(hand.page.get_by_role("heading", name="Today")).to_be_visible()
    assert hand.page.locator("html").get_attribute("lang") == "en"


def press_until(page: Page, is_there: Callable[[], bool], key: str = "Tab") -> None:
    for _ in range(120):
        if is_there():
            return
        page.keyboard.press(key)
    raise AssertionError("the keyboard does not get there")


def focused(page: Page) -> str:
    script = "() => document.activeElement.id || document.activeElement.innerText"
    return str(page.evaluate(script)).strip()


class Keyboard:
    """Goes about a phone's width with no pointer."""

    def __init__(self, page: Page, site: Site) -> None:
        self.page = page
        page.goto("/admin/")
        page.keyboard.type(ADMIN_KEY)
        page.keyboard.press("Enter")
        page.wait_for_url(f"{site.url}/admin/")

    def menu(self, name: str) -> None:
        self.page.evaluate("() => document.activeElement.blur()")
        self.reach("IA SOLARIS")
        self.page.keyboard.press("Enter")
        self.reach(name)
        self.enter()

    def reach(self, what: str) -> None:
        press_until(self.page, lambda: focused(self.page) == what)

    def reach_in_row(self, text: str) -> None:
        script = "text => document.activeElement.closest('tr')?.innerText.includes(text) ?? false"
        press_until(self.page, lambda: bool(self.page.evaluate(script, text)))

    def write(self, field: str, text: str) -> None:
        self.reach(field)
        self.page.keyboard.type(text)

    def enter(self) -> None:
        with self.page.expect_navigation():
            self.page.keyboard.press("Enter")


@pytest.fixture
def keyboard(browse: Callable[..., Page], site: Site) -> Keyboard:
    return Keyboard(browse(PHONE), site)


def test_key_kill_switch_and_verification_need_no_pointer(keyboard: Keyboard) -> None:
    page = keyboard.page
    keyboard.menu("Chaves")
    keyboard.write("key-name", "so-teclado")
    keyboard.reach("Criar a chave")
    keyboard.enter()
    expect(page.locator("#made")).to_be_visible()

    keyboard.menu("Bloqueio")
    keyboard.write("throw-scope", "Pes")
    keyboard.write("throw-subject", "ninguem")
    keyboard.write("throw-reason", "teste de teclado")
    press_until(page, lambda: page.evaluate("() => document.activeElement.name") == "sure")
    page.keyboard.press("Space")
    keyboard.reach("Acionar o bloqueio")
    keyboard.enter()
    expect(page.get_by_text("chamadas recusadas")).to_be_visible()
    keyboard.reach("Desfazer")
    keyboard.enter()
    expect(page.get_by_text("Nenhum: as chamadas passam.")).to_be_visible()

    keyboard.menu("Verificação")
    keyboard.reach("Verificar agora")
    keyboard.enter()
    expect(page.get_by_text("Nada foi alterado").first).to_be_visible()


def test_budget_and_the_story_of_a_refusal_need_no_pointer(keyboard: Keyboard, site: Site) -> None:
    page, person = keyboard.page, "so-teclado"
    keyboard.menu("Orçamentos")
    keyboard.write("budget-subject", person)
    keyboard.write("budget-metric", "Ped")
    keyboard.write("budget-limit", "0")
    keyboard.reach("Definir o orçamento")
    keyboard.enter()
    expect(page.get_by_role("status")).to_contain_text("Orçamento definido")

    keyboard.menu("Chamadas")
    wait_until(lambda: call(site, person).status_code == 402, 10)
    expect(page.locator("tr", has_text=person).first).to_be_visible(timeout=10_000)
    keyboard.reach_in_row(person)
    keyboard.enter()
    expect(page.get_by_text("Recusada: nenhum modelo foi pago")).to_be_visible()


def test_raise_alert_rotation_and_language_need_no_pointer(keyboard: Keyboard, site: Site) -> None:
    page, person, name = keyboard.page, "avisado", "gira-so-teclado"
    place = {"scope": "user", "subject": person, "metric": "requests", "period": "day"}
    admin(site, "POST", "/budgets", {**place, "limit": 1})
    admin(site, "POST", "/keys", {"name": name})
    wait_until(lambda: call(site, person).status_code == 402, 10)
    wait_until(lambda: person in admin(site, "GET", "/alerts").text, 60)

    keyboard.menu("Hoje")
    # Elisa's, who asked when the company began.
    keyboard.reach("Aprovar")
    keyboard.enter()
    expect(page.get_by_role("status")).to_contain_text("Aprovado")
    keyboard.menu("Hoje")
    keyboard.reach("Reconhecer")
    keyboard.enter()
    expect(page.get_by_role("status")).to_contain_text("Reconhecido")

    keyboard.menu("Chaves")
    keyboard.reach(name)
    keyboard.enter()
    keyboard.reach("Trocar")
    keyboard.enter()
    expect(page.locator("#made")).to_be_visible()

    page.evaluate("() => document.activeElement.blur()")
    keyboard.reach("IA SOLARIS")
    page.keyboard.press("Enter")
    keyboard.reach("English")
    keyboard.enter()
    assert page.locator("html").get_attribute("lang") == "en"


def test_list_that_renews_itself_leaves_the_keyboard_where_it_is(
    sign_in: SignIn, site: Site
) -> None:
    call(site, "ana")
    page = sign_in(DESKTOP)
    page.goto("/admin/requests")
    first = page.locator("tbody a").first
    first.focus()
    before = page.evaluate("() => document.activeElement.id")

    call(site, "bruno")
    expect(page.locator("tbody tr").first).to_contain_text("bruno", timeout=10_000)

    assert page.evaluate("() => document.activeElement.id") == before


def test_company_is_found_by_its_administrator(site: Site) -> None:
    found = {row["id"] for row in admin(site, "GET", "/users").json()["data"]}

    assert set(company.PEOPLE) <= found
