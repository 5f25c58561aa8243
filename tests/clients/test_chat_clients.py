"""What people see in LibreChat and in the SDKs; rows of the clients' acceptance list by number."""

from __future__ import annotations

import base64
import socket
import time
from typing import Any

import openai as sdk
import pytest
from openai import OpenAI

from tests.clients.conftest import Shop
from tests.clients.javascript import Seen, run, see, together
from tests.fakes.litellm import (
    completion,
    cut,
    endless,
    raw,
    silence,
    sse,
    status,
    stream,
)
from tests.fakes.wire_streams import CALL, by_path, deltas

QUESTION: list[dict[str, Any]] = [{"role": "user", "content": "Olá!"}]
TURN: dict[str, Any] = {"model": "gpt-4o", "messages": QUESTION, "stream": True, "user": "66f1c0ff"}
TITLE = TURN | {"stream": False}
TEXT = "olá do provedor "
BUDGET = status(422, {"error": {"message": "Budget exceeded", "type": "budget_exceeded"}})
FAILED = b'data: {"error": {"message": "boom at http://10.0.0.7", "code": "500"}}\n\n'
HELLO = sse({"id": "c1", "choices": [{"index": 0, "delta": {"content": "olá"}}]})


def librechat(shop: Shop, body: dict[str, Any] = TURN, **plan: Any) -> Seen:
    """Ask as LibreChat does: LangChain's model class, the service key."""
    return see("langchain", shop.url, shop.librechat_key, body, **plan)


def openai_node(shop: Shop, body: dict[str, Any] = TURN, **plan: Any) -> Seen:
    return see("openai", shop.url, shop.key, body, **{"api": "chat", **plan})


def openai_python(shop: Shop, **options: Any) -> OpenAI:
    return OpenAI(base_url=shop.url, api_key=shop.key, **options)


# 1: the model list


def test_model_list_is_there_while_litellm_is_not(shop: Shop) -> None:
    shop.upstream.default = status(500, {})

    seen = openai_node(shop, {}, api="models")

    assert {"gpt-4o", "claude-3-haiku"} <= set(seen.rest["models"])


def test_model_list_for_a_wrong_key_is_a_401(shop: Shop) -> None:
    seen = see("openai", shop.url, "sk-wrong", {}, api="models")

    assert seen.error is not None
    assert (seen.error["status"], seen.error["code"]) == (401, "invalid_api_key")


# 2, 3: a turn, and who asked for usage


def test_librechats_turn_is_what_litellm_sent(shop: Shop) -> None:
    shop.upstream.default = by_path()

    seen = librechat(shop)

    assert (seen.text, seen.error) == (TEXT, None)
    assert shop.upstream.calls[0].body["stream_options"] == {"include_usage": True}


def test_python_stream_without_usage_has_a_choice_in_every_chunk(shop: Shop) -> None:
    shop.upstream.default = by_path()

    chunks = list(openai_python(shop).chat.completions.create(**TURN))

    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == TEXT


def test_python_stream_with_usage_has_it_once_and_last(shop: Shop) -> None:
    shop.upstream.default = by_path()
    options: Any = {"stream_options": {"include_usage": True}}

    chunks = list(openai_python(shop).chat.completions.create(**TURN, **options))

    assert [bool(chunk.usage) for chunk in chunks] == [False] * (len(chunks) - 1) + [True]


# 4, 20: who is asking


def test_names_in_any_encoding_pass_and_stay_here(shop: Shop) -> None:
    name = "b64:" + base64.b64encode("Łukasz".encode()).decode()
    headers = {"X-Solaris-User-Id": "u1", "X-Solaris-User-Name": name}

    seen = together(
        lambda: librechat(shop, headers=headers),
        lambda: librechat(shop, headers=headers | {"X-Solaris-User-Name": "João"}),
    )

    assert [it.error for it in seen] == [None, None]
    sent = {header.lower() for call in shop.upstream.calls for header in call.headers}
    assert not [header for header in sent if header.startswith("x-solaris")]


