"""Budgets over HTTP, and raises that bind calls: everywhere soon, and no longer than granted."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, text

from app.config.settings import Settings
from app.ledger.rules import AccountFinder, Budget, Payer, Raise
from tests.admin.conftest import Ask
from tests.audit.trail import recorded
from tests.audit.trails import ZONE
from tests.ledger.served import StartServed
from tests.waiting import wait_until

NEW = {"scope": "user", "subject": "ana", "metric": "tokens", "period": "month", "limit": 1000}
TOMORROW = (datetime.now(UTC) + timedelta(days=1)).isoformat()


def made(ask: Ask, **body: Any) -> dict[str, Any]:
    answer = ask("POST", "/budgets", json={**NEW, **body})
    assert answer.status_code == 201, answer.text
    said: dict[str, Any] = answer.get_json()
    return said


def lines(ask: Ask, **query: Any) -> Iterator[dict[str, Any]]:
    cursor = None
    while True:
        more: dict[str, str] = {"cursor": cursor} if cursor else {}
        answer = ask("GET", "/budgets", **query, **more).get_json()
        yield from answer["data"]
        cursor = answer["next_cursor"]
        if cursor is None:
            return


def test_budget_is_made_changed_and_removed(ask: Ask) -> None:
    budget = made(ask)

    changed = ask("PATCH", f"/budgets/{budget['id']}", json={"limit": 5, "mode": "shadow"})
    removed = ask("DELETE", f"/budgets/{budget['id']}")

    said = changed.get_json()
    assert (budget["left"], said["limit"], said["mode"], said["left"]) == (1000, 5, "shadow", 5)
    assert removed.status_code == 204
    assert ask("GET", f"/budgets/{budget['id']}").status_code == 404


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({}, 409, None),
        ({"scope": "global"}, 422, "subject"),
        ({"subject": ""}, 422, "subject"),
        ({"scope": "model", "subject": "gpt-9"}, 422, "subject"),
        ({"limit": -1}, 422, "limit"),
        ({"limit": 1.5}, 422, "limit"),
        ({"limit": "1"}, 422, "limit"),
        ({"period": "year"}, 422, "period"),
    ],
    ids=["there", "global", "nobody", "model", "negative", "fraction", "text", "period"],
)
def test_budget_that_cannot_be_made_says_why(
    ask: Ask, body: dict[str, Any], status: int, field: str | None
) -> None:
    made(ask)

    answer = ask("POST", "/budgets", json={**NEW, **body})

    assert (answer.status_code, answer.get_json()["error"]["param"]) == (status, field)


def test_change_of_a_budget_is_on_record_with_before_and_after(
    ask: Ask, settings: Settings
) -> None:
    budget = made(ask)

    ask("PATCH", f"/budgets/{budget['id']}", json={"limit": 2000})

    event = recorded(settings.database.url, 2)[-1]
    states = event["detail"]["before"], event["detail"]["after"]
    assert (event["kind"], event["person"]) == ("budget_set", "ana")
    assert [it["limit"] for it in states] == [1000, 2000]


def test_lines_of_budgets_are_all_listed_once_whatever_the_page(ask: Ask, engine: Engine) -> None:
    everybody = made(ask, subject="*")["id"]
    start = datetime.now(ZONE).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    rows = [{"id": everybody, "who": f"p-{number:02}", "at": start} for number in range(23)]
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO budget_lines (budget_id, subject, period_start, posted)"
                " VALUES (:id, :who, :at, 7)"
            ),
            rows,
        )
    whole = list(lines(ask, limit=200))

    paged = list(lines(ask, limit=4))

    drawn = [it for it in paged if it["id"] == everybody]
    assert paged == whole
    assert [it["subject"] for it in drawn] == ["*", *(row["who"] for row in rows)]
    assert {it["posted"] for it in drawn} == {0, 7}
    assert [it["left"] for it in lines(ask, subject="p-07")] == [993]


def test_raise_for_one_of_everybody_must_say_for_whom(ask: Ask) -> None:
    everybody = made(ask, subject="*")
    body = {"amount": 10, "expires_at": TOMORROW, "reason": "mês de fechamento"}

    nobody = ask("POST", f"/budgets/{everybody['id']}/raises", json=body)
    past = ask(
        "POST",
        f"/budgets/{everybody['id']}/raises",
        json={**body, "subject": "ana", "expires_at": "2020-01-01T00:00:00Z"},
    )

    assert (nobody.status_code, nobody.get_json()["error"]["param"]) == (422, "subject")
    assert (past.status_code, past.get_json()["error"]["param"]) == (422, "expires_at")


def test_raise_lets_a_call_in_and_its_end_refuses_again(serve: StartServed, engine: Engine) -> None:
    served = serve()
    served.budget("requests", "day", 1)
    services = served.client.server.services
    assert [served.ask().status for _ in range(2)] == [200, 402]

    raised = services.raises.grant_to(
        scope="user",
        subject="ana",
        metric="requests",
        period="day",
        amount=1,
        expires_at=datetime.now(UTC) + timedelta(hours=1),
        reason="uma pergunta a mais",
    )

    wait_until(lambda: served.ask().status == 200)
    assert served.ask().status == 402
    services.raises.end(raised.id)
    (state,) = [it for it in services.budgets.states() if it.subject == "ana"]
    assert (state.limit, state.raised, state.left) == (1, 0, 0)


def test_raise_is_listed_until_it_ends_and_is_on_record(ask: Ask, settings: Settings) -> None:
    budget = made(ask)
    body = {"amount": 500, "expires_at": TOMORROW, "reason": "fechamento"}
    raised = ask("POST", f"/budgets/{budget['id']}/raises", json=body).get_json()

    listed = ask("GET", "/raises", subject="ana").get_json()["data"]
    state = ask("GET", f"/budgets/{budget['id']}").get_json()
    ended = ask("DELETE", f"/raises/{raised['id']}").get_json()

    assert [it["id"] for it in listed] == [raised["id"]]
    assert (state["raised"], state["left"]) == (500, 1500)
    assert ended["ended_by"] == "key:ADMIN_API_KEY"
    assert ask("GET", "/raises").get_json()["data"] == []
    assert ask("DELETE", f"/raises/{raised['id']}").status_code == 404
    granted, over = recorded(settings.database.url, 3)[-2:]
    assert (granted["kind"], over["kind"]) == ("budget_raised", "budget_raise_ended")
    assert granted["detail"]["after"] == over["detail"]["before"] == {"limit": 1500}
    assert "fechamento" not in repr((granted, over))


def test_raises_end_with_their_budget(ask: Ask) -> None:
    budget = made(ask)
    body = {"amount": 500, "expires_at": TOMORROW, "reason": "fechamento"}
    ask("POST", f"/budgets/{budget['id']}/raises", json=body)

    ask("DELETE", f"/budgets/{budget['id']}")

    again = made(ask)
    assert (again["id"], again["raised"]) == (budget["id"], 0)


def test_raise_binds_from_its_first_moment_to_before_its_last() -> None:
    now = datetime(2026, 11, 24, 12, tzinfo=UTC)
    lasting = Raise("ana", 10, now, now + timedelta(minutes=1))
    budget = Budget(1, "user", "*", "requests", "day", 5, "enforce", (lasting,))
    finder, budgets = AccountFinder(ZONE), [budget]

    def limit(seconds: float, user: str = "ana") -> int:
        at = now + timedelta(seconds=seconds)
        (account,) = finder.find(budgets, Payer(user, None, None), ("gpt-4o",), at)
        return account.budget.limit

    assert [limit(seconds) for seconds in (-0.001, 0, 59.999, 60)] == [5, 15, 15, 5]
    assert limit(0, "bia") == 5


def test_calls_that_race_for_a_raise_get_exactly_what_it_has(serve: StartServed) -> None:
    served = serve(user_concurrency=0)
    served.budget("requests", "day", 0)
    raised = 10
    services = served.client.server.services
    served.ask()
    services.raises.grant_to(
        scope="user",
        subject="ana",
        metric="requests",
        period="day",
        amount=raised,
        expires_at=datetime.now(UTC) + timedelta(hours=1),
        reason="corrida",
    )
    # The first that is let in shows that the raise is known.
    wait_until(lambda: served.ask().status == 200)

    begun = [served.begin()[1] for _ in range(32)]

    statuses = [it.result().status for it in begun]
    assert statuses.count(200) == raised - 1
    assert set(statuses) == {200, 402}
