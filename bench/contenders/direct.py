"""No contender: the mock upstream asked directly, which is what every other number includes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench.contenders.base import Contender, Workplace


class Direct(Contender):
    name = "direct"
    title = "mock upstream, directly"

    def start(self, place: Workplace) -> None:
        self.port = place.upstream_port

    def command(self, _place: Workplace) -> Sequence[str | Path]:
        raise NotImplementedError
