"""What identifies a person or opens a door is not in a text that was masked."""

from __future__ import annotations

import random
import re
import string
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.audit.masks import is_card, is_cnpj, is_cpf, masked
from app.services.key_format import generate_key

DIGITS = st.text(string.digits, min_size=9, max_size=9)


def cpf_of(start: str) -> str:
    """Return the CPF that begins with nine digits; computed as the Receita describes it."""
    digits = [int(it) for it in start]
    for first in (10, 11):
        total = sum(digit * (first - index) for index, digit in enumerate(digits))
        digits.append((total * 10 % 11) % 10)
    return "".join(map(str, digits))


def cnpj_of(start: str) -> str:
    values = [ord(it) - 48 for it in start]
    for weights in ("543298765432", "6543298765432"):
        rest = sum(v * int(w) for v, w in zip(values, weights, strict=True)) % 11
        values.append(0 if rest < 2 else 11 - rest)
    return start + "".join(map(str, values[-2:]))


def card_of(start: str) -> str:
    total = sum(
        int(it) if index % 2 else sum(divmod(2 * int(it), 10))
        for index, it in enumerate(reversed(start))
    )
    return start + str(-total % 10)


def grouped(text: str, sizes: str, *separators: str) -> str:
    parts, rest = [], text
    for size in sizes:
        parts.append(rest[: int(size)])
        rest = rest[int(size) :]
    return "".join(part + mark for part, mark in zip(parts, (*separators, ""), strict=True))


CPF_FORMS: list[Callable[[str], str]] = [
    lambda it: it,
    lambda it: grouped(it, "3332", ".", ".", "-"),
    lambda it: grouped(it, "3332", " ", " ", " "),
    lambda it: grouped(it, "92", "-"),
]
CNPJ_FORMS: list[Callable[[str], str]] = [
    lambda it: it,
    lambda it: grouped(it, "23342", ".", ".", "/", "-"),
    lambda it: grouped(it, "842", "/", "-"),
]
CARD_FORMS: list[Callable[[str], str]] = [
    lambda it: it,
    lambda it: grouped(it, "4444", " ", " ", " "),
    lambda it: grouped(it, "4444", "-", "-", "-"),
    lambda it: grouped(it, "4444", ".", ".", "."),
]
# No digit, so that what is around a number is not of it.
AROUND = st.text(st.characters(exclude_categories=["Nd", "Cs"]), max_size=20)


@given(st.sampled_from(CPF_FORMS), DIGITS.map(cpf_of), AROUND, AROUND)
@example(CPF_FORMS[0], "12345678909", "cpf:", ".")
def test_cpf_in_any_text_is_masked(
    form: Callable[[str], str], cpf: str, before: str, after: str
) -> None:
    if len(set(cpf)) > 1:
        assert form(cpf) not in masked(f"{before} {form(cpf)} {after}")


@given(
    st.sampled_from(CNPJ_FORMS),
    st.text(string.digits + string.ascii_uppercase, min_size=12, max_size=12).map(cnpj_of),
    AROUND,
)
@example(CNPJ_FORMS[0], "12ABC34501DE35", "")
@example(CNPJ_FORMS[1], "11222333000181", "CNPJ ")
def test_cnpj_is_masked_with_letters_too(
    form: Callable[[str], str], cnpj: str, before: str
) -> None:
    if len(set(cnpj)) > 1:
        assert form(cnpj) not in masked(f"{before} {form(cnpj)}, ")


@given(
    st.sampled_from(CARD_FORMS), st.text(string.digits, min_size=14, max_size=14), AROUND, AROUND
)
def test_card_is_masked(form: Callable[[str], str], start: str, before: str, after: str) -> None:
    card = form(card_of("4" + start))

    assert card not in masked(f"{before} {card} {after}")


PIECES = st.one_of(
    st.tuples(st.sampled_from(CPF_FORMS), DIGITS.map(cpf_of)).map(lambda it: it[0](it[1])),
    st.tuples(
        st.sampled_from(CARD_FORMS),
        st.text(string.digits, min_size=15, max_size=15).map(card_of),
    ).map(lambda it: it[0](it[1])),
    st.text(string.digits, min_size=12, max_size=12).map(cnpj_of),
    st.sampled_from(["ana@exemplo.com", "sk-a1b2c3d4e5f6", "11 98765-4321", "Bearer "]),
    st.text(string.digits + "  .-/()+@ax\n", max_size=6),
)


