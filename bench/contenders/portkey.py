"""Portkey's gateway: passes calls on, and counts nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import orjson

from bench.contenders.base import Contender, Workplace
from bench.installed import NodeFolder, NotInstalledError


class Portkey(Contender):
    name = "portkey"
    title = "Portkey gateway"
    ready_path = "/"

    def __init__(self) -> None:
        super().__init__()
        self._folder = NodeFolder("portkey")

    def missing(self) -> str | None:
        try:
            self._folder.install()
        except NotInstalledError as fault:
            return f"it could not be installed: {fault}"
        return None

    def version(self) -> str:
        description = self._package / "package.json"
        return str(orjson.loads(description.read_bytes())["version"])

    def prepare(self, place: Workplace) -> None:
        self.headers = {
            "Authorization": "Bearer sk-nobody-checks-this",
            "x-portkey-provider": "openai",
            "x-portkey-custom-host": f"{place.upstream_url}/v1",
        }

    def command(self, _place: Workplace) -> Sequence[str | Path]:
        node = self._folder.modules / ".bin" / "node"
        server = self._package / "build" / "start-server.js"
        return [node, server, f"--port={self.port}", "--headless"]

    def environment(self, _place: Workplace) -> Mapping[str, str]:
        return {"NODE_ENV": "production"}

    @property
    def _package(self) -> Path:
        return self._folder.modules / "@portkey-ai" / "gateway"
