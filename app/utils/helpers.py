"""Request ids and the arithmetic of money."""

from __future__ import annotations

import secrets
import time
from datetime import UTC, datetime
from uuid import UUID

MICRO_USD = 1_000_000
TOKENS_PER_PRICE = 1_000_000
# Of a UUID as text.
_ID_LENGTH, _VERSION_AT = 36, 14


def generate_request_id() -> str:
    """Return a UUIDv7 (RFC 9562 §5.7): unique, and in order of time, so that indexes stay dense."""
    milliseconds = time.time_ns() // 1_000_000
    value = (milliseconds & (2**48 - 1)) << 80 | secrets.randbits(80)
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return str(UUID(int=value))


def calculate_cost(*parts: tuple[int, int]) -> int:
    """Return what a call costs in micro-USD, rounded up once.

    Each part is (tokens, price), the price in integer micro-USD per million tokens.
    """
    return -(-sum(tokens * price for tokens, price in parts) // TOKENS_PER_PRICE)


def format_usd(micro_usd: int) -> str:
    """Return dollars with all six decimals, exact: 1234567 becomes '1.234567'."""
    sign = "-" if micro_usd < 0 else ""
    whole, fraction = divmod(abs(micro_usd), MICRO_USD)
    return f"{sign}{whole}.{fraction:06d}"


def time_of_request_id(request_id: str) -> datetime | None:
    """Return when an id of `generate_request_id` was made; None for any other."""
    if len(request_id) != _ID_LENGTH or request_id[_VERSION_AT] != "7":
        return None
    try:
        milliseconds = int(request_id[:8] + request_id[9:13], 16)
    except ValueError:
        return None
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
