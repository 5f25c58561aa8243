"""Calls under a kill switch: what callers get, what is asked of models, what is settled."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from sqlalchemy import create_engine, text

from app.config.settings import Settings
from app.services.kill_switch_service import KillSwitchService
from app.services.kill_switch_store import KillSwitch
from tests.asgi_client import Reply
from tests.audit.trail import calls_on_record
from tests.fakes.litellm import FakeLiteLLM, Handler, endless, silence, sse
from tests.ledger.served import Served, StartServed
from tests.waiting import wait_until

REASON = "vazamento em apuração: <b>ligue 2222</b>"
WORD = sse({"id": "c1", "choices": [{"index": 0, "delta": {"content": "olá "}}]})


@pytest.fixture
def served(serve: StartServed) -> Served:
    return serve()


def switch_of(served: Served) -> KillSwitchService:
    return served.client.server.services.kill_switch


def throw(served: Served, scope: str, subject: str = "", **more: Any) -> KillSwitch:
    """Throw one; it binds when this returns."""
    served.ask()
    switch = switch_of(served).throw(scope=scope, subject=subject, reason=REASON, **more)
    switches = served.client.server.services.switches
    wait_until(lambda: switch.id in {it.id for it in switches.thrown})
    return switch


def error_of(reply: Reply) -> dict[str, Any]:
    error: dict[str, Any] = orjson.loads(reply.body)["error"]
    return error


@pytest.mark.parametrize(
    ("scope", "subject", "said"),
    [
        ("all", "", "O uso de IA está suspenso na empresa."),
        ("team", "vendas", "O uso de IA está suspenso para a sua equipe."),
        ("user", "ana", "O seu acesso à IA está suspenso."),
    ],
)
def test_call_of_the_suspended_is_a_403_with_the_reason_that_nobody_tries_again(
    served: Served, upstream: FakeLiteLLM, scope: str, subject: str, said: str
) -> None:
    headers = {"X-Solaris-Team": "vendas"}
    throw(served, scope, subject)
    before = len(upstream.calls)

    reply = served.send(QUESTION, headers=headers)

    assert (reply.status, error_of(reply)) == (
        403,
        {
            "message": f"{said} Motivo: {REASON}",
            "type": "permission_error",
            "param": None,
            "code": "access_suspended",
        },
    )
    assert reply.header("x-should-retry") == "false"
    assert len(upstream.calls) == before


QUESTION = orjson.dumps(
    {"model": "gpt-4o", "messages": [{"role": "user", "content": "Olá!"}], "max_tokens": 20}
)


def test_others_are_let_in(served: Served) -> None:
    throw(served, "user", "bia")
    throw(served, "team", "compras")

    assert served.send(QUESTION, headers={"X-Solaris-Team": "vendas"}).status == 200


def test_call_for_a_suspended_model_is_answered_by_its_fallback(
    served: Served, upstream: FakeLiteLLM, settings: Settings
) -> None:
    throw(served, "model", "gpt-4o")
    before = upstream.attempts("gpt-4o")

    reply = served.ask()

    assert (reply.status, upstream.attempts("gpt-4o")) == (200, before)
    assert reply.header("x-solaris-model") not in (None, "gpt-4o")
    first = calls_on_record(settings.database.url, 2)[-1]["detail"]["path"][0]
    assert (first["model"], first["reason"]) == ("gpt-4o", "switched_off")


def test_call_for_a_suspended_model_without_another_is_refused(
    serve: StartServed, make_key: Callable[..., str], upstream: FakeLiteLLM
) -> None:
    served = serve(key=make_key(allowed_models=["gpt-4o"]))
    throw(served, "model", "gpt-4o")
    before = len(upstream.calls)

    error = error_of(served.ask())

    assert (error["code"], error["param"]) == ("access_suspended", "model")
    assert error["message"] == f"O modelo gpt-4o está suspenso. Motivo: {REASON}"
    assert len(upstream.calls) == before


def test_call_of_the_suspended_is_on_record_and_holds_nothing(
    served: Served, settings: Settings
) -> None:
    served.budget("requests", "day", 10)
    throw(served, "all")

    served.ask()

    assert served.settled("requests", "day") == 1
    event = calls_on_record(settings.database.url, 2)[-1]
    assert (event["status"], event["detail"]["reason"]) == (403, "access_suspended")


@pytest.mark.parametrize(
    "handler", [endless(WORD, pause_s=0.02), silence(WORD)], ids=["speaking", "silent"]
)
def test_stream_under_way_ends_with_a_typed_error_and_is_settled(
    served: Served, upstream: FakeLiteLLM, handler: Handler
) -> None:
    served.budget("tokens", "day", 100_000)
    served.ask()
    posted = served.settled("tokens", "day")
    upstream.script(handler)
    exchange, reply = served.begin(stream=True)
    served.client.run(exchange.wait_for_body(1))

    switch_of(served).throw(scope="user", subject="ana", reason=REASON)

    ended = reply.result(10)
    last = [it for it in ended.body.split(b"\n\n") if it.startswith(b"data: ")][-1]
    error = orjson.loads(last.removeprefix(b"data: "))["error"]
    assert (ended.status, error["code"], ended.is_cut) == (200, "access_suspended", False)
    assert b"[DONE]" not in ended.body
    assert served.settled("tokens", "day") > posted
    wait_until(lambda: upstream.open_streams == 0)


def test_lifted_switch_lets_calls_in_again(served: Served) -> None:
    switch = throw(served, "all")
    refused = served.ask().status

    switch_of(served).lift(switch.id)

    wait_until(lambda: served.ask().status == 200)
    assert refused == 403


def test_switch_that_has_expired_lets_calls_in_again(served: Served) -> None:
    throw(served, "all", expires_at=datetime.now(UTC) + timedelta(seconds=2))
    refused = served.ask().status

    wait_until(lambda: served.ask().status == 200)

    assert refused == 403


def test_switches_thrown_at_once_for_one_place_leave_exactly_one(
    served: Served, settings: Settings
) -> None:
    service = switch_of(served)

    with ThreadPoolExecutor(4) as pool:
        made = list(
            pool.map(
                lambda number: service.throw(scope="all", reason=f"motivo {number}"), range(12)
            )
        )

    engine = create_engine(settings.database.url)
    with engine.connect() as connection:
        live = text("SELECT id FROM kill_switches WHERE lifted_at IS NULL")
        (left,) = connection.execute(live).scalars()
    engine.dispose()
    assert left == max(it.id for it in made)
