"""What LiteLLM says of a call, and calls whose worker died, on record."""

from __future__ import annotations

import contextlib
import http.client
import threading
from collections.abc import Callable
from datetime import UTC, datetime

from app.config.settings import Settings
from app.dialects.base import Usage
from app.services.audit_service import AuditService
from tests.asgi_client import AsgiClient
from tests.audit.trail import calls_on_record, recorded
from tests.fakes.litellm import FakeLiteLLM, stalled_json
from tests.ledger.served import BODY, CHAT
from tests.servers import ProxyServer
from tests.waiting import wait_until

AT = datetime(2026, 11, 23, 12, tzinfo=UTC)
REQUEST = "01a20ad7-3151-7a30-b213-1dcfe1ea55ad"


async def say_all(audit: AuditService) -> None:
    await audit.log_litellm_request_start(REQUEST, "gpt-4", AT)
    await audit.log_litellm_request_end(REQUEST, "gpt-4", Usage(7, 5), 510, 1200, AT)
    await audit.log_litellm_request_error(REQUEST, "gpt-4", "timeout", 408, AT)
    await audit.log_model_fallback(REQUEST, "gpt-4", "gpt-4o", "timeout", AT)
    await audit.log_rate_limit_hit("gpt-4", "tpm", 50_001, 50_000, AT)


def test_what_litellm_says_is_on_record(
    start_asgi: Callable[..., AsgiClient], settings: Settings
) -> None:
    client = start_asgi()

    client.run(say_all(client.server.services.audit))

    events = {it["kind"]: it for it in recorded(settings.database.url, 5)}
    end, error = events["litellm_request_end"], events["litellm_request_error"]
    fallback, limit = events["model_fallback"], events["rate_limit_hit"]
    assert {str(it["request_id"]) for kind, it in events.items() if kind != "rate_limit_hit"} == {
        REQUEST
    }
    assert {it["asked"] for it in events.values()} == {"gpt-4"}
    assert (end["input_tokens"], end["output_tokens"], end["cost_micro_usd"]) == (7, 5, 510)
    assert (error["status"], error["detail"]["reason"]) == (408, "timeout")
    assert (fallback["used"], fallback["detail"]["reason"]) == ("gpt-4o", "timeout")
    assert limit["detail"] == {"limit_type": "tpm", "current_usage": 50_001, "limit": 50_000}


def test_call_whose_worker_was_killed_is_on_record_by_another(
    start_proxy: Callable[..., ProxyServer],
    upstream: FakeLiteLLM,
    settings: Settings,
    make_key: Callable[..., str],
) -> None:
    upstream.default = stalled_json()
    proxy = start_proxy(workers=2, env={"HOLD_LIFETIME": "3"})
    caller = threading.Thread(target=ask, args=(proxy, make_key(user_id="ana")))
    caller.start()
    wait_until(lambda: upstream.calls)

    for worker in proxy.workers:
        worker.kill()

    caller.join()
    (event,) = calls_on_record(settings.database.url)
    assert str(event["event_id"]) == upstream.calls[0].headers["x-litellm-call-id"]
    assert (event["person"], event["asked"], event["is_estimated"]) == ("ana", "gpt-4o", True)
    assert event["detail"]["reason"] == "worker_lost"
    assert event["cost_micro_usd"] > 0


def ask(proxy: ProxyServer, key: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=60)
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
        connection.request("POST", CHAT, BODY, headers)
        connection.getresponse()
