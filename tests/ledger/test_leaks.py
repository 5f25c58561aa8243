"""Ways in which money could leak, or room could be lost: each was open once, or might be."""

from __future__ import annotations

import orjson
import pytest

from tests.fakes.litellm import (
    FakeLiteLLM,
    completion,
    cut,
    endless,
    openai_events,
    sse,
    status,
    stream,
)
from tests.ledger.served import BODY, HELD_TOKENS, QUESTION, USAGE, StartServed
from tests.waiting import wait_until

FAILURE = status(500, {"error": {"message": "no"}})
WORD = sse({"choices": [{"index": 0, "delta": {"content": " um"}}]})


def test_failed_attempt_gives_its_room_to_the_fallback_that_follows(
    serve: StartServed, upstream: FakeLiteLLM, place: str | None
) -> None:
    served = serve(redis_url=place)
    served.budget("tokens", "month", HELD_TOKENS)
    served.budget("tokens", "minute", HELD_TOKENS)
    upstream.for_model("gpt-4o", FAILURE)

    answered = served.ask()

    assert answered.status == 200
    assert answered.header("x-solaris-model") == "gpt-4-turbo"


@pytest.mark.parametrize(
    "usage",
    [
        {},
        {"prompt_tokens": 0, "completion_tokens": 0},
        {"prompt_tokens": 2**63, "completion_tokens": 2**63},
        {"prompt_tokens": -5, "completion_tokens": "many"},
    ],
    ids=["empty", "zeros", "beyond all counts", "junk"],
)
def test_usage_that_says_nothing_is_charged_as_unknown(
    serve: StartServed, upstream: FakeLiteLLM, usage: dict[str, object]
) -> None:
    served = serve()
    served.budget("tokens", "month", 10**9)
    upstream.default = completion(usage=usage or {"total_tokens": 0})

    answered = served.ask()

    assert answered.status == 200
    assert served.settled("tokens", "month") == HELD_TOKENS


def test_streams_usage_that_says_nothing_is_charged_by_count(
    serve: StartServed, upstream: FakeLiteLLM
) -> None:
    served = serve()
    served.budget("tokens", "month", 10**9)
    zeros = {"prompt_tokens": 0, "completion_tokens": 0}
    upstream.default = stream(openai_events(["um"] * 10, zeros))

    answered = served.ask(stream=True)

    assert answered.status == 200
    assert served.settled("tokens", "month") >= 10


@pytest.mark.parametrize("field", ["n", "max_tokens"])
def test_count_beyond_all_reason_harms_nobody_else(
    serve: StartServed, upstream: FakeLiteLLM, field: str
) -> None:
    served = serve()
    # Of what is enforced nothing refuses it.
    served.budgets.remove(scope="global", subject="", metric="cost", period="month")
    served.budget("tokens", "month", 10**6, mode="shadow")
    upstream.default = completion(usage=USAGE)

    body = orjson.dumps({**QUESTION, field: 2**62})
    replies = [served.send(body) for _ in range(3)]
    others = [served.ask().status for _ in range(3)]

    assert [reply.status for reply in replies] == [200] * 3
    assert others == [200] * 3
    assert served.settled("tokens", "month") == 6 * 11


def test_stream_from_the_cache_costs_nothing_also_where_it_is_given_up(
    serve: StartServed, upstream: FakeLiteLLM
) -> None:
    served = serve()
    served.budget("tokens", "month", 10**6)
    upstream.default = endless(WORD, pause_s=0.01, headers={"x-litellm-cache-key": "k"})

    exchange, reading = served.begin(stream=True)
    served.client.run(exchange.wait_for_body(3))
    served.client.run(exchange.leave())
    reading.result(20)

    assert served.settled("tokens", "month") == 0


def test_answer_longer_than_was_asked_for_goes_on_and_is_charged_in_full(
    serve: StartServed, upstream: FakeLiteLLM
) -> None:
    served = serve()
    served.budget("tokens", "month", 2 * HELD_TOKENS)
    words = 30 * HELD_TOKENS
    usage = {"prompt_tokens": 7, "completion_tokens": words}
    upstream.default = stream(openai_events(["um"] * words, usage))

    answered = served.ask(stream=True)
    again = served.ask()

    assert answered.body.count(b'"um ') == words
    assert answered.body.endswith(b"data: [DONE]\n\n")
    assert b'"error"' not in answered.body
    assert served.settled("tokens", "month") == 7 + words
    assert again.status == 402


