"""`python -m bench`: start all, measure side by side, print one table, stop all."""

from __future__ import annotations

import resource
import signal
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson

from app.embedded.network import free_port
from app.embedded.processes import ChildDiedError
from bench.contenders.bare_aiohttp import BareAiohttp
from bench.contenders.base import (
    STOP_GRACE_S,
    Contender,
    StartError,
    Workplace,
    answers,
    run_process,
    wait_until,
)
from bench.contenders.direct import Direct
from bench.contenders.litellm import LiteLLM
from bench.contenders.nginx import Nginx
from bench.contenders.solaris import Earlier, Solaris
from bench.machine import Cores, Machine, on_core
from bench.options import Options, read_options
from bench.results import Report, StreamsResult
from bench.rounds import measure_calls, measure_streams, warm_up
from bench.table import as_markdown, for_terminal

INTERRUPTED = 130
WARM_UP_S = 1.0


def main() -> int:
    options = read_options()
    # TERM as Ctrl-C: one way out, on which everything is stopped. A shell has whatever it runs in
    # the background ignore interrupts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    _allow_many_connections()
    try:
        report = Run(options).report()
    except KeyboardInterrupt:
        _say("interrupted; everything is stopped")
        return INTERRUPTED
    except StartError as fault:
        # Of the mock upstream, without which there is nothing to measure.
        _say(str(fault))
        return 1
    _publish(report, options)
    return 0 if report.is_sound else 1


class Run:
    """One run: what is started here is stopped here."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._cores = Cores.choose()
        self._skipped: dict[str, str] = {}
        self._failed: dict[str, str] = {}

    def report(self) -> Report:
        with on_core(self._cores.load), ExitStack() as cleanup:
            try:
                return self._measured(cleanup)
            finally:
                # A second Ctrl-C must not stop the stopping.
                signal.signal(signal.SIGINT, signal.SIG_IGN)

    def _measured(self, cleanup: ExitStack) -> Report:
        place = self._workplace(cleanup)
        contenders = self._start_all(place, cleanup)
        report = Report(
            machine=Machine.describe({it.name: it.version() for it in contenders if it.version()}),
            settings=_settings(self._options, self._cores),
            skipped=self._skipped,
            failed=self._failed,
        )
        report.calls = measure_calls(contenders, place, self._options.calls, _say)
        if solaris := _left_alone(contenders):
            report.streams = self._streams(solaris, place)
        return report

    def _workplace(self, cleanup: ExitStack) -> Workplace:
        folder = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="solaris-bench-")))
        place = Workplace(folder, free_port(), self._cores)
        command = [sys.executable, "-m", "bench.upstream", str(place.upstream_port)]
        upstream = run_process("upstream", command, folder, {})
        cleanup.callback(upstream.stop, STOP_GRACE_S)
        wait_until(upstream, lambda: answers(place.upstream_url))
        return place

    def _start_all(self, place: Workplace, cleanup: ExitStack) -> list[Contender]:
        known = [Direct(), Nginx(), BareAiohttp(), Solaris(), LiteLLM(self._options.litellm)]
        chosen = [contender for contender in known if contender.name in self._options.names]
        if self._options.earlier:
            chosen.append(Earlier(self._options.earlier))
        return [it for it in chosen if self._starts(it, place, cleanup)]

    def _starts(self, contender: Contender, place: Workplace, cleanup: ExitStack) -> bool:
        """Start it, unless it cannot run here; one that fails does not end the run."""
        if why := contender.missing():
            self._skipped[contender.title] = why
            _say(f"{contender.title}: skipped, {why}")
            return False
        _say(f"starting {contender.title}")
        cleanup.callback(contender.stop)
        try:
            contender.start(place)
            warm_up(contender, WARM_UP_S)
        except (StartError, ChildDiedError) as fault:
            contender.stop()
            self._fail(contender, fault)
            return False
        return True

    def _streams(self, solaris: Solaris, place: Workplace) -> list[StreamsResult]:
        plans, rounds = self._options.streams, self._options.stream_rounds
        try:
            return measure_streams(solaris, place, plans, rounds, _say)
        except (StartError, ChildDiedError) as fault:
            self._fail(solaris, fault)
            return []

    def _fail(self, contender: Contender, fault: StartError | ChildDiedError) -> None:
        log = f"\n{fault.tail}" if isinstance(fault, ChildDiedError) else ""
        _say(f"{contender.title} FAILED: {fault}{log}")
        self._failed[contender.title] = str(fault).partition("\n")[0]


def _left_alone(contenders: list[Contender]) -> Solaris | None:
    """Stop all but this proxy, whose streams shall have the core to themselves, and return it."""
    for contender in contenders:
        if contender.name != Solaris.name:
            contender.stop()
    return next((it for it in contenders if type(it) is Solaris), None)


def _settings(options: Options, cores: Cores) -> dict[str, Any]:
    placement = (
        f"server on core {cores.server}; load, mock upstream and Postgres on core {cores.load}"
        if cores.are_apart
        else "everything on ONE core: the ratios do not hold"
    )
    return {
        **asdict(options.calls),
        "placement": placement,
        "streams": [asdict(plan) for plan in options.streams],
        "stream_rounds": options.stream_rounds,
    }


def _allow_many_connections() -> None:
    """A thousand streams are two thousand sockets in a proxy, which inherits our limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _publish(report: Report, options: Options) -> None:
    print(for_terminal(report))
    if options.json_path:
        options.json_path.write_bytes(
            orjson.dumps(report.as_dict(), option=orjson.OPT_INDENT_2) + b"\n"
        )
    if options.markdown_path:
        options.markdown_path.write_text(as_markdown(report), encoding="utf-8")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
