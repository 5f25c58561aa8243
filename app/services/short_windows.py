"""Budgets by the minute, in Redis: shared by all workers and machines, and gone with their window.

While Redis is away each worker goes by its own part of them.

The keys of one call are taken together, so this is not for a Redis Cluster.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from redis.asyncio.client import Pipeline

from app.ledger.book import (
    LEAST_OUTPUT_TOKENS,
    NOTHING,
    Demand,
    Entry,
    Granted,
    Refused,
    Reserve,
    Spend,
    Standing,
)
from app.ledger.rules import Account
from app.ledger.windows import OwnWindows, entries_of, rate_of
from app.services.redis_link import Answers, Commands, RedisLink
from app.utils.clock import Clock

PREFIX = "solaris:window:"
# Machines' clocks differ: one may still be in a window that is over for another.
CLOCKS_DIFFER_S = 10.0

# The rules of `Book._reserve`. One key a window, which holds posted + pending.
# ARGV: output tokens, 1 if they may be cut, the least they may be cut to; then for each window:
# limit, 1 if enforced, base, per output, scale, milliseconds to live.
# Returns {1, what each window had left, output tokens, the shadow windows without room …}, else
# {0, what each has left, which window has no room, what was needed}.
TAKE = """
local output, least = tonumber(ARGV[1]), tonumber(ARGV[3])
local windows, rests = {}, {}
for i, key in ipairs(KEYS) do
  local at = 3 + (i - 1) * 6
  windows[i] = {
    left = tonumber(ARGV[at + 1]) - tonumber(redis.call('GET', key) or '0'),
    is_enforced = ARGV[at + 2] == '1',
    base = tonumber(ARGV[at + 3]),
    per_output = tonumber(ARGV[at + 4]),
    scale = tonumber(ARGV[at + 5]),
    life_ms = ARGV[at + 6],
  }
  rests[i] = windows[i].left
end
if ARGV[2] == '1' then
  for _, it in ipairs(windows) do
    if it.is_enforced and it.per_output > 0 then
      output = math.min(output, math.floor((it.left * it.scale - it.base) / it.per_output))
    end
  end
  output = math.max(output, least)
end
local answer = {1, rests, output}
for i, it in ipairs(windows) do
  it.amount = math.ceil((it.base + output * it.per_output) / it.scale)
  if it.amount > it.left then
    if it.is_enforced then return {0, rests, i, it.amount} end
    table.insert(answer, i)
  end
end
for i, it in ipairs(windows) do
  redis.call('INCRBY', KEYS[i], string.format('%.0f', it.amount))
  redis.call('PEXPIRE', KEYS[i], it.life_ms)
end
return answer
"""

# Adds what was really taken and takes away what was held. A window that is gone stays gone, and one
# that was lost meanwhile, and begun anew, owes nothing.
CORRECT = """
for i, key in ipairs(KEYS) do
  local used = redis.call('GET', key)
  if used then
    local now = math.max(0, tonumber(used) + tonumber(ARGV[i]))
    redis.call('SET', key, string.format('%.0f', now), 'KEEPTTL')
  end
