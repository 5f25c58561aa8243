"""Usage and the audit trail over HTTP: pages that miss nothing, and what verification finds."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine
from werkzeug.test import TestResponse

from app.audit.chain import AuditKey
from app.audit.queries import SIFTED_ROWS
from app.audit.store import AuditStore
from app.config.settings import Settings
from tests.admin.conftest import Ask
from tests.audit.events import NOW, event
from tests.audit.trails import ZONE

ROWS = 40


@pytest.fixture
def trail(engine: Engine, settings: Settings) -> AuditStore:
    """Forty calls, eight of each person's; every seventh failed, every tenth for another team."""
    store = AuditStore(engine, AuditKey.of(settings.audit.hmac_keys[0]), ZONE)
    store.append(
        [
            event(
                number,
                # Some at the same moment: the row's number decides.
                at=NOW + timedelta(seconds=number // 3),
                status=503 if number % 7 == 0 else 200,
                team="law" if number % 10 == 0 else "sales",
            )
            for number in range(ROWS)
        ]
    )
    return store


def pages(ask: Ask, path: str, **query: Any) -> Iterator[list[dict[str, Any]]]:
    cursor = None
    while True:
        answer = ask("GET", path, **query, **({"cursor": cursor} if cursor else {})).get_json()
        yield answer["data"]
        cursor = answer["next_cursor"]
        if cursor is None:
            return


def test_audit_pages_have_every_event_once_and_newest_first(trail: AuditStore, ask: Ask) -> None:
    found = [row for rows in pages(ask, "/audit", limit=7) for row in rows]

    times = [row["at"] for row in found]
    assert len({row["event_id"] for row in found}) == len(found) == ROWS
    assert times == sorted(times, reverse=True)


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ({"user": "person-1"}, 8),
        ({"user": "nobody-we-know"}, 0),
        ({"event": "request"}, ROWS),
        ({"team": "law"}, 4),
        ({"status": "503"}, 6),
        ({"status": "503", "user": "person-0"}, 2),
        ({"model": "gpt-4o", "key": "librechat"}, ROWS),
        ({"model": "gpt-4"}, 0),
        ({"since": (NOW + timedelta(seconds=10)).isoformat()}, 10),
        ({"until": (NOW + timedelta(seconds=10)).isoformat()}, 30),
    ],
    ids=repr,
)
def test_audit_filter_finds_what_it_says(
    trail: AuditStore, ask: Ask, query: dict[str, str], count: int
) -> None:
    found = [row for rows in pages(ask, "/audit", limit=5, **query) for row in rows]

    assert len(found) == count


def test_audit_filter_that_no_index_serves_looks_on_page_by_page(
    trail: AuditStore, ask: Ask
) -> None:
    later = NOW + timedelta(hours=1)
    trail.append([event(number, at=later) for number in range(SIFTED_ROWS + 1)])

    found = list(pages(ask, "/audit", limit=3, team="law"))

    assert [len(rows) for rows in found] == [0, 3, 1]


def test_audit_event_is_shown_with_its_path_and_its_cost(trail: AuditStore, ask: Ask) -> None:
    (row,) = ask("GET", "/audit", limit=1).get_json()["data"]

    assert (row["cost"], row["tokens"]) == (500 + ROWS - 1, 100 + ROWS - 1 + 20)
    assert row["path"] == [{"model": "gpt-4o", "outcome": "answered"}]
    assert row["at"].endswith("+00:00")


def test_usage_is_summed_by_what_was_asked_and_read_in_pages(trail: AuditStore, ask: Ask) -> None:
    by_user = [row for rows in pages(ask, "/usage", group_by="user", limit=2) for row in rows]

    assert [row["user"] for row in by_user] == [f"person-{number}" for number in range(5)]
    assert sum(row["requests"] for row in by_user) == ROWS


def test_usage_as_csv_has_everything_in_one_file(trail: AuditStore, ask: Ask) -> None:
    response: TestResponse = ask("GET", "/usage", group_by="team,day", format="csv", limit=1)

    lines = response.text.splitlines()
    assert response.mimetype == "text/csv"
    assert lines[0].startswith("team,day,requests,")
    assert [line.split(",")[:3] for line in lines[1:]] == [
        ["law", "2026-11-23", "4"],
        ["sales", "2026-11-23", "36"],
    ]


def test_usage_of_days_without_any_is_empty(trail: AuditStore, ask: Ask) -> None:
    answer = ask("GET", "/usage", **{"from": "2026-12-01", "to": "2026-12-31"}).get_json()

    assert answer == {"data": [], "next_cursor": None}


def test_verification_of_a_good_trail_says_what_was_read(trail: AuditStore, ask: Ask) -> None:
    report = ask("GET", "/audit/verify").get_json()

    assert (report["good"], report["rows"], report["finding"]) == (True, ROWS, None)
    assert report["has_anchor"] is False


def test_verification_names_the_row_that_somebody_changed(
    trail: AuditStore, engine: Engine, ask: Ask
) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE audit_events SET cost_micro_usd = 0 WHERE seq = 17")

    report = ask("GET", "/audit/verify").get_json()

    finding = report["finding"]
    assert (report["good"], finding["problem"], finding["seq"]) == (False, "edited", 17)


@pytest.mark.parametrize("whose", ["user", "team"])
@pytest.mark.parametrize("by", ["model", "day", "model,day"])
def test_usage_of_one_is_their_part_of_everybodys(
    trail: AuditStore, ask: Ask, whose: str, by: str
) -> None:
    everybodys = ask("GET", "/usage", group_by=f"{whose},{by}").get_json()["data"]
    assert trail

    for name in {row[whose] for row in everybodys}:
        own = ask("GET", "/usage", group_by=by, **{whose: name}).get_json()["data"]

        wanted = [
            {field: value for field, value in row.items() if field != whose}
            for row in everybodys
            if row[whose] == name
        ]
        assert own == wanted


def test_usage_of_nobody_that_is_known_is_nothing(trail: AuditStore, ask: Ask) -> None:
    assert trail
    assert ask("GET", "/usage", group_by="model", user="nobody").get_json()["data"] == []
