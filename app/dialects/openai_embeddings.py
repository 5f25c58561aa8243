"""OpenAI's embeddings: a text or several, or their tokens, in; vectors out; never a stream."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.dialects import fields
from app.dialects.base import ModelRequest, Needs, StreamReader, Usage
from app.dialects.openai_chat import completion_usage
from app.dialects.openai_errors import OpenAIErrors
from app.dialects.sizes import text_size
from app.dialects.steering import without_steering


class Embeddings(OpenAIErrors):
    path = "/v1/embeddings"

    def parse(self, raw: bytes) -> ModelRequest:
        body = fields.parse_object(raw)
        fields.require_text_or_list(body, "input")
        fields.check_counts(body, "dimensions")
        fields.refuse(body, "stream")
        passed = without_steering(body)
        model, user = passed.pop("model"), passed.pop("user", None)
        needs = Needs(
            mode="embedding",
            text_bytes=text_size(raw, body),
            prompts=fields.prompts(passed["input"]),
            output_tokens=0,
        )
        return ModelRequest(self, model, passed, user=user, needs=needs)

    def body_for(
        self,
        request: ModelRequest,
        model: str,
        user: str | None,
        output_tokens: int | None,  # noqa: ARG002  # it writes none
    ) -> dict[str, Any]:
        return {**request.fields, "model": model, **({"user": user} if user else {})}

    def usage_of(self, body: Mapping[str, Any]) -> Usage | None:
        return completion_usage(body.get("usage"))

    def stream_reader(self, request: ModelRequest) -> StreamReader:
        raise NotImplementedError("embeddings are never streamed; `parse` refuses it")


EMBEDDINGS = Embeddings()
