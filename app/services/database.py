"""Sessions for the stores of what is not the ledger: blocking, one unit of work each.

From the event loop they are asked in threads, and not waited for without end.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm import Session

from app.utils.exceptions import DatabaseUnavailableError

logger = logging.getLogger(__name__)

# A Postgres that says nothing for so long is away.
PATIENCE_S = 2.0

P = ParamSpec("P")
T = TypeVar("T")


async def in_thread(query: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a blocking query in a thread. Raises: DatabaseUnavailableError, also for its silence."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            return await asyncio.to_thread(query, *args, **kwargs)
    except TimeoutError as fault:
        raise DatabaseUnavailableError(retry_after_s=5) from fault


@contextmanager
def session_on(engine: Engine) -> Iterator[Session]:
    """Open a session; what was not committed is undone.

    Raises: DatabaseUnavailableError, when Postgres is away; IntegrityError as it is.
    """
    try:
        with Session(engine) as session:
            yield session
    except IntegrityError:
        raise
    except (DBAPIError, PoolTimeoutError) as fault:
        # Of the fault only its kind: its text may quote rows.
        kind = type(getattr(fault, "orig", None) or fault).__name__
        logger.warning("database_unavailable", extra={"fault": kind})
        raise DatabaseUnavailableError(retry_after_s=5) from fault
