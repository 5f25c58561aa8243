"""Ports of this machine."""

from __future__ import annotations

import socket


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
    """Return ``preferred`` if nobody has it, else a port that the system chooses.

    ``avoid`` are ports that are free now, but promised to somebody.
    """
    if preferred and preferred not in avoid and is_free(preferred, host):
        return preferred
    while True:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.bind((host, 0))
            chosen = int(probe.getsockname()[1])
        if chosen not in avoid:
            return chosen
