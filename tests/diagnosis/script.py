"""The script as an operator runs it: its own process, its own variables, its own PATH."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from app.config.settings import PROJECT_ROOT

SCRIPT = PROJECT_ROOT / "scripts" / "diagnose-litellm.sh"
TOOLS = ("bash", "curl", "awk", "grep", "sed", "tr", "head", "cut", "od", "sha256sum", "dirname")
OPTIONAL_TOOLS = ("jq", "docker", "openssl", "python3")


@dataclass(frozen=True)
class Diagnosis:
    code: int
    text: str
    errors: str

    @property
    def document(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.text)
        return document

    def state(self, check: str) -> str:
        return str(next(it["state"] for it in self.document["checks"] if it["check"] == check))


def diagnose(
    env: dict[str, str], *options: str, path: str | None = None, timeout_s: float = 60
) -> Diagnosis:
    """Run it to its end; ``path`` is its PATH."""
    done = subprocess.run(
        ["/bin/bash", SCRIPT, "--env-file", "/dev/null", *options],
        env={"PATH": path or "/usr/bin:/bin", **env},
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    return Diagnosis(done.returncode, done.stdout, done.stderr)


def bare_path(folder: Path, *left_out: str) -> str:
    """Return a PATH that has what the script needs, and no other tool."""
    folder.mkdir()
    for tool in set(TOOLS) - set(left_out):
        place = shutil.which(tool)
        assert place is not None, tool
        (folder / tool).symlink_to(place)
    return str(folder)


@contextmanager
def answering(body: str = "{}") -> Iterator[tuple[str, list[tuple[Message, bytes]]]]:
    """Yield the URL of a server that answers everything with this, and what it was sent."""
    sent: list[tuple[Message, bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            size = int(self.headers.get("Content-Length", 0))
            sent.append((self.headers, self.rfile.read(size)))
            raw = body.encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        do_POST = do_GET  # noqa: N815  # the library's name for it

        def log_message(self, *_arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", sent
    server.shutdown()
    server.server_close()
