"""Anthropic's and OpenAI's newer APIs, embeddings, LangChain for Python, Open WebUI's headers."""

from __future__ import annotations

import base64
import json
import struct
import time
import urllib.error
import urllib.request
from typing import Any

import anthropic
import jwt
import pytest
from langchain_core.messages import HumanMessage
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from openai import OpenAI
from pydantic import SecretStr

from tests.clients.conftest import JWT_SECRET, Shop
from tests.clients.javascript import see
from tests.fakes.litellm import status, stream
from tests.fakes.newer_apis import TEXT, message_events, response_events
from tests.fakes.wire_streams import by_path, named

QUESTION: Any = [{"role": "user", "content": "Olá!"}]
MESSAGE: dict[str, Any] = {"model": "claude-3-haiku", "max_tokens": 50, "messages": QUESTION}
BUDGET = status(422, {"error": {"message": "spent", "type": "budget_exceeded"}})
FAILED = b'event: error\ndata: {"type": "error", "error": {"type": "x", "message": "boom"}}\n\n'
SORRY = "O provedor do modelo não respondeu corretamente."


@pytest.fixture(params=["bearer", "x_api_key"])
def claude(shop: Shop, request: pytest.FixtureRequest) -> anthropic.Anthropic:
    """anthropic-python with the key where each generation of the SDK puts it."""
    as_bearer = request.param == "bearer"
    return anthropic.Anthropic(
        base_url=shop.proxy.url,
        api_key=None if as_bearer else shop.key,
        auth_token=shop.key if as_bearer else None,
        max_retries=0,
    )


# 22: Anthropic


def test_message_arrives_with_either_way_of_sending_the_key(
    shop: Shop, claude: anthropic.Anthropic
) -> None:
    shop.upstream.default = by_path()

    message = claude.messages.create(**MESSAGE)

    assert message.content[0].to_dict()["text"] == TEXT
    assert message._request_id == shop.served()[-1]["request_id"]


def test_streamed_message_arrives_with_either_way_of_sending_the_key(
    shop: Shop, claude: anthropic.Anthropic
) -> None:
    shop.upstream.default = by_path()

    with claude.messages.stream(**MESSAGE) as stream_:
        text = "".join(stream_.text_stream)
        usage = stream_.get_final_message().usage

    assert (text, usage.input_tokens, usage.output_tokens) == (TEXT, 21, 5)


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
def test_node_message_arrives(shop: Shop, streamed: bool) -> None:
    shop.upstream.default = by_path()

    seen = see("anthropic", shop.proxy.url, shop.key, MESSAGE | {"stream": streamed})

    assert (seen.text, seen.error) == (TEXT, None)


def test_spent_budget_is_told_in_anthropics_shape_and_tried_once(
    shop: Shop, claude: anthropic.Anthropic
) -> None:
    shop.upstream.default = BUDGET

    with pytest.raises(anthropic.APIStatusError) as caught:
        claude.messages.create(**MESSAGE)

    body: Any = caught.value.body
    assert (caught.value.status_code, body["error"]["type"]) == (402, "billing_error")
    assert body["error"]["message"].startswith("O orçamento")
    assert body["request_id"] == shop.served()[-1]["request_id"]


def test_node_spent_budget_is_tried_once(shop: Shop) -> None:
    shop.upstream.default = BUDGET

    seen = see("anthropic", shop.proxy.url, shop.key, MESSAGE)

    assert "O orçamento" in seen.message
    assert len(shop.upstream.calls) == 1


def test_streamed_message_that_breaks_is_an_error(shop: Shop, claude: anthropic.Anthropic) -> None:
    events = named(message_events("claude-3-haiku"))[:3]
    shop.upstream.default = stream([*events, FAILED], pause_s=0.05)

    with pytest.raises(anthropic.APIError) as caught, claude.messages.stream(**MESSAGE) as stream_:
        list(stream_.text_stream)

    assert SORRY in str(caught.value)


def test_wrong_key_is_an_authentication_error(shop: Shop) -> None:
    client = anthropic.Anthropic(base_url=shop.proxy.url, api_key="sk-wrong", max_retries=0)

    with pytest.raises(anthropic.AuthenticationError):
        client.messages.create(**MESSAGE)


def test_tokens_are_counted(shop: Shop, claude: anthropic.Anthropic) -> None:
    shop.upstream.default = status(200, {"input_tokens": 14})

    counted = claude.messages.count_tokens(model="claude-3-haiku", messages=QUESTION)

    assert counted.input_tokens == 14


