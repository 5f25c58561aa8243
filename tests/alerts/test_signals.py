"""What each event of the trail means for the rules."""

from __future__ import annotations

from typing import Any

import pytest

from app.alerting.signals import Kind, Signal, code_of, name_of, signals_of
from app.utils.helpers import generate_request_id
from tests.alerts.occurrences import MODEL, failed, fell_back, happened
from tests.alerts.samples import AT


def told(event: str, **facts: Any) -> list[tuple[str, str, Kind]]:
    return [(it.rule, it.subject, it.kind) for it in signals_of(happened(event, AT, **facts))]


def step(outcome: str, reason: str | None = None, model: str = MODEL, **facts: Any) -> Any:
    return {"model": model, "outcome": outcome, "reason": reason, **facts}


COUNTED, BEGUN, OVER = Kind.COUNTED, Kind.BEGUN, Kind.OVER


@pytest.mark.parametrize(
    "reason", ["upstream_error", "upstream_timeout", "upstream_unavailable", "misconfigured"]
)
def test_model_that_failed_is_an_error_of_the_model(reason: str) -> None:
    assert signals_of(failed(AT, reason=reason)) == [
        Signal("model_errors", MODEL, AT, reason=reason)
    ]


@pytest.mark.parametrize(
    "reason", ["invalid_request_error", "insufficient_quota", "litellm_unreachable", "said: x"]
)
def test_what_is_not_the_models_fault_is_no_error_of_it(reason: str) -> None:
    assert signals_of(failed(AT, reason=reason)) == []


def test_each_model_of_the_path_that_failed_counts_and_the_first_one_fell_back() -> None:
    path = [
        step("failed", "upstream_error", "one"),
        step("failed", "upstream_timeout", "two"),
        step("answered", model="three"),
    ]

    assert told("request", status=200, detail={"path": path}) == [
        ("model_errors", "one", COUNTED),
        ("model_errors", "two", COUNTED),
        ("model_fallbacks", "one", COUNTED),
    ]


def test_model_that_cannot_do_what_was_asked_is_no_fallback() -> None:
    path = [step("skipped", "no_vision", "one"), step("answered", model="two")]

    assert told("request", status=200, detail={"path": path}) == []


def test_model_that_was_left_out_is_a_fallback() -> None:
    assert signals_of(fell_back(AT)) == [
        Signal("model_fallbacks", MODEL, AT, reason="breaker_open")
    ]


def test_answer_that_broke_off_is_one_error_of_its_model() -> None:
    facts = {"model_used": MODEL, "status": 502}

    assert told("request", **facts, detail={"reason": "upstream_error"}) == [
        ("model_errors", MODEL, COUNTED)
    ]
    assert told("request", **facts, detail={"reason": "client_left"}) == []


def test_model_that_failed_on_the_path_is_not_counted_again_for_the_answer() -> None:
    detail = {"reason": "upstream_error", "path": [step("failed", "upstream_error")]}

    assert told("request", model_used=MODEL, status=502, detail=detail) == [
        ("model_errors", MODEL, COUNTED)
    ]


def test_providers_limit_is_a_rate_limit_and_no_error() -> None:
    path = [step("failed", "rate_limit_exceeded", litellm_status=429)]

    assert told("request", status=429, detail={"path": path}) == [
        ("rate_limit", f"{MODEL} rpm", COUNTED)
    ]


@pytest.mark.parametrize(
    ("metric", "period", "subjects"),
    [
        ("requests", "minute", [f"{MODEL} rpm"]),
        ("tokens", "minute", [f"{MODEL} tpm"]),
        ("cost", "month", []),
    ],
)
def test_limit_of_ours_counts_where_it_is_a_minutes(
    metric: str, period: str, subjects: list[str]
) -> None:
    limit = {"scope": "model", "metric": metric, "period": period}
    found = told("refusal", model=MODEL, status=429, detail={"limit": limit})

    assert [subject for _, subject, _ in found] == subjects


