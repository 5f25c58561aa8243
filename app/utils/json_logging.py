"""JSON logs for the whole process: a constant event name, and facts in fields."""

from __future__ import annotations

import logging
import sys
from contextvars import ContextVar
from typing import Any

request_id_var: ContextVar[str | None] = ContextVar("request_id", default=None)


class RequestIdFilter(logging.Filter):
    """Puts the id of the request being served on every record."""

    def filter(self, record: logging.LogRecord) -> bool:
        if not hasattr(record, "request_id"):
            record.request_id = request_id_var.get()
        return True


# No line names threads, processes or tasks, so they need not be looked up for each record.
logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
if sys.version_info >= (3, 12):
    logging.logAsyncioTasks = False


def logging_config(level: str) -> dict[str, Any]:
    """Return the dictConfig of this process; gunicorn takes the same."""
    handler = {
        "class": "logging.StreamHandler",
        "formatter": "json",
        "filters": ["request_id"],
        # Standard output belongs to commands' results.
        "stream": "ext://sys.stderr",
    }
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "json": {
                "()": "pythonjsonlogger.orjson.OrjsonFormatter",
                "fmt": "%(levelname)s %(name)s %(message)s %(request_id)s",
                "rename_fields": {"levelname": "level", "name": "logger", "message": "event"},
                "timestamp": True,
            }
        },
        "filters": {"request_id": {"()": "app.utils.json_logging.RequestIdFilter"}},
        "handlers": {"stderr": handler},
        "root": {"level": level, "handlers": ["stderr"]},
        "loggers": {
            # gunicorn has handlers of its own unless it is told otherwise.
            "gunicorn.error": {"level": level, "handlers": ["stderr"], "propagate": False},
            "gunicorn.access": {"level": "WARNING", "handlers": ["stderr"], "propagate": False},
            "alembic": {"level": "WARNING"},
        },
    }