@given(st.lists(PIECES, max_size=8).map("".join))
@example("12 4111 1111 1111 1111")
@example("4111 1111 1111 1111 123")
@example("4111111111111111 12/28")
@example("123.456.789-09.123.456.789-09")
@example("1234 4111 1111 1111 1111")
def test_masked_text_has_no_valid_number_left(said: str) -> None:
    left = masked(said)

    for form in (r"\d{11}", r"\d{3}\.\d{3}\.\d{3}-\d\d", r"\d{3} \d{3} \d{3} \d\d"):
        assert [it for it in standing(form, left) if is_cpf(it)] == []
    for form in (r"\d{14}", r"\d\d\.\d{3}\.\d{3}/\d{4}-\d\d"):
        assert [it for it in standing(form, left) if is_cnpj(it)] == []
    for form in (r"\d{13,19}", r"\d{4} \d{4} \d{4} \d{4}", r"\d{4}-\d{4}-\d{4}-\d{4}"):
        assert [it for it in standing(form, left) if is_card(it)] == []
    assert not re.search(r"[a-z]@[a-z]+\.[a-z]{2}", left)


def standing(form: str, text: str) -> list[str]:
    """Return every place, overlapping ones too, where it stands with no digit beside it."""
    return re.findall(rf"(?<!\d)(?=({form})(?!\d))", text)


@given(st.text(max_size=200) | st.text(string.digits + ".-/ @+()sk", max_size=200))
def test_masking_again_changes_nothing(said: str) -> None:
    once = masked(said)

    assert masked(once) == once


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("CPF 123.456.789-09, obrigado", "CPF [CPF], obrigado"),
        # Mistyped, and still somebody's.
        ("111.222.333-44", "[CPF]"),
        ("11.222.333/0001-99", "[CNPJ]"),
        ("１２３４５６７８９０９", "[CPF]"),
        ("escreva a ana.lima+ia@exemplo.com.br!", "escreva a [E-MAIL]!"),
        ("mailto:ana%40exemplo.com", "mailto:[E-MAIL]"),
        ('{"de":"joão@exemplo.com"}', '{"de":"[E-MAIL]"}'),
        ("(11) 98765-4321", "[TELEFONE]"),
        ("+55 11 98765-4321", "[TELEFONE]"),
        ("+5511987654321", "[TELEFONE]"),
        ("011 98765 4321", "[TELEFONE]"),
        ("11987654321", "[TELEFONE]"),
        ("(11)3456-7890", "[TELEFONE]"),
        ("11 3456-7890", "[TELEFONE]"),
        ("98765-4321", "[TELEFONE]"),
        ("+14155552671", "[TELEFONE]"),
        ("3782 822463 10005", "[CARTÃO]"),
        ("Authorization: Bearer abc.def-1234567", "Authorization: Bearer [TOKEN]"),
        ("sk-proj-a1b2c3d4e5f6", "[CHAVE]"),
        ("sk-ant-api03-xY_z-0000", "[CHAVE]"),
        ("AKIAIOSFODNN7EXAMPLE", "[CHAVE]"),
        ("ghp_0123456789abcdefghij0123456789abcdef", "[CHAVE]"),
        ("xoxb-123456789012-abc", "[CHAVE]"),
        ("AIzaSyA1234567890abcdefghijklmnopqrstuv", "[CHAVE]"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbmEifQ.s5Pq0-_x", "[CHAVE]"),
        (
            "-----BEGIN RSA PRIVATE KEY-----\nMIIEow==\n-----END RSA PRIVATE KEY-----\nfim",
            "[CHAVE]\nfim",
        ),
    ],
)
def test_form_is_masked_and_nothing_beside_it(said: str, kept: str) -> None:
    assert masked(said) == kept


@pytest.mark.parametrize(
    "said",
    [
        "12345678900 is no CPF, 11222333000182 no CNPJ",
        "4111 1111 1111 1112 fails Luhn's check",
        "2019-2020, 2026-11-23 12:00:00, R$ 1.234.567,89",
        "risk-management and sk-learning are words",
        "a bearer certificate",
        "the decorator @property, a==b@c",
        "id 550e8400-e29b-41d4-a716-446655440000",
        "pedido 1234567890",
    ],
)
def test_what_only_looks_like_it_stays(said: str) -> None:
    assert masked(said) == said


def test_our_own_keys_are_masked() -> None:
    assert [masked(f"key={generate_key()};") for _ in range(50)] == ["key=[CHAVE];"] * 50


@pytest.mark.parametrize(
    "unit",
    [
        "a",
        "1",
        "1 ",
        "a.",
        "a@",
        "a@a.",
        "sk-",
        "eyJ",
        "-eyJaaaaaaaa",
        "eyJaaaaaaaa.",
        "A1",
        "+1",
        "-----BEGIN PRIVATE KEY-----",
        "1234 ",
        "bearer a",
        "a-",
        "(11) ",
        "%40",
        "111.111.111-1",
    ],
)
def test_work_grows_with_the_text_and_no_faster(unit: str) -> None:
    """Counted, not timed: the trace of a search that goes back and forth would never end here."""
    text = unit * (200_000 // len(unit))

    assert len(masked(text)) <= 2 * len(text)


def test_random_text_keeps_its_words() -> None:
    generator = random.Random(7)
    words = ["".join(generator.choices(string.ascii_lowercase, k=6)) for _ in range(500)]

    assert masked(" ".join(words)) == " ".join(words)
