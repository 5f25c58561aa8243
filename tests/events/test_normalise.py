"""From what senders write to what is stored; no I/O."""

from __future__ import annotations

import gzip
import itertools
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest

from app.events.delivery import MAX_ELEMENTS, MAX_UNPACKED_BYTES, elements_of
from app.events.event import EVENT_TYPES, LiteLLMEvent, from_line, to_line
from app.events.fields import RejectedEventError
from app.events.normalise import NO_KIND, UnknownKindError, event_of, normalise
from app.utils.exceptions import InvalidRequestError, RequestTooLargeError
from tests.events.deliveries import AT, event, lines, payload

NOW = AT + timedelta(minutes=5)
LONG_AGO = datetime(2021, 3, 4, 5, 6, 7, tzinfo=UTC)


def read(element: Any) -> LiteLLMEvent:
    return event_of(element, None, NOW)


# --- the seed's events ---------------------------------------------------------------------------


def test_end_of_a_request_has_all_that_was_said() -> None:
    got = read(event("request_end", id="e-1"))

    assert got == LiteLLMEvent(
        id="e-1",
        event_type="request_end",
        at=AT,
        received_at=NOW,
        request_id="r-1",
        user_id="p-1",
        model="gpt-4",
        model_used="openai/gpt-4",
        provider="openai",
        status="success",
        input_tokens=21,
        output_tokens=5,
        cost_micro_usd=1250,
        response_time_ms=812,
        is_cached=False,
        detail={"stream": True},
    )


@pytest.mark.parametrize(
    ("event_type", "facts", "detail"),
    [
        ("request_start", {"model": "gpt-4", "model_used": None, "status": None}, {}),
        (
            "request_error",
            {"model": "gpt-4", "status": "failure"},
            {"error": "RateLimitError", "error_code": 429},
        ),
        (
            "model_fallback",
            {"model": "gpt-4", "model_used": "gpt-4o"},
            {"reason": "InternalServerError"},
        ),
        (
            "rate_limit_hit",
            {"model": "gpt-4"},
            {"limit_type": "tpm", "current_usage": 50_001, "limit": 50_000},
        ),
    ],
)
def test_event_of_each_kind_has_what_its_kind_says(
    event_type: str, facts: dict[str, Any], detail: dict[str, Any]
) -> None:
    got = read(event(event_type))

    assert {name: getattr(got, name) for name in facts} == facts
    assert (got.event_type, got.request_id, got.detail) == (event_type, "r-1", detail)


@pytest.mark.parametrize("event_type", EVENT_TYPES)
def test_event_survives_its_line(event_type: str) -> None:
    got = read(event(event_type))

    assert from_line(to_line(got)) == got


@pytest.mark.parametrize(
    ("cost", "micro_usd"),
    [
        (0, 0),
        (0.0000005, 1),
        (0.00000049, 0),
        (1e-7, 0),
        ("0.1", 100_000),
        (0.1 + 0.2, 300_000),
        (12, 12_000_000),
        (None, None),
        ("", None),
    ],
)
def test_cost_in_dollars_becomes_micro_dollars_half_rounded_up(
    cost: object, micro_usd: int | None
) -> None:
    assert read(event("request_end", cost=cost)).cost_micro_usd == micro_usd


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("timeout", "timeout"),
        ("litellm.RateLimitError", "litellm.RateLimitError"),
        ("litellm.AuthenticationError: key sk-secret is wrong", "litellm.AuthenticationError"),
        ("Maria asks for her CPF", "unspecified"),
        ("x" * 5000, "unspecified"),
        (None, None),
    ],
)
def test_error_is_kept_as_a_code_and_never_as_a_message(said: object, kept: str | None) -> None:
    assert read(event("request_error", error=said)).detail.get("error") == kept


@pytest.mark.parametrize(
    ("code", "kept"), [(429, 429), ("429", 429), ("", None), ("rate_limit", "rate_limit")]
)
def test_error_code_is_a_status_or_a_providers_own_code(code: object, kept: object) -> None:
    assert read(event("request_error", error_code=code)).detail.get("error_code") == kept


