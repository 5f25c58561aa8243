"""Who gets in, who stays in, and what a browser may be made to do."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import create_engine, text

from app import create_app
from app.config.settings import Settings
from app.extensions import db, services_of
from app.routes.pages.guard import PERSON_POLICY, SESSION_POLICY
from app.services.page_session_service import MOST_FAILURES, PageSessionService
from app.serving.flask_app import SolarisFlask
from tests.admin.callers import CALLERS, key_of
from tests.admin.conftest import Ask
from tests.admin.test_authorisation import routes
from tests.audit.trail import recorded
from tests.conftest import ADMIN_KEY
from tests.fakes.clock import FakeClock
from tests.pages.browserless import enter, form_token, send, sign_in
from tests.waiting import wait_until

MakeKey = Callable[..., str]


def session_cookie(client: FlaskClient) -> Any:
    return client.get_cookie("solaris_session")


def is_in(client: FlaskClient) -> bool:
    return client.get("/admin/").status_code == 200


def test_key_with_a_role_opens_the_pages_and_goes_on_record(
    client: FlaskClient, make_key: MakeKey, settings: Settings
) -> None:
    answer = sign_in(client, make_key(name="eva", role="viewer"))

    assert (answer.status_code, answer.location) == (303, "/admin/")
    assert is_in(client)
    # The key's own making comes first.
    event = recorded(settings.database.url, 2)[-1]
    assert (event["kind"], event["key"]) == ("signed_in", "eva")


@pytest.mark.parametrize("key", ["", "sk-solaris-wrong", "x" * 600, "\u202e\u0000"])
def test_wrong_key_opens_nothing_and_is_not_shown(client: FlaskClient, key: str) -> None:
    answer = sign_in(client, key)

    assert answer.status_code == 401
    assert not is_in(client)
    assert key == "" or key not in answer.text


def test_key_that_only_calls_models_opens_nothing(client: FlaskClient, make_key: MakeKey) -> None:
    assert sign_in(client, make_key()).status_code == 401
    assert not is_in(client)


def test_session_ends_with_its_key(client: FlaskClient, app: SolarisFlask) -> None:
    access = services_of(app).access
    key, record = access.create_key("eva", role="admin")
    sign_in(client, key)
    assert is_in(client)

    access.revoke_key(record.id)

    wait_until(lambda: not is_in(client), 8)
    assert client.get("/admin/").location == "/admin/sign-in?next=/admin/"


def test_session_ends_when_the_environments_key_is_another(
    client: FlaskClient, settings: Settings
) -> None:
    sign_in(client)
    cookie = session_cookie(client)
    security = replace(settings.security, admin_api_key="sk-another-admin-key-of-the-tests")
    app = create_app(replace(settings, security=security))
    other = app.test_client()
    other.set_cookie(cookie.key, cookie.value)

    assert not is_in(other)

    app.background_loop.run(services_of(app).close())
    app.background_loop.stop()
    with app.app_context():
        db.engine.dispose()


def test_who_signs_out_is_out_also_with_a_kept_cookie(client: FlaskClient) -> None:
    sign_in(client)
    kept = session_cookie(client).value

    send(client, "/admin/sign-out", at="/admin/")

    assert not is_in(client)
    client.set_cookie("solaris_session", kept)
    assert not is_in(client)


def test_cookie_is_out_of_reach_of_scripts_and_of_other_sites(client: FlaskClient) -> None:
    answer = sign_in(client)

    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert ADMIN_KEY not in cookie


def test_cookie_is_for_tls_only_in_production(settings: Settings) -> None:
    app = create_app(replace(settings, environment="production"))
    client = app.test_client()

    page = client.get("/admin/sign-in", base_url="https://localhost")

    assert "Secure" in page.headers["Set-Cookie"]
    assert "max-age" in page.headers["Strict-Transport-Security"]
    app.background_loop.stop()
    with app.app_context():
        db.engine.dispose()


def test_database_has_no_token_and_no_key(client: FlaskClient, settings: Settings) -> None:
    sign_in(client)
    with client.session_transaction("/admin/") as session:
        token = session["token"]

    engine = create_engine(settings.database.url)
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT page_sessions::text FROM page_sessions")).all()
    engine.dispose()

    assert len(rows) == 1
    assert token not in str(rows)
    assert token.encode().hex() not in str(rows)
    assert ADMIN_KEY.encode().hex() not in str(rows)


def test_many_wrong_keys_from_one_place_close_the_door_to_right_ones_too(
    client: FlaskClient,
) -> None:
    statuses = [sign_in(client, "sk-solaris-wrong").status_code for _ in range(MOST_FAILURES)]

    answer = sign_in(client)

    assert statuses == [401] * MOST_FAILURES
    assert answer.status_code == 429
    assert int(answer.headers["Retry-After"]) <= 15 * 60 + 1
    assert sign_in_from(client, "203.0.113.9").status_code == 303


def sign_in_from(client: FlaskClient, address: str) -> Any:
    data = {"csrf_token": form_token(client), "key": ADMIN_KEY}
    return client.post("/admin/sign-in", data=data, environ_base={"REMOTE_ADDR": address})


def test_door_opens_again_after_a_quarter_of_an_hour(app: SolarisFlask) -> None:
    services = services_of(app)
    clock = FakeClock()
    sessions = PageSessionService(services.page_sessions._store, services.access, "s", clock)
    for _ in range(MOST_FAILURES):
        sessions.refused("203.0.113.9")
    with pytest.raises(Exception, match="rate_limit_exceeded"):
        sessions.require_patience("203.0.113.9")

    clock.advance(timedelta(minutes=16).total_seconds())

    sessions.require_patience("203.0.113.9")


@pytest.mark.parametrize(
    "wanted", ["https://evil.example/", "//evil.example/", "/\\evil.example", "javascript:alert(1)"]
)
def test_sign_in_leads_nowhere_but_to_pages_of_ours(client: FlaskClient, wanted: str) -> None:
    answer = send(client, "/admin/sign-in", key=ADMIN_KEY, next=wanted)

    assert answer.location == "/admin/"


def test_who_signs_in_comes_to_where_they_wanted(client: FlaskClient) -> None:
    wanted = client.get("/admin/requests?user=ana").location
    assert wanted == "/admin/sign-in?next=/admin/requests?user%3Dana"

    answer = send(client, "/admin/sign-in", key=ADMIN_KEY, next="/admin/requests?user=ana")

    assert answer.location == "/admin/requests?user=ana"


def pages(app: SolarisFlask, policy_starts: str) -> Iterator[tuple[str, str, str]]:
    for method, path, policy in routes(app):
        if policy.startswith(policy_starts):
            yield method, path, policy.removeprefix(policy_starts)


@pytest.mark.parametrize("caller", CALLERS)
def test_every_page_lets_in_the_roles_that_it_names_and_nobody_else(
    app: SolarisFlask, client: FlaskClient, make_key: MakeKey, caller: str
) -> None:
    key = key_of(caller, app, make_key)
    answer = sign_in(client, key or "")
    token = form_token(client, "/admin/" if answer.status_code == 303 else "/admin/sign-in")
    wanted, seen = {}, {}

    for method, path, roles in pages(app, SESSION_POLICY):
        data = {"csrf_token": token} if method == "POST" else None
        status = client.open(path, method=method, data=data).status_code
        location = client.open(path, method="GET").location if method == "GET" else None
        is_out = method == "GET" and bool(location and "/sign-in" in location)
        seen[method, path] = "out" if is_out else "refused" if status == 403 else "in"
        if answer.status_code != 303:
            wanted[method, path] = "out" if method == "GET" else "in"
        else:
            wanted[method, path] = "in" if caller in roles.split(",") else "refused"

    assert len(seen) > 30
    assert seen == wanted


def test_no_change_is_made_without_a_session(app: SolarisFlask, client: FlaskClient) -> None:
    token = form_token(client)

    answers = [
        client.post(path, data={"csrf_token": token})
        for method, path, _ in pages(app, SESSION_POLICY)
        if method == "POST"
    ]

    assert len(answers) > 15
    assert {(it.status_code, it.location) for it in answers} == {(303, "/admin/sign-in")}


def test_no_form_is_taken_that_is_not_ours(app: SolarisFlask, client: FlaskClient) -> None:
    sign_in(client)

    statuses = {
        client.post(path, data={"csrf_token": "made-up"}).status_code
        for method, path, policy in routes(app)
        if method == "POST" and path.startswith(("/admin/", "/me/"))
        if policy.startswith((SESSION_POLICY, PERSON_POLICY)) or policy == "everyone"
    }

    assert statuses == {400}


def test_key_in_a_header_opens_no_page_and_a_session_no_route_of_the_api(
    client: FlaskClient,
) -> None:
    by_header = client.get("/admin/", headers={"Authorization": f"Bearer {ADMIN_KEY}"})
    sign_in(client)

    assert by_header.status_code == 303
    assert client.get("/api/admin/budgets").status_code == 401


def test_every_page_has_its_headers(app: SolarisFlask, client: FlaskClient) -> None:
    sign_in(client)

    answers = [
        client.get(path) for method, path, _ in pages(app, SESSION_POLICY) if method == "GET"
    ]

    assert len(answers) > 15
    for answer in answers:
        policy = answer.headers["Content-Security-Policy"]
        assert "unsafe" not in policy
        assert "http" not in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cache-Control"] == "no-store"
        assert "<script>" not in answer.text
        assert " style=" not in answer.text
        assert " onclick=" not in answer.text


def test_part_of_a_page_that_asks_for_itself_sends_the_whole_page_to_sign_in(
    client: FlaskClient,
) -> None:
    answer = client.get("/admin/requests", headers={"HX-Request": "true"})

    assert (answer.status_code, answer.headers["HX-Redirect"]) == (401, "/admin/sign-in")


def test_link_opens_the_persons_page_once(client: FlaskClient, ask: Ask) -> None:
    ask("POST", "/users", json={"id": "ana"})
    link = ask("POST", "/users/ana/sign-in-link").get_json()["url"]
    assert client.get(link).status_code == 200

    first = enter(client, link)

    assert (first.status_code, first.location) == (303, "/me")
    assert "ana" in client.get("/me").text
    assert enter(client, link).status_code == 401


@pytest.mark.parametrize("person", ["ana", "setor/ana", "ana/sign-in-link"])
def test_link_is_made_on_the_persons_page(
    client: FlaskClient, ask: Ask, app: SolarisFlask, person: str
) -> None:
    ask("POST", "/users", json={"id": person})
    sign_in(client)
    page = client.get(f"/admin/people/{person}").text
    (action,) = re.findall(r'action="(/admin/sign-in-links/[^"]+)"', page)

    made = send(client, action, at=f"/admin/people/{person}")

    assert made.status_code == 200
    (link,) = re.findall(r'id="made">([^<]+)<', made.text)
    assert enter(app.test_client(), link).location == "/me"


def test_link_ends_after_a_quarter_of_an_hour(
    client: FlaskClient, ask: Ask, settings: Settings
) -> None:
    ask("POST", "/users", json={"id": "ana"})
    link = ask("POST", "/users/ana/sign-in-link").get_json()["url"]
    engine = create_engine(settings.database.url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE sign_in_links SET expires_at = now()"))
    engine.dispose()

    assert enter(client, link).status_code == 401
    assert client.get("/me").status_code == 303


def test_trusted_key_makes_a_link_for_the_person_that_it_names(
    client: FlaskClient, make_key: MakeKey
) -> None:
    headers = {
        "Authorization": f"Bearer {make_key(trusted=True)}",
        "X-Solaris-User-Id": "ana",
    }

    made = client.post("/api/me/sign-in-link", headers=headers)

    assert made.status_code == 201
    assert made.get_json()["user"] == "ana"
    assert enter(client, made.get_json()["url"]).location == "/me"


def test_trusted_key_that_names_nobody_gets_no_link(client: FlaskClient, make_key: MakeKey) -> None:
    headers = {"Authorization": f"Bearer {make_key(trusted=True)}"}

    made = client.post("/api/me/sign-in-link", headers=headers)

    assert (made.status_code, made.get_json()["error"]["param"]) == (400, "X-Solaris-User-Id")


def test_person_sees_nobody_elses_budget_and_cannot_ask_for_it(
    client: FlaskClient, ask: Ask
) -> None:
    for person in ("ana", "bruno"):
        ask("POST", "/users", json={"id": person})
    body = {"scope": "user", "subject": "bruno", "metric": "cost", "period": "month"}
    budget = ask("POST", "/budgets", json={**body, "limit": 123_000_000}).get_json()
    enter(client, ask("POST", "/users/ana/sign-in-link").get_json()["url"])

    said = {"budget_id": str(budget["id"]), "amount": "1", "days": "1", "reason": "quero"}
    send(client, "/me/requests-for-more", at="/me", **said)

    assert "123" not in client.get("/me").text
    assert ask("GET", "/raise-requests").get_json()["data"] == []


def test_persons_session_opens_no_page_of_administrators(client: FlaskClient, ask: Ask) -> None:
    ask("POST", "/users", json={"id": "ana"})
    enter(client, ask("POST", "/users/ana/sign-in-link").get_json()["url"])

    assert client.get("/admin/").status_code == 303


def test_what_a_person_does_names_them_only_where_it_can_be_erased(
    client: FlaskClient, ask: Ask, settings: Settings
) -> None:
    ask("POST", "/users", json={"id": "ana"})
    body = {"scope": "user", "subject": "ana", "metric": "cost", "period": "month"}
    budget = ask("POST", "/budgets", json={**body, "limit": 1_000_000}).get_json()
    enter(client, ask("POST", "/users/ana/sign-in-link").get_json()["url"])
    said = {"budget_id": str(budget["id"]), "amount": "1", "days": "1", "reason": "quero"}

    send(client, "/me/requests-for-more", at="/me", **said)

    events = {it["kind"]: it for it in recorded(settings.database.url, 5)}
    asked = events["raise_requested"]
    assert asked["person"] == "ana"
    assert "ana" not in asked["detail"]
    assert "quero" not in asked["detail"]
