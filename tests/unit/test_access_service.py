from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest

from app.config.settings import SecuritySettings
from app.services.access_service import AccessService, Caller, presented_key
from app.services.identity import Person
from app.services.key_cache import KeyCache
from app.services.key_format import generate_key
from app.services.key_store import KeyNameTakenError, KeyNotFoundError
from app.utils.exceptions import (
    AuthenticationError,
    DatabaseUnavailableError,
    ModelNotAllowedError,
    PermissionDeniedError,
)
from tests.fakes.clock import FakeClock
from tests.fakes.key_store import FakeKeyStore

ADMIN_KEY = "sk-admin-for-the-tests-only"
NAMED = {"X-Solaris-User-Id": "ana", "X-Solaris-Team": "vendas"}


@dataclass
class Stage:
    clock: FakeClock = field(default_factory=FakeClock)
    admin_key: str | None = ADMIN_KEY

    def __post_init__(self) -> None:
        self.store = FakeKeyStore(self.clock)
        security = SecuritySettings(admin_api_key=self.admin_key)
        cache = KeyCache(self.store, self.clock)
        self.access = AccessService(self.store, cache, security, self.clock)

    def make(self, name: str = "key", **options: Any) -> str:
        return self.access.create_key(name, **options)[0]

    def identify(self, key: str, **headers: str) -> Caller:
        sent = {"Authorization": f"Bearer {key}"} | headers
        return asyncio.run(self.access.identify(sent))


@pytest.fixture
def stage() -> Stage:
    return Stage()


# The key


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer sk-1"},
        {"Authorization": "bearer  sk-1 "},
        {"x-api-key": " sk-1"},
        {"Authorization": "Basic dTpw", "x-api-key": "sk-1"},
    ],
)
def test_key_presented_is_read_from_either_header(headers: dict[str, str]) -> None:
    assert presented_key(headers) == "sk-1"


@pytest.mark.parametrize(
    "headers", [{}, {"Authorization": "sk-1"}, {"Authorization": "Bearer "}, {"x-api-key": " "}]
)
def test_key_not_presented_is_none(headers: dict[str, str]) -> None:
    assert presented_key(headers) is None


def test_caller_without_a_key_is_refused(stage: Stage) -> None:
    with pytest.raises(AuthenticationError):
        asyncio.run(stage.access.identify({}))


def test_caller_with_an_unknown_key_is_refused(stage: Stage) -> None:
    with pytest.raises(AuthenticationError):
        stage.identify(generate_key())


def test_caller_with_a_malformed_key_is_refused_without_asking_the_store(stage: Stage) -> None:
    stage.store.is_away = True

    with pytest.raises(AuthenticationError):
        stage.identify("sk-solaris-guess")


def test_caller_during_an_outage_is_told_so(stage: Stage) -> None:
    stage.store.is_away = True

    with pytest.raises(DatabaseUnavailableError):
        stage.identify(generate_key())


def test_caller_with_a_revoked_key_is_refused(stage: Stage) -> None:
    key = stage.make("ana")
    stage.access.revoke_key("ana")

    with pytest.raises(AuthenticationError):
        stage.identify(key)


def test_caller_with_a_key_that_expires_later_is_let_in(stage: Stage) -> None:
    key = stage.make(expires_at=stage.clock.now() + timedelta(seconds=1))

    assert stage.identify(key).key_name == "key"


def test_caller_with_a_key_that_expires_now_is_refused(stage: Stage) -> None:
    key = stage.make(expires_at=stage.clock.now() + timedelta(seconds=1))
    stage.identify(key)
    stage.clock.advance(1)

    with pytest.raises(AuthenticationError):
        stage.identify(key)


def test_caller_with_the_environments_key_manages_but_calls_no_model(stage: Stage) -> None:
    caller = stage.identify(ADMIN_KEY)

    assert (caller.role, caller.may_call("gpt-4")) == ("admin", False)


