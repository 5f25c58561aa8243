"""The proxy as in production, with one view more: what its worker holds."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections import Counter
from typing import Any

from gunicorn.asgi.protocol import ASGIProtocol

from app.asgi import AsgiServer, create_asgi_app

HELD_PATH = "/bench/held"


def create() -> AsgiServer:
    """Make what gunicorn serves."""
    server = create_asgi_app()
    server.app.add_url_rule(HELD_PATH, view_func=held)
    return server


async def held() -> dict[str, Any]:
    """Count the tasks by what they run, connections in memory, the question's in both, and the
    blocks that Python has in use."""
    names = (getattr(task.get_coro(), "__qualname__", "?") for task in asyncio.all_tasks())
    gc.collect()
    connections = sum(isinstance(it, ASGIProtocol) for it in gc.get_objects())
    return {
        "tasks": dict(Counter(names)),
        "connections": connections,
        "blocks": sys.getallocatedblocks(),
    }
