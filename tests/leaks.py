"""What a proxy that serves in this process holds: tasks, sockets to LiteLLM, slots and bytes."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psutil

from tests.asgi_client import AsgiClient

# Idle connections beyond the one that is kept are closed after 4 s.
SETTLES_WITHIN_S = 8.0
POLL_S = 0.01
# What the proxy asks Postgres from time to time, whether there are calls or not.
NOW_AND_THEN = frozenset({"TeamAssignments._read", "TokenService._refresh"})


@dataclass(frozen=True)
class Held:
    """What is held at one moment; equal to another moment's when nothing was left behind."""

    tasks: Counter[str]
    # Those of connections to LiteLLM, but for the one that may be kept for the next call.
    sockets: int
    gate: dict[str, Any]

    @classmethod
    def by(cls, client: AsgiClient, upstream_port: int, *, kept: int) -> Held:
        sockets = max(0, _sockets_to(upstream_port) - kept)
        return cls(client.run(_tasks()), sockets, dict(vars(client.server.gate)))


def settled(look: Callable[[], Held], expected: Held) -> Held:
    """Return what is held as soon as it is ``expected``, or after some seconds."""
    deadline_s = time.monotonic() + SETTLES_WITHIN_S
    while (held := look()) != expected:
        if time.monotonic() > deadline_s:
            break
        time.sleep(POLL_S)
    return held


async def _tasks() -> Counter[str]:
    """Count the loop's tasks by what they run."""
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    names = Counter(str(getattr(task.get_coro(), "__qualname__", task)) for task in tasks)
    return Counter({name: count for name, count in names.items() if name not in NOW_AND_THEN})


def _sockets_to(port: int) -> int:
    """Count this process's own ends of connections to a port: open, or not yet given up."""
    connections = psutil.Process().net_connections("tcp")
    return sum(bool(it.raddr) and it.raddr.port == port for it in connections)
