"""The rules by which two sides of a request agree."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from app.reconciliation.compare import (
    Amounts,
    Kind,
    Ours,
    Pair,
    Theirs,
    Tolerance,
    Verdict,
    can_be_corrected,
    compare,
)

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
SOME, NOTHING = Amounts(100, 20, 2_000), Amounts(None, None, 0)
OURS, THEIRS = Ours(NOW, "gpt-4o", SOME), Theirs(NOW, "gpt-4o", SOME)
TOLERANCE = Tolerance()


def verdict(ours: Ours | None, theirs: Theirs | None, **facts: Any) -> Verdict | None:
    return compare(Pair("id", ours, theirs, **facts), TOLERANCE)


def test_same_on_both_sides_matches() -> None:
    assert verdict(OURS, THEIRS) == Verdict(Kind.MATCHED)


@pytest.mark.parametrize(
    ("ours", "facts", "reason"),
    [
        (None, {}, "not_on_record"),
        (None, {"ledger_cost": 2_000}, "only_in_the_ledger"),
        (None, {"is_our_id": False}, "not_by_the_proxy"),
        (replace(OURS, amounts=NOTHING, is_refused=True), {}, "refused"),
        (replace(OURS, amounts=NOTHING), {}, "not_charged"),
    ],
)
def test_billed_there_and_not_settled_here_is_missing_here(
    ours: Ours | None, facts: dict[str, Any], reason: str
) -> None:
    assert verdict(ours, THEIRS, **facts) == Verdict(Kind.MISSING_HERE, reason)


@pytest.mark.parametrize(
    ("ours", "theirs", "reason"),
    [
        (OURS, None, "no_event"),
        (replace(OURS, stated_cost=2_000), None, "event_lost"),
        (OURS, replace(THEIRS, has_answered=False), "failed_there"),
        (replace(OURS, is_estimated=True), None, "no_event"),
    ],
)
def test_settled_here_and_never_said_there_is_missing_there(
    ours: Ours, theirs: Theirs | None, reason: str
) -> None:
    assert verdict(ours, theirs) == Verdict(Kind.MISSING_THERE, reason)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (replace(OURS, amounts=NOTHING), None),
        (None, replace(THEIRS, has_answered=False)),
        (None, replace(THEIRS, amounts=Amounts(0, 0, 0))),
        (None, replace(THEIRS, is_cached=True)),
        (replace(OURS, amounts=Amounts(0, 0, 0), is_cached=True), None),
    ],
)
def test_what_cost_nothing_on_either_side_is_of_no_account(
    ours: Ours | None, theirs: Theirs | None
) -> None:
    assert verdict(ours, theirs) is None


@pytest.mark.parametrize(
    ("amounts", "reason"),
    [
        (Amounts(101, 20, 2_000), "input_tokens"),
        (Amounts(100, 21, 2_000), "output_tokens"),
        (Amounts(100, 20, 2_021), "cost"),
        (Amounts(100, 20, 1_979), "cost"),
        (Amounts(99, 21, 0), "input_tokens,output_tokens,cost"),
    ],
)
def test_other_amounts_differ_and_it_is_said_which(amounts: Amounts, reason: str) -> None:
    assert verdict(OURS, replace(THEIRS, amounts=amounts)) == Verdict(Kind.DIFFERING, reason)


@pytest.mark.parametrize(
    ("ours", "theirs", "is_good"),
    [
        (2_000, 2_020, True),
        (2_000, 2_021, False),
        (2_020, 2_000, True),
        (20, 30, True),
        (20, 31, False),
        (0, 10, True),
        (0, 11, False),
        (10**12, 10**12 + 10**10, True),
    ],
)
def test_tolerance_is_a_percent_of_the_larger_or_ten_micro_usd(
    ours: int, theirs: int, is_good: bool
) -> None:
    assert TOLERANCE.holds(ours, theirs) is is_good


@pytest.mark.parametrize("amounts", [Amounts(100, 20, None), Amounts(None, None, 2_000)])
def test_what_nobody_says_differs_from_nothing(amounts: Amounts) -> None:
    assert verdict(OURS, replace(THEIRS, amounts=amounts)) == Verdict(Kind.MATCHED)


@pytest.mark.parametrize(
    ("facts", "is_told"),
    [
        ({"stated_cost": 2_500}, True),
        ({"stated_cost": 2_000}, False),
        # LiteLLM knows no price for the model.
        ({"stated_cost": 0}, False),
        # The header is of the last answer alone.
        ({"stated_cost": 2_500, "has_fallbacks": True}, False),
    ],
)
def test_cost_in_the_header_is_compared_too(facts: dict[str, Any], is_told: bool) -> None:
    expected = Verdict(Kind.DIFFERING, "stated_cost") if is_told else Verdict(Kind.MATCHED)

    assert verdict(replace(OURS, **facts), THEIRS) == expected


def test_answer_from_the_cache_matches_whatever_its_counts_were() -> None:
    ours = replace(OURS, amounts=Amounts(0, 0, 0), is_cached=True)

    assert verdict(ours, replace(THEIRS, is_cached=True)) == Verdict(Kind.MATCHED)


def test_answer_from_the_cache_that_was_charged_here_differs() -> None:
    found = verdict(OURS, replace(THEIRS, is_cached=True, amounts=Amounts(100, 20, 0)))

    assert found == Verdict(Kind.DIFFERING, "cost")


def test_answer_that_was_free_here_and_billed_there_differs() -> None:
    ours = replace(OURS, amounts=Amounts(0, 0, 0), is_cached=True)

    assert verdict(ours, THEIRS) == Verdict(Kind.DIFFERING, "cost")


@pytest.mark.parametrize("is_estimated", [True, False])
def test_estimate_of_litellm_matches_as_far_as_anybody_can_tell(is_estimated: bool) -> None:
    theirs = replace(THEIRS, amounts=Amounts(8, 20, 200), is_estimated=True, is_exact=False)

    found = verdict(replace(OURS, is_estimated=is_estimated), theirs)

    assert found == Verdict(Kind.MATCHED, is_estimate=True)


@pytest.mark.parametrize(
    ("ours", "theirs", "can"),
    [
        ({"is_estimated": True}, {"amounts": Amounts(100, 30, 2_100)}, True),
        ({"is_estimated": True, "amounts": Amounts(None, None, 9_000)}, {}, True),
        ({"is_estimated": True, "amounts": Amounts(None, None, 2_000)}, {}, True),
        # Rounding is no reason.
        ({"is_estimated": True}, {"amounts": Amounts(100, 20, 2_001)}, False),
        ({"is_estimated": True}, {}, False),
        ({}, {"amounts": Amounts(100, 30, 2_100)}, False),
        ({"is_estimated": True}, {"amounts": Amounts(8, 9, 10), "is_exact": False}, False),
        (
            {"is_estimated": True, "adjusted_micro_usd": 5},
            {"amounts": Amounts(100, 30, 2_100)},
            False,
        ),
    ],
)
def test_only_an_estimate_is_corrected_and_only_by_what_was_counted(
    ours: dict[str, Any], theirs: dict[str, Any], can: bool
) -> None:
    pair = Pair("id", replace(OURS, **ours), replace(THEIRS, **theirs))

    assert can_be_corrected(pair) is can
