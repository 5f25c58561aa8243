from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest

from app.config.catalog import Catalog, Model, load_catalog
from app.config.settings import LiteLLMSettings
from app.dialects.openai_chat import CHAT
from app.services.fallback import Candidate, Step, candidates, first_answer
from app.services.health_service import HealthService
from app.utils.exceptions import (
    InsufficientQuotaError,
    InvalidRequestError,
    LiteLLMError,
    LiteLLMUnreachableError,
    ModelNotAllowedError,
    ModelNotAvailableError,
    ModelNotFoundError,
    RateLimitedError,
    SolarisError,
    UpstreamMisconfiguredError,
    UpstreamRejectedError,
    UpstreamTimeoutError,
)
from tests.fakes.clock import FakeClock

PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
TOOL = {"type": "function", "function": {"name": "x"}}


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return load_catalog(LiteLLMSettings().config_path)


def chain_of(
    catalog: Catalog,
    model: str,
    content: Any = "oi",
    allowed: frozenset[str] | None = None,
    **fields: Any,
) -> list[Candidate]:
    body = {"model": model, "messages": [{"role": "user", "content": content}], **fields}
    return candidates(catalog, CHAT.parse(orjson.dumps(body)), allowed)


def unfit(chain: list[Candidate]) -> dict[str, str | None]:
    return {candidate.model.name: candidate.unfit for candidate in chain}


# Who may answer


def test_model_is_followed_by_its_fallbacks(catalog: Catalog) -> None:
    chain = chain_of(catalog, "gpt-4")

    assert list(unfit(chain)) == ["gpt-4", *catalog.models["gpt-4"].fallbacks]
    assert set(unfit(chain).values()) == {None}


def test_group_is_its_members(catalog: Catalog) -> None:
    assert tuple(unfit(chain_of(catalog, "claude-group"))) == catalog.groups["claude-group"].members


def test_unknown_model_is_nobodys(catalog: Catalog) -> None:
    with pytest.raises(ModelNotFoundError):
        chain_of(catalog, "gpt-99")


def test_model_that_the_key_may_not_use_is_refused(catalog: Catalog) -> None:
    with pytest.raises(ModelNotAllowedError):
        chain_of(catalog, "gpt-4", allowed=frozenset({"gpt-4o"}))


def test_fallback_that_the_key_may_not_use_is_left_out(catalog: Catalog) -> None:
    chain = chain_of(catalog, "gpt-4", allowed=frozenset({"gpt-4", "gpt-4o"}))

    assert unfit(chain) == {
        "gpt-4": None,
        "gpt-4-turbo": "model_not_allowed",
        "gpt-4o": None,
        "claude-3-opus": "model_not_allowed",
    }


def test_group_that_the_key_may_use_stands_for_its_members(catalog: Catalog) -> None:
    chain = chain_of(catalog, "claude-group", allowed=frozenset({"claude-group"}))

    assert set(unfit(chain).values()) == {None}


@pytest.mark.parametrize(
    ("model", "content", "fields", "detail"),
    [
        ("gpt-4", [PICTURE], {}, "no_vision"),
        ("text-embedding-3-small", "oi", {}, "wrong_mode"),
        ("gemini-pro-vision", "oi", {"tools": [TOOL]}, "no_tools"),
    ],
)
def test_model_that_cannot_do_what_is_asked_is_a_mistake_of_the_callers(
    catalog: Catalog, model: str, content: Any, fields: dict[str, Any], detail: str
) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        chain_of(catalog, model, content, **fields)

    assert (caught.value.detail, caught.value.param) == (detail, "model")


def test_picture_goes_to_no_fallback_without_eyes(catalog: Catalog) -> None:
    chain = chain_of(catalog, "gpt-4o", [PICTURE])

    assert unfit(chain)["gpt-4"] == "no_vision"
    assert unfit(chain)["gpt-4-turbo"] is None


def test_picture_goes_to_the_members_of_a_group_that_see(catalog: Catalog) -> None:
    chain = chain_of(catalog, "gpt-4-group", [PICTURE])

    assert unfit(chain) == {"gpt-4": "no_vision", "gpt-4-turbo": None, "gpt-4o": None}


def test_text_goes_to_no_fallback_that_it_cannot_fit(catalog: Catalog) -> None:
    chain = chain_of(catalog, "gpt-4o", "palavra " * 10_000)

    assert unfit(chain)["gpt-4"] == "too_long"


def test_text_that_may_not_fit_the_model_asked_for_is_its_providers_to_judge(
    catalog: Catalog,
) -> None:
    assert unfit(chain_of(catalog, "gpt-4", "palavra " * 10_000))["gpt-4"] is None


# Who answers


class Walk:
    """One walk down a chain, where each model does as told."""

    def __init__(self, catalog: Catalog, **outcomes: SolarisError) -> None:
        self.outcomes = {name.replace("_", "-"): error for name, error in outcomes.items()}
        self.chain = chain_of(catalog, "gpt-4")
        self.health = HealthService(catalog.health, FakeClock())
        self.path: list[Step] = []
        self.has_time = True

    def run(self) -> str:
        async def attempt(model: Model) -> str:
            if error := self.outcomes.get(model.name):
                raise error
            return model.name

        async def walk() -> str:
            _, answer = await first_answer(
                self.chain, self.health, attempt, self.path, lambda: self.has_time
            )
            return answer

        return asyncio.run(walk())

    def fails(self) -> SolarisError:
        with pytest.raises(SolarisError) as caught:
            self.run()
        return caught.value

    @property
    def steps(self) -> list[tuple[str, str, str | None]]:
        return [(step.model, step.outcome, step.reason) for step in self.path]