# 23: Responses


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
def test_node_response_arrives(shop: Shop, streamed: bool) -> None:
    shop.upstream.default = by_path()
    body = {"model": "gpt-4o", "input": "Olá!", "stream": streamed}

    seen = see("openai", shop.url, shop.key, body, api="responses")

    assert seen.error is None
    assert seen.text == TEXT
    assert seen.usage is not None
    assert seen.usage["output_tokens"] == 5


def test_python_response_streams_to_its_end(shop: Shop) -> None:
    shop.upstream.default = by_path()
    client = OpenAI(base_url=shop.url, api_key=shop.key)

    kinds = [it.type for it in client.responses.create(model="gpt-4o", input="oi", stream=True)]

    assert kinds == [event["type"] for event in response_events("gpt-4o")]


def test_response_that_breaks_is_an_error(shop: Shop) -> None:
    events = named(response_events("gpt-4o"))[:4]
    shop.upstream.default = stream(events, pause_s=0.02)
    body = {"model": "gpt-4o", "input": "Olá!", "stream": True}

    seen = see("openai", shop.url, shop.key, body, api="responses", maxRetries=0)

    assert SORRY in seen.message


def test_response_that_rests_on_the_providers_store_is_refused(shop: Shop) -> None:
    body = {"model": "gpt-4o", "input": "Olá!", "previous_response_id": "resp_of_somebody"}

    seen = see("openai", shop.url, shop.key, body, api="responses")

    assert seen.error is not None
    assert seen.error["status"] == 400
    assert "previous_response_id" in seen.message
    assert shop.upstream.calls == []


# 21: embeddings, LangChain for Python


def test_node_embedding_arrives_from_base64(shop: Shop) -> None:
    shop.upstream.default = by_path()
    body = {"model": "text-embedding-3-small", "input": "olá"}

    seen = see("openai", shop.url, shop.key, body, api="embeddings")

    assert seen.rest["embedding"] == [0.25, -0.5]
    assert shop.upstream.calls[0].body["encoding_format"] == "base64"


def test_langchain_python_embedding_arrives(shop: Shop) -> None:
    values = base64.b64encode(struct.pack("<2f", 0.25, -0.5)).decode()
    data = [{"object": "embedding", "index": 0, "embedding": values}]
    shop.upstream.default = status(200, {"object": "list", "data": data, "usage": {}})
    embeddings = OpenAIEmbeddings(
        model="text-embedding-3-small",
        base_url=shop.url,
        api_key=SecretStr(shop.key),
        check_embedding_ctx_length=False,
    )

    assert embeddings.embed_query("olá") == [0.25, -0.5]


def test_langchain_python_turn_arrives(shop: Shop) -> None:
    shop.upstream.default = by_path()
    model = ChatOpenAI(model="gpt-4o", base_url=shop.url, api_key=SecretStr(shop.key))

    text = "".join(str(chunk.content) for chunk in model.stream([HumanMessage("Olá!")]))

    assert text == "olá do provedor "


# 24: Open WebUI


def open_webui(shop: Shop, headers: dict[str, str]) -> tuple[int, dict[str, Any]]:
    request = urllib.request.Request(
        f"{shop.url}/chat/completions",
        json.dumps({"model": "gpt-4o", "messages": QUESTION}).encode(),
        {"Authorization": f"Bearer {shop.librechat_key}", "Content-Type": "application/json"},
    )
    for name, value in headers.items():
        request.add_header(name, value)
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, json.load(refused)


def signed(secret: str, **claims: Any) -> str:
    now_s = int(time.time())
    return jwt.encode(
        {"iss": "open-webui", "sub": "ana", "iat": now_s, "exp": now_s + 60, **claims},
        secret,
        algorithm="HS256",
    )


def test_open_webuis_person_is_the_same_by_header_and_by_signature(shop: Shop) -> None:
    plain = open_webui(shop, {"X-OpenWebUI-User-Jwt": signed(JWT_SECRET)})
    again = open_webui(shop, {"X-OpenWebUI-User-Jwt": signed(JWT_SECRET, email="ana@corp.br")})

    assert (plain[0], again[0]) == (200, 200)
    assert len({call.body["user"] for call in shop.upstream.calls}) == 1


def test_open_webuis_bad_signature_is_refused(shop: Shop) -> None:
    code, body = open_webui(shop, {"X-OpenWebUI-User-Jwt": signed(JWT_SECRET[::-1])})

    assert (code, body["error"]["code"]) == (401, "identity_rejected")
    assert shop.upstream.calls == []
