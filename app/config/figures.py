"""Amounts as people write them, in each language."""

from __future__ import annotations

from decimal import ROUND_FLOOR, Decimal

_UNITS = {
    "pt_BR": {"tokens": ("token", "tokens"), "requests": ("pedido", "pedidos")},
    "en": {"tokens": ("token", "tokens"), "requests": ("request", "requests")},
}
_MONEY = {"pt_BR": "US$ {}", "en": "US${}"}
# Not by strftime, whose months follow the machine's own language.
MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()
_CENT_MICRO_USD = 10_000
# Below this, cents would hide what there is.
_SMALL_MICRO_USD = 10 * _CENT_MICRO_USD


def with_unit(locale: str, metric: str, value: int) -> str:
    written = amount(locale, metric, value)
    if metric == "cost":
        return written
    one, many = _UNITS[locale][metric]
    return f"{written} {one if value == 1 else many}"


def amount(locale: str, metric: str, value: int, rounding: str = ROUND_FLOOR) -> str:
    """``metric`` "cost" is micro-USD; any other is a count."""
    if metric != "cost":
        return grouped(locale, f"{value:,}")
    dollars = Decimal(value) / 1_000_000
    places = 2 if value >= _SMALL_MICRO_USD or value % _CENT_MICRO_USD == 0 else 4
    rounded = dollars.quantize(Decimal(1).scaleb(-places), rounding)
    return _MONEY[locale].format(grouped(locale, f"{rounded:,}"))


def grouped(locale: str, digits: str) -> str:
    """Return English digits, such as `1,234.5`, as ``locale`` writes them."""
    return digits.translate(str.maketrans(",.", ".,")) if locale == "pt_BR" else digits
