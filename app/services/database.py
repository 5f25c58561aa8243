"""Sessions for the stores of what is not the ledger: blocking, one unit of work each."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm import Session

from app.utils.exceptions import DatabaseUnavailableError

logger = logging.getLogger(__name__)


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
