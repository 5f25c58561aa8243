"""From an ASGI scope to the WSGI environ that Flask's request is made of (PEP 3333)."""

from __future__ import annotations

import sys
from collections.abc import MutableMapping
from io import BytesIO
from typing import Any

# Names that CGI gives no HTTP_ prefix.
_PLAIN = {b"content-type": "CONTENT_TYPE", b"content-length": "CONTENT_LENGTH"}


def build_environ(scope: MutableMapping[str, Any]) -> dict[str, Any]:
    """Return the environ of a request whose body has not been read yet."""
    host, port = scope.get("server") or ("localhost", 80)
    client = scope.get("client") or ("", 0)
    environ: dict[str, Any] = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": scope.get("root_path", ""),
        # WSGI has bytes, dressed as latin-1 text.
        "PATH_INFO": scope["path"].encode().decode("latin-1"),
        "QUERY_STRING": scope["query_string"].decode("latin-1"),
        "SERVER_NAME": host,
        "SERVER_PORT": str(port),
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "REMOTE_ADDR": client[0],
        "REMOTE_PORT": str(client[1]),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope.get("scheme", "http"),
        "wsgi.input": BytesIO(),
        "wsgi.input_terminated": True,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    _add_headers(environ, scope["headers"])
    return environ


def set_body(environ: dict[str, Any], body: bytes) -> None:
    """Put a body that has been read into ``environ``, however it was framed on the way."""
    environ["wsgi.input"] = BytesIO(body)
    if body or "CONTENT_LENGTH" in environ:
        environ["CONTENT_LENGTH"] = str(len(body))
    environ.pop("HTTP_TRANSFER_ENCODING", None)


def _add_headers(environ: dict[str, Any], headers: list[tuple[bytes, bytes]]) -> None:
    for raw_name, raw_value in headers:
        name = (
            _PLAIN.get(raw_name) or f"HTTP_{raw_name.decode('latin-1').upper().replace('-', '_')}"
        )
        value = raw_value.decode("latin-1")
        if name in environ and name not in _PLAIN.values():
            separator = "; " if name == "HTTP_COOKIE" else ", "
            value = f"{environ[name]}{separator}{value}"
        environ[name] = value
