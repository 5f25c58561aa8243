"""A body's size is never less than what LiteLLM 1.106.2 counts: the counts here are its own."""

from __future__ import annotations

import json
import unicodedata
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.config.catalog import load_catalog
from app.config.settings import PROJECT_ROOT
from app.dialects.anthropic_messages import MESSAGES
from app.dialects.openai_chat import CHAT
from app.dialects.sizes import text_size
from app.ledger.size import demand_of
from app.utils.exceptions import InvalidRequestError


def size(body: dict[str, Any]) -> int:
    return text_size(orjson.dumps(body), body)


@pytest.mark.parametrize("text", ["plain", "ação, às 9h", "日本語", "😀"])
def test_a_text_that_no_tokenizer_changes_is_as_long_as_it_came(text: str) -> None:
    body = {"prompt": text}

    assert size(body) == len(orjson.dumps(body))


def test_an_escaped_text_is_as_long_as_it_came() -> None:
    body = {"prompt": "ação"}
    raw = json.dumps(body).encode()

    assert text_size(raw, body) == len(raw)


@pytest.mark.parametrize(("character", "tokens"), [("\ufdfa", 15), ("㍿", 5)])
def test_a_character_that_anthropic_writes_out_counts_as_what_it_becomes(
    character: str, tokens: int
) -> None:
    assert size({"prompt": character * 50}) >= 50 * tokens


def test_an_escaped_character_that_anthropic_writes_out_counts_as_what_it_becomes() -> None:
    body = {"prompt": "\ufdfa" * 50}

    assert text_size(json.dumps(body).encode(), body) >= 50 * 15


@given(st.text() | st.text("aeo\u0301\u0323é½ﬃﷺ가\u1100\u1161㍿"))
def test_no_text_is_longer_in_the_compatibility_form_than_its_size(text: str) -> None:
    assert size({"prompt": text}) >= len(unicodedata.normalize("NFKC", text).encode())


@pytest.mark.parametrize(("number", "tokens"), [(1, 3), (1e15, 10)])
def test_a_number_of_an_object_counts_as_python_writes_it(number: float, tokens: int) -> None:
    call = {"type": "tool_use", "id": "a", "name": "n", "input": {"x": [number] * 1000}}
    raw = b'{"model":"m","max_tokens":9,"messages":[{"role":"assistant","content":[%s]}]}' % (
        orjson.dumps(call).replace(b"1000000000000000.0", b"1e15")
    )

    assert MESSAGES.parse(raw).needs.text_bytes >= 1000 * tokens


def test_choices_of_a_tool_count_as_the_type_that_openai_writes_for_them() -> None:
    tool = {"name": "n", "parameters": {"x": {"type": "integer", "enum": [1] * 1000}}}

    assert size({"functions": [tool]}) >= 1000 * 4


def test_an_object_too_deep_to_be_written_is_refused() -> None:
    tool = b'{"a":' * 1010 + b"1" + b"}" * 1010
    raw = b'{"model":"m","messages":[{"role":"user","content":"x"}],"tools":[%s]}' % tool

    with pytest.raises(InvalidRequestError):
        CHAT.parse(raw)


def test_a_picture_is_held_as_the_largest_that_a_model_takes() -> None:
    model = load_catalog(PROJECT_ROOT / "database" / "litellm-config.yaml").models[
        "claude-opus-5-5"
    ]
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    messages = [{"role": "user", "content": [picture]}]
    needs = CHAT.parse(orjson.dumps({"model": model.name, "messages": messages})).needs

    # 3.75 megapixels of 28 by 28 a token.
    assert demand_of(needs, model).input_tokens >= 3_750_000 / 28**2
