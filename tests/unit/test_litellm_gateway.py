"""LiteLLM's one door, over real loopback connections."""

from __future__ import annotations

import asyncio
import time

from app.config.catalog import HealthPolicy
from app.config.settings import LiteLLMSettings
from app.embedded.network import free_port
from app.services.health_service import LITELLM, HealthService, ModelStatus
from app.services.litellm_gateway import LiteLLMGateway
from app.services.litellm_transport import Deadline, LiteLLMTransport
from app.utils.exceptions import LiteLLMUnreachableError, SolarisError, UpstreamTimeoutError
from tests.fakes.clock import FakeClock
from tests.fakes.litellm import FakeLiteLLM, cut, silence, status

NOWHERE = "http://127.0.0.1:1"
# A pause that nothing else takes as long as, even on a busy machine.
LONG_S = 5.0
POLICY = HealthPolicy(check_interval_s=60, unhealthy_threshold=3, cooldown_s=10)


class Door:
    """A gateway whose connections are counted, and what came of the last call."""

    def __init__(self, base_url: str, max_retries: int = 0, retry_delay_s: float = 0.01) -> None:
        self.settings = LiteLLMSettings(
            base_url=base_url, max_retries=max_retries, retry_delay_s=retry_delay_s
        )
        self.clock = FakeClock()
        self.health = HealthService(POLICY, self.clock)
        self.error: SolarisError | None = None

    def call(self, times: int = 1, deadline_s: float = 10.0) -> list[str]:
        """Return what became of each call: a status, or the name of an error."""

        async def run() -> list[str]:
            gateway = LiteLLMGateway(LiteLLMTransport(self.settings), self.health, self.settings)
            try:
                return [await self._one(gateway, deadline_s) for _ in range(times)]
            finally:
                await gateway.close()

        return asyncio.run(run())

    def probe(self) -> None:
        """Ask a free endpoint, whatever comes of it."""

        async def run() -> None:
            gateway = LiteLLMGateway(LiteLLMTransport(self.settings), self.health, self.settings)
            try:
                (await gateway.get("/v1/models", Deadline(10))).close()
            except SolarisError:
                pass
            finally:
                await gateway.close()

        asyncio.run(run())

    async def _one(self, gateway: LiteLLMGateway, deadline_s: float) -> str:
        try:
            answer = await gateway.post("/v1/x", b"{}", {}, Deadline(deadline_s))
        except SolarisError as error:
            return type(error).__name__
        answer.close()
        return str(answer.status)

    @property
    def failures(self) -> int:
        return self.health.of(LITELLM).outcomes.failures


def shut(door: Door) -> None:
    for _ in range(POLICY.unhealthy_threshold):
        door.health.record_failure(LITELLM, "litellm_unreachable")


def test_connection_that_is_refused_is_tried_again() -> None:
    door = Door(NOWHERE, max_retries=2)

    assert door.call() == [LiteLLMUnreachableError.__name__]
    assert door.failures == 3


def test_connection_that_is_made_in_the_end_is_used() -> None:
    port = free_port()
    upstream = FakeLiteLLM(port=port, default=status(200, {}))
    door = Door(f"http://127.0.0.1:{port}", max_retries=2)
    door.settings = LiteLLMSettings(
        base_url=door.settings.base_url, max_retries=2, retry_delay_s=0.5
    )

    async def run() -> str:
        gateway = LiteLLMGateway(LiteLLMTransport(door.settings), door.health, door.settings)
        call = asyncio.create_task(door._one(gateway, 10))
        await asyncio.sleep(0.1)
        await asyncio.to_thread(upstream.start)
        try:
            return await call
        finally:
            await gateway.close()
            await asyncio.to_thread(upstream.stop)

    assert asyncio.run(run()) == "200"
    assert len(upstream.calls) == 1


