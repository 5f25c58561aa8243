"""The sentences that people read when a budget has no room, in both languages."""

from __future__ import annotations

from datetime import datetime
from itertools import product
from typing import Any, cast
from zoneinfo import ZoneInfo

import pytest

from app.config.messages import MAX_MESSAGE_LENGTH
from app.config.quota_messages import Shortage, quota_message
from app.ledger.periods import PERIODS, window_at
from app.ledger.rules import METRICS, SCOPES

ZONE = ZoneInfo("America/Sao_Paulo")
# A Monday.
NOW = datetime(2026, 11, 23, 14, 5, 26, tzinfo=ZONE)
LONG_NAME = "um-nome-de-modelo-tão-longo-quanto-algum-dia-houve"
# Scopes, and whether one may be the caller's own.
WHOM = [*((scope, False) for scope in SCOPES if scope != "user"), ("user", True), ("key", True)]
LARGEST = {"tokens": 2**40, "requests": 10**9, "cost": 10**15}


def shortage(now: datetime = NOW, **facts: Any) -> Shortage:
    known: Any = {
        "is_own": True,
        "scope": "user",
        "subject": "ana",
        "metric": "tokens",
        "period": "day",
        "limit": 50_000,
        "left": 1_234,
        "needed": 4_321,
        "now": now,
        "seconds": 34,
        **facts,
    }
    renews_at = window_at(known["period"], now, ZONE).end.astimezone(ZONE)
    return cast("Shortage", {**known, "renews_at": renews_at})


def said(locale: str = "pt_BR", **facts: Any) -> str:
    return quota_message(locale, shortage(**facts))


@pytest.mark.parametrize(
    ("locale", "facts", "sentence"),
    [
        (
            "pt_BR",
            {},
            "Seu orçamento de tokens para hoje não basta: ainda há 1.234 de 50.000 tokens, e este "
            "pedido pode usar até 4.321. Renova amanhã às 00:00.",
        ),
        (
            "en",
            {},
            "Your token budget for today is not enough: 1,234 of 50,000 tokens left, and this "
            "request may take up to 4,321. It renews tomorrow at 00:00.",
        ),
        (
            "pt_BR",
            {"metric": "cost", "limit": 20_000_000, "left": 421_234, "needed": 480_001}
            | {"period": "month"},
            "Seu orçamento em dólares para este mês não basta: ainda há US$ 0,42 de US$ 20,00, e "
            "este pedido pode usar até US$ 0,49. Renova em 01/12 às 00:00.",
        ),
        (
            "en",
            {"metric": "cost", "limit": 20_000_000, "left": 421_234, "needed": 480_001}
            | {"period": "month"},
            "Your dollar budget for this month is not enough: US$0.42 of US$20.00 left, and this "
            "request may take up to US$0.49. It renews on 1 Dec at 00:00.",
        ),
        (
            "pt_BR",
            {"metric": "requests", "limit": 1, "left": 0, "needed": 1, "period": "hour"},
            "Seu orçamento de pedidos para esta hora acabou: o limite é de 1 pedido. Renova hoje "
            "às 15:00.",
        ),
        (
            "en",
            {"metric": "requests", "limit": 100, "left": 0, "needed": 1, "period": "week"},
            "Your request budget for this week is used up: the limit is 100 requests. It renews on "
            "30 Nov at 00:00.",
        ),
        (
            "pt_BR",
            {"scope": "model", "subject": "gpt-4", "is_own": False},
            "O orçamento de tokens do modelo gpt-4 para hoje não comporta este pedido. Renova "
            "amanhã às 00:00. Fale com o administrador.",
        ),
        (
            "en",
            {"scope": "team", "is_own": False},
            "Your team's token budget for today does not cover this request. It renews tomorrow at "
            "00:00. Talk to your administrator.",
        ),
        (
            "pt_BR",
            {"metric": "requests", "limit": 3, "left": 0, "needed": 1, "period": "minute"},
            "Este pedido passaria do seu limite de 3 pedidos por minuto. Tente de novo em 34 s.",
        ),
        (
            "en",
            {"scope": "model", "subject": "gpt-4", "is_own": False, "period": "minute"},
            "This request would go over the limit of tokens a minute of the model gpt-4. Try again "
            "in 34 s.",
        ),
        (
            "pt_BR",
            {"period": "minute", "limit": 4_000, "left": 4_000},
            "Este pedido, sozinho, já passa do seu limite de 4.000 tokens por minuto: esperar não "
            "ajuda. Encurte-o, peça uma resposta menor ou fale com o administrador.",
        ),
    ],
)
def test_refusal_says_which_limit_how_much_and_when_it_renews(
    locale: str, facts: dict[str, Any], sentence: str
) -> None:
    assert said(locale, **facts) == sentence


@pytest.mark.parametrize(
    ("locale", "whom", "metric", "period"),
    list(product(("pt_BR", "en"), WHOM, METRICS, PERIODS)),
)
def test_every_refusal_is_one_whole_sentence_that_fits(
    locale: str, whom: tuple[str, bool], metric: str, period: str
) -> None:
    most, (scope, is_own) = LARGEST[metric], whom
    whose: dict[str, Any] = {"scope": scope, "subject": LONG_NAME, "is_own": is_own}

    for needed in (most, 2 * most):
        sentence = said(
            locale, metric=metric, period=period, limit=most, left=most - 1, needed=needed, **whose
        )

        assert len(sentence) < MAX_MESSAGE_LENGTH
        assert sentence.endswith(".")
        assert not set(sentence) & set("{}\n")


@pytest.mark.parametrize(("period", "metric"), list(product(PERIODS, METRICS)))
def test_shared_budgets_refusal_has_no_figure_of_its_use(period: str, metric: str) -> None:
    facts: dict[str, Any] = {"scope": "global", "is_own": False, "period": period, "metric": metric}

    one = said(**facts, limit=77_777_777, left=555_555, needed=666_666)
    other = said(**facts, limit=88_888_888, left=0, needed=999_999)

    assert one == other


@pytest.mark.parametrize(
    ("limit", "left", "needed", "amounts"),
    [
        (1_234_567_890, 1_000_000, 1_000_001, ("US$ 1.234,56", "US$ 1,00", "US$ 1,01")),
        (50_000, 400, 5_201, ("US$ 0,05", "US$ 0,0004", "US$ 0,0053")),
        (5_000, 1, 2, ("US$ 0,0050", "US$ 0,0000", "US$ 0,0001")),
    ],
)
def test_money_never_looks_like_more_than_is_left_nor_less_than_is_needed(
    limit: int, left: int, needed: int, amounts: tuple[str, str, str]
) -> None:
    sentence = said(metric="cost", limit=limit, left=left, needed=needed)

    assert all(amount in sentence for amount in amounts)


@pytest.mark.parametrize(
    ("now", "period", "moment"),
    [
        (datetime(2026, 12, 31, 23, 30, tzinfo=ZONE), "month", "amanhã às 00:00"),
        (datetime(2026, 12, 31, 23, 30, tzinfo=ZONE), "hour", "amanhã às 00:00"),
        (datetime(2026, 12, 29, 9, 0, tzinfo=ZONE), "week", "em 04/01/2027 às 00:00"),
        (datetime(2026, 12, 29, 9, 0, tzinfo=ZONE), "hour", "hoje às 10:00"),
    ],
)
def test_renewal_is_said_as_people_say_it(now: datetime, period: str, moment: str) -> None:
    assert said(now=now, period=period).endswith(f"Renova {moment}.")
