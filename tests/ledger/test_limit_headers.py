"""What answers say of the caller's own budgets, and that they say nothing of anybody else's."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import orjson
import pytest

from tests.asgi_client import Reply
from tests.fakes.litellm import (
    FakeLiteLLM,
    Handler,
    completion,
    cut,
    openai_events,
    status,
    stream,
)
from tests.ledger.served import BODY, HELD_TOKENS, QUESTION, USAGE, Served, StartServed
from tests.waiting import wait_until

USED_TOKENS = sum(USAGE.values())
MESSAGES = "/v1/messages"
WITHOUT_FALLBACKS = "gpt-3.5-turbo"
MESSAGE = {
    "type": "message",
    "role": "assistant",
    "content": [{"type": "text", "text": "olá"}],
    "usage": {"input_tokens": 7, "output_tokens": 4},
}
NAMES = re.compile(r"^(x-ratelimit-|anthropic-ratelimit-|llm_provider-|x-litellm-)")


def limits(reply: Reply) -> dict[str, str]:
    """Return what is said of any limit, but for when it resets."""
    return {
        name: value
        for name, value in reply.headers
        if NAMES.match(name.lower()) and "-reset" not in name
    }


def of(metric: str, limit: int, remaining: int) -> dict[str, str]:
    return {
        f"x-ratelimit-limit-{metric}": str(limit),
        f"x-ratelimit-remaining-{metric}": str(remaining),
    }


def early_in_a_minute() -> None:
    """Have all that follows happen in one minute."""
    wait_until(lambda: time.time() % 60 < 45, within_s=16)


def test_answer_says_what_is_left_after_it_of_the_tightest_own_budget(
    serve: StartServed, upstream: FakeLiteLLM, place: str | None
) -> None:
    served = serve(redis_url=place)
    served.budget("tokens", "month", 10_000)
    served.budget("tokens", "minute", 1_000)
    served.budget("requests", "day", 50)
    served.budget("requests", "minute", 60)
    served.budget("cost", "month", 20_000_000)
    upstream.default = completion(usage=USAGE)
    early_in_a_minute()

    reply = served.ask()
    cost = int(reply.header("x-solaris-cost") or 0)

    assert limits(reply) == (
        of("tokens", 1_000, 1_000 - USED_TOKENS)
        | of("requests", 50, 49)
        | of("cost", 20_000_000, 20_000_000 - cost)
    )
    assert cost > 0


def test_reset_is_a_duration_as_openai_writes_it_and_never_too_short(
    serve: StartServed, upstream: FakeLiteLLM
) -> None:
    served = serve()
    served.budget("tokens", "minute", 1_000)
    served.budget("requests", "month", 50)
    early_in_a_minute()

    before = time.time()
    reply = served.ask()

    minute, month = (reply.header(f"x-ratelimit-reset-{it}") or "" for it in ("tokens", "requests"))
    left_s = 60 - before % 60
    assert re.fullmatch(r"(1m)?\d+s", minute)
    assert left_s - 5 < seconds(minute) <= left_s + 1
    assert re.fullmatch(r"(\d+h)?(\d+m)?\d+s", month)
    assert seconds(month) <= 31 * 24 * 3600


def seconds(duration: str) -> int:
    parts = re.findall(r"(\d+)([hms])", duration)
    return sum(int(number) * {"h": 3600, "m": 60, "s": 1}[unit] for number, unit in parts)


def test_stream_says_what_is_left_beside_what_it_holds(
    serve: StartServed, upstream: FakeLiteLLM
) -> None:
    served = serve()
    served.budget("tokens", "month", 10_000)
    upstream.default = stream(openai_events(["um"], USAGE))
    body = orjson.dumps({**QUESTION, "stream": True})

    reply = served.send(body)

    assert limits(reply) == of("tokens", 10_000, 10_000 - HELD_TOKENS - len(body) + len(BODY))


@pytest.mark.parametrize("period", ["minute", "month"])
def test_refusal_says_what_is_left(
    serve: StartServed, upstream: FakeLiteLLM, place: str | None, period: str
) -> None:
    served = serve(redis_url=place)
    served.budget("tokens", period, 2 * HELD_TOKENS)
    served.budget("requests", "week", 9)
    upstream.default = completion(usage={"prompt_tokens": HELD_TOKENS, "completion_tokens": 1})
    early_in_a_minute()

    granted, refused = served.ask(), served.ask()

    assert (granted.status, refused.status) == (200, 429 if period == "minute" else 402)
    # A call that is refused takes nothing anywhere. In Redis's way it asked nobody else.
    left = of("tokens", 2 * HELD_TOKENS, HELD_TOKENS - 1)
    asked_all = not (place and period == "minute")
    assert limits(refused) == left | (of("requests", 9, 8) if asked_all else {})


@pytest.mark.parametrize(
    ("handler", "code", "taken"),
    [
        (status(400, {"error": {"message": "no"}}), 400, 0),
        # Nobody knows what it cost.
        (cut(), 502, 1),
    ],
    ids=["refused upstream", "broken off"],
)
def test_failure_says_what_is_left_after_it(
    serve: StartServed, upstream: FakeLiteLLM, handler: Handler, code: int, taken: int
) -> None:
    served = serve()
    served.budget("tokens", "month", 10_000)
    upstream.default = handler

    reply = served.ask(model=WITHOUT_FALLBACKS)
    held = HELD_TOKENS - len("gpt-4o") + len(WITHOUT_FALLBACKS)

    assert reply.status == code
    assert limits(reply) == of("tokens", 10_000, 10_000 - taken * held)


def test_message_to_anthropics_clients_says_it_in_their_words_too(
    serve: StartServed, upstream: FakeLiteLLM
) -> None:
    served = serve()
    served.budget("tokens", "day", 10_000)
    served.budget("requests", "minute", 1)
    served.budget("cost", "month", 20_000_000)
    upstream.default = status(200, MESSAGE)
    early_in_a_minute()

    granted = served.ask(MESSAGES, model="claude-3-haiku")
    refused = served.ask(MESSAGES, model="claude-3-haiku")

    assert (granted.status, refused.status) == (200, 429)
    assert granted.header("anthropic-ratelimit-tokens-limit") == "10000"
    assert granted.header("anthropic-ratelimit-tokens-remaining") == str(10_000 - USED_TOKENS)
    assert granted.header("anthropic-ratelimit-requests-remaining") == "0"
    assert granted.header("anthropic-ratelimit-cost-limit") is None
    assert refused.header("anthropic-ratelimit-requests-limit") == "1"
    resets_at = datetime.fromisoformat(refused.header("anthropic-ratelimit-requests-reset") or "")
    assert resets_at.tzinfo is not None
    assert timedelta(0) < resets_at - datetime.now(UTC) <= timedelta(minutes=1)
    assert (refused.header("anthropic-ratelimit-requests-reset") or "").endswith("Z")


def test_openais_clients_are_told_nothing_in_anthropics_words(
    serve: StartServed, upstream: FakeLiteLLM
) -> None:
    served = serve()
    served.budget("tokens", "day", 10_000)

    assert not any(name.lower().startswith("anthropic") for name, _ in served.ask().headers)


def test_answer_without_a_budget_of_the_callers_own_says_nothing(
    serve: StartServed, upstream: FakeLiteLLM, place: str | None
) -> None:
    served = serve(redis_url=place)
    for period in ("minute", "month"):
        served.budget("tokens", period, 3 * HELD_TOKENS, scope="model", subject="gpt-4o")
        served.budget("requests", period, 2, scope="global", subject="")
        served.budget("tokens", period, 900, mode="shadow")

    replies = [served.ask() for _ in range(3)]

    assert [reply.status for reply in replies][:2] == [200, 200]
    assert replies[2].status in (402, 429)
    assert [limits(reply) for reply in replies] == [{}, {}, {}]


def test_budget_of_a_trusted_key_is_told_to_nobody_whom_it_speaks_for(
    serve: StartServed, upstream: FakeLiteLLM
) -> None:
    served = serve()
    served.budget("tokens", "month", HELD_TOKENS + 20, scope="key")

    granted, refused = served.ask(), served.ask()

    assert (granted.status, refused.status) == (200, 402)
    assert limits(granted) == limits(refused) == {}
    message = orjson.loads(refused.body)["error"]["message"]
    assert "desta chave" in message
    assert str(HELD_TOKENS + 20) not in message


def test_budget_of_ones_own_key_is_told(
    serve: StartServed, upstream: FakeLiteLLM, make_key: Callable[..., str]
) -> None:
    served = serve(key=make_key())
    served.budget("requests", "month", 1, scope="key")

    granted, refused = served.ask(), served.ask()

    assert limits(granted) == limits(refused) == of("requests", 1, 0)
    assert "o limite é de 1 pedido" in orjson.loads(refused.body)["error"]["message"]


def test_figures_of_litellm_and_the_provider_go_no_further(
    serve: StartServed, upstream: FakeLiteLLM
) -> None:
    served = serve()
    theirs = {
        "x-ratelimit-remaining-requests": "4999",
        "x-ratelimit-limit-tokens": "30000",
        "x-ratelimit-reset-tokens": "9ms",
        "anthropic-ratelimit-tokens-remaining": "12",
        "llm_provider-x-ratelimit-remaining-tokens": "29000",
        "x-litellm-key-spend": "0.25",
        "x-litellm-response-cost": "0.01",
    }
    upstream.script(
        status(200, {"choices": [], "usage": USAGE}, theirs),
        status(400, {"error": {"message": "no"}}, theirs),
    )

    replies = [served.ask(), served.ask()]

    assert [reply.status for reply in replies] == [200, 400]
    assert [limits(reply) for reply in replies] == [{}, {}]
    assert all(reply.header("x-ratelimit-reset-tokens") is None for reply in replies)


def test_call_that_falls_back_says_what_the_last_attempt_left(
    serve: StartServed, upstream: FakeLiteLLM
) -> None:
    served: Served = serve()
    served.budget("requests", "month", 5)
    upstream.for_model("gpt-4o", status(500, {"error": {"message": "no"}}))

    assert limits(served.ask()) == of("requests", 5, 4)
