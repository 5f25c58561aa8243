"""JavaScript's clients, as processes of their own."""

from __future__ import annotations

import json
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).with_name("node")
NODE = FOLDER / "node_modules" / ".bin" / "node"
TIMEOUT_S = 200.0


@dataclass(frozen=True)
class Seen:
    """What a client saw: text, an error, or both."""

    text: str | None = ""
    chunks: int = 0
    error: dict[str, Any] | None = None
    usage: dict[str, Any] | None = None
    requestId: str | None = None  # noqa: N815  # as the scripts write it
    rest: dict[str, Any] = field(default_factory=dict)

    @property
    def message(self) -> str:
        assert self.error is not None
        return str(self.error["message"])


def require_node() -> None:
    if not NODE.exists():
        pytest.skip("the JavaScript clients are not installed; `make test` does it where npm is")


def run(script: str, *arguments: str) -> Any:
    """Run a script and return the JSON that it prints."""
    require_node()
    process = subprocess.run(
        [NODE, f"{script}.mjs", *arguments],
        cwd=FOLDER,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert process.stdout, process.stderr
    return json.loads(process.stdout)


def see(client: str, base_url: str, key: str, body: dict[str, Any], **plan: Any) -> Seen:
    """Have a client send ``body``; ``plan``: api, maxRetries, headers, abortAfterMs."""
    outcome = run(client, json.dumps({"baseURL": base_url, "apiKey": key, "body": body, **plan}))
    known = {name: outcome.pop(name) for name in list(outcome) if name in Seen.__annotations__}
    return Seen(**known, rest=outcome)


def together(*calls: Any) -> list[Seen]:
    """Run calls at the same time and return what each saw."""
    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(lambda call: call(), calls))
