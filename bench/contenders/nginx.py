"""nginx `proxy_pass`: the least that a hop can cost."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from bench.contenders.base import Contender, Workplace
from bench.machine import first_words_of

_CONFIG = """
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr error;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    keepalive_requests 100000000;
    upstream provider {{
        server 127.0.0.1:{upstream_port};
        keepalive 256;
        keepalive_requests 100000000;
    }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{
            proxy_pass http://provider;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering off;
        }}
    }}
}}
"""


class Nginx(Contender):
    name = "nginx"
    title = "nginx proxy_pass"
    ready_path = "/health/readiness"

    def __init__(self) -> None:
        super().__init__()
        # Not on every user's path.
        self._binary = shutil.which("nginx") or shutil.which(
            "nginx", path="/usr/sbin:/usr/local/sbin"
        )

    def missing(self) -> str | None:
        return None if self._binary else "nginx is not installed"

    def version(self) -> str:
        return first_words_of([self._binary or "nginx", "-v"]).rpartition("/")[2]

    def prepare(self, place: Workplace) -> None:
        config = _CONFIG.format(
            folder=place.folder, upstream_port=place.upstream_port, port=self.port
        )
        (place.folder / "nginx.conf").write_text(config)

    def command(self, place: Workplace) -> Sequence[str | Path]:
        assert self._binary is not None
        config = place.folder / "nginx.conf"
        # -e: before it reads its configuration it would log to a file of the system's.
        return [self._binary, "-e", "stderr", "-p", place.folder, "-c", config]
