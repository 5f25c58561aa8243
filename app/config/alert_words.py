"""From an alert's facts to what people read. Every value of others goes in as `plain` text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Protocol, TypeGuard
from zoneinfo import ZoneInfo

from app.config.alert_messages import CODES, KINDS, LABELS, RULES, SPANS
from app.config.figures import MONTHS, amount, grouped, with_unit
from app.config.plain_text import plain

NOTHING = "–"
MAX_ITEMS = 20


class Told(Protocol):
    """As `app.alerting.message.Message`."""

    @property
    def kind(self) -> str: ...
    @property
    def rule(self) -> str: ...
    @property
    def subject(self) -> str: ...
    @property
    def severity(self) -> str: ...
    @property
    def at(self) -> datetime: ...
    @property
    def facts(self) -> Mapping[str, Any]: ...
    @property
    def items(self) -> Sequence[Mapping[str, Any]]: ...


@dataclass(frozen=True, slots=True)
class AlertText:
    title: str
    sentence: str
    advice: str
    # (label, value), values in the form of the language.
    rows: tuple[tuple[str, str], ...]
    # A digest's lines.
    items: tuple[str, ...] = ()


_MOMENTS = {"day", "runs_out_on", "renews_at"}
_BYTES = ((10**9, "GB"), (10**6, "MB"), (10**3, "kB"), (1, "B"))


@dataclass(frozen=True, slots=True)
class AlertWords:
    """Makes the texts of one installation."""

    locale: str
    zone: ZoneInfo

    def text(self, message: Told) -> AlertText:
        """Return what is read of ``message``. Facts that are missing, or odd, show as such."""
        rules = RULES[self.locale]
        own = rules.get(message.rule or message.kind, rules[""])
        facts = _Facts(self, message)
        is_over = message.kind == "resolved"
        kind = KINDS[self.locale].get(message.kind, "{title}")
        severity = self.code("severity", message.severity)
        return AlertText(
            kind.format(severity=severity, title=own.title.format_map(facts)),
            (own.ended if is_over else own.lasts).format_map(facts),
            "" if is_over else own.advice.format_map(facts),
            self._rows(message, () if is_over else own.rows, facts),
            self._items(message),
        )

    def label(self, name: str, **values: object) -> str:
        return LABELS[self.locale][name].format(**values)

    def code(self, name: str, value: object) -> str:
        known = CODES[self.locale][name]
        return known[value] if isinstance(value, str) and value in known else plain(value)

    def moment(self, value: object) -> str:
        """A moment in the local time, or a day: from ISO 8601, as JSON has it, too."""
        at = _parsed(value)
        if isinstance(at, datetime):
            local = at.astimezone(self.zone) if at.tzinfo else at
            return f"{self._day(local)} {local:%H:%M}"
        return plain(value) if at is None else self._day(at)

    def _day(self, at: date) -> str:
        if self.locale == "pt_BR":
            return f"{at:%d/%m/%Y}"
        return f"{at.day} {MONTHS[at.month - 1]} {at.year}"

    def span(self, seconds: int) -> str:
        for size, one, many in SPANS[self.locale]:
            if seconds >= size and seconds % size == 0:
                return f"{seconds // size} {one if seconds == size else many}"
        return f"{seconds} s"

    def size(self, count: int) -> str:
        for unit, sign in _BYTES:
            if count >= unit:
                return f"{grouped(self.locale, f'{count / unit:.3g}')} {sign}"
        return "0 B"

    def _rows(
        self, message: Told, names: Sequence[str], facts: _Facts
    ) -> tuple[tuple[str, str], ...]:
        rows = [(name, facts[name]) for name in names if facts.has(name)]
        when = ("at", self.moment(message.at))
        severity = ("severity", self.code("severity", message.severity))
        heads = (when,) if message.kind in ("resolved", "test") else (severity, when)
        return tuple((self.label(name), value) for name, value in (*heads, *rows))

    def _items(self, message: Told) -> tuple[str, ...]:
        lines = [self._item(it) for it in message.items[:MAX_ITEMS]]
        if (left := len(message.items) - MAX_ITEMS) > 0:
            lines.append(self.label("more", count=left))
        return tuple(lines)

    def _item(self, item: Mapping[str, Any]) -> str:
        rule, subject = item.get("rule", ""), plain(item.get("subject", ""))
        known = RULES[self.locale].get(rule)
        name = known.name if known else plain(rule)
        what = f"{name}: {subject}" if subject else name
        return f"{what} ({self.count(item.get('count', 1))}×)"

    def count(self, value: object) -> str:
        return amount(self.locale, "", value) if _is_number(value) else plain(value)


class _Facts(dict[str, str]):
    """A message's facts as texts, made when a template asks for them."""

    def __init__(self, words: AlertWords, message: Told) -> None:
        self._words = words
        self._message = message

    def has(self, name: str) -> bool:
        return name == "budget" or self._message.facts.get(name) is not None

    def __missing__(self, name: str) -> str:
        message, words = self._message, self._words
        if name in ("rule", "subject"):
            return plain(getattr(message, name))
        if name == "total":
            counts = [it.get("count", 1) for it in message.items]
            return words.count(sum(filter(_is_number, counts)))
        if name == "budget":
            return self._budget()
        if name == "day_iso":
            return plain(message.facts.get("day", NOTHING))
        value = message.facts.get(name)
        return NOTHING if value is None else self._text(name, value)

    def _budget(self) -> str:
        scope = self._words.code("scope", self._message.facts.get("scope", NOTHING))
        return scope.replace("{subject}", plain(self._message.facts.get("subject", NOTHING)))

    def _text(self, name: str, value: object) -> str:
        words = self._words
        if name in CODES[words.locale]:
            return words.code(name, value)
        if name in _MOMENTS:
            return words.moment(value)
        return self._figure(name, value) if _is_number(value) else plain(value)

    def _figure(self, name: str, value: int) -> str:
        words, metric = self._words, self._message.facts.get("metric")
        if name == "window_s":
            return words.span(value)
        if name == "waiting_bytes":
            return words.size(value)
        if name == "percent":
            return f"{value}%"
        if name == "difference_micro_usd":
            sign = "-" if value < 0 else ""
            return sign + amount(words.locale, "cost", abs(value))
        if name in ("used", "limit") and metric in ("cost", "tokens", "requests"):
            return with_unit(words.locale, metric, value)
        return amount(words.locale, "", value)


def _is_number(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _parsed(value: object) -> date | None:
    """Return a datetime, a day, or None where it is neither."""
    if isinstance(value, date):
        return value
    for read in (date.fromisoformat, datetime.fromisoformat):
        try:
            return read(str(value))
        except ValueError:
            continue
    return None
