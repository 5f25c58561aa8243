from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest

from app.config.catalog import Catalog, Model, load_catalog
from app.config.settings import LiteLLMSettings
from app.dialects.openai_chat import CHAT
from app.dialects.openai_embeddings import EMBEDDINGS
from app.services.fallback import Candidate, Step, candidates, first_answer
from app.services.health_service import HealthService, ModelStatus, Permit
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


def test_tools_go_to_no_fallback_without_hands(catalog: Catalog) -> None:
    chain = chain_of(catalog, "claude-3-sonnet", tools=[TOOL])

    assert unfit(chain)["claude-3-haiku"] == "no_tools"
    assert unfit(chain)["gpt-3.5-turbo"] is None


def test_tools_go_to_the_members_of_a_group_that_take_them(catalog: Catalog) -> None:
    chain = chain_of(catalog, "claude-group", tools=[TOOL])

    assert unfit(chain)["claude-3-haiku"] == "no_tools"
    assert unfit(chain)["claude-3-opus"] is None


def test_group_of_which_nobody_can_do_what_is_asked_is_a_mistake_of_the_callers(
    catalog: Catalog,
) -> None:
    endless = "palavra " * 1_000_000

    with pytest.raises(InvalidRequestError) as caught:
        chain_of(catalog, "gpt-4-group", endless)

    assert (caught.value.detail, caught.value.values["model"]) == ("too_long", "gpt-4-group")


def test_text_goes_to_the_members_of_a_group_that_it_fits(catalog: Catalog) -> None:
    chain = chain_of(catalog, "gpt-4-group", "palavra " * 10_000)

    assert unfit(chain) == {"gpt-4": "too_long", "gpt-4-turbo": None, "gpt-4o": None}


def test_picture_is_no_text_that_must_fit(catalog: Catalog) -> None:
    large = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 10**6}}

    assert unfit(chain_of(catalog, "vision-group", [large]))["gemini-pro-vision"] is None


def test_embedding_asks_nobody_else(catalog: Catalog) -> None:
    body = {"model": "text-embedding-3-small", "input": "oi"}

    chain = candidates(catalog, EMBEDDINGS.parse(orjson.dumps(body)), None)

    assert unfit(chain) == {"text-embedding-3-small": None}


def test_embedding_by_a_model_that_chats_is_a_mistake_of_the_callers(catalog: Catalog) -> None:
    body = {"model": "gpt-4", "input": "oi"}

    with pytest.raises(InvalidRequestError) as caught:
        candidates(catalog, EMBEDDINGS.parse(orjson.dumps(body)), None)

    assert caught.value.detail == "wrong_mode"