def test_connection_that_breaks_after_the_request_is_not_tried_again(
    upstream: FakeLiteLLM,
) -> None:
    upstream.default = cut()
    door = Door(upstream.url, max_retries=3)
    door.call()

    assert len(upstream.calls) == 1


def test_retries_end_with_the_deadline() -> None:
    door = Door(NOWHERE, max_retries=1000)

    assert door.call(deadline_s=0.2) == [LiteLLMUnreachableError.__name__]


def test_connections_refused_up_to_the_threshold_shut_the_door() -> None:
    door = Door(NOWHERE)
    door.call(times=10)

    assert door.failures == POLICY.unhealthy_threshold
    assert door.health.of(LITELLM).status is ModelStatus.UNHEALTHY


def test_door_that_is_shut_is_tried_by_one_call_after_the_cooldown() -> None:
    door = Door(NOWHERE)
    door.call(times=3)
    door.clock.advance(POLICY.cooldown_s)
    door.call(times=5)

    assert door.failures == POLICY.unhealthy_threshold + 1


def test_answer_of_any_status_opens_the_door(upstream: FakeLiteLLM) -> None:
    upstream.default = status(500, {})
    door = Door(upstream.url)
    for _ in range(POLICY.unhealthy_threshold):
        door.health.record_failure(LITELLM, "litellm_unreachable")
    door.clock.advance(POLICY.cooldown_s)

    assert door.call(times=3) == ["500"] * 3


def test_failures_of_models_say_nothing_of_the_door(upstream: FakeLiteLLM) -> None:
    upstream.default = cut()
    door = Door(upstream.url)
    door.call(times=5)

    assert door.failures == 0


def test_pauses_between_connections_grow() -> None:
    # The third failure shuts the door, so there is no third pause.
    door = Door(NOWHERE, max_retries=2, retry_delay_s=0.05)
    started_s = time.monotonic()
    door.call()

    assert time.monotonic() - started_s >= 0.05 + 0.1


def test_pause_that_would_outlast_the_deadline_is_not_begun() -> None:
    door = Door(NOWHERE, max_retries=1, retry_delay_s=LONG_S)

    assert door.call(deadline_s=1.0) == [LiteLLMUnreachableError.__name__]
    assert door.failures == 1


def test_door_that_is_shut_refuses_at_once() -> None:
    door = Door(NOWHERE, max_retries=1, retry_delay_s=LONG_S)
    shut(door)
    started_s = time.monotonic()

    assert door.call(deadline_s=2 * LONG_S) == [LiteLLMUnreachableError.__name__]
    assert time.monotonic() - started_s < LONG_S


def test_door_that_is_shut_sends_nothing(upstream: FakeLiteLLM) -> None:
    door = Door(upstream.url)
    shut(door)
    door.call(times=3)

    assert upstream.received == []


def test_door_that_shuts_between_two_tries_is_not_tried_again() -> None:
    door = Door(NOWHERE, max_retries=5)
    door.call()

    assert door.failures == POLICY.unhealthy_threshold


def test_door_tried_by_a_call_without_an_outcome_is_tried_by_the_next(
    upstream: FakeLiteLLM,
) -> None:
    upstream.script(silence(), status(200, {}))
    door = Door(upstream.url)
    shut(door)
    door.clock.advance(POLICY.cooldown_s)

    outcomes = door.call(deadline_s=0.2) + door.call()

    assert outcomes == [UpstreamTimeoutError.__name__, "200"]


def test_free_endpoint_that_answers_opens_the_door(upstream: FakeLiteLLM) -> None:
    upstream.default = status(200, {})
    door = Door(upstream.url)
    shut(door)
    door.probe()

    assert door.call() == ["200"]


def test_free_endpoint_that_cannot_be_reached_counts() -> None:
    door = Door(NOWHERE)
    for _ in range(POLICY.unhealthy_threshold):
        door.probe()

    assert door.health.of(LITELLM).status is ModelStatus.UNHEALTHY
