"""What a proxy that serves in this process holds: tasks, sockets to LiteLLM, slots and bytes."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

import psutil

from tests.asgi_client import AsgiClient

SETTLES_WITHIN_S = 5.0
POLL_S = 0.01


@dataclass(frozen=True)
class Held:
    """What is held at one moment; equal to another moment's when nothing was left behind."""

    tasks: Counter[str]
    sockets: int
    gate: dict[str, Any]

    @classmethod
    def by(cls, client: AsgiClient, upstream_port: int) -> Held:
        return cls(
            client.run(_tasks()), _sockets_to(upstream_port), dict(vars(client.server.gate))
        )


def settled(client: AsgiClient, upstream_port: int, expected: Held) -> Held:
    """Return what is held as soon as it is ``expected``, or after some seconds."""
    deadline_s = time.monotonic() + SETTLES_WITHIN_S
    while (held := Held.by(client, upstream_port)) != expected:
        if time.monotonic() > deadline_s:
            break
        time.sleep(POLL_S)
    return held


async def _tasks() -> Counter[str]:
    """Count the loop's tasks by what they run."""
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    return Counter(str(getattr(task.get_coro(), "__qualname__", task)) for task in tasks)


def _sockets_to(port: int) -> int:
    """Count this process's own ends of connections to a port: open, or not yet given up."""
    connections = psutil.Process().net_connections("tcp")
    return sum(bool(it.raddr) and it.raddr.port == port for it in connections)
