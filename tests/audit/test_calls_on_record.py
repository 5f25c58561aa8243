"""Every request to a model is one event in the trail, whatever became of it."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from app.config.settings import Settings
from app.services.audit_service import UNAUTHENTICATED
from tests.audit.trail import calls_on_record
from tests.fakes.litellm import FakeLiteLLM, completion, cut, openai_events, status, stream
from tests.ledger.served import BODY, CHAT, HELD_TOKENS, USAGE, Served, StartServed
from tests.waiting import wait_until

PERSON = {
    "X-Solaris-Team": "vendas",
    "X-Solaris-Conversation-Id": "talk-1",
    "X-Solaris-Message-Id": "message-1",
    "X-Forwarded-For": "203.0.113.9",
    "User-Agent": "OpenAI/Python 2.9.0",
}


@pytest.fixture
def served(serve: StartServed) -> Served:
    return serve()


def only(settings: Settings) -> dict[str, Any]:
    (event,) = calls_on_record(settings.database.url)
    return event


def test_answered_call_is_on_record_with_who_what_and_how_much(
    served: Served, upstream: FakeLiteLLM, settings: Settings
) -> None:
    upstream.default = completion(usage=USAGE)

    reply = served.send(BODY, headers=PERSON)

    event = only(settings)
    assert str(event["event_id"]) == reply.header("x-request-id")
    assert (event["kind"], event["person"], event["team"], event["key"]) == (
        "request",
        "ana",
        "vendas",
        "key-0",
    )
    assert (event["asked"], event["used"], event["status"]) == ("gpt-4o", "gpt-4o", 200)
    assert (event["input_tokens"], event["output_tokens"]) == (7, 4)
    assert str(event["cost_micro_usd"]) == reply.header("x-solaris-cost")
    assert event["latency_ms"] >= 0
    assert event["is_estimated"] is False
    assert event["detail"]["held"][0] == HELD_TOKENS
    assert event["private"] == {
        "conversation_id": "talk-1",
        "message_id": "message-1",
        "ip": "203.0.113.9",
        "client": "openai-python",
    }


def test_stream_is_on_record_when_it_has_ended(
    served: Served, upstream: FakeLiteLLM, settings: Settings
) -> None:
    upstream.default = stream(openai_events(["Ol", "á"], USAGE))

    served.ask(stream=True)

    event = only(settings)
    assert (event["kind"], event["status"], event["detail"]["stream"]) == ("request", 200, True)
    assert (event["input_tokens"], event["output_tokens"]) == (7, 4)
    assert 0 <= event["first_byte_ms"] <= event["latency_ms"]


def test_stream_that_broke_off_is_on_record_with_what_was_charged(
    served: Served, upstream: FakeLiteLLM, settings: Settings
) -> None:
    upstream.default = cut(*openai_events(["um", "dois", "três"], None)[:3])
    served.budget("tokens", "month", 10_000)

    served.ask(stream=True)

    event = only(settings)
    assert (event["detail"]["reason"], event["is_estimated"]) == ("upstream_error", True)
    assert event["output_tokens"] == 3
    assert event["input_tokens"] + 3 == served.settled("tokens", "month")


def test_call_that_fell_back_is_on_record_with_its_path(
    served: Served, upstream: FakeLiteLLM, settings: Settings
) -> None:
    upstream.default = completion(usage=USAGE)
    upstream.for_model("gpt-4o", status(500, {"error": {"message": "no"}}))

    served.ask()

    event = only(settings)
    assert (event["asked"], event["status"]) == ("gpt-4o", 200)
    assert event["used"] != "gpt-4o"
    first, *_, last = event["detail"]["path"]
    assert (first["model"], first["outcome"], first["litellm_status"]) == ("gpt-4o", "failed", 500)
    assert (last["model"], last["outcome"]) == (event["used"], "answered")


@pytest.mark.parametrize(
    ("changed", "reason", "code"),
    [
        ({"model": "no-such-model"}, "model_not_found", 404),
        ({"messages": "no list"}, "invalid_request_error", 400),
    ],
)
def test_refused_call_is_on_record_with_its_reason(
    served: Served, settings: Settings, changed: dict[str, Any], reason: str, code: int
) -> None:
    served.ask(**changed)

    event = only(settings)
    assert (event["kind"], event["status"], event["detail"]["reason"]) == (
        "refusal",
        code,
        reason,
    )
    assert (event["person"], event["cost_micro_usd"]) == ("ana", 0)


def test_call_without_budget_is_on_record_with_the_limit(
    served: Served, settings: Settings
) -> None:
    served.budget("tokens", "day", 10)

    served.ask()

    event = only(settings)
    assert (event["kind"], event["status"]) == ("refusal", 402)
    assert event["detail"]["limit"] == {"scope": "user", "metric": "tokens", "period": "day"}


def test_call_with_a_key_that_is_none_is_on_record_as_nobodys(
    served: Served, settings: Settings
) -> None:
    served.client.call("POST", CHAT, [("Authorization", "Bearer sk-solaris-none")], BODY)

    event = only(settings)
    assert (event["kind"], event["status"], event["person"], event["key"]) == (
        "refusal",
        401,
        None,
        None,
    )


def test_flood_without_a_key_leaves_few_events_and_the_number_of_the_rest(
    served: Served, settings: Settings, upstream: FakeLiteLLM
) -> None:
    for _ in range(100):
        served.client.call("POST", CHAT, [("Authorization", "Bearer x")], BODY)
    served.ask()

    url = settings.database.url
    wait_until(lambda: any(it["status"] != UNAUTHENTICATED for it in calls_on_record(url)))
    events = calls_on_record(url)
    left_out = sum(it["detail"].get("unauthenticated_before", 0) for it in events)
    assert left_out >= 50
    # The last one is of the call that was answered.
    assert len(events) - 1 + left_out == 100


def test_text_of_a_call_is_not_on_record(
    served: Served, upstream: FakeLiteLLM, settings: Settings
) -> None:
    upstream.default = completion(usage=USAGE)
    canary = "CANARY-529.982.247-25"
    headers = {"X-Solaris-Conversation-Id": canary, "User-Agent": canary}

    served.send(orjson.dumps({"model": canary, "messages": [], "user": "x"}), headers=headers)
    served.send(BODY.replace("Olá!".encode(), canary.encode()), headers=headers)

    assert canary not in repr(calls_on_record(settings.database.url, 2))
