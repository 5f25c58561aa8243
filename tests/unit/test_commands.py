from __future__ import annotations

import ast
from string import Formatter

import pytest
from sqlalchemy.exc import OperationalError

from app.config.commands import (
    ALERT_COLUMNS,
    ALERT_TEST_COLUMNS,
    BUDGET_COLUMNS,
    CHANNEL_COLUMNS,
    EVENT_COLUMNS,
    KEY_COLUMNS,
    OPERATION_COLUMNS,
    PERSON_COLUMNS,
    RECONCILIATION_COLUMNS,
    RECONCILIATION_REASONS,
    REPLAY_COLUMNS,
    RULE_COLUMNS,
    TEAM_COLUMNS,
    TEXTS,
    USAGE_COLUMNS,
)
from app.config.problems import LOCALES
from app.config.settings import PROJECT_ROOT
from app.embedded.console import TEXTS as CONSOLE_TEXTS
from app.utils.postgres_faults import why_unreachable


def places(template: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(template) if name}


def constants_of(*paths: str) -> set[str]:
    texts: set[str] = set()
    for path in paths:
        tree = ast.parse((PROJECT_ROOT / path).read_text())
        texts |= {str(node.value) for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    return texts


@pytest.mark.parametrize(
    "table",
    [
        TEXTS,
        KEY_COLUMNS,
        ALERT_COLUMNS,
        ALERT_TEST_COLUMNS,
        RULE_COLUMNS,
        CHANNEL_COLUMNS,
        BUDGET_COLUMNS,
        PERSON_COLUMNS,
        TEAM_COLUMNS,
        EVENT_COLUMNS,
        OPERATION_COLUMNS,
        RECONCILIATION_COLUMNS,
        RECONCILIATION_REASONS,
        REPLAY_COLUMNS,
        USAGE_COLUMNS,
        CONSOLE_TEXTS,
    ],
)
def test_texts_of_both_languages_have_the_same_keys_and_places(
    table: dict[str, dict[str, str]],
) -> None:
    portuguese, english = table["pt_BR"], table["en"]

    assert table.keys() == set(LOCALES)
    assert portuguese.keys() == english.keys()
    assert [key for key in english if places(english[key]) != places(portuguese[key])] == []


@pytest.mark.parametrize(
    ("table", "modules"),
    [
        (
            TEXTS,
            [
                *map(str, (PROJECT_ROOT / "app" / "cli").glob("*.py")),
                "app/services/diagnosis.py",
            ],
        ),
        (CONSOLE_TEXTS, ["app/embedded/stack.py", "app/embedded/banner.py"]),
    ],
    ids=["commands", "console"],
)
def test_texts_are_all_used(table: dict[str, dict[str, str]], modules: list[str]) -> None:
    assert table["en"].keys() - constants_of(*modules) == set()


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (
            'connection to server at "127.0.0.1", port 1 failed: Connection refused\n'
            "\tIs the server running on that host and accepting TCP/IP connections?",
            "Connection refused",
        ),
        (
            'connection to server at "db", port 5432 failed: FATAL:  password authentication '
            'failed for user "solaris"',
            'password authentication failed for user "solaris"',
        ),
        ('could not translate host name "word@db" to address: Name unknown', "Name unknown"),
        ("", "OperationalError"),
    ],
)
def test_reason_is_the_end_of_what_postgres_says(said: str, reason: str) -> None:
    assert why_unreachable(OperationalError("SELECT 1", {}, Exception(said))) == reason


def test_reason_of_another_fault_is_its_kind() -> None:
    assert why_unreachable(ValueError("a row's own text")) == "ValueError"