@pytest.mark.parametrize(
    ("said", "at"),
    [
        (AT.isoformat(), AT),
        (AT.isoformat().replace("+00:00", "Z"), AT),
        (AT.replace(tzinfo=None).isoformat(), AT),
        (AT.astimezone(tz=datetime.now().astimezone().tzinfo).isoformat(), AT),
        (AT.timestamp(), AT),
        (AT.timestamp() * 1000, AT),
        (LONG_AGO.isoformat(), LONG_AGO),
        (None, NOW),
        ("", NOW),
    ],
    ids=["iso", "z", "naive", "zone", "seconds", "milliseconds", "long_ago", "none", "empty"],
)
def test_time_is_the_events_own_in_utc_else_that_of_its_arrival(said: object, at: datetime) -> None:
    got = read({**event(), "timestamp": said}).at

    assert got == at
    assert got.utcoffset() == timedelta(0)


def test_texts_are_cut_and_lose_what_cannot_be_printed() -> None:
    got = read(event(model="gpt\x00-4\n" + "x" * 1000, user_id=" ana\u202e "))

    assert got.model is not None
    assert (got.model[:6], len(got.model)) == ("gpt-4x", 256)
    assert got.user_id == "ana"


# --- LiteLLM's own form --------------------------------------------------------------------------


def test_payload_of_a_success_is_the_end_of_a_request() -> None:
    got = read(payload())

    assert (got.event_type, got.request_id, got.user_id) == ("request_end", "c-1", "p-1")
    assert (got.model, got.model_used, got.provider) == ("gpt-4", "gpt-4-0613", "openai")
    assert (got.input_tokens, got.output_tokens, got.cost_micro_usd) == (100, 20, 2500)
    # From start to end: `response_time` of a stream is that of its first token.
    assert (got.response_time_ms, got.at, got.status) == (1500, AT, "success")
    assert b"must not be kept" not in to_line(got)


def test_payload_of_a_failure_is_an_error_without_its_message() -> None:
    failure = {
        "error_code": "429",
        "error_class": "RateLimitError",
        "error_message": "a prompt that must not be kept",
    }

    got = read(payload(status="failure", error_information=failure, error_str="must not be kept"))

    assert (got.event_type, got.model, got.provider) == ("request_error", "gpt-4", "openai")
    assert got.detail == {"error": "RateLimitError", "error_code": 429}
    assert b"must not be kept" not in to_line(got)


def test_payload_of_a_caller_who_left_says_so() -> None:
    left = {"error_code": "499", "error_class": "ClientDisconnected"}

    assert read(payload(error_information=left)).status == "client_left"


@pytest.mark.parametrize("absent", [None, "model_group", "end_user", "startTime", "metadata"])
def test_payload_without_what_may_be_absent_is_read(absent: str | None) -> None:
    given = payload(error_information=None)
    given.pop(absent or "error_str")

    assert read(given).request_id == "c-1"


def test_payloads_of_one_call_that_failed_and_then_succeeded_are_two_events() -> None:
    assert read(payload(status="failure")).id != read(payload()).id


def test_payload_that_is_sent_again_is_the_same_event() -> None:
    assert read(payload()).id == read(json.loads(json.dumps(payload()))).id


# --- ids -----------------------------------------------------------------------------------------


def ids(elements: list[Any], delivery_id: str | None) -> list[str]:
    return [it.id for it in normalise(elements, delivery_id, NOW).events]


def without_id() -> dict[str, Any]:
    anonymous = event()
    del anonymous["id"]
    return anonymous


def test_event_has_its_own_id_else_the_deliverys_else_a_digest() -> None:
    anonymous = without_id()

    assert ids([event(id="e-1")], "msg-1") == ["e-1"]
    assert ids([anonymous], "msg-1") == ["msg-1"]
    assert ids([anonymous, event(id="e-2"), anonymous], "msg-1") == ["msg-1.0", "e-2", "msg-1.2"]
    (digest,) = ids([anonymous], None)
    assert len(digest) == 64


