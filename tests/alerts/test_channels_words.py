"""What administrators read: every rule in every state, in both languages, with their figures."""

from __future__ import annotations

from datetime import date, datetime
from string import Formatter
from typing import Any

import pytest

from app.config.alert_messages import CODES, KINDS, LABELS, RULES, SPANS, RuleText
from app.config.alert_words import AlertWords
from app.config.problems import LOCALES
from tests.alerts.samples import AT, ENGLISH, FACTS, PORTUGUESE, ZONE, message

KINDS_OF_A_RULE = ("opened", "repeated", "escalated", "resolved")
# What the templates are given besides the facts.
MADE = {"budget", "day_iso", "total", "rule", "subject"}


def places(template: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(template) if name}


def templates(rule: RuleText) -> tuple[str, ...]:
    return rule.title, rule.lasts, rule.ended, rule.advice


@pytest.mark.parametrize("locale", LOCALES)
@pytest.mark.parametrize("kind", KINDS_OF_A_RULE)
@pytest.mark.parametrize("rule", FACTS)
def test_every_rule_has_a_text_in_every_state(rule: str, kind: str, locale: str) -> None:
    text = AlertWords(locale, ZONE).text(message(rule=rule, kind=kind))

    assert text.title
    assert text.sentence
    assert bool(text.advice) == (kind != "resolved")
    assert "–" not in text.title + text.sentence + text.advice
    assert "{" not in text.title + text.sentence + text.advice


def test_rules_are_those_that_alerts_are_made_of() -> None:
    for locale in LOCALES:
        assert RULES[locale].keys() == FACTS.keys() | {"digest", "test", ""}


@pytest.mark.parametrize("rule", RULES["en"])
def test_texts_use_the_facts_that_their_rule_has_in_both_languages(rule: str) -> None:
    portuguese, english = (RULES[locale][rule] for locale in LOCALES)
    used = [places(it) for it in templates(english)]

    assert used == [places(it) for it in templates(portuguese)]
    assert set().union(*used) <= FACTS.get(rule, {}).keys() | MADE
    assert set(english.rows) <= FACTS.get(rule, {}).keys() | MADE


@pytest.mark.parametrize("table", [LABELS, KINDS, CODES, SPANS])
def test_tables_of_both_languages_have_the_same_keys(table: dict[str, Any]) -> None:
    assert table.keys() == set(LOCALES)
    portuguese, english = table["pt_BR"], table["en"]
    assert len(portuguese) == len(english)
    if isinstance(english, dict):
        assert portuguese.keys() == english.keys()


@pytest.mark.parametrize("name", CODES["en"])
def test_codes_of_both_languages_are_the_same(name: str) -> None:
    assert CODES["pt_BR"][name].keys() == CODES["en"][name].keys()


@pytest.mark.parametrize(
    ("rule", "portuguese", "english"),
    [
        (
            "budget_threshold",
            "Usados US$ 812,34 de US$ 1.000,00 (por mês). Renova em 01/12/2026 00:00.",
            "Used: US$812.34 of US$1,000.00 (a month). It renews on 1 Dec 2026 00:00.",
        ),
        (
            "spool_growing",
            "Esperam no disco para ir ao Postgres: 12,3 MB.",
            "Waiting on disk for Postgres: 12.3 MB.",
        ),
        (
            "reconciliation",
            "Só no LiteLLM: 50. Só aqui: 3. Com valor diferente: 2. Diferença ao todo: -US$ 1,23.",
            "Only at LiteLLM: 50. Only here: 3. With another amount: 2. "
            "Difference in all: -US$1.23.",
        ),
        (
            "rate_limit",
            "O limite de tokens por minuto do modelo gpt-4 foi atingido: 50.100 de 50.000. "
            "Vezes em 1 minuto: 1.",
            "The limit of tokens a minute of the model gpt-4 was reached: 50,100 of 50,000. "
            "Times within 1 minute: 1.",
        ),
    ],
)
def test_figures_are_those_of_the_language(rule: str, portuguese: str, english: str) -> None:
    assert PORTUGUESE.text(message(rule=rule)).sentence == portuguese
    assert ENGLISH.text(message(rule=rule)).sentence == english


@pytest.mark.parametrize(
    ("kind", "title"),
    [
        ("opened", "Crítico: O LiteLLM não responde"),
        ("repeated", "Crítico, continua: O LiteLLM não responde"),
        ("escalated", "Crítico, agravou-se: O LiteLLM não responde"),
        ("resolved", "Resolvido: O LiteLLM não responde"),
    ],
)
def test_title_says_what_has_become_of_it(kind: str, title: str) -> None:
    assert PORTUGUESE.text(message(rule="litellm_away", kind=kind)).title == title


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (AT, "23/11/2026 09:00"),
        ("2026-11-23T12:00:00+00:00", "23/11/2026 09:00"),
        ("2026-11-23", "23/11/2026"),
        (date(2026, 11, 23), "23/11/2026"),
        (datetime(2026, 11, 23, 9, 0), "23/11/2026 09:00"),  # noqa: DTZ001  # is local
        ("soon", "soon"),
        (7, "7"),
    ],
)
def test_moment_is_in_the_local_time(value: object, shown: str) -> None:
    assert PORTUGUESE.moment(value) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(1, "1 s"), (60, "1 minuto"), (90, "90 s"), (600, "10 minutos"), (7200, "2 horas")],
)
def test_span_is_in_the_largest_whole_unit(seconds: int, shown: str) -> None:
    assert PORTUGUESE.span(seconds) == shown


@pytest.mark.parametrize("kind", KINDS_OF_A_RULE)
@pytest.mark.parametrize("rule", [*FACTS, "a_rule_of_later"])
def test_missing_facts_are_shown_as_missing(rule: str, kind: str) -> None:
    text = PORTUGUESE.text(message(rule=rule, kind=kind, facts={}))

    assert text.title
    assert "{" not in text.title + text.sentence + text.advice
