from __future__ import annotations

import ast
from string import Formatter

import pytest

from app.config.errors import ConfigurationError
from app.config.problems import LOCALES, PROBLEMS, Problem, locale_of
from app.config.settings import PROJECT_ROOT


def places(template: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(template) if name}


def said_by_the_code() -> set[str]:
    """Return each text in `app/config` that is the name of a problem."""
    texts: set[str] = set()
    for path in (PROJECT_ROOT / "app/config").glob("*.py"):
        if path.name != "problems.py":
            tree = ast.parse(path.read_text())
            texts |= {str(node.value) for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    return texts & PROBLEMS["en"].keys()


def test_problems_are_told_in_every_language() -> None:
    assert PROBLEMS.keys() == set(LOCALES)
    assert PROBLEMS["pt_BR"].keys() == PROBLEMS["en"].keys()


def test_problems_of_both_languages_have_the_same_places() -> None:
    portuguese, english = PROBLEMS["pt_BR"], PROBLEMS["en"]

    assert [code for code in english if places(english[code]) != places(portuguese[code])] == []


def test_problems_are_all_used() -> None:
    assert said_by_the_code() == PROBLEMS["en"].keys()


@pytest.mark.parametrize(
    ("locale", "text"),
    [
        ("pt_BR", "- PORT deve estar entre 1 e 65535\n- X deve ser true ou false"),
        ("en", "- PORT must be between 1 and 65535\n- X must be true or false"),
    ],
)
def test_error_has_a_line_for_each_problem(locale: str, text: str) -> None:
    range_problem = Problem("PORT", "out_of_range", {"low": "1", "high": "65535"})

    assert ConfigurationError([range_problem, Problem("X", "not_a_flag")]).text(locale) == text


@pytest.mark.parametrize(
    ("variables", "locale"),
    [({}, "pt_BR"), ({"LOCALE": " en "}, "en"), ({"LOCALE": "fr"}, "pt_BR")],
)
def test_locale_that_cannot_be_used_is_portuguese(variables: dict[str, str], locale: str) -> None:
    assert locale_of(variables) == locale
