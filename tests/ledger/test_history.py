"""What became of holds: a call's own, and whom a shadow budget would have stopped."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from tests.ledger.served import BODY, Served, StartServed


def shadow_of(served: Served, limit: int) -> int:
    """Make a budget of the whole company's that only watches; return its number."""
    place = {"scope": "global", "subject": "", "metric": "requests", "period": "day"}
    return served.budgets.create(**place, limit=limit, mode="shadow").id


def test_call_is_found_with_what_it_held_and_what_was_posted(serve: StartServed) -> None:
    served = serve()
    served.budget("cost", "month", 10**9, scope="user", subject="ana")
    answer = served.ask()
    served.settled("cost", "month")

    (hold,) = served.budgets.holds_of(answer.header("x-request-id") or "")

    assert (hold.state, hold.is_estimated) == ("settled", False)
    assert hold.posted.tokens <= hold.held.tokens
    assert len(hold.budgets) >= 1


def test_call_that_nobody_made_held_nothing(serve: StartServed) -> None:
    assert serve().budgets.holds_of("nobody's") == []


def test_shadow_budget_tells_whom_it_would_have_stopped_and_how_often(serve: StartServed) -> None:
    served = serve()
    shadow = shadow_of(served, limit=1)
    for person in ("ana", "bia", "bia", "bia"):
        assert served.send(BODY, headers={"X-Solaris-User-Id": person}).status == 200

    found = served.budgets.would_stop(shadow, 10)

    assert [(it.user, it.calls) for it in found] == [("bia", 3)]
    assert found[0].last_at > datetime.now(UTC) - timedelta(minutes=5)


def test_budget_that_has_room_for_all_would_have_stopped_nobody(serve: StartServed) -> None:
    served = serve()
    shadow = shadow_of(served, limit=9)
    served.ask()

    assert served.budgets.would_stop(shadow, 10) == []
