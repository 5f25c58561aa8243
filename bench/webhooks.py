"""`python -m bench.webhooks`: how soon LiteLLM's events are acknowledged, with Postgres there and
with Postgres stopped. Each acknowledgement says that they are synced to the disk."""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import hmac
import sys
import time
from contextlib import ExitStack
from datetime import UTC, datetime
from statistics import quantiles

import aiohttp
import orjson

from app.utils.helpers import generate_request_id
from bench.contenders.base import STOP_GRACE_S
from bench.contenders.solaris import Solaris
from bench.machine import Cores, on_core
from bench.table import Block, duration, in_columns
from bench.workplace import open_workplace

AIM_S = 0.05
PATH = "/api/webhooks/litellm"
WARM_UP = 100


class Receiver(Solaris):
    """The proxy, whose Postgres can be stopped while it runs."""

    @property
    def secret(self) -> bytes:
        return b"bench-webhook-secret-of-one-run"

    def stop_postgres(self) -> None:
        assert self._postgres is not None
        self._postgres.stop(STOP_GRACE_S)


def main() -> int:
    options = _options()
    cores = Cores.choose()
    rows: list[tuple[str, ...]] = []
    p99s: list[float] = []
    with ExitStack() as cleanup:
        place = open_workplace(cores, cleanup)
        receiver = Receiver()
        cleanup.callback(receiver.stop)
        receiver.start(place)
        with on_core(cores.load):
            asyncio.run(_load(receiver, WARM_UP, 4, 1))
            for state in ("there", "stopped"):
                if state == "stopped":
                    receiver.stop_postgres()
                for senders, events in ((1, 1), (16, 1), (4, 100)):
                    began_at_s = time.perf_counter()
                    times = asyncio.run(_load(receiver, options.deliveries, senders, events))
                    rate = len(times) / (time.perf_counter() - began_at_s)
                    p50, p99 = (quantiles(times, n=100)[it] for it in (49, 98))
                    p99s += [p99] if state == "stopped" else []
                    numbers = (f"{senders}", f"{events}", f"{rate:,.0f}")
                    spans = tuple(map(duration, (p50, p99, max(times))))
                    rows.append((f"Postgres {state}", *numbers, *spans))
    columns = ("", "senders", "events in each", "deliveries/s", "p50", "p99", "longest")
    print("\n".join(in_columns(Block(columns, rows))))
    print(f"\n{options.deliveries:,} deliveries each; aim: p99 ≤ {duration(AIM_S)} with it stopped")
    return 0 if max(p99s) <= AIM_S else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.webhooks")
    parser.add_argument("--deliveries", type=int, default=2000)
    return parser.parse_args()


async def _load(receiver: Receiver, count: int, senders: int, events: int) -> list[float]:
    """Deliver so often, each sender one after the other; return how long each took."""
    left = iter(range(count))
    times: list[float] = []
    url = f"http://127.0.0.1:{receiver.port}{PATH}"

    async def send(session: aiohttp.ClientSession) -> None:
        for _ in left:
            body = orjson.dumps([_event() for _ in range(events)])
            code = hmac.new(receiver.secret, body, hashlib.sha256).hexdigest()
            headers = {"X-Signature-256": f"sha256={code}"}
            began_at_s = time.perf_counter()
            async with session.post(url, data=body, headers=headers) as answer:
                said = await answer.json()
            times.append(time.perf_counter() - began_at_s)
            if (answer.status, said.get("accepted")) != (200, events):
                raise SystemExit(f"{answer.status}: {said}")

    async with aiohttp.ClientSession() as session:
        await asyncio.gather(*(send(session) for _ in range(senders)))
    return times


def _event() -> dict[str, object]:
    return {
        "event_type": "request_end",
        "id": generate_request_id(),
        "timestamp": datetime.now(UTC).isoformat(),
        "data": {
            "request_id": generate_request_id(),
            "user_id": "0123456789abcdef0123456789abcdef",
            "model": "gpt-4o",
            "model_used": "openai/gpt-4o",
            "provider": "openai",
            "status": "success",
            "usage": {"prompt_tokens": 1200, "completion_tokens": 250, "total_tokens": 1450},
            "cost": 0.0055,
            "response_time_ms": 2200,
        },
    }


if __name__ == "__main__":
    sys.exit(main())
