from __future__ import annotations

import math
import time
from fractions import Fraction
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.utils.helpers import calculate_cost, format_usd, generate_request_id

tokens = st.integers(0, 10**9)
price = st.integers(0, 10**12)


@given(st.lists(st.tuples(tokens, price), max_size=4))
def test_cost_of_any_parts_is_the_exact_sum_rounded_up_once(parts: list[tuple[int, int]]) -> None:
    exact = sum((Fraction(count * each, 1_000_000) for count, each in parts), Fraction())

    assert calculate_cost(*parts) == math.ceil(exact)


def test_cost_of_two_halves_of_a_micro_usd_is_one() -> None:
    assert calculate_cost((1, 500_000), (1, 500_000)) == 1


def test_cost_of_the_smallest_call_is_never_nothing() -> None:
    assert calculate_cost((1, 1)) == 1


def test_cost_of_a_known_call_is_what_the_provider_bills() -> None:
    # 1,000 tokens at 30 USD and 500 at 60 USD a million.
    assert calculate_cost((1000, 30_000_000), (500, 60_000_000)) == 60_000


@pytest.mark.parametrize(
    ("micro_usd", "text"),
    [
        (0, "0.000000"),
        (1, "0.000001"),
        (1_234_567, "1.234567"),
        (-1, "-0.000001"),
        (-2_500_000, "-2.500000"),
        (10**18, "1000000000000.000000"),
    ],
)
def test_usd_is_written_with_six_decimals(micro_usd: int, text: str) -> None:
    assert format_usd(micro_usd) == text


@given(st.integers())
def test_usd_written_is_exact(micro_usd: int) -> None:
    assert Fraction(format_usd(micro_usd)) == Fraction(micro_usd, 1_000_000)


def test_request_id_is_a_uuid_of_version_7() -> None:
    identifier = UUID(generate_request_id())

    assert (identifier.version, identifier.variant) == (7, "specified in RFC 4122")


def test_request_id_carries_the_time_in_its_first_bits() -> None:
    before_ms = time.time_ns() // 1_000_000

    made_ms = UUID(generate_request_id()).int >> 80

    assert before_ms <= made_ms <= time.time_ns() // 1_000_000


def test_request_ids_differ_within_a_millisecond() -> None:
    assert len({generate_request_id() for _ in range(1000)}) == 1000