end
"""


@dataclass(frozen=True, slots=True)
class Taken:
    """What one attempt has in the windows."""

    hold_id: str
    output_tokens: int
    would_refuse: tuple[Account, ...]
    entries: tuple[Entry, ...]
    # In Redis; else in this worker's own.
    is_shared: bool
    standings: tuple[Standing, ...] = field(default=(), compare=False)


class ShortWindows:
    """Takes all windows of a call or none. One instance a process, on its one loop."""

    def __init__(self, link: RedisLink, workers: int, clock: Clock) -> None:
        self._link = link
        self._own = OwnWindows(workers)
        self._clock = clock

    async def take(self, wish: Reserve) -> Taken | Refused:
        """Take the windows that ``wish`` names, which may be none."""
        if not wish.accounts:
            return Taken(wish.request_id, wish.demand.output_tokens, (), (), is_shared=False)
        asked = self._link.submit(_take(wish, self._clock.now()))
        try:
            answers = await asyncio.shield(asked)
        except asyncio.CancelledError:
            asked.add_done_callback(lambda asked: self._give_up(wish, asked.result()))
            raise
        if answers is None:
            return _taken(wish, self._own.take(wish, self._clock.now()), is_shared=False)
        return _taken(wish, _outcome(wish, answers[0]), is_shared=True)

    def _give_up(self, wish: Reserve, answers: Answers | None) -> None:
        """Give back what was taken for a caller who left meanwhile."""
        if answers is not None:
            taken = _taken(wish, _outcome(wish, answers[0]), is_shared=True)
            if isinstance(taken, Taken):
                self.give_back(taken)

    def settle(self, taken: Taken, spend: Spend) -> asyncio.Future[Answers | None]:
        """Put what a call really took in the place of what it held, before anything else is taken;
        return when that is done, to be awaited or not."""
        if taken.is_shared:
            return self._correct(taken.entries, spend)
        self._own.settle(taken.hold_id, spend)
        return _done()

    def give_back(self, taken: Taken) -> asyncio.Future[Answers | None]:
        if taken.is_shared:
            return self._correct(taken.entries, NOTHING)
        self._own.release(taken.hold_id)
        return _done()

    def _correct(self, entries: Sequence[Entry], spend: Spend) -> asyncio.Future[Answers | None]:
        # Redis away: it stays as it was held, and the minute is soon over.
        changes = {_key(it): spend.of(it.metric) - it.held for it in entries}
        changed = {key: change for key, change in changes.items() if change}
        if not changed:
            return _done()
        return self._link.submit(
            lambda pipeline: pipeline.eval(CORRECT, len(changed), *changed, *changed.values())
        )


def _taken(wish: Reserve, outcome: Granted | Refused, *, is_shared: bool) -> Taken | Refused:
    if isinstance(outcome, Refused):
        return outcome
    entries = entries_of(wish.accounts, wish.demand.spend(outcome.output_tokens))
    return Taken(
        wish.request_id,
        outcome.output_tokens,
        outcome.would_refuse,
        entries,
        is_shared,
        outcome.standings,
    )


def _done() -> asyncio.Future[Answers | None]:
    future: asyncio.Future[Answers | None] = asyncio.get_running_loop().create_future()
    future.set_result(None)
    return future


def _take(wish: Reserve, now: datetime) -> Commands:
    demand = wish.demand
    least = min(LEAST_OUTPUT_TOKENS, demand.output_tokens)
    keys = [_key(entry) for entry in entries_of(wish.accounts, Spend(0, 0))]
    arguments: list[int] = [demand.output_tokens, int(demand.is_flexible), least]
    for account in wish.accounts:
        arguments += _terms(account, demand, now)

    def commands(pipeline: Pipeline) -> None:
        pipeline.eval(TAKE, len(keys), *keys, *arguments)

    return commands


def _terms(account: Account, demand: Demand, now: datetime) -> list[int]:
    budget, rate = account.budget, rate_of(account.budget.metric, demand)
    life_s = max(0.0, (account.window.end - now).total_seconds()) + CLOCKS_DIFFER_S
    return [
        budget.limit,
        int(budget.is_enforced),
        rate.base,
        rate.per_output,
        rate.scale,
        int(life_s * 1000),
    ]


def _outcome(wish: Reserve, answer: Sequence[Any]) -> Granted | Refused:
    is_granted, rests, first, *others = answer
    lefts = zip(wish.accounts, rests, strict=True)
    standings = tuple(Standing(account, left) for account, left in lefts if account.is_own)
    if is_granted:
        shadows = tuple(wish.accounts[number - 1] for number in others)
        return Granted(first, shadows, standings)
    return Refused(wish.accounts[first - 1], rests[first - 1], others[0], standings)


def _key(entry: Entry) -> str:
    budget_id, subject, start = entry.key
    return f"{PREFIX}{budget_id}:{int(start.timestamp())}:{subject}"
