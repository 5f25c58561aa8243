"""Every address, for every kind of caller: made from the application's own map."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest
from flask.testing import FlaskClient

from app.routes.access import KEY_POLICY, POLICY_ATTRIBUTE, READERS, TRUSTED_KEY_POLICY
from app.routes.pages.guard import PERSON_POLICY, SESSION_POLICY
from app.serving.flask_app import SolarisFlask
from tests.admin.callers import CALLERS, key_of, refusal_of
from tests.conftest import ADMIN_KEY
from tests.fakes.litellm import FakeLiteLLM

MakeKey = Callable[..., str]

OPEN = {"everyone", "a sender who signs with WEBHOOK_SECRET"}
ROLES = {*READERS, "user"}
KNOWN = OPEN | {KEY_POLICY, TRUSTED_KEY_POLICY, PERSON_POLICY}
STAND_INS = {"number": "1", "day": "2026-11-23"}
PLACE = re.compile(r"<(?:(\w+):)?\w+>")


def routes(app: SolarisFlask) -> Iterator[tuple[str, str, str]]:
    """Yield each method and address, and what its view says of who may call it."""
    for rule in app.url_map.iter_rules():
        if rule.endpoint == "static":
            continue
        path = PLACE.sub(lambda place: STAND_INS.get(place[1] or "", "some"), rule.rule)
        policy = getattr(app.view_functions[rule.endpoint], POLICY_ATTRIBUTE, "")
        for method in sorted((rule.methods or set()) - {"OPTIONS", "HEAD"}):
            yield method, path, policy


def is_page(policy: str) -> bool:
    """Tell whether a session lets in, and a key does not: `tests/pages/test_sign_in.py`."""
    return policy == PERSON_POLICY or policy.startswith(SESSION_POLICY)


def test_every_route_states_a_policy_that_is_known(app: SolarisFlask) -> None:
    unknown = {
        (method, path): policy
        for method, path, policy in routes(app)
        if policy not in KNOWN
        if not set(policy.removeprefix(SESSION_POLICY).split(",")) <= ROLES
    }

    assert unknown == {}


@pytest.mark.parametrize("caller", CALLERS)
def test_every_route_refuses_whom_its_policy_leaves_out_and_nobody_else(
    app: SolarisFlask, client: FlaskClient, make_key: MakeKey, caller: str
) -> None:
    key = key_of(caller, app, make_key)
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    wanted, seen = {}, {}

    for method, path, policy in routes(app):
        # What is open to everyone may still want a form of its own.
        if is_page(policy) or path.startswith(("/admin/", "/me/")):
            continue
        status = client.open(path, method=method, headers=headers).status_code
        seen[method, path] = status if status in (401, 403) else None
        wanted[method, path] = refusal_of(policy, caller)

    assert len(seen) > 20
    assert seen == wanted


@pytest.mark.parametrize("body", [b"{", b'{"limit": "x"}', b"\xff", b"[" * 5000], ids=repr)
def test_admin_route_refuses_who_may_not_call_before_it_reads_the_body(
    app: SolarisFlask, client: FlaskClient, make_key: MakeKey, body: bytes
) -> None:
    headers = {"Authorization": f"Bearer {make_key()}"}

    statuses = {
        client.open(path, method=method, headers=headers, data=body).status_code
        for method, path, policy in routes(app)
        if policy not in KNOWN and not is_page(policy)
    }

    assert statuses == {403}


def test_get_of_any_route_costs_nothing(
    app: SolarisFlask, client: FlaskClient, upstream: FakeLiteLLM
) -> None:
    headers = {"Authorization": f"Bearer {ADMIN_KEY}"}

    for method, path, _ in routes(app):
        if method == "GET":
            client.get(path, headers=headers)

    assert upstream.calls == []