def test_calls_without_a_known_key_count_with_those_left_out() -> None:
    (one,) = signals_of(happened("refusal", AT, status=401, detail={"unauthenticated_before": 41}))

    assert (one.rule, one.subject, one.count) == ("security_incident", "unauthorized", 42)


def test_answer_says_that_its_model_and_litellm_are_well_unless_it_was_cached() -> None:
    facts = {"model_used": MODEL, "status": 200}

    assert told("request", **facts) == [
        ("breaker", MODEL, Kind.WELL),
        ("litellm_away", "", Kind.WELL),
    ]
    assert told("request", **facts, detail={"cache": True}) == []


@pytest.mark.parametrize(
    ("event", "facts", "rule"),
    [
        ("litellm_request_error", {"status": 500}, "model_errors"),
        ("model_fallback", {}, "model_fallbacks"),
        ("rate_limit_hit", {"detail": {"limit_type": "rpm"}}, "rate_limit"),
    ],
)
def test_what_litellm_says_counts_only_of_calls_that_are_not_ours(
    event: str, facts: dict[str, Any], rule: str
) -> None:
    assert told(event, request_id=generate_request_id(), model=MODEL, **facts) == []
    theirs = told(event, request_id="chatcmpl-7", model=MODEL, **facts)
    assert [it for it, _, _ in theirs] == [rule]
    nobodys = told(event, model=MODEL, **facts)
    assert nobodys == theirs


@pytest.mark.parametrize("status", [400, 404, 413, 422, 429, 499])
def test_mistakes_of_whoever_called_litellm_are_no_errors(status: int) -> None:
    assert told("litellm_request_error", request_id="x", model=MODEL, status=status) == []


@pytest.mark.parametrize(
    ("event", "facts", "expected"),
    [
        ("breaker_opened", {"model": MODEL}, [("breaker", MODEL, BEGUN)]),
        ("breaker_closed", {"model": MODEL}, [("breaker", MODEL, OVER)]),
        ("breaker_opened", {"model": "@litellm"}, [("litellm_away", "", BEGUN)]),
        ("breaker_closed", {"model": "@litellm"}, [("litellm_away", "", OVER)]),
        (
            "audit_verified",
            {"detail": {"findings": 1}},
            [
                ("audit_verification", "", BEGUN),
                ("security_incident", "audit_verified", BEGUN),
            ],
        ),
        (
            "audit_verified",
            {"detail": {"findings": 0}},
            [
                ("audit_verification", "", OVER),
                ("security_incident", "audit_verified", OVER),
            ],
        ),
        ("audit_verified", {"detail": {"findings": 0, "since": "2026-11-01"}}, []),
        (
            "reconciled",
            {"detail": {"day": "2026-11-22", "missing_here": 1}},
            [("reconciliation", "2026-11-22", BEGUN)],
        ),
        (
            "reconciled",
            {"detail": {"day": "2026-11-22", "matched": 9, "adjusted": 2}},
            [("reconciliation", "2026-11-22", OVER)],
        ),
        ("spool_growing", {"detail": {"host": "one"}}, [("spool_growing", "one", BEGUN)]),
        (
            "spool_growing",
            {"detail": {"host": "one", "is_over": True}},
            [("spool_growing", "one", OVER)],
        ),
        ("webhook_refused", {}, [("security_incident", "webhook_refused", COUNTED)]),
        ("budget_set", {}, []),
        ("litellm_request_end", {"request_id": "x", "status": 500}, []),
    ],
)
def test_what_is_put_on_record_means(
    event: str, facts: dict[str, Any], expected: list[tuple[str, str, Kind]]
) -> None:
    assert told(event, **facts) == expected


@pytest.mark.parametrize("said", ["a sentence: sk-123", "", None, 7, "x" * 65, "ana@x.org"])
def test_reason_that_is_no_code_is_not_told(said: object) -> None:
    assert code_of(said) == "unspecified"


def test_name_is_one_that_a_database_takes() -> None:
    assert name_of("a\x00b\nc\ud800" + "d" * 200) == "abc" + "d" * 125
    assert name_of(None) == "unspecified"