@pytest.mark.parametrize("key", ["", "None", "é"])
def test_caller_with_any_key_is_refused_where_the_environment_has_none(key: str) -> None:
    stage = Stage(admin_key=None)

    with pytest.raises(AuthenticationError):
        stage.identify(key)


# The person


def test_caller_is_the_keys_owner(stage: Stage) -> None:
    caller = stage.identify(stage.make(user_id="bob", team_id="ti"))

    assert (caller.user_id, caller.team, caller.subject) == ("bob", "ti", "bob")


def test_caller_without_an_owner_is_the_key_itself(stage: Stage) -> None:
    assert stage.identify(stage.make()).subject == "key:1"


def test_caller_with_a_trusted_key_is_the_person_named(stage: Stage) -> None:
    caller = stage.identify(stage.make(trusted=True, user_id="librechat", team_id="ti"), **NAMED)

    assert (caller.user_id, caller.team) == ("ana", "vendas")


def test_caller_with_any_other_key_cannot_name_a_person(stage: Stage) -> None:
    caller = stage.identify(stage.make(user_id="bob"), **NAMED)

    assert (caller.user_id, caller.person) == ("bob", Person())


def test_body_of_a_trusted_key_names_the_person(stage: Stage) -> None:
    caller = stage.identify(stage.make(trusted=True, user_id="librechat"))

    assert caller.named_in_body("ana").user_id == "ana"


def test_body_does_not_rename_a_person_named_in_headers(stage: Stage) -> None:
    caller = stage.identify(stage.make(trusted=True), **NAMED)

    assert caller.named_in_body("boss").user_id == "ana"


def test_body_of_any_other_key_names_nobody(stage: Stage) -> None:
    caller = stage.identify(stage.make(user_id="bob"))

    assert caller.named_in_body("boss").user_id == "bob"


@pytest.mark.parametrize("user", [None, 7, "", {"id": "x"}, "{{LIBRECHAT_USER_ID}}"])
def test_body_that_names_nobody_changes_nothing(stage: Stage, user: object) -> None:
    caller = stage.identify(stage.make(trusted=True, user_id="librechat"))

    assert caller.named_in_body(user).user_id == "librechat"


# What it may do


def test_caller_may_call_every_model_by_default(stage: Stage) -> None:
    assert stage.identify(stage.make()).may_call("gpt-4")


def test_caller_limited_to_models_is_refused_another(stage: Stage) -> None:
    caller = stage.identify(stage.make(allowed_models=["claude"]))
    caller.require_model("claude")

    with pytest.raises(ModelNotAllowedError):
        caller.require_model("gpt-4")


def test_caller_of_another_role_is_refused(stage: Stage) -> None:
    caller = stage.identify(stage.make(role="viewer"))
    caller.require_role("admin", "viewer")

    with pytest.raises(PermissionDeniedError):
        caller.require_role("admin")


# Administration


def test_keys_listed_leave_revoked_ones_out(stage: Stage) -> None:
    stage.make("a")
    stage.make("b")
    stage.access.revoke_key("a")

    assert [key.name for key in stage.access.list_keys()] == ["b"]
    assert len(stage.access.list_keys(include_revoked=True)) == 2


def test_key_with_a_name_in_use_is_refused(stage: Stage) -> None:
    stage.make("a")

    with pytest.raises(KeyNameTakenError):
        stage.make("a")


def test_key_that_is_not_there_cannot_be_revoked(stage: Stage) -> None:
    with pytest.raises(KeyNotFoundError):
        stage.access.revoke_key("nobody")


def test_access_opened_sees_a_revocation_until_closed(stage: Stage) -> None:
    key = stage.make("ana")
    stage.identify(key)
    stage.clock.advance(1)
    stage.access.revoke_key("ana")

    async def watch() -> None:
        await stage.access.open()
        with contextlib.suppress(AuthenticationError):
            while await stage.access.identify({"x-api-key": key}):  # noqa: ASYNC110  # a poll
                await asyncio.sleep(0.01)
        await stage.access.close()

    asyncio.run(asyncio.wait_for(watch(), 10))

    with pytest.raises(AuthenticationError):
        stage.identify(key)
