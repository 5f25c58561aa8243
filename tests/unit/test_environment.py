from __future__ import annotations

import pytest

from app.config.environment import Environment


@pytest.mark.parametrize(
    ("raw", "value"), [("1", True), ("TRUE", True), ("on", True), ("0", False), ("No", False)]
)
def test_flag_set_is_read_in_any_case(raw: str, value: bool) -> None:
    assert Environment({"X": raw}, production=False).flag("X", default=not value) is value


@pytest.mark.parametrize("default", [True, False])
def test_flag_unset_is_its_default(default: bool) -> None:
    assert Environment({}, production=False).flag("X", default=default) is default


def test_flag_of_another_word_is_a_problem() -> None:
    env = Environment({"X": "maybe"}, production=False)

    env.flag("X", default=False)

    assert [str(problem) for problem in env.problems] == ["X must be true or false"]