def test_digest_is_the_same_however_the_event_is_written() -> None:
    anonymous = without_id()
    rewritten = json.loads(json.dumps(dict(reversed(anonymous.items())), indent=2))
    other = {**anonymous, "data": {**anonymous["data"], "request_id": "r-2"}}

    assert ids([anonymous], None) == ids([rewritten], None) != ids([other], None)


def test_delivery_with_a_long_id_names_its_event_shortly() -> None:
    (name,) = ids([without_id()], "m" * 5000)

    assert len(name) == 64


# --- what is no event ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("element", "problem", "field"),
    [
        (None, "not_an_event", None),
        ([], "not_an_event", None),
        ("request_end", "not_an_event", None),
        ({}, "required", "event_type"),
        ({"event_type": 7}, "not_text", "event_type"),
        ({"event_type": ""}, "not_text", "event_type"),
        ({"event_type": "request_end"}, "required", "data.request_id"),
        ({"event_type": "request_end", "data": []}, "not_object", "data"),
        ({**event(), "id": {}}, "not_text", "id"),
        ({**event(), "id": "x" * 129}, "out_of_range", "id"),
        ({**event(), "id": "a\x00b"}, "not_text", "id"),
        ({**event(), "timestamp": "yesterday"}, "not_a_time", "timestamp"),
        ({**event(), "timestamp": True}, "not_a_time", "timestamp"),
        ({**event(), "timestamp": 1e300}, "not_a_time", "timestamp"),
        ({**event(), "timestamp": "1999-12-31T00:00:00Z"}, "not_a_time", "timestamp"),
        ({**event(), "timestamp": "9999-12-31T23:59:59-10:00"}, "not_a_time", "timestamp"),
        (
            {**event(), "timestamp": (NOW + timedelta(days=2)).isoformat()},
            "not_a_time",
            "timestamp",
        ),
        (event(request_id=["r"]), "not_text", "data.request_id"),
        (event(request_id="r" * 129), "out_of_range", "data.request_id"),
        (event(model={"name": "gpt-4"}), "not_text", "data.model"),
        (event("request_end", usage="many"), "not_object", "data.usage"),
        (
            event("request_end", usage={"prompt_tokens": -1}),
            "out_of_range",
            "data.usage.prompt_tokens",
        ),
        (
            event("request_end", usage={"completion_tokens": 2**31}),
            "out_of_range",
            "data.usage.completion_tokens",
        ),
        (
            event("request_end", usage={"prompt_tokens": True}),
            "not_number",
            "data.usage.prompt_tokens",
        ),
        (event("request_end", cost="NaN"), "not_number", "data.cost"),
        (event("request_end", cost="9" * 50), "not_number", "data.cost"),
        (event("request_end", cost=-0.5), "out_of_range", "data.cost"),
        (event("request_end", cost=1e30), "out_of_range", "data.cost"),
        (event("request_end", cost="1e-999999999"), None, None),
        (event("request_end", response_time_ms=1e12), "out_of_range", "data.response_time_ms"),
        (event("request_end", stream="maybe"), "not_boolean", "data.stream"),
        (event("request_error", error_code=[]), "not_text", "data.error_code"),
        (event("request_error", error_code=-1), "not_text", "data.error_code"),
        (event("model_fallback", fallback_model=None), "required", "data.fallback_model"),
        (event("rate_limit_hit", limit=1e300), "out_of_range", "data.limit"),
        (payload(status="cooling"), "not_an_event", "status"),
        (payload(status=[]), "not_an_event", "status"),
        (payload(error_information="x"), "not_object", "error_information"),
        (payload(prompt_tokens="x"), "not_number", "data.usage.prompt_tokens"),
    ],
)
def test_element_that_is_no_event_is_named_with_its_field(
    element: Any, problem: str | None, field: str | None
) -> None:
    if problem is None:
        assert read(element)
        return
    with pytest.raises(RejectedEventError) as refused:
        read(element)

    assert (refused.value.problem, refused.value.field) == (problem, field)


