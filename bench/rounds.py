"""The order of a run: every contender in every round, so that drift hits all alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import uvloop

from bench import wire
from bench.calls import Tally, run_calls
from bench.contenders.base import Contender, StartError, Workplace
from bench.contenders.solaris import Solaris
from bench.machine import BusyMeter, MemoryWatch, refused_connections
from bench.results import CallsResult, CallsRound, StreamsResult, StreamsRound
from bench.streams import StreamPlan, StreamsOutcome, run_streams
from bench.table import duration

Say = Callable[[str], None]

WARM_STREAMS = StreamPlan(streams=8, chunks=4, ramp_s=0.1)
# After warming up, the worker may still be logging and freeing.
REST_S = 0.5


@dataclass(frozen=True, slots=True)
class CallsPlan:
    """``clients`` for ``seconds``, then one client for half as long; ``rounds`` times."""

    rounds: int
    seconds: float
    clients: int


def measure_calls(
    contenders: Sequence[Contender], place: Workplace, plan: CallsPlan, say: Say
) -> list[CallsResult]:
    results = {it.name: CallsResult(it.name, it.title) for it in contenders}
    for number in range(plan.rounds):
        # Each round begins with another one: who comes after whom may matter.
        first = number % len(contenders) if contenders else 0
        for contender in [*contenders[first:], *contenders[:first]]:
            measured = _one_round(contender, place, plan)
            results[contender.name].rounds.append(measured)
            say(_progress(number, plan, contender, measured))
    return list(results.values())


def warm_up(contender: Contender, seconds: float) -> None:
    """Let it open its connections and caches. Raises: StartError, when it does not answer."""
    tally = _call(contender, clients=8, seconds=seconds)
    if tally.errors:
        raise StartError(f"{contender.title} answers with an error: {tally.first_error}")


def measure_streams(
    solaris: Solaris, place: Workplace, plans: Sequence[StreamPlan], rounds: int, say: Say
) -> list[StreamsResult]:
    results = [StreamsResult(plan) for plan in plans]
    for number in range(rounds):
        for result in results:
            measured = _streams_round(solaris, place, result.plan)
            result.rounds.append(measured)
            say(_streams_progress(number, rounds, result.plan, measured))
    return results


def _one_round(contender: Contender, place: Workplace, plan: CallsPlan) -> CallsRound:
    meter, before = BusyMeter(place.cores), contender.cpu()
    crowd = _call(contender, clients=plan.clients, seconds=plan.seconds)
    busy, after = meter.read(), contender.cpu()
    cpu = after.of_each(before, crowd.calls) if before and after and crowd.calls else None
    return CallsRound.of(crowd, busy, cpu, _call(contender, clients=1, seconds=plan.seconds / 2))


def _call(contender: Contender, *, clients: int, seconds: float) -> Tally:
    requests = [wire.chat_request(contender.headers_of(client)) for client in range(clients)]
    return uvloop.run(run_calls(contender.port, requests, seconds=seconds))


def _streams_round(solaris: Solaris, place: Workplace, plan: StreamPlan) -> StreamsRound:
    direct = uvloop.run(run_streams(place.upstream_port, {}, plan))
    # A worker that has carried streams keeps their memory: a second look would find it cheaper.
    solaris.restart(place)
    _stream(solaris, WARM_STREAMS)
    time.sleep(REST_S)
    memory, meter = MemoryWatch(solaris.worker()), BusyMeter(place.cores)
    refused = refused_connections()
    proxied = _stream(solaris, plan, memory)
    return StreamsRound.of(direct, proxied, memory, meter.read(), refused_connections() - refused)


def _stream(
    solaris: Solaris, plan: StreamPlan, memory: MemoryWatch | None = None
) -> StreamsOutcome:
    sample = memory.sample if memory else _nothing
    return uvloop.run(run_streams(solaris.port, solaris.headers, plan, sample))


def _nothing() -> None:
    return


def _progress(number: int, plan: CallsPlan, contender: Contender, measured: CallsRound) -> str:
    errors = f"  {measured.errors} ERRORS" if measured.errors else ""
    return (
        f"round {number + 1}/{plan.rounds}  {contender.title:<24}"
        f"{measured.rate:>9,.0f} req/s  p50 {duration(measured.alone_p50_s):>9}{errors}"
    )


def _streams_progress(number: int, rounds: int, plan: StreamPlan, measured: StreamsRound) -> str:
    return (
        f"round {number + 1}/{rounds}  {plan.streams:>5,} streams:"
        f" {measured.identical:,} identical, first byte +"
        f" {duration(measured.added_p50_s)} / {duration(measured.added_p99_s)},"
        f" {measured.kb_a_stream:.0f} KB each"
    )
