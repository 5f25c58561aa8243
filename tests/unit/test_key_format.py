from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.services.key_format import generate_key, hash_key, is_well_formed, shown_prefix

KEY = generate_key()


def test_key_made_is_well_formed() -> None:
    assert is_well_formed(generate_key())


def test_key_made_is_safe_in_headers_and_shells() -> None:
    assert re.fullmatch(r"sk-solaris-[A-Za-z0-9_-]{51}", generate_key())


def test_keys_made_differ() -> None:
    assert generate_key() != generate_key()


@pytest.mark.parametrize(
    "key",
    ["", "sk-", "sk-solaris-", KEY[:-1], KEY + "0", KEY.upper(), "sk-other-" + KEY[9:], KEY[11:]],
    ids=["empty", "sk", "prefix", "short", "long", "capitals", "other_prefix", "no_prefix"],
)
def test_key_of_another_shape_is_refused(key: str) -> None:
    assert not is_well_formed(key)


@given(st.integers(0, len(KEY) - 1), st.characters(codec="latin-1"))
def test_key_with_any_character_changed_is_refused(at: int, character: str) -> None:
    mutated = KEY[:at] + character + KEY[at + 1 :]

    assert is_well_formed(mutated) is (mutated == KEY)


@given(st.integers(0, len(KEY) - 2))
def test_key_with_two_neighbours_swapped_is_refused(at: int) -> None:
    mutated = KEY[:at] + KEY[at + 1] + KEY[at] + KEY[at + 2 :]

    assert is_well_formed(mutated) is (mutated == KEY)


@given(st.text(st.characters(codec="latin-1")))
def test_key_of_any_header_text_is_refused(text: str) -> None:
    assert not is_well_formed(text)


def test_key_stored_is_its_sha_256() -> None:
    assert hash_key("abc").hex().startswith("ba7816bf8f01cfea414140de5dae2223")


def test_key_shown_gives_away_six_characters_of_the_secret() -> None:
    assert shown_prefix(KEY) == KEY[: len("sk-solaris-") + 6]
