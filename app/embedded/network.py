"""Ports of this machine."""

from __future__ import annotations

import random
import socket

# Below those that the system gives to outgoing connections: one of these could have the port
# before its server does, or while that is started again.
SERVER_PORTS = range(20_000, 32_000)


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # Connections in TIME_WAIT do not keep a server from listening.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


def free_port(
    preferred: int = 0, host: str = "127.0.0.1", *, avoid: frozenset[int] = frozenset()
) -> int:
    """Return ``preferred`` if nobody has it, else any that is free.

    ``avoid`` are ports that are free now, but promised to somebody.
    """
    if preferred and preferred not in avoid and is_free(preferred, host):
        return preferred
    while True:
        chosen = random.choice(SERVER_PORTS)  # noqa: S311  # no secret
        if chosen not in avoid and is_free(chosen, host):
            return chosen
