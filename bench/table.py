"""The report as people read it: for the terminal, and as Markdown."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from bench.machine import CpuTimes, Machine
from bench.results import Aim, CallsResult, Report, StreamsResult
from bench.wire import CHUNKS_PER_S

GAP = "  "
NONE = "–"
WORDS = {True: "met", False: "gap", None: "not measured"}


@dataclass(frozen=True, slots=True)
class Block:
    """Some rows under one heading; the first column is text, all others are numbers."""

    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]


def for_terminal(report: Report) -> str:
    blocks = _blocks(report)
    width = max(sum(_widths(block)) + len(GAP) * (len(block.columns) - 1) for block in blocks)
    rule = "─" * width
    lines = [rule, *_heading(report), rule]
    for block in blocks:
        lines += [*_terminal_lines(block, width), rule]
    return "\n".join([*lines, *_footnotes(report)])


def as_markdown(report: Report) -> str:
    title, *machine = _heading(report)
    parts = [f"# {title}", "  \n".join(machine)]
    parts += ["\n".join(_markdown_lines(block)) for block in _blocks(report)]
    parts += ["\n".join(f"- {note}" for note in _footnotes(report))]
    return "\n\n".join(parts) + "\n"


def in_columns(block: Block) -> list[str]:
    """Return the block's lines, no wider than they must be."""
    return _terminal_lines(block, 0)


def duration(seconds: float) -> str:
    """Return a duration in milliseconds, with three digits that count."""
    if math.isnan(seconds):
        return NONE
    milliseconds = seconds * 1000
    decimals = 2 if abs(milliseconds) < 10 else 1 if abs(milliseconds) < 100 else 0
    return f"{milliseconds:,.{decimals}f} ms"


def _blocks(report: Report) -> list[Block]:
    blocks = [_calls_block(report)] if report.calls else []
    blocks += [_cpu_block(measured)] if (measured := [it for it in report.calls if it.cpu]) else []
    blocks += [_streams_block(report.streams)] if report.streams else []
    return [*blocks, _aims_block(report.aims())]


def _calls_block(report: Report) -> Block:
    clients = report.settings["clients"]
    litellm = next((it.rate for it in report.calls if it.name == "litellm"), 0.0)
    columns = (
        "whole answers",
        f"req/s, {clients} clients",
        f"p50, {clients} clients",
        "p50, 1 client",
        "p99, 1 client",
        "× LiteLLM",
        "server core",
        "load core",
    )
    return Block(columns, [_calls_row(result, litellm) for result in report.calls])


def _calls_row(result: CallsResult, litellm_rate: float) -> tuple[str, ...]:
    at_least = "≥ " if result.is_limited_by_load else ""
    return (
        result.title,
        f"{at_least}{result.rate:,.0f}",
        duration(result.median(lambda it: it.crowd_p50_s)),
        duration(result.alone_p50_s),
        duration(result.median(lambda it: it.alone_p99_s)),
        f"{result.rate / litellm_rate:,.1f}" if litellm_rate else NONE,
        f"{result.median(lambda it: it.busy.server):.0%}",
        f"{result.median(lambda it: it.busy.load):.0%}",
    )


def _cpu_block(results: Sequence[CallsResult]) -> Block:
    columns = ("CPU of a call", "loop and Flask", "ledger's thread", "Postgres", "all")
    return Block(columns, [_cpu_row(result) for result in results])


def _cpu_row(result: CallsResult) -> tuple[str, ...]:
    def cell(of: Callable[[CpuTimes], float]) -> str:
        share = median(of(it) / it.total for it in result.cpu)
        return f"{median(map(of, result.cpu)) * 1e6:,.0f} µs, {share:.0%}"

    return (
        result.title,
        cell(lambda it: it.loop),
        cell(lambda it: it.threads),
        cell(lambda it: it.postgres),
        f"{median(it.total for it in result.cpu) * 1e6:,.0f} µs",
    )


def _streams_block(results: Sequence[StreamsResult]) -> Block:
    columns = (
        "streams",
        "complete",
        "identical",
        "added p50",
        "added p99",
        "upstream p99",
        "last one late",
        "KB a stream",
        "server core",
        "load core",
    )
    return Block(columns, [_streams_row(result) for result in results])


