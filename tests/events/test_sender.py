"""The callback's queue and its way out, without LiteLLM, against a receiver that runs."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Iterator
from typing import Any

import pytest

from app.embedded.litellm_server import CALLBACK
from app.embedded.network import free_port
from tests.alerts.receivers import Answer, HttpReceiver, running_http
from tests.waiting import wait_until

SECRET = "the-webhook-secret-of-these-tests"
MB = 1024 * 1024


@pytest.fixture(scope="module")
def callback() -> Any:
    spec = importlib.util.spec_from_file_location("ia_solaris_webhook", CALLBACK)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def receiver() -> Iterator[HttpReceiver]:
    with running_http() as server:
        yield server


def ids(receiver: HttpReceiver) -> list[int]:
    return [event["id"] for delivery in list(receiver.received) for event in delivery.json]


def test_events_arrive_in_their_order_and_in_batches(callback: Any, receiver: HttpReceiver) -> None:
    sender = callback.Sender(receiver.url, SECRET)
    for number in range(1000):
        sender.put({"id": number})
    sender.flush(10)

    assert ids(receiver) == list(range(1000))
    assert len(receiver.received) <= 10
    assert (sender.sent, sender.dropped) == (1000, 0)


def test_batch_is_smaller_than_what_the_receiver_takes(
    callback: Any, receiver: HttpReceiver
) -> None:
    sender = callback.Sender(receiver.url, SECRET)
    for number in range(100):
        sender.put({"id": number, "padding": "x" * 20_000})
    sender.flush(10)

    assert ids(receiver) == list(range(100))
    assert max(len(it.body) for it in receiver.received) < MB


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503])
def test_event_that_was_not_taken_is_sent_again(
    callback: Any, receiver: HttpReceiver, status: int
) -> None:
    receiver.answers.append(Answer(status))
    sender = callback.Sender(receiver.url, SECRET)
    sender.put({"id": 7})
    wait_until(lambda: sender.sent == 1)
    sender.flush()

    assert ids(receiver) == [7, 7]
    first, second = (
        {name.lower(): it for name, it in delivery.headers.items()}["webhook-id"]
        for delivery in receiver.received
    )
    assert first == second


@pytest.mark.parametrize("status", [301, 400, 401, 404, 413])
def test_event_that_is_refused_for_good_is_dropped_and_counted(
    callback: Any, receiver: HttpReceiver, status: int
) -> None:
    receiver.answers.append(Answer(status, headers={"Location": f"{receiver.url}/elsewhere"}))
    sender = callback.Sender(receiver.url, SECRET)
    sender.put({"id": 1})
    wait_until(lambda: sender.dropped == 1)
    sender.put({"id": 2})
    sender.flush(10)

    assert ids(receiver) == [1, 2]
    assert (sender.sent, sender.dropped) == (1, 1)


def test_oldest_are_dropped_and_counted_where_the_receiver_is_away_for_long(callback: Any) -> None:
    sender = callback.Sender(f"http://127.0.0.1:{free_port()}", SECRET, max_waiting=50)
    for number in range(500):
        sender.put({"id": number})

    # One batch may be on its way.
    assert 500 - 50 - callback.MAX_BATCH_EVENTS <= sender.dropped <= 450
    sender.flush(1)


def test_hook_without_an_address_says_nothing_and_returns_what_it_got(callback: Any) -> None:
    hook = callback.SolarisWebhook(None)
    data = {"model": "gpt-4", "litellm_call_id": "a"}

    assert asyncio.run(hook.async_pre_call_hook(None, None, data, "completion")) is data


@pytest.mark.parametrize("data", [None, [], "text", 7], ids=str)
def test_hook_that_gets_something_odd_fails_nobody(
    callback: Any, receiver: HttpReceiver, data: Any
) -> None:
    hook = callback.SolarisWebhook(callback.Sender(receiver.url, SECRET))

    async def all_hooks() -> None:
        await hook.async_pre_call_hook(None, None, data, "completion")
        await hook.async_log_success_event(data, None, None, None)
        await hook.async_post_call_failure_hook(data, ValueError("a secret"), None, None)
        await hook.log_success_fallback_event("gpt-4", data, ValueError())
        await hook.log_model_group_rate_limit_error(ValueError(), "gpt-4", data)

    asyncio.run(all_hooks())
    assert hook.failed == 5


class BudgetExceeded(Exception):  # noqa: N818  # as LiteLLM's
    current_cost, max_budget = 1.5, 1.0


class TooMany(Exception):  # noqa: N818
    headers = {"rate_limit_type": "tokens", "retry-after": "60"}  # noqa: RUF012


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (BudgetExceeded(), {"limit_type": "budget", "current_usage": 1.5, "limit": 1.0}),
        (TooMany(), {"limit_type": "tpm"}),
        (ValueError(), None),
    ],
    ids=["budget", "tokens", "none"],
)
def test_limit_of_litellms_own_is_told_as_such(
    callback: Any, receiver: HttpReceiver, fault: Exception, expected: Any
) -> None:
    hook = callback.SolarisWebhook(callback.Sender(receiver.url, SECRET))
    data = {"litellm_call_id": "a", "model": "gpt-4"}

    asyncio.run(hook.async_post_call_failure_hook(data, fault, None, None))
    hook.sender.flush(10)

    told = [it for delivery in receiver.received for it in delivery.json]
    limits = [it["data"] for it in told if it["event_type"] == "rate_limit_hit"]
    assert limits == ([{"request_id": "a", "model": "gpt-4", **expected}] if expected else [])
