"""The real LiteLLM with the callback that is shipped: what it says of calls, and to whom."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx2 as httpx
import pytest
from aiohttp import web

from app.config.settings import LiteLLMSettings
from app.embedded.litellm_server import LiteLLMEnvironment, LiteLLMServer
from app.embedded.network import free_port
from app.utils.signatures import is_signed_by_any, verify
from tests.alerts.receivers import Answer, HttpReceiver, running_http
from tests.conftest import MASTER_KEY, WEBHOOK_SECRET
from tests.e2e.conftest import wait_until_ready
from tests.fakes.litellm import FakeLiteLLM, Handler, sse
from tests.fakes.provider import USAGE, provider
from tests.waiting import wait_until

CANARY = "o CPF 529.982.247-25 do canário"
MODEL = "gpt-4"
# LiteLLM logs in the background, and the callback gathers.
TOLD_WITHIN_S = 30.0


def slowly() -> Handler:
    """As `provider`, but for a stream that takes its time."""
    quick = provider()

    async def handler(request: web.Request) -> web.StreamResponse:
        body = json.loads(await request.read())
        if "DEVAGAR" not in json.dumps(body):
            return await quick(request)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        head = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": body["model"]}
        for _ in range(600):
            choice = {"index": 0, "delta": {"content": "oi "}, "finish_reason": None}
            await response.write(sse({**head, "choices": [choice]}))
            await asyncio.sleep(0.05)
        return response

    return handler


@dataclass
class Exchange:
    litellm: LiteLLMServer
    receiver: HttpReceiver

    def call(self, text: str, model: str = MODEL, **fields: Any) -> tuple[str, httpx.Response]:
        """Ask LiteLLM as somebody who is not the proxy; return the call's id and the answer."""
        request_id = f"chamada-{uuid.uuid4()}"
        answer = httpx.post(
            f"{self.litellm.base_url}/v1/chat/completions",
            json=self.body(text, model, **fields),
            headers=self.headers(request_id),
            timeout=60,
        )
        return request_id, answer

    def body(self, text: str, model: str = MODEL, **fields: Any) -> dict[str, Any]:
        messages = [{"role": "user", "content": f"{CANARY} {text}"}]
        return {"model": model, "messages": messages, "user": "pseudônimo-1", **fields}

    def headers(self, request_id: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {MASTER_KEY}", "x-litellm-call-id": request_id}

    def told(self, request_id: str) -> list[dict[str, Any]]:
        events = [event for delivery in list(self.receiver.received) for event in delivery.json]
        return [it for it in events if it["data"].get("request_id") == request_id]

    def await_told(self, request_id: str, *kinds: str) -> dict[str, dict[str, Any]]:
        """Wait until these kinds were told of a call; return what, by kind."""
        wait_until(
            lambda: set(kinds) <= {it["event_type"] for it in self.told(request_id)}, TOLD_WITHIN_S
        )
        return {it["event_type"]: it["data"] for it in self.told(request_id)}


@pytest.fixture(scope="module")
def exchange(
    litellm_environment: LiteLLMEnvironment, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Exchange]:
    fake = FakeLiteLLM(default=slowly()).start()
    with running_http() as receiver:
        server = LiteLLMServer(
            litellm_environment,
            shipped_config=LiteLLMSettings().config_path,
            state_dir=tmp_path_factory.mktemp("litellm-events"),
            port=free_port(),
            variables={
                "PATH": "/usr/bin:/bin",
                "HOME": str(tmp_path_factory.mktemp("home-events")),
                "LITELLM_MASTER_KEY": MASTER_KEY,
                "OPENAI_API_KEY": "sk-provider-key-for-the-tests",
                "OPENAI_BASE_URL": f"{fake.url}/v1",
                "OPENAI_API_BASE": f"{fake.url}/v1",
                "SOLARIS_WEBHOOK_URL": f"{receiver.url}/api/webhooks/litellm",
                "WEBHOOK_SECRET": WEBHOOK_SECRET,
            },
        )
        wait_until_ready(server)
        yield Exchange(server, receiver)
        server.stop()
    fake.stop()


@pytest.fixture(autouse=True)
def believed(exchange: Exchange) -> Iterator[None]:
    """Whatever a test is about: all is signed in both forms, and says nothing that was said."""
    yield
    now = datetime.now(UTC)
    for delivery in list(exchange.receiver.received):
        headers = {name.lower(): value for name, value in delivery.headers.items()}
        signature = headers["x-signature-256"]
        assert is_signed_by_any(delivery.body, signature, [WEBHOOK_SECRET])
        assert verify(headers, delivery.body, [WEBHOOK_SECRET], now).refusal is None
        text = json.dumps(delivery.json, ensure_ascii=False)
        assert not [it for it in (CANARY, "529.982", "olá do provedor", "oi oi") if it in text]


@pytest.mark.parametrize("is_stream", [False, True], ids=["whole", "stream"])
def test_call_that_is_answered_is_told_at_its_start_and_end(
    exchange: Exchange, is_stream: bool
) -> None:
    request_id, answer = exchange.call("tudo bem?", stream=is_stream)

    told = exchange.await_told(request_id, "request_start", "request_end")
    assert answer.status_code == 200
    assert told["request_start"] == {
        "request_id": request_id,
        "user_id": "pseudônimo-1",
        "model": MODEL,
    }
    end = told["request_end"]
    assert end["usage"] == USAGE
    assert (end["model"], end["model_used"], end["status"]) == (MODEL, MODEL, "success")
    assert (end["stream"], end["provider"]) == (is_stream, "openai")
    assert end["cost"] > 0
    assert len(exchange.told(request_id)) == 2


def test_call_that_fails_everywhere_is_told_as_an_error_of_its_kind(exchange: Exchange) -> None:
    request_id, answer = exchange.call("FAIL 500", num_retries=0, fallbacks=[])

    told = exchange.await_told(request_id, "request_start", "request_error")
    assert answer.status_code == 500
    assert told["request_error"]["error"] == "InternalServerError"
    assert told["request_error"]["error_code"] == 500
    assert "request_end" not in told


def test_fallback_of_litellms_own_is_told(exchange: Exchange) -> None:
    request_id, answer = exchange.call("FAIL 500 gpt-4")

    told = exchange.await_told(request_id, "model_fallback", "request_end")
    assert answer.status_code == 200
    assert told["model_fallback"]["original_model"] == MODEL
    assert told["model_fallback"]["fallback_model"] != MODEL
    assert told["model_fallback"]["reason"] == "InternalServerError"
    assert told["request_end"]["model"] == MODEL
    assert told["request_end"]["model_used"] == told["model_fallback"]["fallback_model"]


def test_providers_limit_is_told(exchange: Exchange) -> None:
    request_id, _ = exchange.call("FAIL 429 gpt-4")

    told = exchange.await_told(request_id, "rate_limit_hit")
    assert told["rate_limit_hit"]["model"] == MODEL


def test_stream_whose_client_leaves_is_told_as_such(exchange: Exchange) -> None:
    request_id = f"chamada-{uuid.uuid4()}"
    with httpx.stream(
        "POST",
        f"{exchange.litellm.base_url}/v1/chat/completions",
        json=exchange.body("DEVAGAR", stream=True),
        headers=exchange.headers(request_id),
        timeout=30,
    ) as answer:
        for _, _line in zip(range(5), answer.iter_lines(), strict=False):
            pass

    told = exchange.await_told(request_id, "request_end")
    assert told["request_end"]["status"] == "client_left"


def test_what_the_receiver_did_not_take_comes_again_under_its_ids(exchange: Exchange) -> None:
    exchange.receiver.default = Answer(503, headers={"Retry-After": "1"})
    request_id, _ = exchange.call("tudo bem?")
    exchange.await_told(request_id, "request_end")
    refused = {it["id"] for it in exchange.told(request_id)}
    before = len(exchange.receiver.received)
    exchange.receiver.default = Answer()

    def again() -> set[str]:
        late = exchange.receiver.received[before:]
        events = [event for delivery in late for event in delivery.json]
        return {it["id"] for it in events if it["data"]["request_id"] == request_id}

    wait_until(lambda: refused <= again(), TOLD_WITHIN_S)
