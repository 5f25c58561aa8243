"""A call that has no room, as each client meets it: status, headers, shape, when to try again."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import orjson
import pytest

from app.config.catalog import load_catalog
from app.config.settings import BudgetSettings, LiteLLMSettings, Settings
from app.dialects.openai_chat import CHAT as CHAT_DIALECT
from app.ledger.rules import Budget, Payer
from app.services.token_service import TokenService
from app.utils.exceptions import TooManyRequestsError
from tests.asgi_client import AsgiClient, Reply
from tests.fakes.clock import FakeClock
from tests.fakes.ledger_store import MemoryLedgerStore
from tests.fakes.litellm import FakeLiteLLM, completion, status
from tests.ledger.served import BODY, CHAT, HELD_TOKENS, QUESTION, Served, StartServed

MESSAGES, RESPONSES = "/v1/messages", "/v1/responses"
COMPLETIONS, EMBEDDINGS = "/v1/completions", "/v1/embeddings"
BODIES: dict[str, dict[str, Any]] = {
    CHAT: QUESTION,
    MESSAGES: {**QUESTION, "model": "claude-3-haiku"},
    RESPONSES: {"model": "gpt-4o", "input": "Olá!", "max_output_tokens": 20},
    COMPLETIONS: {"model": "gpt-3.5-turbo", "prompt": "Olá!", "max_tokens": 20},
    EMBEDDINGS: {"model": "text-embedding-3-small", "input": "Olá!"},
}
STREAMED = [CHAT, MESSAGES, RESPONSES, COMPLETIONS]
BUDGET_EXCEEDED = {
    "error": {"message": "Budget has been exceeded! Current cost: 3.1", "type": "budget_exceeded"}
}


def error_of(reply: Reply) -> dict[str, Any]:
    error: dict[str, Any] = orjson.loads(reply.body)["error"]
    return error


def send(served: Served, path: str, *, streamed: bool = False) -> Reply:
    body = BODIES[path] | ({"stream": True} if streamed else {})
    return served.send(orjson.dumps(body), path)


# A budget of an hour or more


@pytest.mark.parametrize(
    ("path", "streamed"),
    [*((path, False) for path in BODIES), *((path, True) for path in STREAMED)],
)
def test_spent_budget_is_a_402_that_nobody_tries_again_in_the_apis_own_shape(
    serve: StartServed, upstream: FakeLiteLLM, path: str, streamed: bool
) -> None:
    served = serve()
    served.budget("requests", "day", 0)

    reply = send(served, path, streamed=streamed)

    # Nothing has begun, so that a stream too is refused by its status.
    assert (reply.status, reply.header("content-type")) == (402, "application/json")
    assert (reply.header("x-should-retry"), reply.header("Retry-After")) == ("false", None)
    error, whole = error_of(reply), orjson.loads(reply.body)
    assert error["code"] == "insufficient_quota"
    assert error["message"].startswith("Seu orçamento de pedidos para hoje acabou")
    if path == MESSAGES:
        assert (whole["type"], error["type"]) == ("error", "billing_error")
    else:
        assert (error["type"], error["param"]) == ("insufficient_quota", None)
    assert upstream.calls == []


def test_spent_budget_is_said_in_english_where_that_is_the_locale(
    start_asgi: Callable[..., AsgiClient], settings: Settings, make_key: Callable[..., str]
) -> None:
    served = Served(start_asgi(settings=replace(settings, locale="en")), make_key(trusted=True))
    served.budget("requests", "day", 0)

    message = error_of(served.ask())["message"]

    assert message.startswith("Your request budget for today is used up: the limit is 0 requests.")


@pytest.mark.parametrize("path", [CHAT, MESSAGES])
def test_status_of_a_spent_budget_may_be_429_and_is_still_final(
    serve: StartServed, upstream: FakeLiteLLM, path: str
) -> None:
    served = serve(quota_status=429)
    served.budget("requests", "day", 0)

    reply = send(served, path)

    assert (reply.status, error_of(reply)["code"]) == (429, "insufficient_quota")
    assert (reply.header("x-should-retry"), reply.header("Retry-After")) == ("false", None)


@pytest.mark.parametrize("code", [400, 422, 429])
@pytest.mark.parametrize("quota_status", [402, 429])
def test_budget_of_litellms_own_is_one_of_ours_whatever_status_it_gives(
    serve: StartServed, upstream: FakeLiteLLM, code: int, quota_status: int
) -> None:
    served = serve(quota_status=quota_status)
    served.budget("tokens", "month", 10_000)
    upstream.default = status(code, BUDGET_EXCEEDED)

    reply = served.ask()

    assert (reply.status, error_of(reply)["code"]) == (quota_status, "insufficient_quota")
    assert (reply.header("x-should-retry"), reply.header("Retry-After")) == ("false", None)
    assert "3.1" not in error_of(reply)["message"]
    # Asked once, at no other model, for nothing.
    assert len(upstream.calls) == 1
    assert served.settled("tokens", "month") == 0


# A limit by the minute


@pytest.mark.parametrize("path", list(BODIES))
def test_limit_by_the_minute_is_a_429_with_a_time_to_try_again(
    serve: StartServed, upstream: FakeLiteLLM, place: str | None, path: str
) -> None:
    served = serve(redis_url=place)
    served.budget("requests", "minute", 1)
    upstream.default = completion()
    send(served, CHAT)

    reply = send(served, path)

    error = error_of(reply)
    assert (reply.status, error["code"]) == (429, "rate_limit_exceeded")
    assert error["type"] == "rate_limit_error"
    assert 1 <= int(reply.header("Retry-After") or 0) <= 60
    assert reply.header("x-should-retry") is None
    assert error["message"] == (
        "Este pedido passaria do seu limite de 1 pedido por minuto. "
        f"Tente de novo em {reply.header('Retry-After')} s."
    )


@pytest.mark.parametrize("agent", ["langchainjs-openai/1.0.0 (Node)", "langchainjs-anthropic/1"])
def test_langchain_js_gets_no_retry_after_which_it_would_take_for_leave_to_retry(
    serve: StartServed, upstream: FakeLiteLLM, agent: str
) -> None:
    served = serve()
    served.budget("requests", "minute", 1)
    served.ask()

    reply = served.send(BODY, headers={"User-Agent": agent})

    assert (reply.status, reply.header("Retry-After")) == (429, None)


def test_request_above_the_whole_limit_is_told_that_waiting_does_not_help(
    serve: StartServed, upstream: FakeLiteLLM, place: str | None
) -> None:
    served = serve(redis_url=place)
    served.budget("tokens", "minute", HELD_TOKENS - 1)

    reply = served.ask()

    assert (reply.status, error_of(reply)["code"]) == (429, "rate_limit_exceeded")
    assert (reply.header("x-should-retry"), reply.header("Retry-After")) == ("false", None)
    assert "esperar não ajuda" in error_of(reply)["message"]


@pytest.mark.parametrize(
    ("scope", "subject", "whose"),
    [
        ("model", "gpt-4o", "do modelo gpt-4o"),
        ("team", "vendas", "da sua equipe"),
        ("global", "", "da empresa"),
    ],
)
@pytest.mark.parametrize("period", ["minute", "day"])
def test_shared_limits_refusal_names_it_and_no_figure(
    serve: StartServed, upstream: FakeLiteLLM, scope: str, subject: str, whose: str, period: str
) -> None:
    served = serve()
    served.budget("tokens", period, 54_321, scope=scope, subject=subject)
    upstream.default = completion(usage={"prompt_tokens": 54_300, "completion_tokens": 1})
    team = {"X-Solaris-Team": "vendas"}
    served.send(BODY, headers=team)

    message = error_of(served.send(BODY, headers=team))["message"]

    assert whose in message
    # How long to wait may be any number.
    rest = re.sub(r"em \d+ s", "", message)
    assert not any(figure in rest for figure in ("54", "21", "20", str(HELD_TOKENS)))


@pytest.mark.parametrize("passed_s", [0.0, 0.2, 29.9, 58.7, 59.999])
def test_time_to_try_again_is_when_there_is_room_and_not_before(passed_s: float) -> None:
    clock = FakeClock()
    clock.advance(passed_s)
    store = MemoryLedgerStore(Budget(1, "user", "*", "requests", "minute", 1, "enforce"))
    catalog = load_catalog(LiteLLMSettings().config_path)
    request = CHAT_DIALECT.parse(BODY)

    async def run() -> tuple[int, list[str]]:
        tokens = TokenService(BudgetSettings(), catalog, store, store, clock)
        numbers = iter(range(10))

        async def outcome() -> str:
            try:
                payer = Payer("ana", None, None)
                await tokens.reserve(str(next(numbers)), request, catalog.models["gpt-4o"], payer)
            except TooManyRequestsError as error:
                waits.append(error.retry_after_s or 0)
                return "refused"
            return "granted"

        waits: list[float] = []
        outcomes = [await outcome(), await outcome()]
        said_s = math.ceil(waits[0])
        early_s = max(0.0, 60 - passed_s - 0.001)
        clock.advance(early_s)
        outcomes.append(await outcome())
        clock.advance(said_s - early_s)
        outcomes.append(await outcome())
        await tokens.close()
        return said_s, outcomes

    said_s, outcomes = asyncio.run(run())

    assert outcomes == ["granted", "refused", "refused", "granted"]
    # A whole second is the least that a header can say.
    assert 60 - passed_s <= said_s < 60 - passed_s + 1 or said_s == 1