@pytest.mark.parametrize(
    ("kind", "told"),
    [("budget_alert", "budget_alert"), ("Maria <b>", NO_KIND), ("x" * 100, NO_KIND)],
)
def test_event_of_another_kind_is_unknown_and_only_a_plain_name_is_told(
    kind: str, told: str
) -> None:
    with pytest.raises(UnknownKindError) as unknown:
        read({**event(), "event_type": kind})

    assert unknown.value.kind == told


def test_elements_that_are_no_events_do_not_keep_the_others_out() -> None:
    good, other = event(id="e-1"), {**event(), "event_type": "later"}

    batch = normalise([good, {}, other, 7], None, NOW)

    assert [it.id for it in batch.events] == ["e-1"]
    assert batch.unknown == ["later"]
    assert [(it.index, it.field) for it in batch.rejected] == [(1, "event_type"), (3, None)]


# --- what deliveries are wrapped in --------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["", "identity", " "])
def test_delivery_is_one_event_or_an_array_or_lines(encoding: str) -> None:
    one, two = event(), event()

    assert elements_of(orjson.dumps(one), encoding) == [one]
    assert elements_of(orjson.dumps([one, two]), encoding) == [one, two]
    assert elements_of(lines(one, two), encoding) == [one, two]
    assert elements_of(b"\xef\xbb\xbf" + orjson.dumps(one) + b"\r\n", encoding) == [one]


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "x-gzip"])
def test_delivery_that_is_packed_is_unpacked_in_all_its_pieces(encoding: str) -> None:
    one, two = event(), event()
    pieces = gzip.compress(orjson.dumps(one) + b"\n") + gzip.compress(orjson.dumps(two))

    assert elements_of(pieces, encoding) == [one, two]


def test_line_that_is_no_json_does_not_keep_the_others_out() -> None:
    first, broken, last = elements_of(lines(event(id="a")) + b"{\n" + lines(event(id="b")), "")

    assert [first["id"], last["id"]] == ["a", "b"]
    with pytest.raises(RejectedEventError):
        read(broken)


@pytest.mark.parametrize(
    ("body", "encoding", "detail"),
    [
        (b"", "", "not_json"),
        (b"  \n ", "", "not_json"),
        (b"[]", "", "no_events"),
        (b"{", "", "not_json"),
        (b"\xff\xfe", "", "not_json"),
        (b"[" * 2000 + b"]" * 2000, "", "not_json"),
        (b'{"a": "\\ud800"}', "", "not_json"),
        (b"{} " * (MAX_ELEMENTS + 1), "", "not_json"),
        (b"{}\n" * (MAX_ELEMENTS + 1), "", "too_many_events"),
        (b"[" + b"1," * MAX_ELEMENTS + b"1]", "", "too_many_events"),
        (b"{}", "gzip", "not_unpacked"),
        (b"", "gzip", "not_unpacked"),
        (gzip.compress(b"{}")[:-1], "gzip", "not_unpacked"),
        (gzip.compress(b"{}") + b"rest", "gzip", "not_unpacked"),
        (gzip.compress(b"{}") * 101, "gzip", "not_unpacked"),
        (gzip.compress(b"{}"), "br", "not_unpacked"),
        (gzip.compress(gzip.compress(b"{}")), "gzip, gzip", "not_unpacked"),
    ],
    ids=itertools.count(),
)
def test_delivery_that_cannot_be_read_is_refused(body: bytes, encoding: str, detail: str) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        elements_of(body, encoding)

    assert (type(refused.value), refused.value.detail) == (InvalidRequestError, detail)


def test_bomb_is_refused_before_it_is_unpacked() -> None:
    layer = gzip.compress(bytes(MAX_UNPACKED_BYTES * 32))
    assert len(layer) < 300_000

    for bomb in (layer, gzip.compress(bytes(MAX_UNPACKED_BYTES // 4)) * 5):
        with pytest.raises(RequestTooLargeError):
            elements_of(bomb, "gzip")
