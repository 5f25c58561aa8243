"""A provider's bill as CSV: what a model cost on a day. No line is half read: one that cannot be
meant is named, and then none of them counts.

Read are comma, semicolon and tab; amounts with a decimal point or comma, whichever the file uses
throughout; days as 2026-11-23 or 23/11/2026; names of columns in English and Portuguese.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from app.config.catalog import Catalog
from app.utils.money import MOST, to_micro

COLUMNS = ("date", "model", "amount")
# As they are called in bills, in lower case and without what is not a letter.
KNOWN_NAMES = {
    "date": ("date", "day", "data", "dia", "usagedate", "startdate", "datadeuso"),
    "model": ("model", "modelo", "modelname", "modelid", "nomedomodelo"),
    "amount": (
        "amount",
        "amountusd",
        "cost",
        "costusd",
        "totalcost",
        "total",
        "valor",
        "valorusd",
        "valortotal",
        "custo",
        "custousd",
    ),
}
SEPARATORS = ";\t,"
# Excel's, where it does not write UTF-8.
OTHER_ENCODING = "cp1252"
DAYS = ("%Y-%m-%d", "%d/%m/%Y")
# What follows a day: an export may say midnight too.
CLOCK = re.compile(r"[T ]\d\d:.*$")
CURRENCY = re.compile(r"^(-?)\s*(?:US\$|USD|\$)\s*|\s*(?:USD|US\$)$")
POINT, COMMA = ".", ","
# The date at the end of a model's full name.
VERSION = re.compile(r"-(\d{4}-\d{2}-\d{2}|\d{8})$")

Place = tuple[date, str]
Costs = Mapping[Place, int]


@dataclass(frozen=True, slots=True)
class BadLine:
    """``number`` is that of the line in the file, ``column`` what cannot be read in it."""

    number: int
    column: str


class BillError(ValueError):
    """``missing``: columns that the first line does not name; else the lines that are wrong."""

    def __init__(self, *, missing: Sequence[str] = (), lines: Sequence[BadLine] = ()) -> None:
        self.missing = tuple(missing)
        self.lines = tuple(lines)
        super().__init__(missing, lines)


@dataclass(frozen=True, slots=True)
class BillRow:
    """One model on one day; money in micro-USD, None where a side has nothing of it."""

    day: date
    model: str
    our_micro_usd: int
    litellm_micro_usd: int
    bill_micro_usd: int | None

    @property
    def difference(self) -> int:
        return self.our_micro_usd - (self.bill_micro_usd or 0)

    @property
    def is_good(self) -> bool:
        """A bill is in cents, and its day may end at another hour: a percent, and a cent."""
        most = max(self.our_micro_usd, self.bill_micro_usd or 0)
        return abs(self.difference) * 100 <= max(most, 1_000_000)

    def as_dict(self) -> dict[str, object]:
        return {
            "day": self.day,
            "model": self.model,
            "our_micro_usd": self.our_micro_usd,
            "litellm_micro_usd": self.litellm_micro_usd,
            "bill_micro_usd": self.bill_micro_usd,
            "difference_micro_usd": self.difference,
            "good": self.is_good,
        }


def read_bill(
    content: bytes, names: Mapping[str, str] | None = None
) -> dict[tuple[date, str], int]:
    """Return the micro-USD of each day and model. ``names``: how the file calls `COLUMNS`, where
    it is none of the known names.

    Raises: BillError.
    """
    lines = _lines(_text(content))
    head = next(lines, (1, []))[1]
    places = _places(head, names or {})
    cells = [(number, _cells(row, places)) for number, row in lines if any(map(str.strip, row))]
    decimal = _decimal_sign([row["amount"] for _, row in cells])
    costs: Counter[tuple[date, str]] = Counter()
    bad: list[BadLine] = []
    for number, row in cells:
        day, model, amount = _day(row["date"]), row["model"], _amount(row["amount"], decimal)
        if day is None or not model or amount is None:
            known = {"date": day is not None, "model": bool(model), "amount": amount is not None}
            bad.append(BadLine(number, next(it for it in COLUMNS if not known[it])))
        else:
            costs[day, model] += to_micro(amount)
    if bad or not cells:
        raise BillError(lines=bad)
    return dict(costs)


def beside(bill: Costs, ours: Costs, litellm: Costs, catalog: Catalog) -> list[BillRow]:
    """Put the three columns side by side, by day and by what the provider calls a model. What is
    no model of the providers that the bill is of has no place in it."""
    names = BillingNames(catalog)
    ours, litellm, bill = (_renamed(costs, names) for costs in (ours, litellm, bill))
    providers = {names.provider(model) for _, model in bill}
    expected = [it for it in ours.keys() | litellm.keys() if names.provider(it[1]) in providers]
    return [
        BillRow(
            day,
            names.label(model),
            ours.get((day, model), 0),
            litellm.get((day, model), 0),
            bill.get((day, model)),
        )
        for day, model in sorted({*expected, *bill})
    ]


class BillingNames:
    """What a provider calls a model: several of ours may be one of theirs."""

    def __init__(self, catalog: Catalog) -> None:
        self._targets = {it.name: _without_provider(it.target) for it in catalog.models.values()}
        self._providers = {
            _without_provider(it.target): it.provider for it in catalog.models.values()
        }

    def of(self, name: str) -> str:
        """Return the provider's name for one of ours, or of theirs with its version."""
        if name in self._targets:
            return self._targets[name]
        plain = VERSION.sub("", name)
        if name in self._providers or not (plain in self._providers or plain in self._targets):
            return name
        return self._targets.get(plain, plain)

    def provider(self, target: str) -> str | None:
        return self._providers.get(target)

    def label(self, target: str) -> str:
        ours = [name for name, it in self._targets.items() if it == target]
        return "+".join(ours) or target


