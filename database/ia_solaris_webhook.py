"""Tells the IA SOLARIS proxy what becomes of LiteLLM's calls: the callback `litellm_settings`
names, loaded by LiteLLM itself from beside its configuration.

It reads SOLARIS_WEBHOOK_URL and WEBHOOK_SECRET, and without them says nothing to anybody. What it
sends are numbers, names of models and classes of errors: no prompt, no answer, no message, no
header. A call to a model neither waits for it nor fails through it: hooks only put an event into
a queue, which a thread empties.

Only the standard library is needed, beside LiteLLM. Written for LiteLLM 1.106.2; which of its hooks
fires when is in docs/litellm-callback.md.
"""

from __future__ import annotations

import atexit
import base64
import functools
import hashlib
import hmac
import json
import logging
import os
import random
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

try:
    import litellm
    from litellm.integrations.custom_logger import CustomLogger
except ImportError:  # the queue and the way out do not need it
    litellm = None
    CustomLogger = object

logger = logging.getLogger("ia_solaris_webhook")

# Beyond this many the oldest are dropped: what is new can still be acted on.
MAX_WAITING = 20_000
# The receiver takes 1 MB.
MAX_BATCH_EVENTS, MAX_BATCH_BYTES = 200, 512 * 1024
GATHER_S = 0.5
SEND_TIMEOUT_S = 10.0
FIRST_DELAY_S, LONGEST_DELAY_S = 0.5, 30.0
# How long the end of the process waits for what is left.
FLUSH_S = 3.0
COMPLAINT_EVERY_S = 60.0
# A 4xx that may be otherwise next time.
PASSING = {408, 425, 429}
CLIENT_LEFT = "499"
LIMIT_TYPES = {"requests": "rpm", "tokens": "tpm", "max_parallel_requests": "parallel"}


def signature_headers(body: bytes, secret: str, delivery_id: str, now_s: int) -> dict[str, str]:
    """Return both forms of signature: `X-Signature-256`, and Standard Webhooks 1.0."""
    key = secret.encode()
    signed = f"{delivery_id}.{now_s}.".encode() + body
    code = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    return {
        "X-Signature-256": "sha256=" + hmac.new(key, body, hashlib.sha256).hexdigest(),
        "webhook-id": delivery_id,
        "webhook-timestamp": str(now_s),
        "webhook-signature": f"v1,{code}",
    }


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A signed delivery goes where it was sent, or nowhere."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


