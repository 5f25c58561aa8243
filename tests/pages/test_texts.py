"""Every text of the pages in Portuguese, and each code that they show in words."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from babel.messages import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.mofile import read_mo
from babel.messages.pofile import read_po

from app.alerting.rules import RULES
from app.config.settings import PROJECT_ROOT
from app.ledger.periods import PERIODS
from app.ledger.rules import METRICS, MODES, SCOPES
from app.reconciliation.compare import Kind
from app.routes.pages import words
from app.services.access_service import ROLES
from app.services.health_service import ModelStatus
from app.services.key_store import STATES
from app.services.raise_request_store import STATES as REQUEST_STATES

APP = PROJECT_ROOT / "app"
PORTUGUESE = APP / "translations" / "pt_BR" / "LC_MESSAGES"
METHODS = [("routes/pages/**.py", "python"), ("templates/**.html", "jinja2")]
OPTIONS = {"templates/**.html": {"trimmed": "true"}}
KEYWORDS = {"_": None, "_l": None}
PLACE = re.compile(r"%\(\w+\)s")
# As services record them: `record("budget_set"`, `self._recorded("key_made"`.
RECORDED = re.compile(r'record(?:ed|_action)?\(\s*"([a-z_]+)"')


def texts() -> set[str]:
    """Return what the pages say, in English."""
    found = extract_from_dir(APP, METHODS, OPTIONS, KEYWORDS)
    return {str(message) for _, _, message, _, _ in found}


@pytest.fixture(scope="module")
def portuguese() -> Catalog:
    with (PORTUGUESE / "messages.po").open("rb") as file:
        return read_po(file, locale="pt_BR")


def test_every_text_is_in_portuguese(portuguese: Catalog) -> None:
    known = {str(it.id): str(it.string) for it in portuguese if it.id}

    assert len(texts()) > 300
    assert {it for it in texts() if not known.get(it)} == set()
    assert set(known) - texts() == set()
    assert [str(it.id) for it in portuguese if it.id and it.fuzzy] == []


def test_every_portuguese_text_has_the_same_places_to_fill_in(portuguese: Catalog) -> None:
    odd = [
        str(it.id)
        for it in portuguese
        if it.id and sorted(PLACE.findall(str(it.id))) != sorted(PLACE.findall(str(it.string)))
    ]

    assert odd == []


def test_compiled_texts_are_those_of_the_source(portuguese: Catalog) -> None:
    with (PORTUGUESE / "messages.mo").open("rb") as file:
        compiled = read_mo(file)

    source = {str(it.id): str(it.string) for it in portuguese if it.id}
    assert {str(it.id): str(it.string) for it in compiled if it.id} == source


@pytest.mark.parametrize(
    ("known", "codes"),
    [
        (words.SCOPES, SCOPES),
        (words.METRICS, METRICS),
        (words.PERIODS, PERIODS),
        (words.MODES, MODES),
        (words.ROLES, ROLES),
        (words.KEY_STATES, STATES),
        (words.RAISE_REQUEST_STATES, REQUEST_STATES),
        (words.MODEL_STATES, tuple(it.value for it in ModelStatus)),
        (words.DISCREPANCIES, tuple(it.value for it in Kind if it is not Kind.MATCHED)),
        (words.SEVERITIES, tuple(sorted({it.severity for it in RULES.values()}))),
    ],
    ids=str.lower("SCOPES METRICS PERIODS MODES ROLES KEYS REQUESTS MODELS KINDS SEVERITY").split(),
)
def test_every_code_has_a_word(known: dict[str, object], codes: tuple[str, ...]) -> None:
    assert set(codes) <= set(known)


def test_every_action_that_goes_on_record_has_a_word() -> None:
    sources = [path.read_text() for path in Path(APP / "services").rglob("*.py")]
    actions = {action for source in sources for action in RECORDED.findall(source)}

    assert len(actions) > 20
    assert actions - set(words.EVENTS) == set()
