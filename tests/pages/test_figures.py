"""Figures as people write and read them, in both languages; and where bars are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from types import SimpleNamespace

import pytest
from flask import session
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from app import create_app
from app.audit.queries import HourlyCalls
from app.config.settings import PageSettings, Settings
from app.extensions import services_of
from app.routes.pages import charts, forms, present
from app.serving.flask_app import SolarisFlask
from app.utils.exceptions import InvalidFieldError


@pytest.fixture(scope="module")
def pages() -> Iterator[SolarisFlask]:
    app = create_app(Settings(pages=PageSettings(usd_brl=Decimal("5.40"))))
    yield app
    app.background_loop.run(services_of(app).close())
    app.background_loop.stop()


def written(pages: SolarisFlask, language: str, text: str, metric: str = "cost") -> int | None:
    with pages.test_request_context("/admin/", method="POST", data={"limit": text}):
        session["language"] = language
        return forms.amount("limit", metric)


@pytest.mark.parametrize(
    ("language", "text", "micro_usd"),
    [
        ("pt_BR", "20", 20_000_000),
        ("pt_BR", "20,50", 20_500_000),
        ("pt_BR", "1.234,56", 1_234_560_000),
        ("pt_BR", "1.000", 1_000_000_000),
        ("pt_BR", "1.50", 1_500_000),
        ("pt_BR", "0,000001", 1),
        ("pt_BR", "1 000 000", 1_000_000_000_000),
        ("en", "20.50", 20_500_000),
        ("en", "1,234.56", 1_234_560_000),
        ("en", "1,50", 1_500_000),
        ("en", "1,000", 1_000_000_000),
    ],
)
def test_amount_is_read_as_the_language_writes_it(
    pages: SolarisFlask, language: str, text: str, micro_usd: int
) -> None:
    assert written(pages, language, text) == micro_usd


@pytest.mark.parametrize(
    "text",
    ["doze", "-1", "1e9", "1,2,3", "1.2.3", "0,0000001", "１２", "1,", ",5", "1..000", "9" * 40],
)
def test_what_is_no_amount_names_its_field(pages: SolarisFlask, text: str) -> None:
    with pytest.raises(InvalidFieldError) as refused:
        written(pages, "pt_BR", text)

    assert refused.value.param == "limit"


@pytest.mark.parametrize("language", ["pt_BR", "en"])
@hypothesis_settings(max_examples=200, deadline=None)
@given(micro_usd=st.integers(0, 10**15))
def test_amount_that_a_field_shows_is_read_back_as_it_was(
    pages: SolarisFlask, language: str, micro_usd: int
) -> None:
    with pages.test_request_context("/admin/"):
        session["language"] = language
        shown = present.plain_amount(micro_usd, "cost")

    assert written(pages, language, shown) == micro_usd


@pytest.mark.parametrize(
    ("language", "micro_usd", "shown"),
    [
        ("pt_BR", 1_234_560_000, "US$ 1.234,56 (R$ 6.666,62)"),
        ("en", 1_234_560_000, "$1,234.56 (R$6,666.62)"),
        ("pt_BR", 1_234, "US$ 0,0012 (R$ 0,0067)"),
        ("pt_BR", 0, "US$ 0,00 (R$ 0,00)"),
        ("pt_BR", -2_000_000, "-US$ 2,00 (-R$ 10,80)"),
    ],
)
def test_money_is_written_as_the_language_has_it(
    pages: SolarisFlask, language: str, micro_usd: int, shown: str
) -> None:
    with pages.test_request_context("/admin/"):
        session["language"] = language

        assert present.money(micro_usd).replace("\u00a0", " ") == shown


def test_money_is_shown_in_one_currency_where_no_rate_is_known(pages: SolarisFlask) -> None:
    services = services_of(pages)
    plain = replace(services, settings=replace(services.settings, pages=PageSettings()))
    pages.extensions["solaris"] = plain
    try:
        with pages.test_request_context("/admin/"):
            assert present.money(2_000_000).replace("\u00a0", " ") == "US$ 2,00"
            assert present.brl(2_000_000) == ""
    finally:
        pages.extensions["solaris"] = services


@given(calls=st.lists(st.integers(0, 10**9), min_size=1, max_size=48), share=st.floats(0, 1))
def test_bars_are_within_the_chart_and_in_proportion(calls: list[int], share: float) -> None:
    hours = [SimpleNamespace(calls=it, failed=int(it * share)) for it in calls]

    bars = charts.hours(hours)

    assert len(bars) == len(calls)
    for bar in bars:
        assert 0 <= bar.x <= bar.x + bar.width <= charts.WIDTH
        assert 0 <= bar.height <= charts.HEIGHT
        assert bar.part_height <= bar.height
        assert bar.y + bar.height == pytest.approx(charts.HEIGHT)
        assert (bar.height > 0) is (bar.value > 0)
    tallest = max(bars, key=lambda it: it.height)
    assert tallest.value == 0 or tallest.height == charts.HEIGHT


def test_chart_without_hours_has_no_bars() -> None:
    none: list[HourlyCalls] = []

    assert charts.hours(none) == []


@pytest.mark.parametrize(
    ("used", "limit", "level"), [(0, 10, 0), (5, 10, 50), (30, 10, 100), (0, 0, 100), (1, 3, 33)]
)
def test_meter_is_as_full_as_the_budget(used: int, limit: int, level: int) -> None:
    assert charts.level(used, limit) == level