def test_stream_is_not_cut_by_what_others_take_nor_by_a_smaller_budget(
    serve: StartServed, upstream: FakeLiteLLM
) -> None:
    served = serve()
    served.budget("tokens", "month", 3 * HELD_TOKENS)
    upstream.default = stream([*[WORD] * 300, b"data: [DONE]\n\n"], pause_s=0.01)
    exchange, reading = served.begin(stream=True)
    served.client.run(exchange.wait_for_body(1))
    upstream.default = completion(usage={"prompt_tokens": 3 * HELD_TOKENS, "completion_tokens": 1})

    spent = served.ask().status
    wait_until(lambda: served.standing("tokens", "month")[0] > 2 * HELD_TOKENS)
    served.budget("tokens", "month", 0)
    # Every worker knows it two seconds later.
    wait_until(lambda: served.ask().status == 402)
    whole = reading.result(20)

    assert spent == 200
    assert whole.body.count(WORD) == 300
    assert not whole.is_cut


def test_silence_of_a_provider_that_litellm_reports_is_charged(
    serve: StartServed, upstream: FakeLiteLLM
) -> None:
    served = serve()
    served.budget("tokens", "month", 10**6)
    upstream.default = status(408, {"error": {"message": "Request timed out"}})

    refused = served.ask()

    assert refused.status == 504
    assert served.settled("tokens", "month") == HELD_TOKENS * len(upstream.calls)


def test_connection_that_breaks_before_the_answer_is_charged(
    serve: StartServed, upstream: FakeLiteLLM
) -> None:
    served = serve()
    served.budget("tokens", "month", 10**6)
    upstream.default = cut()

    served.ask()

    assert served.settled("tokens", "month") == HELD_TOKENS * len(upstream.calls) > 0


def test_request_id_of_a_client_rides_on_no_old_hold(
    serve: StartServed, upstream: FakeLiteLLM
) -> None:
    served = serve()
    served.budget("requests", "month", 2)
    ids = {"x-request-id": "mine", "x-litellm-call-id": "mine", "request-id": "mine"}

    replies = [served.send(BODY, headers=ids) for _ in range(3)]

    assert [reply.status for reply in replies] == [200, 200, 402]
    assert len({reply.header("x-request-id") for reply in replies}) == 3


def test_budget_for_every_model_binds_each_and_no_group_of_them(
    serve: StartServed, upstream: FakeLiteLLM
) -> None:
    served = serve()
    served.budget("requests", "month", 1, scope="model")

    first = [served.ask(model=model).status for model in ("gpt-4o", "gpt-4-turbo", "gpt-4")]
    again = [served.ask(model=model).status for model in ("gpt-4o", "gpt-4-turbo", "gpt-4")]

    assert (first, again) == ([200] * 3, [402] * 3)


def test_budget_of_a_group_is_shared_by_its_models(
    serve: StartServed, upstream: FakeLiteLLM
) -> None:
    served = serve()
    served.budget("requests", "month", 2, scope="model", subject="gpt-4-group")

    statuses = [served.ask(model=model).status for model in ("gpt-4o", "gpt-4-turbo", "gpt-4")]

    assert statuses == [200, 200, 402]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/embeddings", {"model": "text-embedding-3-small", "input": ["palavra " * 5000] * 8}),
        (
            "/v1/completions",
            {"model": "gpt-3.5-turbo", "prompt": ["palavra " * 10_000] * 8, "max_tokens": 1},
        ),
    ],
    ids=["embeddings", "completions"],
)
def test_many_prompts_in_one_call_are_held_for_each(
    serve: StartServed, upstream: FakeLiteLLM, path: str, body: dict[str, object]
) -> None:
    served = serve()
    # Each fits into the model; together they are far more than it takes at once.
    served.budget("tokens", "month", 40_000)
    upstream.default = status(200, {"usage": {"prompt_tokens": 40_001, "completion_tokens": 0}})

    refused = served.send(orjson.dumps(body), path)

    assert refused.status == 402
    assert upstream.calls == []
