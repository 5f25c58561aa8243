"""`python -m bench.soak`: many streams for a minute, several times; what comes, and what stays.

Through gunicorn with one worker, as in production. After each round, when everything has come to
rest, the worker's memory, sockets, tasks and connections are compared with what they were before.
The first round is the warm-up: the allocator keeps the arenas that it took, so that resident memory
is judged from the second on; the bytes, the blocks that Python has in use, and all else, from the
first.
"""

from __future__ import annotations

import argparse
import sys
import time
import urllib.request
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import orjson
import psutil
import uvloop

from app.embedded.processes import ChildDiedError
from bench.contenders.base import StartError, Workplace
from bench.contenders.solaris import Solaris
from bench.machine import BusyMeter, Cores, Machine, MemoryWatch, on_core
from bench.rounds import WARM_STREAMS
from bench.streams import StreamPlan, StreamsOutcome, run_streams
from bench.table import Block, in_columns
from bench.watched_app import HELD_PATH
from bench.wire import CHUNKS_PER_S
from bench.workplace import (
    INTERRUPTED,
    allow_many_connections,
    ignore_further_interrupts,
    open_workplace,
    say,
    take_signals_as_interrupt,
)

# What may stay of a round's memory: R7 of the reliability catalogue.
MEMORY_AIM = 1.10
# Idle connections to LiteLLM are closed after 4 s, those of callers when they leave.
RESTS_WITHIN_S = 24.0
# The worker gives memory back when it has been idle for four.
MEMORY_BACK_AFTER_S = 6.0
# gunicorn keeps what belongs to a connection, such as that of a look, for three after its end.
POLL_S = 4.0
MEGABYTE = 1024 * 1024


class WatchedSolaris(Solaris):
    """The same gunicorn with the same settings, and a view that tells what it holds."""

    title = "IA SOLARIS Proxy, watched"

    def command(self, _place: Workplace) -> Sequence[str | Path]:
        gunicorn = self._binary.with_name("gunicorn")
        return [gunicorn, "--config", "gunicorn.conf.py", "bench.watched_app:create()"]


@dataclass(frozen=True, slots=True)
class Rest:
    """What the worker holds while nobody calls, beside its memory."""

    # Ends of connections with callers and with LiteLLM.
    sockets: int
    threads: int
    tasks: dict[str, int]
    # What gunicorn made for callers' connections and has not been freed.
    connections: int
    # Pieces of memory that Python has in use: resident memory without what the allocator keeps.
    blocks: int

    def __str__(self) -> str:
        return (
            f"{self.sockets} sockets, {sum(self.tasks.values())} tasks, {self.threads} threads,"
            f" {self.connections} connections in memory, {self.blocks:,} blocks in use"
        )


@dataclass(frozen=True, slots=True)
class Round:
    outcome: StreamsOutcome
    before_bytes: int
    peak_bytes: int
    after_bytes: int
    rest: Rest
    blocks_before: int
    is_at_rest: bool
    server_busy: float
    # None in the first round, which warms up.
    memory_is_back: bool | None

    @property
    def is_sound(self) -> bool:
        is_identical = self.outcome.identical == self.outcome.streams
        is_level = self.blocks_ratio <= MEMORY_AIM and self.memory_is_back is not False
        return is_identical and self.is_at_rest and is_level

    @property
    def blocks_ratio(self) -> float:
        return self.rest.blocks / self.blocks_before


class Soak:
    """One worker, watched over all rounds."""

    def __init__(self, plan: StreamPlan, place: Workplace, solaris: WatchedSolaris) -> None:
        self._plan = plan
        self._place = place
        self._solaris = solaris
        self._worker: psutil.Process = solaris.worker()
        self._stream(WARM_STREAMS)
        self.at_first = self._settled(lambda rest: rest.sockets == 0)
        self._blocks = self.at_first.blocks

    def round(self, *, is_first: bool) -> Round:
        memory, meter = MemoryWatch(self._worker), BusyMeter(self._place.cores)
        outcome = self._stream(self._plan, memory)
        busy = meter.read().server
        time.sleep(MEMORY_BACK_AFTER_S)
        rest = self._settled(self._is_as_before)
        after_bytes = MemoryWatch(self._worker).idle_bytes
        blocks_before, self._blocks = self._blocks, rest.blocks
        return Round(
            outcome=outcome,
            before_bytes=memory.idle_bytes,
            peak_bytes=memory.peak_bytes,
            after_bytes=after_bytes,
            rest=rest,
            blocks_before=blocks_before,
            is_at_rest=self._is_as_before(rest),
            server_busy=busy,
            memory_is_back=None if is_first else after_bytes <= memory.idle_bytes * MEMORY_AIM,
        )

    def _stream(self, plan: StreamPlan, memory: MemoryWatch | None = None) -> StreamsOutcome:
        sample = memory.sample if memory else lambda: None
        return uvloop.run(run_streams(self._solaris.port, self._solaris.headers, plan, sample))

    def _settled(self, is_settled: Callable[[Rest], bool]) -> Rest:
        """Return what is held as soon as that has settled, or when it takes too long."""
        deadline_s = time.monotonic() + RESTS_WITHIN_S
        while not is_settled(rest := self._rest()) and time.monotonic() < deadline_s:
            time.sleep(POLL_S)
        return rest

    def _is_as_before(self, rest: Rest) -> bool:
        """Tell whether what is counted by ones is back, but for threads; a pool keeps its own."""
        first = self.at_first
        return replace(rest, threads=first.threads, blocks=first.blocks) == first

    def _rest(self) -> Rest:
        url = f"http://127.0.0.1:{self._solaris.port}{HELD_PATH}"
        with urllib.request.urlopen(url, timeout=10) as response:
            held = orjson.loads(response.read())
        return Rest(sockets=self._sockets(), threads=self._worker.num_threads(), **held)

    def _sockets(self) -> int:
        ports = {self._solaris.port, self._place.upstream_port}
        return sum(
            it.status != psutil.CONN_LISTEN and bool({it.laddr.port, it.raddr.port} & ports)
            for it in self._worker.net_connections("tcp")
            if it.raddr
        )