def _without_provider(target: str) -> str:
    return target.partition("/")[2] or target


def _renamed(costs: Costs, names: BillingNames) -> dict[tuple[date, str], int]:
    renamed: Counter[tuple[date, str]] = Counter()
    for (day, model), cost in costs.items():
        renamed[day, names.of(model)] += cost
    return dict(renamed)


def _text(content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode(OTHER_ENCODING, errors="replace")


def _lines(text: str) -> Iterator[tuple[int, list[str]]]:
    """Yield (number of its last line, cells) of every record."""
    first = text.partition("\n")[0]
    separator = max(SEPARATORS, key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    with suppress(StopIteration):
        while True:
            try:
                row = next(reader)
            except csv.Error:
                raise BillError(lines=[BadLine(reader.line_num, "date")]) from None
            yield reader.line_num, row


def _places(head: Sequence[str], names: Mapping[str, str]) -> dict[str, int]:
    """Return where each column is. Raises: BillError."""
    plain = [_plain(it) for it in head]
    places = {}
    for column in COLUMNS:
        wanted = (_plain(names[column]),) if column in names else KNOWN_NAMES[column]
        found = [index for index, name in enumerate(plain) if name in wanted]
        # Two that might be it are as good as none.
        if len(found) == 1:
            places[column] = found[0]
    if missing := [it for it in COLUMNS if it not in places]:
        raise BillError(missing=missing)
    return places


def _plain(name: str) -> str:
    return "".join(filter(str.isalpha, name.lower()))


def _cells(row: Sequence[str], places: Mapping[str, int]) -> dict[str, str]:
    return {
        column: row[index].strip() if index < len(row) else "" for column, index in places.items()
    }


def _day(cell: str) -> date | None:
    plain = CLOCK.sub("", cell)
    for form in DAYS:
        with suppress(ValueError):
            return datetime.strptime(plain, form).date()  # noqa: DTZ007  # a day on the wall
    return None


def _decimal_sign(amounts: Sequence[str]) -> str | None:
    """Return the file's decimal sign: `1,234` alone does not say, but its neighbours may. Where
    nothing does, None: a thousand times too much would look like any other bill."""
    signs = Counter(sign for it in amounts if (sign := _sign_of(it)) is not None)
    return signs.most_common(1)[0][0] if signs else None


def _sign_of(amount: str) -> str | None:
    points, commas = amount.count(POINT), amount.count(COMMA)
    if points and commas:
        return POINT if amount.rindex(POINT) > amount.rindex(COMMA) else COMMA
    if not points and not commas:
        return None
    sign, other = (POINT, COMMA) if points else (COMMA, POINT)
    if max(points, commas) > 1:
        return other
    whole, _, fraction = _number(amount).lstrip("-").partition(sign)
    return sign if len(fraction) != 3 or len(whole) > 3 or whole.startswith("0") else None


def _amount(cell: str, decimal: str | None) -> Decimal | None:
    number = _number(cell)
    form = r"-?\d+"
    if decimal is not None:
        grouping = re.escape(COMMA if decimal == POINT else POINT)
        form = rf"-?(\d+|\d{{1,3}}({grouping}\d{{3}})+)({re.escape(decimal)}\d+)?"
    if not re.fullmatch(form, number, re.ASCII):
        return None
    plain = number if decimal == POINT else number.replace(POINT, "").replace(COMMA, POINT)
    amount = Decimal(plain.replace(COMMA, ""))
    return amount if abs(amount) <= MOST else None


def _number(cell: str) -> str:
    return CURRENCY.sub(r"\1", cell)
