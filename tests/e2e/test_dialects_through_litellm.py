"""Every `/v1` route through gunicorn, the proxy and the real LiteLLM, with any model behind it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import httpx2 as httpx
import openai as sdk
import pytest
from openai import OpenAI

from tests.e2e.conftest import Stack
from tests.fakes.newer_apis import TEXT

QUESTION = [{"role": "user", "content": "olá"}]
CHAIN = ["gpt-4o", "gpt-4-turbo-preview", "gpt-4"]


@pytest.fixture
def http(stack: Stack, api_key: str) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {api_key}"}
    with httpx.Client(base_url=f"{stack.proxy.url}/v1", headers=headers, timeout=30) as client:
        yield client


def asked(stack: Stack, since: int) -> list[str]:
    """Return the models that the provider was asked for, in order."""
    return [call.body["model"] for call in stack.provider.calls[since:]]


def events(response: httpx.Response) -> list[dict[str, Any]]:
    lines = [line.removeprefix("data: ") for line in response.text.splitlines()]
    return [json.loads(line) for line in lines if line.startswith("{")]


@pytest.mark.parametrize("model", ["gpt-4o", "claude-3-haiku", "gemini-pro", "budget-group"])
def test_message_of_any_model_has_anthropics_shape_and_is_priced(
    http: httpx.Client, model: str
) -> None:
    answer = http.post("/messages", json={"model": model, "max_tokens": 50, "messages": QUESTION})

    assert (answer.status_code, answer.json()["type"]) == (200, "message")
    assert int(answer.headers["x-solaris-cost"]) > 0


@pytest.mark.parametrize("model", ["gpt-4o", "claude-3-haiku", "gemini-pro"])
def test_streamed_message_of_any_model_begins_and_stops_as_anthropics(
    http: httpx.Client, model: str
) -> None:
    body = {"model": model, "max_tokens": 50, "messages": QUESTION, "stream": True}
    answer = http.post("/messages", json=body)

    kinds = [event["type"] for event in events(answer)]
    assert (kinds[0], kinds[-1]) == ("message_start", "message_stop")


def test_streamed_message_is_what_the_provider_sent(http: httpx.Client) -> None:
    body = {"model": "claude-3-haiku", "max_tokens": 50, "messages": QUESTION, "stream": True}
    answer = http.post("/messages", json=body)

    deltas = [
        event["delta"]["text"] for event in events(answer) if "text" in event.get("delta", {})
    ]
    assert "".join(deltas) == TEXT


def test_headers_for_anthropic_reach_the_provider(stack: Stack, http: httpx.Client) -> None:
    since = len(stack.provider.calls)
    beta = {"anthropic-version": "2023-06-01", "anthropic-beta": "interleaved-thinking-2025-05-14"}
    http.post(
        "/messages",
        json={"model": "claude-3-haiku", "max_tokens": 50, "messages": QUESTION},
        headers=beta,
    )

    sent = stack.provider.calls[since].headers
    assert (sent["anthropic-version"], sent["anthropic-beta"]) == tuple(beta.values())


def test_counting_tokens_costs_nothing(http: httpx.Client) -> None:
    body = {"model": "claude-3-haiku", "messages": QUESTION}
    answer = http.post("/messages/count_tokens", json=body)

    assert (answer.json()["input_tokens"], answer.headers["x-solaris-cost"]) == (14, "0")


@pytest.mark.parametrize("model", ["gpt-4o", "claude-3-haiku", "gemini-pro"])
def test_response_of_any_model_is_completed_and_priced(http: httpx.Client, model: str) -> None:
    answer = http.post("/responses", json={"model": model, "input": "olá"})

    assert (answer.status_code, answer.json()["status"]) == (200, "completed")
    assert int(answer.headers["x-solaris-cost"]) > 0


@pytest.mark.parametrize("model", ["gpt-4o", "claude-3-haiku"])
def test_streamed_response_of_any_model_ends_completed(openai: OpenAI, model: str) -> None:
    stream = openai.responses.create(model=model, input="olá", stream=True)

    kinds = [event.type for event in stream]
    assert (kinds[0], kinds[-1]) == ("response.created", "response.completed")


@pytest.mark.parametrize("model", ["gpt-4o", "claude-3-haiku", "gemini-pro"])
def test_completion_of_any_model_has_a_text(openai: OpenAI, model: str) -> None:
    assert openai.completions.create(model=model, prompt="olá").choices[0].text


def test_streamed_completion_loses_the_usage_that_was_not_asked_for(openai: OpenAI) -> None:
    chunks = list(openai.completions.create(model="gpt-4o", prompt="olá", stream=True))

    assert "".join(chunk.choices[0].text or "" for chunk in chunks) == "olá do provedor "
    assert [chunk.usage for chunk in chunks if chunk.usage] == []


def test_embedding_comes_back_in_the_form_that_the_sdk_asks_for(openai: OpenAI) -> None:
    answer = openai.embeddings.create(model="text-embedding-3-small", input="olá")

    assert answer.data[0].embedding == [0.25, -0.5]


# Fallback


def test_failing_models_are_left_for_the_next_after_one_attempt_each(
    stack: Stack, http: httpx.Client
) -> None:
    since = len(stack.provider.calls)
    question = [{"role": "user", "content": "FAIL 500 gpt-4o gpt-4-turbo-preview"}]
    answer = http.post("/chat/completions", json={"model": "gpt-4o", "messages": question})

    assert (answer.status_code, answer.headers["x-solaris-model"]) == (200, "gpt-4")
    assert asked(stack, since) == CHAIN


def test_stream_of_a_failing_model_is_the_next_ones(stack: Stack, openai: OpenAI) -> None:
    since = len(stack.provider.calls)
    question: Any = [{"role": "user", "content": "FAIL 429 gpt-4-turbo-preview"}]
    chunks = openai.chat.completions.create(model="gpt-4-turbo", messages=question, stream=True)

    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert asked(stack, since) == ["gpt-4-turbo-preview", "gpt-4o"]


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/chat/completions", {"messages": [{"role": "user", "content": "FAIL 400"}]}),
        ("/completions", {"prompt": "FAIL 400"}),
        ("/responses", {"input": "FAIL 400"}),
        ("/messages", {"max_tokens": 9, "messages": [{"role": "user", "content": "FAIL 400"}]}),
    ],
)
def test_refusal_on_each_route_is_one_attempt(
    stack: Stack, http: httpx.Client, path: str, fields: dict[str, Any]
) -> None:
    since = len(stack.provider.calls)
    answer = http.post(path, json={"model": "gpt-3.5-turbo", **fields})

    assert (answer.status_code, len(asked(stack, since))) == (400, 1)


def test_embedding_that_fails_is_one_attempt(stack: Stack, openai: OpenAI) -> None:
    since = len(stack.provider.calls)
    with pytest.raises(sdk.InternalServerError):
        openai.embeddings.create(model="text-embedding-3-small", input="FAIL 500")

    assert len(asked(stack, since)) == 1


def test_client_that_leaves_during_fallback_stops_it(stack: Stack, http: httpx.Client) -> None:
    since = len(stack.provider.calls)
    question = [{"role": "user", "content": "FAIL 500 claude-3-opus-20240229 HANG"}]
    with pytest.raises(httpx.ReadTimeout):
        http.post(
            "/chat/completions",
            json={"model": "claude-3-opus", "messages": question, "stream": True},
            timeout=2.0,
        )
    time.sleep(1.0)

    assert asked(stack, since) == ["claude-3-opus-20240229", "claude-3-sonnet-20240229"]
    assert stack.provider.open_streams == 0