def main() -> int:
    given = _parser().parse_args()
    plan = StreamPlan(given.streams, round(given.seconds * CHUNKS_PER_S), given.ramp)
    take_signals_as_interrupt()
    allow_many_connections()
    try:
        return 0 if _soak(plan, given.rounds) else 1
    except KeyboardInterrupt:
        say("interrupted; everything is stopped")
        return INTERRUPTED
    except (StartError, ChildDiedError) as fault:
        say(str(fault))
        return 1


def _soak(plan: StreamPlan, rounds: int) -> bool:
    """Run all rounds and print them; tell whether every one is sound."""
    cores = Cores.choose()
    with on_core(cores.load), ExitStack() as cleanup:
        cleanup.callback(ignore_further_interrupts)
        solaris = WatchedSolaris()
        place = open_workplace(cores, cleanup)
        cleanup.callback(solaris.stop)
        say(f"starting {solaris.title}")
        solaris.start(place)
        soak = Soak(plan, place, solaris)
        results = []
        for number in range(rounds):
            results.append(soak.round(is_first=number == 0))
            say(f"round {number + 1}/{rounds}: {results[-1].outcome.identical:,} identical")
    print(_report(plan, cores, soak.at_first, results))
    return all(result.is_sound for result in results)


def _report(plan: StreamPlan, cores: Cores, at_first: Rest, rounds: list[Round]) -> str:
    machine = Machine.describe({})
    heading = [
        f"IA SOLARIS Proxy {machine.proxy}, measured {machine.measured_at}",
        f"{plan.streams:,} streams at a time, {plan.stream_s:g} s each; one worker on core"
        f" {cores.server}, load and mock upstream on core {cores.load}",
        f"at rest before: {at_first}",
    ]
    columns = (
        "round",
        "complete",
        "identical",
        "MB before",
        "peak",
        "after",
        "after ÷ before",
        "blocks",
        "after ÷ before",
        "sockets",
        "tasks",
        "connections",
        "threads",
        "server core",
        "",
    )
    rows = [_row(number, result) for number, result in enumerate(rounds, 1)]
    footnote = (
        f"at most × {MEMORY_AIM:.2f}: the blocks that Python has in use after every round, resident"
        " memory from the second on"
    )
    return "\n".join([*heading, "", *in_columns(Block(columns, rows)), "", footnote])


def _row(number: int, result: Round) -> tuple[str, ...]:
    return (
        f"{number}",
        f"{result.outcome.complete:,}",
        f"{result.outcome.identical:,}",
        *(
            f"{size / MEGABYTE:.1f}"
            for size in (result.before_bytes, result.peak_bytes, result.after_bytes)
        ),
        f"{result.after_bytes / result.before_bytes:.3f}",
        f"{result.rest.blocks:,}",
        f"{result.blocks_ratio:.3f}",
        f"{result.rest.sockets}",
        f"{sum(result.rest.tasks.values())}",
        f"{result.rest.connections}",
        f"{result.rest.threads}",
        f"{result.server_busy:.0%}",
        "sound" if result.is_sound else "NOT SOUND",
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench.soak",
        description="Soak one worker in streams, several times, and look at what stays.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--streams", type=int, default=1000, help="at a time")
    add("--seconds", type=float, default=60.0, help="of each stream")
    add("--rounds", type=int, default=3, help="of which the first warms up")
    add("--ramp", type=float, default=2.0, metavar="SECONDS", help="in which all streams begin")
    return parser


if __name__ == "__main__":
    sys.exit(main())
