"""What people read when a budget has no room: whose it is, how much, and when it renews.

Figures are written only where the budget is the caller's own.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import ROUND_CEILING
from typing import TypedDict

from app.config.figures import MONTHS, amount, with_unit
from app.config.messages import MAX_MESSAGE_LENGTH

_WHOSE = {
    "pt_BR": {
        "user": "Seu orçamento {metric} para {period}",
        "key": "O orçamento {metric} desta chave para {period}",
        "team": "O orçamento {metric} da sua equipe para {period}",
        "model": "O orçamento {metric} do modelo {subject} para {period}",
        "global": "O orçamento {metric} da empresa para {period}",
    },
    "en": {
        "user": "Your {metric} budget for {period}",
        "key": "This key's {metric} budget for {period}",
        "team": "Your team's {metric} budget for {period}",
        "model": "The {metric} budget of the model {subject} for {period}",
        "global": "The company's {metric} budget for {period}",
    },
}
_METRICS = {
    "pt_BR": {"tokens": "de tokens", "requests": "de pedidos", "cost": "em dólares"},
    "en": {"tokens": "token", "requests": "request", "cost": "dollar"},
}
_PERIODS = {
    "pt_BR": {"hour": "esta hora", "day": "hoje", "week": "esta semana", "month": "este mês"},
    "en": {"hour": "this hour", "day": "today", "week": "this week", "month": "this month"},
}
_SPENT = {
    "pt_BR": "{whose} acabou: o limite é de {limit}. Renova {moment}.",
    "en": "{whose} is used up: the limit is {limit}. It renews {moment}.",
}
_SHORT = {
    "pt_BR": "{whose} não basta: ainda há {left} de {limit}, e este pedido pode usar até {needed}. "
    "Renova {moment}.",
    "en": "{whose} is not enough: {left} of {limit} left, and this request may take up to "
    "{needed}. It renews {moment}.",
}
_SHARED = {
    "pt_BR": "{whose} não comporta este pedido. Renova {moment}. Fale com o administrador.",
    "en": "{whose} does not cover this request. It renews {moment}. Talk to your administrator.",
}

# Limits by the minute.
_LIMITS = {
    "pt_BR": {
        "user": "do seu limite de {what} por minuto",
        "key": "do limite desta chave de {what} por minuto",
        "team": "do limite de {what} por minuto da sua equipe",
        "model": "do limite de {what} por minuto do modelo {subject}",
        "global": "do limite de {what} por minuto da empresa",
    },
    "en": {
        "user": "your limit of {what} a minute",
        "key": "this key's limit of {what} a minute",
        "team": "your team's limit of {what} a minute",
        "model": "the limit of {what} a minute of the model {subject}",
        "global": "the company's limit of {what} a minute",
    },
}
_LIMITED = {
    "pt_BR": {"tokens": "tokens", "requests": "pedidos", "cost": "gastos"},
    "en": {"tokens": "tokens", "requests": "requests", "cost": "spending"},
}
_WAIT = {
    "pt_BR": "Este pedido passaria {whose}. Tente de novo em {seconds} s.",
    "en": "This request would go over {whose}. Try again in {seconds} s.",
}
_NEVER = {
    "pt_BR": "Este pedido, sozinho, já passa {whose}: esperar não ajuda. Encurte-o, peça uma "
    "resposta menor ou fale com o administrador.",
    "en": "This request alone is over {whose}: waiting does not help. Shorten it, ask for a "
    "shorter answer, or talk to your administrator.",
}


class Shortage(TypedDict):
    """A budget without room for a call; amounts in its metric, both moments in the local time."""

    is_own: bool
    scope: str
    subject: str
    metric: str
    period: str
    limit: int
    left: int
    needed: int
    now: datetime
    renews_at: datetime
    # How long to wait for a limit by the minute.
    seconds: int


def quota_message(locale: str, shortage: Shortage) -> str:
    """Return the sentence for a refusal; its figures only where the budget is the caller's own."""
    is_short = shortage["period"] == "minute"
    sentence = _minute(locale, shortage) if is_short else _period(locale, shortage)
    return sentence[:MAX_MESSAGE_LENGTH]


def _period(locale: str, shortage: Shortage) -> str:
    metric = shortage["metric"]
    whose = _WHOSE[locale][shortage["scope"]].format(
        metric=_METRICS[locale][metric],
        period=_PERIODS[locale][shortage["period"]],
        subject=shortage["subject"],
    )
    own = _SHORT if shortage["left"] > 0 else _SPENT
    return (own if shortage["is_own"] else _SHARED)[locale].format(
        whose=whose,
        limit=with_unit(locale, metric, shortage["limit"]),
        # What is left is never said to be more than it is, nor what is needed less.
        left=amount(locale, metric, shortage["left"]),
        needed=amount(locale, metric, shortage["needed"], ROUND_CEILING),
        moment=_moment(locale, shortage["now"], shortage["renews_at"]),
    )


def _minute(locale: str, shortage: Shortage) -> str:
    metric = shortage["metric"]
    own = with_unit(locale, metric, shortage["limit"])
    whose = _LIMITS[locale][shortage["scope"]].format(
        what=own if shortage["is_own"] else _LIMITED[locale][metric],
        subject=shortage["subject"],
    )
    texts = _NEVER if shortage["needed"] > shortage["limit"] else _WAIT
    return texts[locale].format(whose=whose, seconds=shortage["seconds"])


def _moment(locale: str, now: datetime, at: datetime) -> str:
    """Return a moment to come as people say it, seen from ``now``."""
    is_portuguese = locale == "pt_BR"
    time = f"às {at:%H:%M}" if is_portuguese else f"at {at:%H:%M}"
    if at.date() == now.date():
        return f"hoje {time}" if is_portuguese else f"today {time}"
    if at.date() == now.date() + timedelta(days=1):
        return f"amanhã {time}" if is_portuguese else f"tomorrow {time}"
    is_this_year = at.year == now.year
    if is_portuguese:
        return f"em {at:%d/%m}{'' if is_this_year else f'/{at.year}'} {time}"
    day = f"{at.day} {MONTHS[at.month - 1]}"
    return f"on {day if is_this_year else f'{day} {at.year}'} {time}"