def _streams_row(result: StreamsResult) -> tuple[str, ...]:
    return (
        f"{result.plan.streams:,} at a time",
        f"{result.complete:,}",
        f"{result.identical:,}",
        duration(result.median(lambda it: it.added_p50_s)),
        duration(result.median(lambda it: it.added_p99_s)),
        duration(result.median(lambda it: it.direct_p99_s)),
        duration(result.median(lambda it: it.last_late_s)),
        f"{result.median(lambda it: it.kb_a_stream):,.1f}",
        f"{result.median(lambda it: it.busy.server):.0%}",
        f"{result.median(lambda it: it.busy.load):.0%}",
    )


def _aims_block(aims: Sequence[Aim]) -> Block:
    return Block(("IA SOLARIS Proxy's aims", "measured", "aim", ""), [_aim_row(it) for it in aims])


def _aim_row(aim: Aim) -> tuple[str, ...]:
    measured = NONE if aim.value is None else f"{_short(aim.value)} {aim.unit}"
    sign = "≥" if aim.is_floor else "≤"
    return aim.what, measured, f"{sign} {_short(aim.limit)} {aim.unit}", WORDS[aim.is_met]


def _short(value: float) -> str:
    return f"{value:,.2f}".rstrip("0").rstrip(".") if abs(value) < 100 else f"{value:,.0f}"


def _heading(report: Report) -> list[str]:
    machine, settings = report.machine, report.settings
    return [
        f"IA SOLARIS Proxy {machine.proxy}, measured {machine.measured_at}",
        f"{machine.cpu}, {machine.cores} cores, {machine.kernel}, Python {machine.python}",
        _packages(machine),
        f"{settings['placement']}; medians of {settings['rounds']} interleaved rounds of"
        f" {settings['seconds']:g} s, streams of {settings['stream_rounds']}",
    ]


def _packages(machine: Machine) -> str:
    return ", ".join(f"{name} {version}" for name, version in machine.packages.items())


def _footnotes(report: Report) -> list[str]:
    notes = [f"{name}: skipped, {why}" for name, why in report.skipped.items()]
    notes += [f"{name}: FAILED, {why}" for name, why in report.failed.items()]
    notes += [
        f"{it.title}: {it.errors:,} ERRORS, the first: {_first_error(it)}"
        for it in report.calls
        if it.errors
    ]
    if any(it.is_limited_by_load for it in report.calls):
        notes.append("≥: the load's core was full before the server's; the true rate is higher")
    if report.streams:
        plan = report.streams[0].plan
        notes.append(
            f"streams: {plan.chunks} chunks each at {CHUNKS_PER_S} a second, begun evenly over"
            f" {plan.ramp_s:g} s; first byte counted from the connect;"
            " KB: resident memory of the worker, peak minus idle"
        )
    notes += [
        f"{it.plan.streams:,} streams: the server's queue was full"
        f" {it.refused_connections:,} times;"
        " such a connection is tried again after a second or more"
        for it in report.streams
        if it.refused_connections
    ]
    return notes


def _first_error(result: CallsResult) -> str:
    return next(it.first_error for it in result.rounds if it.first_error)


def _widths(block: Block) -> list[int]:
    return [max(map(len, column)) for column in zip(block.columns, *block.rows, strict=True)]


def _terminal_lines(block: Block, width: int) -> list[str]:
    widths = _widths(block)
    # What is left of the line goes to the first column, so that the numbers end together.
    widths[0] += max(0, width - sum(widths) - len(GAP) * (len(widths) - 1))
    return [_aligned(cells, widths) for cells in (block.columns, *block.rows)]


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    numbers = [cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True)]
    return GAP.join([cells[0].ljust(widths[0]), *numbers]).rstrip()


def _markdown_lines(block: Block) -> list[str]:
    divider = ["---", *["---:"] * (len(block.columns) - 1)]
    return [f"| {' | '.join(cells)} |" for cells in (block.columns, divider, *block.rows)]
