"""Brings the outbox's messages to the administrators, beside the requests of a worker."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

from app.alerting.message import Message
from app.alerting.outbox import Delivery, Outbox, Target
from app.services.actions import RecordAction, unrecorded
from app.services.alerts.channel import ConfiguredChannel, TransportError
from app.utils.clock import Clock
from app.utils.exceptions import DatabaseUnavailableError, NotFoundError
from app.utils.helpers import generate_request_id

logger = logging.getLogger("alerts")

POLL_S = 2.0
# How often what is stranded is looked for.
TEND_S = 30.0
FIRST_DELAY_S, LONGEST_DELAY_S = 10.0, 900.0
# However long a receiver asks us to wait.
LONGEST_RETRY_AFTER_S = 3600.0
# Between tries to record that a message was sent; together less than the claim lasts.
RECORD_DELAYS_S = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0)
CLOSE_PATIENCE_S = 1.0

P = ParamSpec("P")
T = TypeVar("T")


class ChannelNotFoundError(NotFoundError):
    """No channel of the configuration has this name."""


@dataclass(frozen=True, slots=True)
class Tried:
    """A channel, and why a test message did not arrive; None where it did."""

    target: Target
    error: str | None


class AlertDelivery:
    """One instance a process, on its one loop. Many processes may deliver at once."""

    def __init__(
        self,
        outbox: Outbox,
        channels: Sequence[ConfiguredChannel],
        clock: Clock,
        record: RecordAction = unrecorded,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """``jitter`` returns a number from 0 to 1."""
        self._outbox = outbox
        self.channels = {it.target.fingerprint: it for it in channels}
        self._clock = clock
        self._record = record
        self._jitter = jitter
        # Its own: a Postgres that hangs holds nobody else's.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="alert-outbox")
        self._closing = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._tend_at_s = float("-inf")
        self._is_away = False

    async def open(self) -> None:
        """Start to deliver, until closed."""
        self._closing.clear()
        self._task = asyncio.create_task(self._keep_delivering(), name="alert-delivery")

    async def close(self) -> None:
        """Let what is being sent arrive; what does not is sent again by others."""
        self._closing.set()
        if self._task is not None:
            done, _ = await asyncio.wait([self._task], timeout=CLOSE_PATIENCE_S)
            if not done:
                self._task.cancel()
                await asyncio.wait([self._task])
            self._task = None
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def deliver_due(self) -> int:
        """Send what is due now, each target its oldest; return how many were tried."""
        try:
            await self._tend()
            due = await self._ask(self._outbox.claim)
        except DatabaseUnavailableError as error:
            self._note(away_for=error)
            return 0
        self._note(away_for=None)
        await asyncio.gather(*(self._deliver(it) for it in due))
        return len(due)

    async def test(self) -> list[Tried]:
        """Send a test message through each channel, also one that is switched off."""
        now = self._clock.now()
        message = Message(generate_request_id(), "test", "", "", "info", now, facts={})
        return list(await asyncio.gather(*(_try(it, message) for it in self.channels.values())))

    def enable(self, name: str) -> bool:
        """Switch a channel on again that a failure switched off; tell whether it was off. Blocks.

        Raises: ChannelNotFoundError, DatabaseUnavailableError.
        """
        targets = {it.target.name: it.target for it in self.channels.values()}
        if name not in targets:
            raise ChannelNotFoundError(name)
        was_off = self._outbox.enable(targets[name])
        if was_off:
            self._record("alert_channel_enabled", channel=name)
        return was_off

    async def _keep_delivering(self) -> None:
        while not self._closing.is_set():
            try:
                is_more = bool(await self.deliver_due())
            except Exception as fault:  # noqa: BLE001  # nothing ends this but its process
                logger.error("alert_delivery_failed", extra={"error_type": type(fault).__name__})  # noqa: TRY400  # a trace may quote addresses
                is_more = False
            if not is_more:
                await self._pause()

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(POLL_S):
                await self._closing.wait()
        except TimeoutError:
            return

    async def _tend(self) -> None:
        now_s = self._clock.steady_s()
        if now_s < self._tend_at_s:
            return
        self._tend_at_s = now_s + TEND_S
        for message_id in await self._ask(self._outbox.tend):
            self._say_given_up(message_id, "none", "no_channel")

    async def _deliver(self, delivery: Delivery) -> None:
        channel = self.channels[delivery.target]
        try:
            await channel.send(delivery.message)
        except TransportError as error:
            await self._failed(delivery, channel, error)
        except Exception as fault:  # noqa: BLE001  # one message must not stop the others
            unknown = TransportError(f"internal_{type(fault).__name__}")
            await self._failed(delivery, channel, unknown)
        else:
            await self._sent(delivery, channel)

    async def _sent(self, delivery: Delivery, channel: ConfiguredChannel) -> None:
        extra = {"message_id": delivery.message.id, "channel": channel.target.name}
        for delay_s in RECORD_DELAYS_S:
            await asyncio.sleep(delay_s)
            try:
                await self._ask(self._outbox.sent, delivery)
            except DatabaseUnavailableError:
                continue
            logger.info("alert_sent", extra={**extra, "attempts": delivery.attempts})
            return
        # It will be sent again.
        logger.error("alert_sent_unrecorded", extra=extra)

    async def _failed(
        self, delivery: Delivery, channel: ConfiguredChannel, error: TransportError
    ) -> None:
        extra = {"message_id": delivery.message.id, "channel": channel.target.name}
        logger.warning("alert_not_sent", extra={**extra, "reason": error.code})
        try:
            if error.permanent:
                await self._disable(delivery, channel, error.code)
            elif error.is_of_message:
                await self._ask(self._outbox.give_up, delivery, error.code)
                self._say_given_up(delivery.message.id, channel.target.name, error.code)
            else:
                await self._retry(delivery, channel, error)
        except DatabaseUnavailableError:
            # The claim runs out by itself.
            return

    async def _disable(self, delivery: Delivery, channel: ConfiguredChannel, code: str) -> None:
        if await self._ask(self._outbox.disable, channel.target, code, delivery):
            name = channel.target.name
            logger.critical("alert_channel_disabled", extra={"channel": name, "reason": code})
            self._record("alert_channel_disabled", channel=name, reason=code)

    async def _retry(
        self, delivery: Delivery, channel: ConfiguredChannel, error: TransportError
    ) -> None:
        delay_s = self._delay_s(delivery.attempts, error.retry_after_s)
        if not await self._ask(self._outbox.retry, delivery, error.code, delay_s):
            self._say_given_up(delivery.message.id, channel.target.name, error.code)

    def _delay_s(self, attempts: int, retry_after_s: float | None) -> float:
        # Of a large number of attempts the power is large, too.
        longest = min(FIRST_DELAY_S * 2.0 ** min(attempts - 1, 16), LONGEST_DELAY_S)
        delay_s = longest * (1 + self._jitter()) / 2
        return max(delay_s, min(retry_after_s or 0.0, LONGEST_RETRY_AFTER_S))

    def _say_given_up(self, message_id: str, channel: str, code: str) -> None:
        extra = {"message_id": message_id, "channel": channel, "reason": code}
        logger.critical("alert_given_up", extra=extra)
        self._record("alert_given_up", message_id=message_id, channel=channel, reason=code)

    def _note(self, away_for: DatabaseUnavailableError | None) -> None:
        if away_for is not None and not self._is_away:
            kind = type(away_for.__cause__).__name__
            logger.warning("alert_outbox_unavailable", extra={"fault": kind})
        self._is_away = away_for is not None

    async def _ask(self, query: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, lambda: query(*args, **kwargs))


async def _try(channel: ConfiguredChannel, message: Message) -> Tried:
    try:
        await channel.send(message)
    except TransportError as error:
        return Tried(channel.target, error.code)
    return Tried(channel.target, None)