def test_person_named_by_a_personal_key_is_ignored(shop: Shop) -> None:
    spoofed = {"X-Solaris-User-Id": "chefe", "x-litellm-end-user-id": "chefe"}

    openai_node(shop, TURN | {"user": "chefe"})
    openai_node(shop, headers=spoofed)
    openai_node(shop, headers={"X-Solaris-User-Id": "{{LIBRECHAT_USER_ID}}"})

    users = {call.body["user"] for call in shop.upstream.calls}
    headers = {header.lower() for call in shop.upstream.calls for header in call.headers}
    assert len(users) == 1
    assert "x-litellm-end-user-id" not in headers


# 5, 6, 7, 8: what LibreChat sends besides


def test_title_and_turn_at_once_are_both_answered(shop: Shop) -> None:
    shop.upstream.default = by_path()

    turn, title = together(lambda: librechat(shop), lambda: librechat(shop, TITLE))

    assert (turn.text, title.text) == (TEXT, "Um título")


def test_tool_call_arrives_whole_and_its_result_goes_up(shop: Shop) -> None:
    shop.upstream.default = deltas({"role": "assistant", "tool_calls": [CALL]})
    tool = {"type": "function", "function": {"name": "get_weather", "parameters": {}}}
    called = librechat(shop, TURN | {"tools": [tool]})
    shop.upstream.default = by_path()
    history = [
        *QUESTION,
        {"role": "assistant", "content": "", "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "call_1", "content": "25 graus"},
    ]

    answered = openai_node(shop, TURN | {"messages": history})

    assert called.rest["toolCalls"][0]["args"] == CALL["function"]["arguments"]
    assert answered.text == TEXT
    assert shop.upstream.calls[-1].body["messages"] == history


@pytest.mark.parametrize(("megabytes", "code"), [(10, None), (60, "request_too_large")])
def test_picture_passes_up_to_the_limit(shop: Shop, megabytes: int, code: str | None) -> None:
    url = "data:image/png;base64," + "A" * (megabytes * 1024 * 1024)
    parts: Any = [{"type": "image_url", "image_url": {"url": url}}]
    client = openai_python(shop, max_retries=0)

    try:
        client.chat.completions.create(
            model="gpt-4o", messages=[{"role": "user", "content": parts}]
        )
        seen = None
    except sdk.APIStatusError as error:
        seen = error.code

    assert seen == code


def test_reasoning_survives(shop: Shop) -> None:
    shop.upstream.default = deltas({"reasoning_content": "hm, "}, {"content": "olá"})

    seen = openai_node(shop)

    assert (seen.rest["reasoning"], seen.text) == ("hm, ", "olá")


# 11: LiteLLM is down


def test_litellm_that_is_down_costs_librechat_seconds_not_minutes(shop: Shop, down: Shop) -> None:
    began_s = time.monotonic()
    seen = librechat(down, maxRetries=1)

    assert seen.message.startswith("503 ")
    assert "indisponível" in seen.message
    # Three seconds are promised; the rest is for a busy machine and for starting Node.
    assert time.monotonic() - began_s < 15
    assert len(down.served(2)) == 2


@pytest.mark.timeout(300)
def test_litellm_that_is_down_is_asked_for_seven_times_and_tried_a_few(down: Shop) -> None:
    seen = librechat(down)

    assert seen.message.startswith("503 ")
    assert [line["status"] for line in down.served(7)] == [503] * 7
    # Nothing was there to be reached; and most of the seven were refused without looking.
    assert max(line["duration_ms"] for line in down.served(7)[1:]) < 2000


# 12, 13, 14, 15: what goes wrong upstream


def test_budget_of_litellm_that_is_spent_is_tried_once_by_everyone(shop: Shop) -> None:
    shop.upstream.default = BUDGET

    chain, node = together(lambda: librechat(shop), lambda: openai_node(shop))
    with pytest.raises(sdk.APIStatusError) as caught:
        openai_python(shop).chat.completions.create(**TURN)

    assert len(shop.upstream.calls) == 3
    assert {caught.value.status_code, node.error["status"]} == {402}  # type: ignore[index]
    assert chain.message.startswith("402 O orçamento")


def test_budget_of_ours_that_is_spent_is_tried_once_by_everyone(spent: Shop) -> None:
    chain, node = together(lambda: librechat(spent), lambda: openai_node(spent))
    with pytest.raises(sdk.APIStatusError) as caught:
        openai_python(spent).chat.completions.create(**TURN)

    assert [line["status"] for line in spent.served(3)] == [402] * 3
    assert spent.upstream.calls == []
    assert (caught.value.status_code, caught.value.code) == (402, "insufficient_quota")
    assert caught.value.response.headers["x-ratelimit-remaining-requests"] == "0"
    assert {node.error["status"], caught.value.status_code} == {402}  # type: ignore[index]
    assert chain.message.startswith("402 Seu orçamento de pedidos para hoje acabou")


def test_html_from_upstream_is_never_shown(shop: Shop) -> None:
    shop.upstream.default = raw(b"<html>Bad gateway</html>", "text/html", 502)

    seen = librechat(shop, maxRetries=1)

    assert seen.message.startswith("502 O provedor do modelo")
    assert "<html" not in seen.message


BROKEN = {
    "error_in_the_middle": stream([HELLO, FAILED], pause_s=0.05),
    "cut": cut(HELLO),
    "end_without_done": stream([HELLO]),
}


@pytest.mark.parametrize("name", BROKEN)
def test_stream_that_breaks_is_an_error_after_the_text_that_came(shop: Shop, name: str) -> None:
    shop.upstream.default = BROKEN[name]

    chain, node = together(
        lambda: librechat(shop, maxRetries=1), lambda: openai_node(shop, maxRetries=0)
    )
    with pytest.raises(sdk.APIError) as caught:
        for _ in openai_python(shop, max_retries=0).chat.completions.create(**TURN):
            pass

    assert (chain.text, node.text) == ("olá", "olá")
    assert {chain.message, node.message, str(caught.value)} == {
        "O provedor do modelo não respondeu corretamente. Tente de novo; "
        "se continuar, avise o administrador."
    }


def test_error_as_the_first_event_is_an_error_with_a_status(shop: Shop) -> None:
    shop.upstream.default = stream([FAILED])

    chain, node = together(
        lambda: librechat(shop, maxRetries=1), lambda: openai_node(shop, maxRetries=0)
    )

    assert chain.message.startswith("502 ")
    assert node.error is not None
    assert (node.error["status"], node.error["code"]) == (502, "upstream_error")


# 16: the stop button


def test_stop_button_closes_the_connection_upstream(shop: Shop) -> None:
    shop.upstream.default = endless(HELLO, pause_s=0.05)

    librechat(shop, abortAfterMs=700)
    deadline_s = time.monotonic() + 3
    while shop.upstream.open_streams and time.monotonic() < deadline_s:
        time.sleep(0.05)

    assert (shop.upstream.open_streams, len(shop.upstream.calls)) == (0, 1)


# 17: a slow model


def test_slow_model_shows_signs_of_life_and_is_waited_for(shop: Shop) -> None:
    shop.upstream.default = silence(b": working\n\n", seconds=18)

    head = _until(shop, b": keep-alive")

    assert b"200 OK" in head


# 18: one id for all


def test_request_id_of_the_sdk_is_the_logs(shop: Shop) -> None:
    shop.upstream.default = completion()

    seen = openai_node(shop, TITLE)

    assert seen.requestId == shop.served()[-1]["request_id"]


# 25: LibreChat's own schema


def test_librechat_yaml_is_valid_by_librechats_schema() -> None:
    from app.config.settings import PROJECT_ROOT

    judged = run("validate_librechat", str(PROJECT_ROOT / "deploy" / "librechat.yaml"))

    assert judged == {"valid": True, "problems": []}


def _until(shop: Shop, sign: bytes) -> bytes:
    """Return what a raw connection receives until ``sign`` is there."""
    body = b'{"model": "gpt-4o", "stream": true, "messages": [{"role": "user", "content": "oi"}]}'
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {shop.key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", shop.proxy.port), timeout=40) as connection:
        connection.sendall(head.encode() + body)
        received = b""
        while sign not in received:
            chunk = connection.recv(65536)
            assert chunk, received
            received += chunk
    return received