class Sender:
    """A bounded queue, and one thread that sends what is in it; for hooks on any event loop."""

    def __init__(self, url: str, secret: str, *, max_waiting: int = MAX_WAITING) -> None:
        self._url = url
        self._secret = secret
        self._max_waiting = max_waiting
        self._waiting: deque[bytes] = deque()
        self._changed = threading.Condition()
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._pid = 0
        self._complained_at_s = float("-inf")
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirects())
        # Events that nobody will ever get, since this process started.
        self.dropped = 0
        self.sent = 0

    def put(self, event: Mapping[str, Any]) -> None:
        """Take an event; never waits for the receiver."""
        line = json.dumps(event, separators=(",", ":"), default=str).encode()
        with self._changed:
            self._start()
            self._waiting.append(line)
            while len(self._waiting) > self._max_waiting:
                self._waiting.popleft()
                self.dropped += 1
            # Who gathers is not woken for each.
            if len(self._waiting) == 1 or self._has_batch():
                self._changed.notify()
        if self.dropped:
            self._complain("events were dropped: the receiver does not answer")

    def flush(self, within_s: float = FLUSH_S) -> None:
        """Send what is left, for so long at most, and stop."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        if self._thread is not None and self._pid == os.getpid():
            self._thread.join(within_s)

    def _start(self) -> None:
        """Start the thread with the first event: after a fork there is none."""
        if self._thread is None or self._pid != os.getpid():
            self._pid = os.getpid()
            self._thread = threading.Thread(target=self._work, name="ia-solaris", daemon=True)
            self._thread.start()

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._stopping:
                    self._changed.wait()
                if not self._waiting:
                    return
                # More will come: a delivery for each would cost LiteLLM's calls more.
                self._changed.wait_for(self._has_batch, GATHER_S)
                batch = self._batch()
            if batch:
                self._deliver(batch)

    def _has_batch(self) -> bool:
        return self._stopping or len(self._waiting) >= MAX_BATCH_EVENTS

    def _batch(self) -> list[bytes]:
        batch: list[bytes] = []
        size = 2
        while self._waiting and len(batch) < MAX_BATCH_EVENTS:
            if batch and size + len(self._waiting[0]) + 1 > MAX_BATCH_BYTES:
                break
            line = self._waiting.popleft()
            size += len(line) + 1
            batch.append(line)
        return batch

    def _deliver(self, batch: list[bytes]) -> None:
        """Send until it is taken, is refused for good, or the queue is full behind it."""
        body, delivery_id = b"[" + b",".join(batch) + b"]", uuid.uuid4().hex
        delay_s = FIRST_DELAY_S
        while True:
            is_done, retry_after_s = self._try(body, delivery_id)
            if is_done is not None:
                self.sent += len(batch) if is_done else 0
                self.dropped += 0 if is_done else len(batch)
                return
            with self._changed:
                is_full = len(self._waiting) >= self._max_waiting
                if is_full or self._stopping:
                    self.dropped += len(batch)
                    return
                pause_s = max(retry_after_s, delay_s * random.uniform(0.5, 1))  # noqa: S311
                self._changed.wait_for(lambda: self._stopping, pause_s)
            delay_s = min(delay_s * 2, LONGEST_DELAY_S)

    def _try(self, body: bytes, delivery_id: str) -> tuple[bool | None, float]:
        """Return whether it was taken; None where it may be later, and after how long."""
        headers = signature_headers(body, self._secret, delivery_id, int(time.time()))
        request = urllib.request.Request(  # noqa: S310  # the operator's own address
            self._url, body, {"Content-Type": "application/json", **headers}, method="POST"
        )
        try:
            with self._opener.open(request, timeout=SEND_TIMEOUT_S) as answer:
                answer.read(1024)
        except urllib.error.HTTPError as error:
            with error:
                if error.code < 500 and error.code not in PASSING:
                    self._complain(f"the receiver refuses events: HTTP {error.code}")
                    return False, 0.0
                return None, _seconds(error.headers.get("Retry-After"))
        except Exception as fault:  # noqa: BLE001  # whatever it is, LiteLLM's calls go on
            self._complain(f"the receiver cannot be reached: {type(fault).__name__}")
            return None, 0.0
        return True, 0.0

    def _complain(self, what: str) -> None:
        now_s = time.monotonic()
        if now_s - self._complained_at_s >= COMPLAINT_EVERY_S:
            self._complained_at_s = now_s
            logger.warning("%s (waiting %d, dropped %d)", what, len(self._waiting), self.dropped)


def _seconds(retry_after: str | None) -> float:
    try:
        return min(max(float(retry_after or 0), 0.0), LONGEST_DELAY_S)
    except ValueError:
        return 0.0


def _harmless(hook: Callable[..., Any]) -> Callable[..., Any]:
    """Whatever goes wrong in a hook is ours: the call to the model does not hear of it."""

    @functools.wraps(hook)
    async def guarded(self: SolarisWebhook, *args: Any, **kwargs: Any) -> None:
        if self.sender is None:
            return
        try:
            hook(self, *args, **kwargs)
        except Exception as fault:  # noqa: BLE001  # as above
            self.failed += 1
            # Of the fault only its kind: its text may quote a prompt.
            logger.warning("%s failed: %s", hook.__name__, type(fault).__name__)

    return guarded


class SolarisWebhook(CustomLogger):  # type: ignore[misc,valid-type]
    """The hooks of LiteLLM that the five events come from."""

    def __init__(self, sender: Sender | None) -> None:
        super().__init__()
        self.sender = sender
        self.failed = 0

    # Once for each request that is let in, before it is routed.
    async def async_pre_call_hook(
        self, user_api_key_dict: Any, cache: Any, data: Any, call_type: Any
    ) -> Any:
        await self._start(data)
        return data

    @_harmless
    def _start(self, data: Any) -> None:
        facts = {"user_id": data.get("user"), "model": data.get("model")}
        self._say("request_start", data.get("litellm_call_id"), **facts)

    # Once for each request that was answered; of a stream at its end, or where its client left.
    @_harmless
    def async_log_success_event(
        self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any
    ) -> None:
        log = kwargs.get("standard_logging_object") or {}
        error = log.get("error_information") or {}
        took_s = (log.get("endTime") or 0) - (log.get("startTime") or 0)
        has_left = str(error.get("error_code") or "") == CLIENT_LEFT
        self._say(
            "request_end",
            log.get("litellm_call_id") or kwargs.get("litellm_call_id"),
            user_id=log.get("end_user") or kwargs.get("user"),
            model=_asked(kwargs) or log.get("model_group") or log.get("model"),
            model_used=log.get("model_group") or log.get("model"),
            provider=log.get("custom_llm_provider"),
            status="client_left" if has_left else "success",
            stream=bool(log.get("stream")),
            cache_hit=bool(log.get("cache_hit")),
            usage={
                name: log.get(name) or 0
                for name in ("prompt_tokens", "completion_tokens", "total_tokens")
            },
            cost=log.get("response_cost") or 0,
            response_time_ms=max(0, round(took_s * 1000)),
        )

    # Exactly when the client gets an error. (`async_log_failure_event` fires at a first attempt
    # that failed, also where the next one answers.)
    @_harmless
    def async_post_call_failure_hook(
        self,
        request_data: Any,
        original_exception: Any,
        user_api_key_dict: Any,
        traceback_str: Any = None,
    ) -> None:
        request_id, model = request_data.get("litellm_call_id"), request_data.get("model")
        self._say(
            "request_error",
            request_id,
            user_id=request_data.get("user"),
            model=model,
            error=type(original_exception).__name__,
            error_code=_status(original_exception),
        )
        if (limit := _own_limit(original_exception)) is not None:
            self._say("rate_limit_hit", request_id, model=model, **limit)

    @_harmless
    def log_success_fallback_event(
        self, original_model_group: Any, kwargs: Any, original_exception: Any
    ) -> None:
        self._say(
            "model_fallback",
            kwargs.get("litellm_call_id"),
            original_model=original_model_group,
            fallback_model=kwargs.get("model"),
            reason=type(original_exception).__name__,
        )

    # By its name of rate limits, but called for every failure of a model with one deployment.
    @_harmless
    def log_model_group_rate_limit_error(
        self, exception: Any, original_model_group: Any, kwargs: Any
    ) -> None:
        if isinstance(exception, litellm.RateLimitError):
            self._say(
                "rate_limit_hit",
                kwargs.get("litellm_call_id"),
                model=original_model_group,
                limit_type="provider",
            )

    def _say(self, event_type: str, request_id: Any, **facts: Any) -> None:
        known = {name: value for name, value in facts.items() if value is not None}
        if self.sender is not None:
            self.sender.put(
                {
                    "event_type": event_type,
                    "id": uuid.uuid4().hex,
                    "timestamp": datetime.now(UTC).isoformat(),
                    "data": {"request_id": request_id, **known},
                }
            )


def _asked(kwargs: Mapping[str, Any]) -> Any:
    """Return the model that the client named, where LiteLLM itself fell back to another."""
    request = (kwargs.get("litellm_params") or {}).get("proxy_server_request") or {}
    return (request.get("body") or {}).get("model")


def _status(exception: Any) -> int | None:
    code = getattr(exception, "status_code", None) or getattr(exception, "code", None)
    return int(code) if str(code).isdecimal() else None


def _own_limit(exception: Any) -> dict[str, Any] | None:
    """Return what limit of LiteLLM's own was reached, if that is what an exception says."""
    if hasattr(exception, "max_budget") and hasattr(exception, "current_cost"):
        usage, limit = exception.current_cost, exception.max_budget
        return {"limit_type": "budget", "current_usage": usage, "limit": limit}
    headers = getattr(exception, "headers", None)
    if isinstance(headers, Mapping) and "rate_limit_type" in headers:
        said = str(headers["rate_limit_type"])
        return {"limit_type": LIMIT_TYPES.get(said, said)}
    return None


def _from_environment() -> Sender | None:
    url, secret = os.environ.get("SOLARIS_WEBHOOK_URL"), os.environ.get("WEBHOOK_SECRET")
    path = os.environ.get("WEBHOOK_SECRET_FILE")
    if not secret and path:
        secret = Path(path).read_text(encoding="utf-8").strip()
    if not url or not secret:
        logger.warning("nothing is sent: SOLARIS_WEBHOOK_URL or WEBHOOK_SECRET is not set")
        return None
    sender = Sender(url, secret)
    atexit.register(sender.flush)
    return sender


proxy_handler_instance = SolarisWebhook(_from_environment())
