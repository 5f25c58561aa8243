"""A budget for everybody binds people and teams whom nobody has heard of, at their first calls."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
import yaml
from sqlalchemy import create_engine, text

from app.config.catalog import load_catalog
from app.config.settings import LiteLLMSettings, Settings
from app.utils.helpers import calculate_cost
from tests.fakes.litellm import FakeLiteLLM, completion
from tests.servers import ProxyServer, run_solaris

ROOM, CALLS, ROUNDS = 3, 20, 10
OUTPUT_TOKENS = 90
MODEL = "gpt-4o"
BODY = orjson.dumps(
    {
        "model": MODEL,
        "messages": [{"role": "user", "content": "Olá!"}],
        "max_tokens": OUTPUT_TOKENS,
    }
)
# Every byte of the body may be a token; all that is held is used, so that no room comes back.
HELD_TOKENS = len(BODY) + OUTPUT_TOKENS
USAGE = {"prompt_tokens": len(BODY), "completion_tokens": OUTPUT_TOKENS}
PRICES = load_catalog(LiteLLMSettings().config_path).models[MODEL].prices
HELD_MICRO_USD = calculate_cost((len(BODY), PRICES.input), (OUTPUT_TOKENS, PRICES.output))
EXPECTED = Counter({(200, None): ROOM, (402, "insufficient_quota"): CALLS - ROOM})

# By scope: the headers that name somebody new.
NAMED: dict[str, Callable[[int], dict[str, str]]] = {
    "user": lambda number: {"X-Solaris-User-Id": f"new-{number}"},
    "team": lambda number: {"X-Solaris-Team": f"new-{number}"},
}


def room_for(held: int) -> int:
    """Return a limit with room for exactly so many, and not quite for one more."""
    return ROOM * held + held - 1


def config_with(folder: Path, scope: str) -> str:
    """Write a configuration in which each of ``scope`` has room for three calls a month."""
    document = yaml.safe_load(LiteLLMSettings().config_path.read_text())
    limit_usd = room_for(HELD_MICRO_USD) / 1_000_000
    entry = {"each": scope, "max_budget": limit_usd, "budget_duration": "1mo"}
    document["solaris"]["budget_and_rate_limits"].append(entry)
    path = folder / "litellm.yaml"
    path.write_text(yaml.safe_dump(document))
    return str(path)


@pytest.mark.parametrize("scope", ["user", "team"])
def test_default_of_the_configuration_binds_the_very_first_calls_at_once(
    start_proxy: Callable[..., ProxyServer],
    upstream: FakeLiteLLM,
    make_key: Callable[..., str],
    settings: Settings,
    tmp_path: Path,
    scope: str,
) -> None:
    upstream.default = completion(usage=USAGE)
    config = config_with(tmp_path, scope)
    key = make_key(trusted=True)
    proxy = start_proxy(workers=2, env={"USER_CONCURRENCY": "0", "LITELLM_CONFIG": config})

    rounds = asyncio.run(race(proxy.url, key, scope))

    assert rounds == [EXPECTED] * ROUNDS
    assert len(upstream.calls) == ROOM * ROUNDS
    assert posted(settings, scope) == [ROOM * HELD_MICRO_USD] * ROUNDS


@pytest.mark.parametrize("scope", ["user", "team"])
def test_default_of_the_command_binds_the_very_first_calls_at_once(
    start_proxy: Callable[..., ProxyServer],
    upstream: FakeLiteLLM,
    make_key: Callable[..., str],
    settings: Settings,
    scope: str,
) -> None:
    upstream.default = completion(usage=USAGE)
    key = make_key(trusted=True)
    proxy = start_proxy(workers=2, env={"USER_CONCURRENCY": "0"})
    place = ("--scope", scope, "--subject", "*", "--metric", "tokens", "--period", "month")
    limit = str(room_for(HELD_TOKENS))
    made = run_solaris(proxy.environment, "budgets", "set", *place, "--limit", limit)

    rounds = asyncio.run(race(proxy.url, key, scope))

    assert made.returncode == 0, made.stderr
    assert rounds == [EXPECTED] * ROUNDS
    assert len(upstream.calls) == ROOM * ROUNDS
    assert posted(settings, scope) == [ROOM * HELD_TOKENS] * ROUNDS


async def race(url: str, key: str, scope: str) -> list[Counter[tuple[int, str | None]]]:
    """Let somebody new make all their first calls at once, in each round somebody else."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        return [
            Counter(
                await asyncio.gather(
                    *(call(session, url, key, NAMED[scope](number)) for _ in range(CALLS))
                )
            )
            for number in range(ROUNDS)
        ]


async def call(
    session: aiohttp.ClientSession, url: str, key: str, named: dict[str, str]
) -> tuple[int, str | None]:
    headers = {"Authorization": f"Bearer {key}", **named}
    async with session.post(f"{url}/v1/chat/completions", data=BODY, headers=headers) as answer:
        body: dict[str, Any] = orjson.loads(await answer.read())
        return answer.status, body.get("error", {}).get("code")


def posted(settings: Settings, scope: str) -> list[int]:
    """Return what is posted for each, when nothing is pending any more."""
    engine = create_engine(settings.database.url)
    query = text(
        "SELECT posted, pending FROM budget_lines JOIN budgets ON budgets.id = budget_id"
        " WHERE scope = :scope"
    )
    try:
        for _ in range(200):
            with engine.connect() as connection:
                rows = connection.execute(query, {"scope": scope}).all()
            if not any(pending for _, pending in rows):
                return [amount for amount, _ in rows]
        raise AssertionError("tokens are still held")
    finally:
        engine.dispose()
