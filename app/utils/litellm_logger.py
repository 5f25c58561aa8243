"""The four log events of a call to LiteLLM: sizes, names and figures; never text of a prompt."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

Path = Sequence[Mapping[str, str | int | None]]


class LiteLLMLogger:
    """Writes one line for each thing that happens between this proxy and LiteLLM."""

    def __init__(self) -> None:
        self._logger = logging.getLogger("litellm_integration")

    def log_request(
        self, request_id: str, model: str, user_id: str | None, payload_size_bytes: int
    ) -> None:
        self._logger.info(
            "litellm_request",
            extra={
                "request_id": request_id,
                "model": model,
                "user_id": user_id,
                "payload_size_bytes": payload_size_bytes,
            },
        )

    def log_response(
        self,
        request_id: str,
        model: str,
        status_code: int,
        response_time_ms: int,
        usage: Mapping[str, int] | None = None,
        path: Path | None = None,
    ) -> None:
        """``path``: the models that were tried or left out, and why, where there were several."""
        self._logger.info(
            "litellm_response",
            extra={
                "request_id": request_id,
                "model": model,
                "status_code": status_code,
                "response_time_ms": response_time_ms,
                "usage": usage,
                "path": path,
            },
        )

    def log_error(
        self,
        request_id: str,
        model: str,
        error: str,
        error_type: str | None = None,
        path: Path | None = None,
    ) -> None:
        """``error`` is a code of ours, never a message: LiteLLM's quote prompts and keys."""
        self._logger.error(
            "litellm_error",
            extra={
                "request_id": request_id,
                "model": model,
                "error": error,
                "error_type": error_type,
                "path": path,
            },
        )

    def log_fallback(
        self, request_id: str, original_model: str, fallback_model: str, reason: str
    ) -> None:
        self._logger.warning(
            "model_fallback",
            extra={
                "request_id": request_id,
                "original_model": original_model,
                "fallback_model": fallback_model,
                "reason": reason,
            },
        )
