"""The proxy as in production, with one view more: what its event loop has under way."""

from __future__ import annotations

import asyncio
from collections import Counter

from app.asgi import AsgiServer, create_asgi_app

TASKS_PATH = "/bench/tasks"


def create() -> AsgiServer:
    """Make what gunicorn serves."""
    server = create_asgi_app()
    server.app.add_url_rule(TASKS_PATH, view_func=tasks)
    return server


async def tasks() -> dict[str, int]:
    """Count the tasks by what they run; those of the question itself are among them, always."""
    names = (getattr(task.get_coro(), "__qualname__", "?") for task in asyncio.all_tasks())
    return dict(Counter(names))
