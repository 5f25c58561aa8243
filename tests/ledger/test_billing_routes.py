"""Every billable route costs what its provider counted, at its model's price, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
import pytest

from app.dialects.openai_chat import REASONING_TOKENS
from tests.fakes.litellm import FakeLiteLLM, completion, openai_events, status, stream
from tests.fakes.newer_apis import RESPONSE_USAGE, message_events
from tests.fakes.provider import EMBEDDING, provider
from tests.ledger.served import BODY, CHAT, HELD_TOKENS, USAGE, Served, StartServed

COMPLETIONS, EMBEDDINGS = "/v1/completions", "/v1/embeddings"
RESPONSES, MESSAGES = "/v1/responses", "/v1/messages"
CALLS: dict[str, dict[str, Any]] = {
    CHAT: {"model": "gpt-4o", "messages": [{"role": "user", "content": "oi"}]},
    RESPONSES: {"model": "gpt-4o", "input": "oi"},
    MESSAGES: {
        "model": "claude-3-opus",
        "max_tokens": 20,
        "messages": [{"role": "user", "content": "oi"}],
    },
    COMPLETIONS: {"model": "gpt-3.5-turbo", "prompt": "oi", "max_tokens": 20},
    EMBEDDINGS: {"model": "text-embedding-3-small", "input": "oi"},
}
# What each answer says that it took (tokens, micro-USD), worked out by hand from
# `database/litellm-config.yaml`; each is rounded up once.
TAKEN = {
    # 21 × 5 + 5 × 15
    CHAT: (26, 180),
    # 4 of the 21 are from OpenAI's cache, at the price of any other.
    RESPONSES: (26, 180),
    # Anthropic counts what its cache read (4) and wrote (2, a quarter more) beside the 21:
    # 25 × 15 + 2 × 18.75 + 5 × 75
    MESSAGES: (32, 788),
    # 7 × 0.5 + 4 × 1.5 = 9.5
    COMPLETIONS: (11, 10),
    # 3 × 0.02 = 0.06
    EMBEDDINGS: (3, 1),
}
STREAMING = [path for path in CALLS if path != EMBEDDINGS]
ROUTES = [*((path, False) for path in CALLS), *((path, True) for path in STREAMING)]
FAILURE = status(500, {"error": {"message": "no"}})


def answering_well(fake: FakeLiteLLM) -> None:
    fake.default = provider()
    fake.for_model("gpt-3.5-turbo", completion(usage=USAGE))


def call(served: Served, path: str, **changed: Any) -> int:
    return served.send(orjson.dumps({**CALLS[path], **changed}), path).status


def budgeted(served: Served) -> None:
    """Have budgets that bind everybody and refuse nobody."""
    for metric in ("tokens", "cost", "requests"):
        served.budget(metric, "month", 10**9)


def posted(served: Served) -> tuple[int, int, int]:
    tokens, cost, requests = (
        served.settled(metric, "month") for metric in ("tokens", "cost", "requests")
    )
    return tokens, cost, requests


@pytest.mark.parametrize(("path", "is_stream"), ROUTES)
def test_answer_is_posted_as_its_provider_counted_it_at_its_models_price(
    serve: StartServed, upstream: FakeLiteLLM, path: str, is_stream: bool
) -> None:
    served = serve()
    budgeted(served)
    answering_well(upstream)
    if is_stream and path == COMPLETIONS:
        upstream.for_model("gpt-3.5-turbo", stream(openai_events(["o", "lá"], USAGE)))

    assert call(served, path, **({"stream": True} if is_stream else {})) == 200

    assert posted(served) == (*TAKEN[path], 1)


@pytest.mark.parametrize("path", CALLS)
def test_call_that_a_provider_refuses_costs_nothing(
    serve: StartServed, upstream: FakeLiteLLM, path: str
) -> None:
    served = serve()
    budgeted(served)
    upstream.default = status(400, {"error": {"message": "no"}})

    assert call(served, path) == 400

    assert posted(served) == (0, 0, 0)


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        (CHAT, {"usage": USAGE, "choices": []}),
        (RESPONSES, {"object": "response", "usage": RESPONSE_USAGE, "output": []}),
        (MESSAGES, message_events("claude-3-opus")[0]["message"]),
        (COMPLETIONS, {"usage": USAGE, "choices": []}),
        (EMBEDDINGS, EMBEDDING),
    ],
)
def test_answer_from_the_cache_costs_nothing(
    serve: StartServed, upstream: FakeLiteLLM, path: str, answer: Mapping[str, Any]
) -> None:
    served = serve()
    budgeted(served)
    upstream.default = status(200, answer, {"x-litellm-cache-key": "k"})

    assert call(served, path) == 200

    assert posted(served)[:2] == (0, 0)


def test_dearer_fallback_without_room_at_its_own_price_is_not_asked(
    serve: StartServed, upstream: FakeLiteLLM
) -> None:
    served = serve()
    upstream.for_model("gpt-4o", FAILURE)
    # Room for the prompt and the answer at gpt-4o's price, not at gpt-4-turbo's.
    prompt = HELD_TOKENS - 20
    served.budget("cost", "month", prompt * 5 + 20 * 15)

    served.send(BODY)

    assert (upstream.attempts("gpt-4o"), upstream.attempts("gpt-4-turbo")) == (1, 0)
    assert served.settled("cost", "month") == 0


def test_cheaper_fallback_is_held_and_posted_at_its_own_price(
    serve: StartServed, upstream: FakeLiteLLM
) -> None:
    served = serve()
    budgeted(served)
    upstream.for_model("gpt-4", FAILURE)
    upstream.default = completion(usage=USAGE)

    reply = served.ask(model="gpt-4")

    prices = {"gpt-4-turbo": (10, 30), "gpt-4o": (5, 15), "gpt-3.5-turbo": (0.5, 1.5)}
    price_in, price_out = prices[str(reply.header("x-solaris-model"))]
    assert posted(served) == (11, 7 * price_in + 4 * price_out, 1)


@pytest.mark.parametrize("path", [CHAT, RESPONSES])
def test_limit_of_null_is_the_models_own_cut_to_what_is_left(
    serve: StartServed, upstream: FakeLiteLLM, path: str
) -> None:
    served = serve()
    answering_well(upstream)
    served.budget("tokens", "month", 1000)
    name = "max_output_tokens" if path == RESPONSES else "max_tokens"

    assert call(served, path, **{name: None}) == 200

    (sent,) = upstream.calls
    assert 900 < sent.body[name] < 1000


@pytest.mark.parametrize(
    ("path", "changed", "more_tokens"),
    [
        (CHAT, {"n": 2}, 20),
        (COMPLETIONS, {"best_of": 2}, 20),
        (CHAT, {"reasoning_effort": "high"}, REASONING_TOKENS),
        (CHAT, {"tools": [{"type": "function", "function": {"name": "f"}}]}, 600),
    ],
    ids=["n", "best_of", "reasoning", "tools"],
)
def test_what_multiplies_an_answer_is_held_beforehand(
    serve: StartServed,
    upstream: FakeLiteLLM,
    path: str,
    changed: dict[str, Any],
    more_tokens: int,
) -> None:
    served = serve()
    plain = {**CALLS[path], "max_tokens": 20}
    body = orjson.dumps({**plain, **changed})
    # One token too few: the body, every byte of which may be one, the answer, and what is more.
    served.budget("tokens", "month", len(body) + 20 + more_tokens - 1)

    refused = served.send(body, path)

    assert (refused.status, upstream.calls) == (402, [])
