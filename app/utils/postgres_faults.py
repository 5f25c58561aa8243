"""Why Postgres could not be reached, in words that a terminal may show."""

from __future__ import annotations

from sqlalchemy.exc import OperationalError


def why_unreachable(fault: BaseException | None) -> str:
    """Return the last part of libpq's first line: `Connection refused`, `password … failed`.

    What stands before it names the address, in which a part of a badly written password may be.
    """
    said = str(fault.orig).strip() if isinstance(fault, OperationalError) else ""
    return said.partition("\n")[0].rpartition(": ")[2].strip() or type(fault).__name__
