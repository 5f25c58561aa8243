"""Streams whose tokens are counted on both sides, and what the ledger says of them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import web
from sqlalchemy import create_engine, text

from app.dialects.base import Needs
from app.ledger.size import likely_input_tokens
from tests.waiting import wait_until

BODY = orjson.dumps(
    {
        "model": "gpt-4o",
        "messages": [{"role": "user", "content": "conte"}],
        "stream": True,
        "max_tokens": 1000,
    }
)
# A token each, all of one size.
TOKEN = b'data: {"choices":[{"index":0,"delta":{"content":" um"}}]}\n\n'
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":%d,"completion_tokens":%d}}\n\n'
DONE = b"data: [DONE]\n\n"
PROMPT_TOKENS = likely_input_tokens(Needs(text_bytes=len(BODY)))


@dataclass
class CountingProvider:
    """Answers with so many tokens, one every ``pause_s``; ``written`` counts them by call."""

    tokens: int
    pause_s: float
    written: Counter[str] = field(default_factory=Counter)

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        call = request.headers["x-litellm-call-id"]
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for _ in range(self.tokens):
            await response.write(TOKEN)
            self.written[call] += 1
            await asyncio.sleep(self.pause_s)
        await response.write(USAGE % (PROMPT_TOKENS, self.tokens) + DONE)
        return response


@dataclass(frozen=True)
class Charged:
    """How one request ended in the ledger."""

    state: str
    tokens: int
    cost_micro_usd: int
    is_estimated: bool

    @property
    def output_tokens(self) -> int:
        return self.tokens - PROMPT_TOKENS


def charges(database_url: str, *, within_s: float = 10.0) -> Mapping[str, Charged]:
    """Return the end of every request's hold, when nothing is held any more."""
    engine = create_engine(database_url)
    try:
        wait_until(lambda: not _rows(engine, "state = 'pending'"), within_s)
        rows = _rows(engine, "true")
    finally:
        engine.dispose()
    return {
        row.request_id: Charged(row.state, row.posted[0], row.posted[1], row.is_estimated)
        for row in rows
    }


def _charged(row: Any) -> Charged:
    tokens, cost_micro_usd, _ = row.posted
    return Charged(row.state, tokens, cost_micro_usd, row.is_estimated)


def is_balanced(database_url: str, charged: Mapping[str, Charged]) -> bool:
    """Tell whether the company's money is that of the requests, with nothing pending."""
    engine = create_engine(database_url)
    query = text(
        "SELECT sum(posted) AS posted, sum(pending) AS pending FROM budget_lines"
        " JOIN budgets ON budgets.id = budget_id WHERE metric = 'cost' AND scope = 'global'"
    )
    try:
        with engine.connect() as connection:
            posted, pending = connection.execute(query).one()
    finally:
        engine.dispose()
    return bool(pending == 0 and posted == sum(it.cost_micro_usd for it in charged.values()))


def _rows(engine: Any, where: str) -> list[Any]:
    with engine.connect() as connection:
        query = text(f"SELECT request_id, state, posted, is_estimated FROM holds WHERE {where}")
        return list(connection.execute(query))