def walk_of(catalog: Catalog, *errors: SolarisError) -> Walk:
    names = ["gpt-4", *catalog.models["gpt-4"].fallbacks]
    walk = Walk(catalog)
    walk.outcomes = dict(zip(names, errors, strict=False))
    return walk


def test_first_model_that_answers_ends_the_walk(catalog: Catalog) -> None:
    walk = walk_of(catalog)

    assert walk.run() == "gpt-4"
    assert walk.steps == [("gpt-4", "answered", None)]


@pytest.mark.parametrize(
    "error",
    [
        LiteLLMError(),
        RateLimitedError(),
        UpstreamTimeoutError(),
        UpstreamMisconfiguredError(),
        ModelNotAvailableError(),
    ],
)
def test_failure_of_a_model_leads_to_the_next(catalog: Catalog, error: SolarisError) -> None:
    walk = walk_of(catalog, error)

    assert walk.run() == "gpt-4-turbo"
    assert walk.steps == [
        ("gpt-4", "failed", error.cause),
        ("gpt-4-turbo", "answered", None),
    ]


@pytest.mark.parametrize(
    "error",
    [
        UpstreamRejectedError(None),
        InvalidRequestError("not_json"),
        InsufficientQuotaError(),
        LiteLLMUnreachableError(),
    ],
)
def test_failure_that_no_other_model_helps_ends_the_walk(
    catalog: Catalog, error: SolarisError
) -> None:
    walk = walk_of(catalog, error)

    assert walk.fails() is error
    assert [model for model, _, _ in walk.steps] == ["gpt-4"]


def test_mistake_of_the_callers_says_nothing_of_the_model(catalog: Catalog) -> None:
    walk = walk_of(catalog, UpstreamRejectedError(None))
    for _ in range(catalog.health.unhealthy_threshold):
        walk.fails()

    assert walk.health.of("gpt-4").outcomes.requests == 0


def test_error_of_the_model_asked_for_is_what_the_caller_hears(catalog: Catalog) -> None:
    errors = [UpstreamTimeoutError(), LiteLLMError(), RateLimitedError(), LiteLLMError()]
    walk = walk_of(catalog, *errors)

    assert walk.fails() is errors[0]
    assert len(walk.steps) == 4


def test_time_that_is_up_ends_the_walk(catalog: Catalog) -> None:
    walk = walk_of(catalog, UpstreamTimeoutError())
    walk.has_time = False

    assert isinstance(walk.fails(), UpstreamTimeoutError)
    assert len(walk.steps) == 1


def test_model_whose_breaker_is_open_is_skipped(catalog: Catalog) -> None:
    walk = walk_of(catalog)
    for _ in range(catalog.health.unhealthy_threshold):
        walk.health.record_failure("gpt-4", "upstream_error")

    assert walk.run() == "gpt-4-turbo"
    assert walk.steps[0] == ("gpt-4", "skipped", "breaker_open")


def test_all_breakers_open_is_unavailable_at_once(catalog: Catalog) -> None:
    walk = walk_of(catalog)
    for name in ("gpt-4", *catalog.models["gpt-4"].fallbacks):
        for _ in range(catalog.health.unhealthy_threshold):
            walk.health.record_failure(name, "upstream_error")

    assert isinstance(walk.fails(), ModelNotAvailableError)
    assert {outcome for _, outcome, _ in walk.steps} == {"skipped"}


def test_all_models_rate_limited_is_a_rate_limit_with_the_shortest_wait(
    catalog: Catalog,
) -> None:
    walk = walk_of(catalog)
    for seconds, name in enumerate(("gpt-4", *catalog.models["gpt-4"].fallbacks)):
        walk.health.record_rate_limit(name, 7.0 + seconds)

    error = walk.fails()

    assert isinstance(error, RateLimitedError)
    assert error.retry_after_s == pytest.approx(7.0)


def test_walk_that_is_cancelled_gives_its_trial_back(catalog: Catalog) -> None:
    clock = FakeClock()
    health = HealthService(catalog.health, clock)
    for _ in range(catalog.health.unhealthy_threshold):
        health.record_failure("gpt-4", "upstream_error")
    clock.advance(catalog.health.cooldown_s)

    async def hang(_model: Model) -> str:
        await asyncio.sleep(60)
        return ""

    async def leave() -> None:
        chain = chain_of(catalog, "gpt-4")
        walk = asyncio.create_task(first_answer(chain, health, hang, [], lambda: True))
        await asyncio.sleep(0.01)
        walk.cancel()
        await asyncio.gather(walk, return_exceptions=True)

    asyncio.run(leave())

    assert type(asyncio.run(health.admit("gpt-4"))).__name__ == "Permit"
