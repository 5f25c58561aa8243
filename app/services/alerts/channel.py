"""What every channel does."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Protocol

from app.alerting.message import Message
from app.alerting.outbox import Target

# Well within a claim's lease: a message that is still being sent is nobody else's to send.
SEND_TIMEOUT_S = 15.0

COLOURS = {"info": "#2f6feb", "warning": "#9a6700", "critical": "#cf222e"}
RESOLVED_COLOUR = "#1a7f37"


class TransportError(Exception):
    """A message that did not arrive. ``code`` is for logs: no address, no text of others."""

    def __init__(
        self,
        code: str,
        *,
        permanent: bool = False,
        is_of_message: bool = False,
        retry_after_s: float | None = None,
    ) -> None:
        """``permanent``: nothing sent there will arrive until somebody changes something;
        ``is_of_message``: this message never will, others may; neither: it may later."""
        super().__init__(code)
        self.code = code
        self.permanent = permanent
        self.is_of_message = is_of_message
        self.retry_after_s = retry_after_s


class Channel(Protocol):
    async def send(self, message: Message) -> None:
        """Raises: TransportError."""


@dataclass(frozen=True, slots=True)
class ConfiguredChannel:
    target: Target
    channel: Channel

    async def send(self, message: Message) -> None:
        """Send within a fixed time. Raises: TransportError."""
        try:
            async with asyncio.timeout(SEND_TIMEOUT_S):
                await self.channel.send(message)
        except TimeoutError as fault:
            raise TransportError("timeout") from fault


def colour_of(message: Message) -> str:
    if message.kind == "resolved":
        return RESOLVED_COLOUR
    return COLOURS.get(message.severity, COLOURS["info"])
