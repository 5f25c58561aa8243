"""What LiteLLM's own answer says that it cost is on record beside what was charged."""

from __future__ import annotations

from typing import Any

import pytest

from app.config.settings import Settings
from app.utils.money import micro_usd
from tests.audit.trail import calls_on_record
from tests.fakes.litellm import FakeLiteLLM, openai_events, status, stream
from tests.ledger.served import USAGE, Served, StartServed

HEADER = "x-litellm-response-cost"
ANSWER = {"id": "1", "model": "gpt-4o", "choices": [], "usage": USAGE}


@pytest.fixture
def served(serve: StartServed) -> Served:
    return serve()


def detail_of(settings: Settings) -> dict[str, Any]:
    (event,) = calls_on_record(settings.database.url)
    detail: dict[str, Any] = event["detail"]
    return detail


def test_cost_in_the_header_is_on_record(
    served: Served, upstream: FakeLiteLLM, settings: Settings
) -> None:
    upstream.default = status(200, ANSWER, {HEADER: "0.0012345"})

    served.ask()

    assert detail_of(settings)["litellm_cost"] == 1_235


@pytest.mark.parametrize("said", ["", "None", "nan", "-1", "1e400", "free"])
def test_header_that_is_no_cost_is_left_out(
    served: Served, upstream: FakeLiteLLM, settings: Settings, said: str
) -> None:
    upstream.default = status(200, ANSWER, {HEADER: said})

    reply = served.ask()

    assert reply.status == 200
    assert "litellm_cost" not in detail_of(settings)


def test_cost_of_an_answer_from_the_cache_is_left_out(
    served: Served, upstream: FakeLiteLLM, settings: Settings
) -> None:
    """LiteLLM says the full price of what cost nothing."""
    upstream.default = status(200, ANSWER, {HEADER: "0.5", "x-litellm-cache-key": "k"})

    served.ask()

    detail = detail_of(settings)
    assert (detail["cache"], "litellm_cost" in detail) == (True, False)


def test_cost_in_the_last_chunk_of_a_stream_is_on_record(
    served: Served, upstream: FakeLiteLLM, settings: Settings
) -> None:
    upstream.default = stream(openai_events(["Olá"], {**USAGE, "cost": 0.00125}))

    served.ask(stream=True)

    assert detail_of(settings)["litellm_cost"] == 1_250


@pytest.mark.parametrize(
    ("dollars", "micro"),
    [
        ("0.0000005", 1),
        ("0.00000049", 0),
        (2.5e-06, 3),
        (0.1, 100_000),
        (3, 3_000_000),
        ("0", 0),
        (None, None),
        (True, None),
        ("1,5", None),
        ("-0.1", None),
        (float("inf"), None),
        ("9" * 30, None),
        ([], None),
    ],
)
def test_dollars_are_micro_usd_rounded_half_up(dollars: object, micro: int | None) -> None:
    assert micro_usd(dollars) == micro
