from __future__ import annotations

import logging
from typing import Any

import pytest

from app.utils.litellm_logger import LiteLLMLogger

PLAIN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


@pytest.fixture
def written(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, logger="litellm_integration")
    return caplog


def fields_of(written: pytest.LogCaptureFixture) -> dict[str, Any]:
    """Return the fields of the one line written; its text must be the constant event name."""
    (entry,) = written.records
    fields = {name: value for name, value in vars(entry).items() if name not in PLAIN}
    return fields | {"event": entry.msg, "level": entry.levelname}


def test_request_is_logged_by_its_size(written: pytest.LogCaptureFixture) -> None:
    LiteLLMLogger().log_request("r1", "gpt-4", "ana", 512)

    assert fields_of(written) == {
        "event": "litellm_request",
        "level": "INFO",
        "request_id": "r1",
        "model": "gpt-4",
        "user_id": "ana",
        "payload_size_bytes": 512,
    }


def test_response_is_logged_with_its_figures(written: pytest.LogCaptureFixture) -> None:
    LiteLLMLogger().log_response("r1", "gpt-4", 200, 120, {"total_tokens": 26})

    assert fields_of(written) == {
        "event": "litellm_response",
        "level": "INFO",
        "request_id": "r1",
        "model": "gpt-4",
        "status_code": 200,
        "response_time_ms": 120,
        "usage": {"total_tokens": 26},
        "path": None,
    }


def test_error_is_logged_by_its_code(written: pytest.LogCaptureFixture) -> None:
    LiteLLMLogger().log_error("r1", "gpt-4", "upstream_timeout", "UpstreamTimeoutError")

    assert fields_of(written) == {
        "event": "litellm_error",
        "level": "ERROR",
        "request_id": "r1",
        "model": "gpt-4",
        "error": "upstream_timeout",
        "error_type": "UpstreamTimeoutError",
        "path": None,
    }


def test_fallback_is_logged_as_a_warning(written: pytest.LogCaptureFixture) -> None:
    LiteLLMLogger().log_fallback("r1", "gpt-4", "claude", "upstream_timeout")

    assert fields_of(written) == {
        "event": "model_fallback",
        "level": "WARNING",
        "request_id": "r1",
        "original_model": "gpt-4",
        "fallback_model": "claude",
        "reason": "upstream_timeout",
    }
