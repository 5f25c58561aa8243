"""`python -m bench.profile`: whose work a call of the full job is.

Three views of the worker under load and alone: the CPU time of the loop's thread, the ledger's
and Postgres (the kernel counts it); whose code runs (py-spy looks, some hundred times a second);
and where the wall time of one reservation goes when nobody else calls.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path

import uvloop

from app.embedded.processes import ChildDiedError
from bench import wire
from bench.calls import run_calls
from bench.contenders.base import StartError, Workplace
from bench.contenders.solaris import Solaris, SolarisApart
from bench.installed import Environment, NotInstalledError
from bench.machine import Cores, CpuTimes, on_core
from bench.reserve_alone import reserve_alone_lines
from bench.rounds import warm_up
from bench.table import Block, in_columns
from bench.workplace import (
    INTERRUPTED,
    ignore_further_interrupts,
    open_workplace,
    say,
    take_signals_as_interrupt,
)

SAMPLES_A_SECOND = 199
WARM_UP_S = 2.0
# The first whose mark is in a frame's file has the sample, from the innermost frame outwards;
# those of the upper list have it with everything that they call.
Marks = tuple[tuple[str, tuple[str, ...]], ...]
WITH_ALL_BELOW: Marks = (
    (
        "logging: two lines a call and more",
        ("/logging/", "json_logging", "request_log", "pythonjsonlogger"),
    ),
    ("the ledger's thread: rows and SQL", ("app/ledger/store.py", "psycopg2")),
)
BY_FILE: Marks = (
    ("token control on the loop", ("app/ledger/", "token_service", "budget_service", "quota_")),
    ("the rest of our own code", ("/app/",)),
    ("Flask and Werkzeug", ("/flask/", "/werkzeug/", "/asgiref/", "/blinker/", "/markupsafe/")),
    ("aiohttp's client", ("/aiohttp/", "/yarl/", "/multidict/")),
    ("gunicorn", ("/gunicorn/",)),
    ("asyncio", ("/asyncio/",)),
)
OTHER = "the rest of Python"
EVENT_LOOP = "the event loop and its system calls"


def main() -> int:
    options = _options()
    take_signals_as_interrupt()
    cores = Cores.choose()
    try:
        with on_core(cores.load), ExitStack() as cleanup:
            place = open_workplace(cores, cleanup)
            for contender in (Solaris(), SolarisApart()):
                cleanup.callback(contender.stop)
                _profile(contender, place, options.clients, options.seconds)
                contender.stop()
            print("\n".join(reserve_alone_lines(place)))
            ignore_further_interrupts()
    except KeyboardInterrupt:
        return INTERRUPTED
    except (StartError, ChildDiedError) as fault:
        say(str(fault))
        return 1
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.profile", description=__doc__)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=10.0)
    return parser.parse_args()


def _profile(contender: Solaris, place: Workplace, clients: int, seconds: float) -> None:
    say(f"starting {contender.title}")
    contender.start(place)
    warm_up(contender, WARM_UP_S)
    before = contender.cpu()
    calls = _load(contender, clients, seconds)
    _print_cpu(contender, contender.cpu().of_each(before, calls))
    stacks = _stacks_under_load(contender, place.folder / "stacks", clients, seconds)
    if stacks:
        print("\n".join(in_columns(_block(stacks))))


def _load(contender: Solaris, clients: int, seconds: float) -> int:
    requests = [wire.chat_request(contender.headers_of(number)) for number in range(clients)]
    tally = uvloop.run(run_calls(contender.port, requests, seconds=seconds))
    if tally.errors:
        raise StartError(f"{contender.title} answers with an error: {tally.first_error}")
    return tally.calls


def _print_cpu(contender: Solaris, cpu: CpuTimes) -> None:
    print(
        f"{contender.title}, CPU of a call: loop and Flask {cpu.loop * 1e6:.0f} µs,"
        f" other threads {cpu.threads * 1e6:.0f} µs, Postgres {cpu.postgres * 1e6:.0f} µs"
    )


def _stacks_under_load(
    contender: Solaris, path: Path, clients: int, seconds: float
) -> list[tuple[list[str], int]]:
    """Return the stacks that py-spy saw, outermost frame first, and how often; none, when it
    cannot look."""
    environment = Environment("pyspy")
    try:
        environment.install()
    except NotInstalledError as fault:
        say(f"py-spy: skipped, it could not be installed: {fault}")
        return []
    command = [
        *(environment.bin / "py-spy", "record", "--pid", contender.worker().pid),
        *("--rate", SAMPLES_A_SECOND, "--duration", int(seconds), "--format", "raw"),
        # What holds the interpreter: on one core it is what callers wait for.
        *("--gil", "--full-filenames", "--output", path),
    ]
    watching = subprocess.Popen(
        [str(part) for part in command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    _load(contender, clients, seconds + 2)
    _, said = watching.communicate()
    if watching.returncode != 0:
        say(f"py-spy: skipped, {said.decode(errors='replace').strip()}")
        return []
    return [_stack(line) for line in path.read_text().splitlines()]


def _stack(line: str) -> tuple[list[str], int]:
    frames, _, count = line.rpartition(" ")
    return frames.split(";"), int(count)


def _block(stacks: Sequence[tuple[list[str], int]]) -> Block:
    shares = Counter[str]()
    for frames, count in stacks:
        shares[_whose(frames)] += count
    total = shares.total()
    rows: list[tuple[str, ...]] = [
        (whose, f"{count / total:.0%}") for whose, count in shares.most_common()
    ]
    return Block(("whose code runs", "share"), rows)


def _whose(frames: Sequence[str]) -> str:
    for name, marks in WITH_ALL_BELOW:
        if _is_any_in(frames, marks):
            return name
    innermost = frames[-1]
    for name, marks in BY_FILE:
        if _is_any_in([innermost], marks):
            return name
    return EVENT_LOOP if "uvloop" in innermost or "runners.py" in innermost else OTHER


def _is_any_in(frames: Iterable[str], marks: Sequence[str]) -> bool:
    is_in: Callable[[str], bool] = lambda frame: any(mark in frame for mark in marks)  # noqa: E731
    return any(map(is_in, frames))


if __name__ == "__main__":
    sys.exit(main())