def test_members_of_a_group_are_none_of_a_keys_that_may_use_one_of_them(catalog: Catalog) -> None:
    with pytest.raises(ModelNotAllowedError):
        chain_of(catalog, "claude-group", allowed=frozenset({"claude-3-opus"}))


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

    def __init__(self, catalog: Catalog) -> None:
        self.outcomes: dict[str, Exception] = {}
        self.chain = chain_of(catalog, "gpt-4")
        self.clock = FakeClock()
        self.health = HealthService(catalog.health, self.clock)
        self._threshold = catalog.health.unhealthy_threshold
        self.path: list[Step] = []
        self.has_time = True
        self.is_whole = True

    def shut_out(self, *models: str) -> None:
        """Have these fail until they are left out."""
        for model in models:
            for _ in range(self._threshold):
                self.health.record_failure(model, "upstream_error")

    def run(self) -> str:
        async def attempt(model: Model) -> str:
            if error := self.outcomes.get(model.name):
                raise error
            return model.name

        async def walk() -> str:
            _, answer = await first_answer(
                self.chain,
                self.health,
                attempt,
                self.path,
                lambda: self.has_time,
                is_whole=self.is_whole,
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


def test_fallback_without_budget_is_left_out_and_the_next_one_asked(catalog: Catalog) -> None:
    walk = walk_of(catalog, LiteLLMError(), InsufficientQuotaError())

    assert walk.run() == catalog.models["gpt-4"].fallbacks[1]
    assert walk.steps[1] == ("gpt-4-turbo", "skipped", "insufficient_quota")


def test_failure_of_the_first_is_told_where_no_fallback_has_budget(catalog: Catalog) -> None:
    error = LiteLLMError()
    walk = walk_of(catalog, error, *(InsufficientQuotaError() for _ in range(3)))

    assert walk.fails() is error


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

    assert isinstance(asyncio.run(health.admit("gpt-4")), Permit)


# What the walk tells of the models


def test_model_that_answers_is_well(catalog: Catalog) -> None:
    walk = walk_of(catalog)
    walk.run()

    assert walk.health.of("gpt-4").status is ModelStatus.HEALTHY


def test_answer_that_has_only_begun_says_nothing_of_its_model(catalog: Catalog) -> None:
    walk = walk_of(catalog)
    walk.is_whole = False
    walk.run()

    assert walk.health.of("gpt-4").status is ModelStatus.UNAVAILABLE


def test_failure_is_told_of_the_model_that_failed(catalog: Catalog) -> None:
    walk = walk_of(catalog, UpstreamTimeoutError())
    walk.run()

    failures = {name: walk.health.of(name).outcomes.failures for name in ("gpt-4", "gpt-4-turbo")}
    assert failures == {"gpt-4": 1, "gpt-4-turbo": 0}


def test_rate_limit_is_told_of_the_model_with_its_wait(catalog: Catalog) -> None:
    walk = walk_of(catalog, RateLimitedError(retry_after_s=9.0))
    walk.run()
    walk.path.clear()
    walk.run()

    assert walk.steps[0] == ("gpt-4", "skipped", "rate_limited")


def test_litellm_that_cannot_be_reached_says_nothing_of_the_model(catalog: Catalog) -> None:
    walk = walk_of(catalog, LiteLLMUnreachableError())
    walk.fails()

    assert walk.health.of("gpt-4").outcomes.failures == 0


@pytest.mark.parametrize(
    "error",
    [UpstreamRejectedError(None), InsufficientQuotaError(), LiteLLMUnreachableError()],
)
def test_trial_that_says_nothing_of_its_model_is_given_back(
    catalog: Catalog, error: SolarisError
) -> None:
    walk = walk_of(catalog, error)
    walk.shut_out("gpt-4")
    walk.clock.advance(catalog.health.cooldown_s)
    walk.fails()

    assert isinstance(asyncio.run(walk.health.admit("gpt-4")), Permit)


def test_trial_that_ends_in_a_fault_of_our_own_is_given_back(catalog: Catalog) -> None:
    walk = walk_of(catalog)
    walk.outcomes["gpt-4"] = TypeError("a bug")
    walk.shut_out("gpt-4")
    walk.clock.advance(catalog.health.cooldown_s)
    with pytest.raises(TypeError):
        walk.run()

    assert isinstance(asyncio.run(walk.health.admit("gpt-4")), Permit)


def test_status_of_litellm_is_part_of_the_path(catalog: Catalog) -> None:
    error = LiteLLMError()
    error.upstream_status = 500
    walk = walk_of(catalog, error)
    walk.run()

    assert [step.as_dict() for step in walk.path] == [
        {"model": "gpt-4", "outcome": "failed", "reason": "upstream_error", "litellm_status": 500},
        {"model": "gpt-4-turbo", "outcome": "answered", "reason": None, "litellm_status": None},
    ]


def test_model_that_is_unfit_is_a_step_without_a_call(catalog: Catalog) -> None:
    walk = walk_of(catalog, LiteLLMError())
    walk.chain = chain_of(catalog, "gpt-4", allowed=frozenset({"gpt-4", "gpt-4o"}))

    assert walk.run() == "gpt-4o"
    assert walk.steps[1] == ("gpt-4-turbo", "skipped", "model_not_allowed")


def test_some_models_out_and_the_others_rate_limited_is_unavailable(catalog: Catalog) -> None:
    walk = walk_of(catalog)
    walk.shut_out("gpt-4")
    for name in catalog.models["gpt-4"].fallbacks:
        walk.health.record_rate_limit(name, 7.0)

    assert isinstance(walk.fails(), ModelNotAvailableError)


def test_model_asked_for_that_is_left_out_leaves_its_word_to_the_next(catalog: Catalog) -> None:
    walk = walk_of(catalog)
    walk.shut_out("gpt-4")
    walk.outcomes = dict.fromkeys(catalog.models["gpt-4"].fallbacks, UpstreamTimeoutError())

    assert isinstance(walk.fails(), UpstreamTimeoutError)
