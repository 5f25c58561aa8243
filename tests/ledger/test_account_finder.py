from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from app.ledger.rules import AccountFinder, Budget, Payer

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
PERSONAL = Budget(1, "user", "*", "tokens", "minute", 100, "enforce")
OF_GPT_4 = Budget(2, "model", "gpt-4", "tokens", "minute", 100, "enforce")
ANA, BIA = Payer("ana", None, None), Payer("bia", None, None)


def found(
    finder: AccountFinder,
    budgets: list[Budget],
    payer: Payer = ANA,
    model: str = "gpt-4",
    at: datetime = NOON,
) -> list[tuple[int, str, datetime]]:
    return [account.key for account in finder.find(budgets, payer, (model,), at)]


def test_each_caller_and_model_has_lines_of_its_own() -> None:
    finder, budgets = AccountFinder(ZoneInfo("UTC")), [PERSONAL, OF_GPT_4]

    assert found(finder, budgets) == [(1, "ana", NOON), (2, "gpt-4", NOON)]
    assert found(finder, budgets, BIA) == [(1, "bia", NOON), (2, "gpt-4", NOON)]
    assert found(finder, budgets, ANA, "gpt-4o") == [(1, "ana", NOON)]


def test_lines_of_the_next_period_replace_those_of_the_last() -> None:
    finder, budgets = AccountFinder(ZoneInfo("UTC")), [PERSONAL]
    later = NOON.replace(minute=1)

    keys = [found(finder, budgets, at=at) for at in (NOON, NOON.replace(second=59), later, NOON)]

    expected = [NOON, NOON, later, NOON]
    assert keys == [[(1, "ana", start)] for start in expected]


def test_changed_budget_binds_a_caller_who_is_known() -> None:
    finder = AccountFinder(ZoneInfo("UTC"))
    found(finder, [PERSONAL])

    assert found(finder, [PERSONAL, OF_GPT_4]) == [(1, "ana", NOON), (2, "gpt-4", NOON)]
