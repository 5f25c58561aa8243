"""What the real LiteLLM says a call cost is on record, and is what was charged."""

from __future__ import annotations

from typing import Any

import httpx2 as httpx
import pytest

from app.reconciliation.compare import Tolerance
from tests.audit.trail import calls_on_record
from tests.e2e.conftest import Stack
from tests.waiting import wait_until

BODY = {"model": "gpt-4o", "messages": [{"role": "user", "content": "olá"}], "max_tokens": 40}


@pytest.mark.parametrize("is_stream", [False, True], ids=["whole", "stream"])
def test_cost_that_litellm_states_is_what_was_charged(
    stack: Stack, api_key: str, lasting_database_url: str, is_stream: bool
) -> None:
    headers = {"Authorization": f"Bearer {api_key}"}
    answer = httpx.post(
        f"{stack.proxy.url}/v1/chat/completions",
        json={**BODY, "stream": is_stream},
        headers=headers,
        timeout=30,
    )

    event = _event_of(lasting_database_url, answer.headers["x-request-id"])
    assert event["cost_micro_usd"] > 0
    assert Tolerance(0, 1).holds(event["detail"]["litellm_cost"], event["cost_micro_usd"])


def _event_of(url: str, request_id: str) -> dict[str, Any]:
    found: list[dict[str, Any]] = []

    def is_there() -> bool:
        found[:] = [it for it in calls_on_record(url) if str(it["event_id"]) == request_id]
        return bool(found)

    wait_until(is_there, 20)
    return found[0]
