"""Figures, money and moments as the reader's language writes them: the filters of templates."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any
from zoneinfo import ZoneInfo

from babel.numbers import format_currency
from flask_babel import format_date, format_datetime, format_decimal, format_percent, get_locale
from flask_babel import gettext as _
from markupsafe import Markup, escape

from app.extensions import settings

MICRO = Decimal(1_000_000)
NOTHING = "–"
CENT_MICRO_USD = 10_000
# Below this, cents would hide what there is.
SMALL_MICRO_USD = 10 * CENT_MICRO_USD
# What a budget counts in money.
MONEY = "cost"


def number(value: int | None) -> str:
    return NOTHING if value is None else str(format_decimal(value))


def money(micro_usd: int | None) -> str:
    """US$, and R$ beside it where the rate is known."""
    if micro_usd is None:
        return NOTHING
    beside = brl(micro_usd)
    return f"{usd(micro_usd)} ({beside})" if beside else usd(micro_usd)


def usd(micro_usd: int | None) -> str:
    return NOTHING if micro_usd is None else _currency(Decimal(micro_usd), "USD")


def brl(micro_usd: int | None) -> str:
    """The same in R$; nothing where the rate is not known."""
    rate = settings.pages.usd_brl
    return _currency(Decimal(micro_usd) * rate, "BRL") if rate and micro_usd is not None else ""


def _currency(micro: Decimal, currency: str) -> str:
    places = 4 if 0 < abs(micro) < SMALL_MICRO_USD and micro % CENT_MICRO_USD else 2
    value = (micro / MICRO).quantize(Decimal(1).scaleb(-places), ROUND_HALF_EVEN)
    pattern = get_locale().currency_formats["standard"].pattern
    digits = pattern.replace("0.00", "0." + "0" * places)
    shown: str = format_currency(
        value, currency, digits, locale=get_locale(), currency_digits=False
    )
    return shown


def amount(value: int | None, metric: str) -> str:
    """In the metric's unit: money, tokens or requests."""
    if value is None:
        return NOTHING
    return money(value) if metric == MONEY else number(value)


def plain_amount(value: int, metric: str) -> str:
    """As a field of a form has it: money in US$, without the sign."""
    if metric != MONEY:
        return str(value)
    exact = (Decimal(value) / MICRO).normalize()
    return str(format_decimal(exact, format="0.######"))


def per_million(usd_per_token: str) -> str:
    """A price of one token, as decimal text, for a million of them."""
    return str(format_decimal(Decimal(usd_per_token) * 1_000_000, format="#,##0.00##"))


def share(used: int, limit: int) -> str:
    """Part of a whole; what is nothing of nothing is all of it."""
    return str(format_percent(Decimal(used) / limit if limit else Decimal(1)))


def moment(value: datetime | str | None) -> Markup | str:
    """A `<time>`: date and time in TIMEZONE."""
    at = _aware(value)
    if at is None:
        return NOTHING
    stamp = at.astimezone(UTC).isoformat(timespec="seconds")
    return Markup('<time datetime="{}">{}</time>').format(stamp, format_datetime(at, "short"))


def plain_moment(value: datetime | str | None) -> str:
    """As `moment`, as plain text."""
    at = _aware(value)
    return str(format_datetime(at, "short")) if at else str(value or NOTHING)


def clock(value: datetime) -> str:
    """The time of the day, to the second, in TIMEZONE."""
    return str(format_datetime(value, "HH:mm:ss"))


def hour(value: datetime) -> str:
    return str(format_datetime(value, "HH'h'"))


def day(value: date | str | None) -> str:
    if value is None:
        return NOTHING
    known = date.fromisoformat(value) if isinstance(value, str) else value
    return str(format_date(known, "short"))


def field_moment(value: datetime) -> str:
    """As a field for date and time has it, in TIMEZONE."""
    local = value.astimezone(ZoneInfo(settings.budgets.timezone))
    return f"{local:%Y-%m-%dT%H:%M}"


def seconds(milliseconds: int | None) -> str:
    """A duration; below a second in milliseconds."""
    if milliseconds is None:
        return NOTHING
    if milliseconds < 1000:
        return f"{milliseconds} ms"
    return f"{format_decimal(Decimal(milliseconds) / 1000, format='0.0')} s"


def name(value: Any) -> Markup | str:
    """What others wrote, apart from the text around it: its direction ends with it."""
    if value is None or value == "":
        return NOTHING
    return Markup("<bdi>{}</bdi>").format(escape(str(value)))


def yes_no(value: bool) -> str:  # noqa: FBT001  # a filter has one argument
    return str(_("Yes") if value else _("No"))


def _aware(value: datetime | str | None) -> datetime | None:
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return None
    if value is None or value.tzinfo is None:
        return None
    return value


FILTERS: dict[str, Callable[..., Any]] = {
    "number": number,
    "money": money,
    "usd": usd,
    "brl": brl,
    "amount": amount,
    "plain_amount": plain_amount,
    "per_million": per_million,
    "share": share,
    "moment": moment,
    "clock": clock,
    "hour": hour,
    "day": day,
    "field_moment": field_moment,
    "seconds": seconds,
    "name": name,
    "yes_no": yes_no,
}
