"""Providers' bills: every form that is read, and that nothing is half read."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.config.catalog import load_catalog
from app.config.settings import LiteLLMSettings
from app.reconciliation.bill import BadLine, BillError, beside, read_bill

CATALOG = load_catalog(LiteLLMSettings().config_path)
DAY = date(2026, 11, 23)
WITH_POINT = "date,model,amount\n2026-11-23,gpt-4o,{}\n2026-11-24,gpt-4o,0.5\n"
WITH_COMMA = "data;modelo;valor\n23/11/2026;gpt-4o;{}\n24/11/2026;gpt-4o;0,5\n"


def bill_of(text: str, **names: str) -> dict[tuple[date, str], int]:
    return read_bill(text.encode(), names)


def refused(content: bytes | str) -> BillError:
    with pytest.raises(BillError) as caught:
        read_bill(content if isinstance(content, bytes) else content.encode())
    return caught.value


@pytest.mark.parametrize(
    ("amount", "micro_usd"),
    [
        ("12.5", 12_500_000),
        ("1234", 1_234_000_000),
        ('"1,234.50"', 1_234_500_000),
        ('"1,234"', 1_234_000_000),
        ("1.234", 1_234_000),
        ("0.0000005", 1),
        ("0.0000004", 0),
        ("-3.10", -3_100_000),
        ("$12.50", 12_500_000),
        ("-$12.50", -12_500_000),
        ("US$ 12.50", 12_500_000),
        ("12.50 USD", 12_500_000),
    ],
)
def test_amount_with_decimal_point_is_read(amount: str, micro_usd: int) -> None:
    assert bill_of(WITH_POINT.format(amount))[DAY, "gpt-4o"] == micro_usd


@pytest.mark.parametrize(
    ("amount", "micro_usd"),
    [
        ("12,5", 12_500_000),
        ("1.234,50", 1_234_500_000),
        ("1.234.567", 1_234_567_000_000),
        ("1.234", 1_234_000_000),
        ("1,234", 1_234_000),
        ("-3,10", -3_100_000),
        ("US$ 3,10", 3_100_000),
    ],
)
def test_amount_with_decimal_comma_is_read(amount: str, micro_usd: int) -> None:
    assert bill_of(WITH_COMMA.format(amount))[DAY, "gpt-4o"] == micro_usd


@pytest.mark.parametrize("amount", ["1.234", "1,234"])
def test_amount_that_may_be_a_thousand_times_more_is_refused(amount: str) -> None:
    error = refused(f"date;model;amount\n2026-11-23;gpt-4o;{amount}\n2026-11-24;gpt-4o;7\n")

    assert error.lines == (BadLine(2, "amount"),)


@pytest.mark.parametrize(
    "amount",
    ["", "x", "1,5,0", "1.2.3", "12,50", "NaN", "Infinity", "1e5", "٣", "10 000.00", "--1"],
)
def test_amount_that_is_none_is_refused_with_its_line(amount: str) -> None:
    text = "date;model;amount\n2026-11-22;gpt-4o;1.5\n2026-11-23;gpt-4o;{}\n2026-11-24;gpt-4o;0.5\n"

    assert refused(text.format(amount)).lines == (BadLine(3, "amount"),)


def test_every_bad_line_is_named_and_none_counts() -> None:
    error = refused(
        "date,model,amount\n"
        "2026-11-23,gpt-4o,1.50\n"
        "2026-02-30,gpt-4o,1.50\n"
        "\n"
        "2026-11-23,,1.50\n"
        "2026-11-23,gpt-4o\n"
        "Total,,3.00\n"
    )

    assert error.lines == (
        BadLine(3, "date"),
        BadLine(5, "model"),
        BadLine(6, "amount"),
        BadLine(7, "date"),
    )


@pytest.mark.parametrize(
    "head",
    [
        "date,model,amount",
        "Model,Cost (USD),Date",
        "\ufeffDATE\tMODEL\tTOTAL COST",
        "Data;Modelo;Valor (USD);Descrição",
        '"usage_date","model_name","amount_usd"',
    ],
)
def test_columns_are_known_in_any_order_and_both_languages(head: str) -> None:
    separator = next(it for it in ("\t", ";", ",") if it in head)
    cells = {"d": "2026-11-23", "m": "gpt-4o", "a": "1.50"}
    order = [
        "d" if "dat" in it.lower() else "m" if "mod" in it.lower() else "a"
        for it in head.split(separator)[:3]
    ]
    row = separator.join(cells[it] for it in order)

    assert bill_of(f"{head}\r\n{row}\r\n") == {(DAY, "gpt-4o"): 1_500_000}


def test_columns_of_other_names_are_those_that_are_given() -> None:
    text = "when,what,net,amount\n2026-11-23,gpt-4o,1.50,9.99\n"

    assert bill_of(text, date="When", model="what", amount="net") == {(DAY, "gpt-4o"): 1_500_000}


@pytest.mark.parametrize(
    ("head", "missing"),
    [
        ("date,model,price", ("amount",)),
        ("", ("date", "model", "amount")),
        ("date,date,model,cost", ("date",)),
    ],
)
def test_columns_that_are_not_there_or_there_twice_are_named(
    head: str, missing: tuple[str, ...]
) -> None:
    assert refused(f"{head}\n2026-11-23,gpt-4o,1.50\n").missing == missing


def test_bill_without_lines_is_refused() -> None:
    assert refused("date,model,amount\n\n").lines == ()


def test_bill_that_a_spreadsheet_wrote_is_read() -> None:
    content = "Data;Modelo;Descrição;Valor\r\n23/11/2026;gpt-4o;Março;1,50\r\n".encode("cp1252")

    assert read_bill(content) == {(DAY, "gpt-4o"): 1_500_000}


def test_day_with_a_time_is_the_day() -> None:
    text = "start_date,model,amount\n2026-11-23T00:00:00Z,gpt-4o,1.50\n"

    assert bill_of(text) == {(DAY, "gpt-4o"): 1_500_000}


def test_lines_of_one_day_and_model_add_up() -> None:
    text = "date,model,amount\n2026-11-23,gpt-4o,1.50\n2026-11-23,gpt-4o,0.25\n"

    assert bill_of(text) == {(DAY, "gpt-4o"): 1_750_000}


@given(st.lists(st.integers(-(10**12), 10**12), min_size=1, max_size=20), st.booleans())
def test_bill_of_any_amounts_is_read_exactly(micro_usd: list[int], has_comma: bool) -> None:
    amounts = [f"{Decimal(it) / 1_000_000:,.6f}" for it in micro_usd]
    if has_comma:
        amounts = [it.translate(str.maketrans(",.", ".,")) for it in amounts]
    lines = "".join(f"2026-11-23;gpt-4o;{it}\n" for it in amounts)

    assert bill_of(f"date;model;amount\n{lines}") == {(DAY, "gpt-4o"): sum(micro_usd)}


@given(st.binary(max_size=300))
def test_junk_is_refused_and_nothing_worse(content: bytes) -> None:
    refused(b'date,model,amount\n"x",' + content)


def target_of(model: str) -> str:
    return CATALOG.models[model].target.partition("/")[2]


def test_models_of_a_bill_are_found_by_the_providers_names_with_their_versions() -> None:
    bill = {(DAY, f"{target_of('gpt-4o')}-2026-08-06"): 1_000, (DAY, "text-new"): 7}

    rows = beside(bill, {(DAY, "gpt-4o"): 900}, {(DAY, "gpt-4o"): 905}, CATALOG)

    assert [
        (it.model, it.our_micro_usd, it.litellm_micro_usd, it.bill_micro_usd) for it in rows
    ] == [
        ("gpt-4o", 900, 905, 1_000),
        ("text-new", 0, 0, 7),
    ]


def test_models_of_another_provider_are_not_expected_in_a_bill() -> None:
    ours = {(DAY, "gpt-4o"): 900, (DAY, "gpt-4"): 900, (DAY, "claude-3-opus"): 900}

    rows = beside({(DAY, "gpt-4o"): 900}, ours, ours, CATALOG)

    assert {it.model: it.bill_micro_usd for it in rows} == {"gpt-4": None, "gpt-4o": 900}


@pytest.mark.parametrize(
    ("ours", "billed", "is_good"),
    [
        (5_000, 15_000, True),
        (5_000, 15_001, False),
        (100_000_000, 101_000_000, True),
        (100_000_000, 101_100_000, False),
        (10_001, None, False),
    ],
)
def test_bill_agrees_within_a_cent_or_a_percent(
    ours: int, billed: int | None, is_good: bool
) -> None:
    bill = {} if billed is None else {(DAY, "gpt-4o"): billed}

    rows = beside({**bill, (date(2026, 11, 24), "gpt-4o"): 1}, {(DAY, "gpt-4o"): ours}, {}, CATALOG)

    assert rows[0].is_good is is_good
