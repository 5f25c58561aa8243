"""`python -m bench.webhook_sender`: what the callback costs LiteLLM's own calls, with its receiver
there and with nobody there, beside a LiteLLM without it. All three run through every round."""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import median, quantiles

import aiohttp
import yaml

from app.config.settings import PROJECT_ROOT
from app.embedded.litellm_server import CALLBACK
from app.embedded.network import free_port
from bench import wire
from bench.contenders.base import Workplace
from bench.contenders.litellm import LiteLLM
from bench.machine import Cores, on_core
from bench.table import Block, duration, in_columns
from bench.workplace import open_workplace

BINARY = PROJECT_ROOT / "var" / "litellm-venv" / "bin" / "litellm"
WARM_UP = 50
CLIENTS = (1, 8)
QUESTION = {"model": wire.MODEL, "messages": [{"role": "user", "content": "Bom dia!"}]}

Times = dict[tuple[str, int], list[tuple[float, float, float]]]


class WithCallback(LiteLLM):
    """LiteLLM with the shipped callback, or without where there is no ``url``."""

    def __init__(self, title: str, url: str | None) -> None:
        super().__init__(BINARY)
        self.title = title
        self._url = url

    def environment(self, place: Workplace) -> Mapping[str, str]:
        own = {"SOLARIS_WEBHOOK_URL": self._url, "WEBHOOK_SECRET": "bench-webhook-secret-of-a-run"}
        return {**super().environment(place), **(own if self._url else {})}  # type: ignore[dict-item]

    def prepare(self, place: Workplace) -> None:
        self._config(place).parent.mkdir()
        super().prepare(place)
        if self._url:
            shutil.copy(CALLBACK, self._config(place).parent)
            config = yaml.safe_load(self._config(place).read_text())
            names = [f"{CALLBACK.stem}.proxy_handler_instance"]
            config["litellm_settings"] = {"callbacks": names}
            self._config(place).write_text(yaml.safe_dump(config))

    def _config(self, place: Workplace) -> Path:
        return place.folder / self.title.replace(" ", "-") / "litellm.yaml"


def main() -> int:
    options = _options()
    cores = Cores.choose()
    with ExitStack() as cleanup:
        place = open_workplace(cores, cleanup)
        receiver = cleanup.enter_context(_receiver())
        nowhere = f"http://127.0.0.1:{free_port()}/api/webhooks/litellm"
        contenders = [
            WithCallback("without", None),
            WithCallback("receiver there", receiver.url),
            WithCallback("receiver away", nowhere),
        ]
        for it in contenders:
            cleanup.callback(it.stop)
            it.start(place)
        with on_core(cores.load):
            times = asyncio.run(_rounds(contenders, options.rounds, options.calls))
    print("\n".join(in_columns(Block(COLUMNS, _rows(contenders, times)))))
    print(f"\nmedians of {options.rounds} rounds of {options.calls} calls, interleaved;", end=" ")
    print(f"the receiver took {receiver.taken:,} deliveries")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.webhook_sender")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--calls", type=int, default=300)
    return parser.parse_args()


async def _rounds(contenders: list[WithCallback], rounds: int, calls: int) -> Times:
    times: Times = {(it.title, clients): [] for it in contenders for clients in CLIENTS}
    for it in contenders:
        await _ask(it, WARM_UP, 4)
    for number in range(rounds):
        # Whoever is first has a machine that another has warmed.
        order = contenders[number % 3 :] + contenders[: number % 3]
        for clients in CLIENTS:
            for it in order:
                times[it.title, clients].append(await _ask(it, calls, clients))
    return times


async def _ask(contender: WithCallback, calls: int, clients: int) -> tuple[float, float, float]:
    """Return calls a second, the median and the 99th percentile of how long one took."""
    left, took = iter(range(calls)), list[float]()
    url = f"http://127.0.0.1:{contender.port}{wire.CHAT_PATH}"

    async def client(session: aiohttp.ClientSession) -> None:
        for _ in left:
            began_at_s = time.perf_counter()
            async with session.post(url, json=QUESTION, headers=contender.headers) as answer:
                await answer.read()
            took.append(time.perf_counter() - began_at_s)
            if answer.status != 200:
                raise SystemExit(f"{contender.title}: {answer.status}")

    began_at_s = time.perf_counter()
    async with aiohttp.ClientSession() as session:
        await asyncio.gather(*(client(session) for _ in range(clients)))
    rate = calls / (time.perf_counter() - began_at_s)
    return rate, quantiles(took, n=100)[49], quantiles(took, n=100)[98]


COLUMNS = ("callback", "clients", "calls/s", "ratio", "p50", "ratio", "p99")


def _rows(contenders: list[WithCallback], times: Times) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for clients in CLIENTS:
        base = [median(it[n] for it in times[contenders[0].title, clients]) for n in range(3)]
        for contender in contenders:
            own = [median(it[n] for it in times[contender.title, clients]) for n in range(3)]
            ratios = (f"{own[0] / base[0]:.2f}", f"{own[1] / base[1]:.2f}")
            rate = (contender.title, str(clients), f"{own[0]:,.0f}", ratios[0])
            rows.append((*rate, duration(own[1]), ratios[1], duration(own[2])))
    return rows


class _Receiver(BaseHTTPRequestHandler):
    """Takes everything."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.taken += 1  # type: ignore[attr-defined]
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


class _Server(ThreadingHTTPServer):
    taken = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/api/webhooks/litellm"


@contextmanager
def _receiver() -> Iterator[_Server]:
    with _Server(("127.0.0.1", 0), _Receiver) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()


if __name__ == "__main__":
    sys.exit(main())
