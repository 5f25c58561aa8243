"""`python -m bench`: start all, measure side by side, print one table, stop all."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from dataclasses import asdict
from typing import Any

import orjson

from app.embedded.processes import ChildDiedError
from bench.contenders.bare_aiohttp import BareAiohttp
from bench.contenders.base import Contender, StartError, Workplace
from bench.contenders.direct import Direct
from bench.contenders.hardcap import Hardcap
from bench.contenders.litellm import LiteLLM
from bench.contenders.nginx import Nginx
from bench.contenders.portkey import Portkey
from bench.contenders.solaris import Earlier, Solaris, SolarisApart
from bench.machine import Cores, Machine, on_core
from bench.options import Options, read_options
from bench.results import Report, StreamsResult
from bench.rounds import measure_calls, measure_streams, warm_up
from bench.table import as_markdown, for_terminal
from bench.workplace import (
    INTERRUPTED,
    allow_many_connections,
    ignore_further_interrupts,
    open_workplace,
    say,
    take_signals_as_interrupt,
)

WARM_UP_S = 1.0


def main() -> int:
    options = read_options()
    take_signals_as_interrupt()
    allow_many_connections()
    try:
        report = Run(options).report()
    except KeyboardInterrupt:
        say("interrupted; everything is stopped")
        return INTERRUPTED
    except StartError as fault:
        # Of the mock upstream, without which there is nothing to measure.
        say(str(fault))
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
                ignore_further_interrupts()

    def _measured(self, cleanup: ExitStack) -> Report:
        place = open_workplace(self._cores, cleanup)
        contenders = self._start_all(place, cleanup)
        report = Report(
            machine=Machine.describe({it.name: it.version() for it in contenders if it.version()}),
            settings=_settings(self._options, self._cores),
            skipped=self._skipped,
            failed=self._failed,
        )
        report.calls = measure_calls(contenders, place, self._options.calls, say)
        if solaris := _left_alone(contenders):
            report.streams = self._streams(solaris, place)
        return report

    def _start_all(self, place: Workplace, cleanup: ExitStack) -> list[Contender]:
        known = [
            *(Direct(), Nginx(), BareAiohttp(), Solaris(), SolarisApart()),
            *(Hardcap(), Portkey(), LiteLLM(self._options.litellm)),
        ]
        chosen = [contender for contender in known if contender.name in self._options.names]
        if self._options.earlier:
            chosen.append(Earlier(self._options.earlier))
        return [it for it in chosen if self._starts(it, place, cleanup)]

    def _starts(self, contender: Contender, place: Workplace, cleanup: ExitStack) -> bool:
        """Start it, unless it cannot run here; one that fails does not end the run."""
        if why := contender.missing():
            self._skipped[contender.title] = why
            say(f"{contender.title}: skipped, {why}")
            return False
        say(f"starting {contender.title}")
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
            return measure_streams(solaris, place, plans, rounds, say)
        except (StartError, ChildDiedError) as fault:
            self._fail(solaris, fault)
            return []

    def _fail(self, contender: Contender, fault: StartError | ChildDiedError) -> None:
        log = f"\n{fault.tail}" if isinstance(fault, ChildDiedError) else ""
        say(f"{contender.title} FAILED: {fault}{log}")
        self._failed[contender.title] = str(fault).partition("\n")[0]


def _left_alone(contenders: list[Contender]) -> Solaris | None:
    """Stop all but this proxy, whose streams shall have the core to themselves, and return it."""
    for contender in contenders:
        if contender.name != Solaris.name:
            contender.stop()
    return next((it for it in contenders if type(it) is Solaris), None)


def _settings(options: Options, cores: Cores) -> dict[str, Any]:
    placement = (
        f"server on core {cores.server};"
        f" load, mock upstream, Postgres and Valkey on core {cores.load}"
        if cores.are_apart
        else "everything on ONE core: the ratios do not hold"
    )
    return {
        **asdict(options.calls),
        "placement": placement,
        "streams": [asdict(plan) for plan in options.streams],
        "stream_rounds": options.stream_rounds,
    }


def _publish(report: Report, options: Options) -> None:
    print(for_terminal(report))
    if options.json_path:
        options.json_path.write_bytes(
            orjson.dumps(report.as_dict(), option=orjson.OPT_INDENT_2) + b"\n"
        )
    if options.markdown_path:
        options.markdown_path.write_text(as_markdown(report), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
