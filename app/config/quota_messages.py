"""What people read when a budget has no room: whose, what is left, and when it renews."""

from __future__ import annotations

from datetime import datetime
from decimal import ROUND_DOWN, Decimal
from typing import TypedDict

from app.config.messages import MAX_MESSAGE_LENGTH

_WHOSE = {
    "pt_BR": {
        "user": "O seu orçamento {period}",
        "key": "O orçamento {period} desta chave",
        "team": "O orçamento {period} da sua equipe",
        "model": "O orçamento {period} do modelo {subject}",
        "global": "O orçamento {period} da empresa",
    },
    "en": {
        "user": "Your budget {period}",
        "key": "The budget {period} of this key",
        "team": "Your team's budget {period}",
        "model": "The budget {period} of the model {subject}",
        "global": "The company's budget {period}",
    },
}
_PERIODS = {
    "pt_BR": {
        "minute": "deste minuto",
        "hour": "desta hora",
        "day": "de hoje",
        "week": "desta semana",
        "month": "deste mês",
    },
    "en": {
        "minute": "for this minute",
        "hour": "for this hour",
        "day": "for today",
        "week": "for this week",
        "month": "for this month",
    },
}
_OWN = {
    "pt_BR": "{whose} não basta: de {limit} restam {left}, e este pedido pode usar até {needed}. "
    "Renova em {renews_at}.",
    "en": "{whose} is not enough: {left} of {limit} is left, and this request may take up to "
    "{needed}. It renews on {renews_at}.",
}
_SHARED = {
    "pt_BR": "{whose} não basta para este pedido. Renova em {renews_at}. Fale com o administrador.",
    "en": "{whose} is not enough for this request. It renews on {renews_at}. "
    "Talk to your administrator.",
}
_UNITS = {
    "pt_BR": {"tokens": "{} tokens", "requests": "{} pedidos", "cost": "US$ {}"},
    "en": {"tokens": "{} tokens", "requests": "{} requests", "cost": "US${}"},
}
_MOMENTS = {"pt_BR": "%d/%m às %H:%M", "en": "%d %b at %H:%M"}
_CENTS = Decimal("0.01")


class Shortage(TypedDict):
    """A budget without room for a call; amounts in its metric, ``renews_at`` local."""

    is_own: bool
    scope: str
    subject: str
    metric: str
    period: str
    limit: int
    left: int
    needed: int
    renews_at: datetime


def quota_message(locale: str, shortage: Shortage) -> str:
    """Return the sentence for a refusal; its figures only where the budget is the caller's own."""
    period = _PERIODS[locale][shortage["period"]]
    whose = _WHOSE[locale][shortage["scope"]].format(period=period, subject=shortage["subject"])
    texts = _OWN if shortage["is_own"] else _SHARED
    metric = shortage["metric"]
    amounts = {
        "limit": _amount(locale, metric, shortage["limit"]),
        "left": _amount(locale, metric, shortage["left"]),
        "needed": _amount(locale, metric, shortage["needed"]),
    }
    moment = shortage["renews_at"].strftime(_MOMENTS[locale])
    sentence = texts[locale].format(whose=whose, renews_at=moment, **amounts)
    return sentence[:MAX_MESSAGE_LENGTH]


def _amount(locale: str, metric: str, value: int) -> str:
    if metric == "cost":
        # What is left is never said to be more than it is.
        dollars = (Decimal(value) / 1_000_000).quantize(_CENTS, ROUND_DOWN)
        return _UNITS[locale][metric].format(_grouped(locale, f"{dollars:,}"))
    return _UNITS[locale][metric].format(_grouped(locale, f"{value:,}"))


def _grouped(locale: str, digits: str) -> str:
    return digits.translate(str.maketrans(",.", ".,")) if locale == "pt_BR" else digits
