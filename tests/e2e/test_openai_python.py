"""openai-python, unmodified, through gunicorn, the proxy and the real LiteLLM."""

from __future__ import annotations

import base64
from typing import Any

import openai as sdk
import pytest
from openai import OpenAI

from app.config.catalog import load_catalog
from app.config.settings import LiteLLMSettings
from tests.e2e.conftest import Stack
from tests.fakes.provider import REFUSAL, TOOL_CALL

pytestmark = pytest.mark.litellm

SEED_MODELS = (
    "gpt-4",
    "gpt-4-turbo",
    "gpt-4o",
    "gpt-3.5-turbo",
    "claude-3-opus",
    "claude-3-sonnet",
    "claude-3-haiku",
    "gemini-pro",
    "gemini-pro-vision",
)
SEED_GROUPS = ("gpt-4-group", "claude-group", "budget-group", "vision-group")
QUESTION: Any = [{"role": "user", "content": "olá"}]
TOOLS: Any = [
    {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}
]


@pytest.mark.parametrize("model", [*SEED_MODELS, *SEED_GROUPS])
def test_whole_answer_of_each_model_and_group_arrives(openai: OpenAI, model: str) -> None:
    answer = openai.chat.completions.with_raw_response.create(model=model, messages=QUESTION)
    content = answer.parse().choices[0].message.content
    assert content
    assert answer.headers["x-request-id"]
    assert answer.headers["x-solaris-model"] in SEED_MODELS
    assert int(answer.headers["x-solaris-cost"]) > 0


@pytest.mark.parametrize("model", [*SEED_MODELS, *SEED_GROUPS])
def test_stream_without_options_has_a_choice_in_each_chunk(openai: OpenAI, model: str) -> None:
    chunks = list(openai.chat.completions.create(model=model, messages=QUESTION, stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert [chunk.usage for chunk in chunks if chunk.usage] == []


@pytest.mark.parametrize("model", [*SEED_MODELS, *SEED_GROUPS])
def test_stream_with_usage_asked_for_ends_with_one_usage(openai: OpenAI, model: str) -> None:
    chunks = list(
        openai.chat.completions.create(
            model=model, messages=QUESTION, stream=True, stream_options={"include_usage": True}
        )
    )
    assert [bool(chunk.usage) for chunk in chunks] == [False] * (len(chunks) - 1) + [True]


def test_stream_is_what_the_provider_sent(openai: OpenAI) -> None:
    chunks = openai.chat.completions.create(model="gpt-4o", messages=QUESTION, stream=True)
    assert "".join(c.choices[0].delta.content or "" for c in chunks) == "olá do provedor "


def test_tools_come_back_as_calls(openai: OpenAI) -> None:
    answer = openai.chat.completions.create(model="gpt-4o", messages=QUESTION, tools=TOOLS)
    calls = answer.choices[0].message.tool_calls
    assert calls is not None
    assert calls[0].to_dict()["function"] == TOOL_CALL["function"]


def test_streamed_tools_keep_their_deltas(openai: OpenAI) -> None:
    chunks = openai.chat.completions.create(
        model="gpt-4o", messages=QUESTION, tools=TOOLS, stream=True
    )
    deltas = [call for c in chunks for call in c.choices[0].delta.tool_calls or []]
    assert [call.function.arguments for call in deltas if call.function] == [
        '{"city": "São Paulo"}'
    ]


def test_image_part_reaches_the_provider_whole(openai: OpenAI) -> None:
    url = "data:image/png;base64," + base64.b64encode(b"\x89PNG" * 250_000).decode()
    parts: Any = [
        {"type": "text", "text": "o que é isto?"},
        {"type": "image_url", "image_url": {"url": url}},
    ]
    answer = openai.chat.completions.create(
        model="gpt-4o", messages=[{"role": "user", "content": parts}]
    )
    assert answer.choices[0].message.content == f"imagem de {len(url)} caracteres"


def test_unknown_key_raises_authentication_error(stack: Stack) -> None:
    client = OpenAI(base_url=f"{stack.proxy.url}/v1", api_key="sk-wrong", max_retries=0)
    with client, pytest.raises(sdk.AuthenticationError) as caught:
        client.chat.completions.create(model="gpt-4o", messages=QUESTION)
    assert caught.value.code == "invalid_api_key"


def test_unknown_model_raises_not_found(openai: OpenAI) -> None:
    with pytest.raises(sdk.NotFoundError) as caught:
        openai.chat.completions.create(model="gpt-99", messages=QUESTION)
    assert caught.value.code == "model_not_found"


def test_messages_of_wrong_shape_never_reach_litellm(stack: Stack, openai: OpenAI) -> None:
    before = len(stack.provider.received)
    wrong: Any = "abc"
    with pytest.raises(sdk.BadRequestError) as caught:
        openai.chat.completions.create(model="gpt-4o", messages=wrong)
    assert caught.value.param == "messages"
    assert len(stack.provider.received) == before


def test_refusal_of_the_provider_is_relayed_after_one_attempt(stack: Stack, openai: OpenAI) -> None:
    before = len(stack.provider.received)
    with pytest.raises(sdk.BadRequestError) as caught:
        openai.chat.completions.create(model="gpt-4o", messages=QUESTION, temperature=9)
    assert REFUSAL in str(caught.value)
    assert len(stack.provider.received) == before + 1


def test_model_list_is_the_catalogue(openai: OpenAI) -> None:
    listed = [model.id for model in openai.models.list()]
    assert listed == load_catalog(LiteLLMSettings().config_path).names()
    assert set(SEED_MODELS) | set(SEED_GROUPS) <= set(listed)


def test_one_model_is_found_by_its_name(openai: OpenAI) -> None:
    assert openai.models.retrieve("claude-3-opus").owned_by == "anthropic"


def test_person_is_told_apart_but_not_named_to_the_provider(stack: Stack, openai: OpenAI) -> None:
    openai.chat.completions.create(model="gpt-4o", messages=QUESTION, user="maria@example.com")
    sent = stack.provider.calls[-1].body
    assert sent["user"]
    assert "maria" not in stack.provider.calls[-1].raw.decode()
