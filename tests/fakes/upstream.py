"""An answer of LiteLLM's that arrives as a test says, without a connection."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from app.services.litellm_transport import UpstreamAnswer
from app.utils.exceptions import SolarisError

Step = bytes | SolarisError | None


class ScriptedAnswer(UpstreamAnswer):
    """Each step is a chunk, None for silence, or the error that breaks the connection."""

    def __init__(self, steps: Iterable[Step]) -> None:
        self._steps = deque(steps)
        self.closed = 0

    async def next_chunk(self, patience_s: float) -> bytes | None:  # noqa: ARG002  # as scripted
        step = self._steps.popleft() if self._steps else b""
        if isinstance(step, SolarisError):
            raise step
        return step

    def close(self) -> None:
        self.closed += 1
