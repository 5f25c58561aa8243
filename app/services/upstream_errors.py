"""What LiteLLM's refusals mean. Its texts quote prompts, keys and routes: they are not relayed.

Source of the statuses: LiteLLM 1.106.2, measured (429 carries the provider's wait only in
`llm_provider-retry-after`; an exceeded LiteLLM budget is a 422; a provider's timeout is a 408).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import orjson

from app.utils.exceptions import (
    InsufficientQuotaError,
    LiteLLMError,
    ModelNotAvailableError,
    RateLimitedError,
    SolarisError,
    UpstreamMisconfiguredError,
    UpstreamRejectedError,
    UpstreamTimeoutError,
)

MAX_REASON_LENGTH = 160
MAX_RETRY_AFTER_S = 3600.0

# "litellm.BadRequestError: OpenAIException - what the provider said. Received Model Group=…"
_LEADING_CLASSES = re.compile(r"^(?:(?:litellm\.)?\w+(?:Error|Exception)\b[\s:.-]*)+")
_LITELLM_TAIL = re.compile(
    r"\s*(?:Received Model Group|Available Model Group|No fallback model group|Error doing the "
    r"fallback|LiteLLM Retried|Model: |API Base: |Messages: |You passed in|Traceback).*",
    re.DOTALL,
)
_QUOTED_JSON = re.compile(r"^(?:b')?(\{.*\})'?", re.DOTALL)
_INTERNAL = re.compile(
    r"https?://|\bsk-|Bearer|/[\w.-]+/[\w./-]+|\b[0-9a-f]{32,}\b|[{}]", re.IGNORECASE
)


def error_for(status: int, headers: Mapping[str, str], body: Any) -> SolarisError:
    """Return our error for an answer of LiteLLM that is not a success."""
    # LiteLLM can be told to answer it with a 429 or a 400.
    if 400 <= status < 500 and _field(body, "type") == "budget_exceeded":
        return InsufficientQuotaError()
    if status == 429:
        return RateLimitedError(retry_after_s=_retry_after_s(headers))
    if status in (408, 504):
        return UpstreamTimeoutError()
    if status == 503:
        return ModelNotAvailableError(retry_after_s=_retry_after_s(headers))
    return _refusal(status, body) if 400 <= status < 500 else LiteLLMError()


def _refusal(status: int, body: Any) -> SolarisError:
    if _is_misconfiguration(status, body):
        return UpstreamMisconfiguredError()
    return UpstreamRejectedError(_safe_reason(_field(body, "message")), param=_param(body))


def _is_misconfiguration(status: int, body: Any) -> bool:
    """Tell whether the fault is in our own configuration, not in what this caller sent.

    401 and 403: our key at LiteLLM, or the provider's. 404: the provider has no such model any
    more, though our catalogue names it. "no_db_connection": LiteLLM without a database looks for
    a key that is not the master key. "Invalid model name": LiteLLM runs with another catalogue.
    """
    message = _field(body, "message")
    return (
        status in (401, 403, 404)
        or _field(body, "type") == "no_db_connection"
        or (isinstance(message, str) and "Invalid model name passed in" in message)
    )


def _field(body: Any, name: str) -> Any:
    error = body.get("error") if isinstance(body, dict) else None
    return error.get(name) if isinstance(error, dict) else None


def _param(body: Any) -> str | None:
    param = _field(body, "param")
    return (
        param
        if isinstance(param, str) and re.fullmatch(r"[\w.\[\]-]{1,64}", param) and param != "None"
        else None
    )


def _safe_reason(message: Any) -> str | None:
    """Return what the provider said, or None where that cannot be told from internals."""
    if not isinstance(message, str):
        return None
    reason = _LITELLM_TAIL.sub("", _LEADING_CLASSES.sub("", message.strip())).strip()
    reason = _quoted_message(reason) or reason
    if not reason or len(reason) > MAX_REASON_LENGTH or _INTERNAL.search(reason):
        return None
    return " ".join(reason.split())


def _quoted_message(reason: str) -> str | None:
    """Return the message in a provider's whole JSON error, which LiteLLM quotes for some.

    Seen as `{"error": {"message": …}}` and, from streams, as `b'{…}'`.
    """
    quoted = _QUOTED_JSON.search(reason)
    try:
        message = _field(orjson.loads(quoted[1]), "message") if quoted else None
    except orjson.JSONDecodeError:
        return None
    return message if isinstance(message, str) else None


def _retry_after_s(headers: Mapping[str, str]) -> float | None:
    raw = headers.get("llm_provider-retry-after") or headers.get("Retry-After")
    try:
        seconds = float(raw) if raw else None
    except ValueError:
        return None
    return seconds if seconds is not None and 0 <= seconds <= MAX_RETRY_AFTER_S else None
