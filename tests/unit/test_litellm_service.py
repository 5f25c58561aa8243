"""The service against a LiteLLM that does what a test says, over a real loopback connection."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import pytest

from app.config.catalog import Catalog, load_catalog
from app.config.settings import BudgetSettings, LiteLLMSettings, SecuritySettings, Settings
from app.dialects.base import Usage
from app.metrics.counts import CallCounter
from app.metrics.instruments import Instruments
from app.services.answer_stream import AnswerStream
from app.services.health_service import HealthService
from app.services.kill_switches import KillSwitches
from app.services.litellm_gateway import LiteLLMGateway
from app.services.litellm_service import LiteLLMService
from app.services.litellm_transport import LiteLLMTransport
from app.services.token_service import TokenService
from app.utils.exceptions import (
    InvalidRequestError,
    LiteLLMError,
    ModelNotAvailableError,
    ModelNotFoundError,
    RateLimitedError,
    SolarisError,
    UpstreamMisconfiguredError,
    UpstreamRejectedError,
)
from tests.fakes.clock import FakeClock
from tests.fakes.kill_switches import FakeKillSwitchStore
from tests.fakes.ledger_store import MemoryLedgerStore
from tests.fakes.litellm import (
    FakeLiteLLM,
    Handler,
    completion,
    endless,
    raw,
    status,
    stream,
)

T = TypeVar("T")
Ask = Callable[[LiteLLMService], Awaitable[T]]

MASTER_KEY = "sk-master-for-the-tests-only"
HELLO: list[dict[str, Any]] = [{"role": "user", "content": "olá"}]
NOWHERE = "http://127.0.0.1:1"


def catalog() -> Catalog:
    return load_catalog(LiteLLMSettings().config_path)


class Stage:
    """A service, the upstream it calls, and a loop for each use."""

    def __init__(self, upstream: FakeLiteLLM) -> None:
        self.upstream = upstream
        self.base_url = upstream.url
        self.service: LiteLLMService | None = None

    def use(self, ask: Ask[T]) -> T:
        """Run ``ask`` with a service of its own; ``service`` is it afterwards."""

        async def run() -> T:
            clock = FakeClock()
            health = HealthService(catalog().health, clock)
            store = MemoryLedgerStore()
            tokens = TokenService(BudgetSettings(), catalog(), store, store, clock)
            litellm = LiteLLMSettings(
                base_url=self.base_url, master_key=MASTER_KEY, timeout_s=10, max_retries=0
            )
            self.service = LiteLLMService(
                Settings(litellm=litellm, security=SecuritySettings(secret_key="k" * 32)),
                catalog(),
                LiteLLMGateway(LiteLLMTransport(litellm), health, litellm),
                health,
                tokens,
                KillSwitches(FakeKillSwitchStore(), clock),
                CallCounter(Instruments(catalog().models)),
                clock,
                lambda error: error.code,
            )
            await tokens.open()
            try:
                return await ask(self.service)
            finally:
                await self.service.close()
                await tokens.close()

        return asyncio.run(run())

    def chat(self, *handlers: Handler, model: str = "gpt-4", **params: Any) -> Any:
        self.upstream.script(*handlers)
        return self.use(lambda service: service.chat_completion(model, HELLO, **params))

    def refused(
        self, handler: Handler | None = None, model: str = "gpt-4", **params: Any
    ) -> SolarisError:
        """Return the error of a call that every model answers with ``handler``."""
        self.upstream.default = handler
        with pytest.raises(SolarisError) as caught:
            self.chat(model=model, **params)
        return caught.value

    def read(self, *handlers: Handler, **params: Any) -> tuple[bytes, Any]:
        """Return the bytes of a stream, and its metadata."""
        self.upstream.script(*handlers)

        async def ask(service: LiteLLMService) -> tuple[bytes, Any]:
            answer, _, metadata = await service.chat_completion(
                "gpt-4", HELLO, stream=True, **params
            )
            assert isinstance(answer, AnswerStream)
            return b"".join([chunk async for chunk in answer]), metadata

        return self.use(ask)

    def status_of(self, model: str) -> str:
        assert self.service is not None
        info = asyncio.run(self.service.get_model_info(model))
        assert info is not None
        return str(info["status"])

    @property
    def sent(self) -> dict[str, Any]:
        body: dict[str, Any] = self.upstream.calls[-1].body
        return body


@pytest.fixture
def stage(upstream: FakeLiteLLM) -> Stage:
    return Stage(upstream)


# What is sent


def test_call_tells_litellm_not_to_retry_nor_fall_back(stage: Stage) -> None:
    stage.chat(temperature=0.5)

    assert stage.sent == {
        "model": "gpt-4",
        "messages": HELLO,
        "temperature": 0.5,
        "max_tokens": 4096,
        "disable_fallbacks": True,
        "num_retries": 0,
    }


def test_call_carries_its_id_and_our_key(stage: Stage) -> None:
    stage.chat(request_id="req-1")

    headers = {name.lower(): value for name, value in stage.upstream.calls[0].headers.items()}
    assert (headers["x-litellm-call-id"], headers["x-request-id"]) == ("req-1", "req-1")
    assert headers["authorization"] == f"Bearer {MASTER_KEY}"


def test_call_names_the_person_by_a_stable_pseudonym(stage: Stage) -> None:
    stage.chat(user="ana@corp.br")
    stage.chat(user="ana@corp.br")
    stage.chat(user="bob@corp.br")

    first, again, other = [call.body["user"] for call in stage.upstream.calls]
    assert first == again != other
    assert "ana" not in first


def test_call_of_a_stream_always_asks_for_usage(stage: Stage) -> None:
    stage.read(stream_options={"x": 1})

    assert stage.sent["stream_options"] == {"x": 1, "include_usage": True}


def test_call_with_null_max_tokens_leaves_the_configured_limit(stage: Stage) -> None:
    stage.chat(max_tokens=None)

    assert stage.sent["max_tokens"] == 4096


# What comes back


def test_answer_is_the_models_with_its_cost(stage: Stage) -> None:
    body, code, metadata = stage.chat(request_id="req-1")

    assert (code, body["choices"][0]["message"]["content"]) == (200, "olá")
    # 21 tokens at 30 USD and 5 at 60 USD a million.
    assert (metadata["request_id"], metadata["model_used"], metadata["cost"]) == (
        "req-1",
        "gpt-4",
        930,
    )


@pytest.mark.parametrize(
    ("usage", "cost"),
    [
        ({"prompt_tokens": 10, "completion_tokens": 0}, 300),
        ({"prompt_tokens": 10, "prompt_tokens_details": None}, 300),
        ({"prompt_tokens": -5, "completion_tokens": "many"}, 0),
        ({"prompt_tokens": 10, "prompt_tokens_details": {"cached_tokens": 99}}, 300),
    ],
)
def test_cost_of_any_usage_counts_what_is_a_count(
    stage: Stage, usage: dict[str, Any], cost: int
) -> None:
    _, _, metadata = stage.chat(completion(usage=usage))

    assert metadata["cost"] == cost


def test_cost_of_an_answer_without_usage_is_unknown(stage: Stage) -> None:
    _, _, metadata = stage.chat(status(200, {"choices": []}))

    assert metadata["cost"] is None


def test_cost_of_an_answer_from_the_cache_is_nothing(stage: Stage) -> None:
    answer = status(200, {"usage": {"prompt_tokens": 9}}, {"x-litellm-cache-key": "k"})

    _, _, metadata = stage.chat(answer)

    assert (metadata["cache_hit"], metadata["cost"]) == (True, 0)


def test_answer_to_a_group_names_the_model_that_gave_it(stage: Stage) -> None:
    failed = status(500, {})

    _, _, metadata = stage.chat(failed, failed, model="gpt-4-group")

    assert metadata["model_used"] == "gpt-4o"
    assert [step["model"] for step in metadata["path"]] == ["gpt-4", "gpt-4-turbo", "gpt-4o"]


def test_stream_read_to_its_end_completes_its_metadata(stage: Stage) -> None:
    received, metadata = stage.read()

    assert received.endswith(b"data: [DONE]\n\n")
    assert b'"usage"' not in received
    assert (metadata["usage"], metadata["cost"]) == (Usage(21, 5), 930)


def test_stream_asked_for_usage_has_it(stage: Stage) -> None:
    received, _ = stage.read(stream_options={"include_usage": True})

    assert b'"total_tokens": 26' in received


# Refusals


def test_unknown_model_costs_no_call(stage: Stage) -> None:
    error = stage.refused(model="gpt-5-unheard-of")

    assert isinstance(error, ModelNotFoundError)
    assert stage.upstream.calls == []


def test_body_nested_too_deeply_costs_no_call(stage: Stage) -> None:
    deep: Any = 1
    for _ in range(300):
        deep = [deep]

    error = stage.refused(x=deep)

    assert isinstance(error, InvalidRequestError)
    assert stage.upstream.calls == []


@pytest.mark.parametrize(
    ("handler", "expected", "health"),
    [
        (status(400, {"error": {"message": "too long"}}), UpstreamRejectedError, "unavailable"),
        (status(429, {"error": {}}), RateLimitedError, "rate_limited"),
        (status(401, {"error": {}}), UpstreamMisconfiguredError, "unhealthy"),
        (status(500, {"error": {}}), LiteLLMError, "unhealthy"),
        (status(503, {"error": {}}), ModelNotAvailableError, "unhealthy"),
        (status(200, {"error": {"message": "late"}}), LiteLLMError, "unhealthy"),
        (status(200, ["junk"]), LiteLLMError, "unhealthy"),
        (raw(b"<html>502</html>", "text/html", 502), LiteLLMError, "unhealthy"),
        (raw(b"<html>ok</html>", "text/html"), LiteLLMError, "unhealthy"),
    ],
)
def test_refusal_of_litellm_is_told_by_kind_and_held_against_the_model(
    stage: Stage, handler: Handler, expected: type[SolarisError], health: str
) -> None:
    stage.upstream.default = handler
    errors: list[SolarisError] = []

    async def call_often(service: LiteLLMService) -> None:
        for _ in range(catalog().health.unhealthy_threshold):
            with pytest.raises(SolarisError) as caught:
                await service.chat_completion("gpt-4", HELLO)
            errors.append(caught.value)

    stage.use(call_often)

    assert type(errors[0]) is expected
    assert stage.status_of("gpt-4") == health


def test_stream_answered_with_something_else_is_refused(stage: Stage) -> None:
    error = stage.refused(status(200, {"choices": []}), stream=True)

    assert type(error) is LiteLLMError


def test_litellm_away_is_told_so(stage: Stage) -> None:
    stage.base_url = NOWHERE

    assert isinstance(stage.refused(), ModelNotAvailableError)


def test_failure_is_asked_of_each_model_of_the_chain_once(stage: Stage) -> None:
    stage.refused(status(500, {"error": {}}))

    asked = [call.body["model"] for call in stage.upstream.calls]
    assert asked == ["gpt-4", *catalog().models["gpt-4"].fallbacks]


def test_streams_that_break_again_and_again_are_held_against_the_model(stage: Stage) -> None:
    stage.upstream.default = stream([b'data: {"choices":[]}\n\n'])

    async def break_often(service: LiteLLMService) -> None:
        for _ in range(catalog().health.unhealthy_threshold):
            answer, _, _ = await service.chat_completion("gpt-4", HELLO, stream=True)
            assert isinstance(answer, AnswerStream)
            assert [chunk async for chunk in answer]

    stage.use(break_often)

    assert stage.status_of("gpt-4") == "unhealthy"


def test_stream_ended_by_our_own_restart_says_nothing_of_the_model(stage: Stage) -> None:
    stage.upstream.default = endless(b'data: {"choices":[]}\n\n', pause_s=0.05)

    async def drain(service: LiteLLMService) -> None:
        answer, _, _ = await service.chat_completion("gpt-4", HELLO, stream=True)
        assert isinstance(answer, AnswerStream)
        answer.farewell()
        await answer.aclose()

    stage.use(drain)

    assert stage.status_of("gpt-4") == "unavailable"


def test_stream_given_up_is_logged_with_counts_only(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="litellm_integration")
    event = (
        b'data: {"choices":[{"delta":{"content":"x"}}],"usage":{"prompt_tokens":3,"note":"y"}}\n\n'
    )
    stage.upstream.script(stream([event, b": still here\n\n"] * 2, pause_s=0.02))

    async def leave(service: LiteLLMService) -> None:
        answer, _, _ = await service.chat_completion("gpt-4", HELLO, stream=True)
        assert isinstance(answer, AnswerStream)
        await anext(answer)
        await answer.aclose()

    stage.use(leave)

    line = vars(caplog.records[-1])
    assert (line["status_code"], line["usage"]["input_tokens"]) == (499, 3)
    assert "note" not in line["usage"]


# Figures


def test_models_listed_have_the_status_that_litellm_and_calls_show(stage: Stage) -> None:
    listed = stage.use(lambda service: service.get_available_models())

    statuses = {entry["id"]: entry["status"] for entry in listed}
    assert statuses.keys() == set(catalog().names())
    assert (statuses["gpt-4"], statuses["claude-3-opus"]) == ("healthy", "unavailable")


def test_models_refreshed_forget_old_failures(stage: Stage) -> None:
    stage.upstream.default = status(500, {})

    async def fail_and_refresh(service: LiteLLMService) -> None:
        with pytest.raises(LiteLLMError):
            await service.chat_completion("gpt-4", HELLO)
        await service.force_model_refresh()

    stage.use(fail_and_refresh)

    assert stage.status_of("gpt-4") == "healthy"


@pytest.mark.parametrize(("base_url", "health"), [(None, "healthy"), (NOWHERE, "unhealthy")])
def test_health_is_that_of_litellms_free_endpoint(
    stage: Stage, base_url: str | None, health: str
) -> None:
    stage.base_url = base_url or stage.base_url

    report = stage.use(lambda service: service.health_check())

    assert (report["status"], report["litellm_service"]) == (health, health)
    assert stage.upstream.calls == []


@pytest.mark.parametrize(
    ("model", "input_usd", "output_usd"),
    [("gpt-4", "0.00003", "0.00006"), ("text-embedding-3-small", "0.00000002", "0")],
)
def test_model_info_has_exact_prices(
    stage: Stage, model: str, input_usd: str, output_usd: str
) -> None:
    info = stage.use(lambda service: service.get_model_info(model))

    assert info is not None
    assert (info["cost_per_input_token"], info["cost_per_output_token"]) == (input_usd, output_usd)


def test_model_info_of_an_unknown_name_is_none(stage: Stage) -> None:
    assert stage.use(lambda service: service.get_model_info("gpt-5")) is None
