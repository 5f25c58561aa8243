"""What was measured, its medians, and whether the aims are met."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

from bench.calls import Tally
from bench.machine import Busy, CpuTimes, Machine, MemoryWatch
from bench.streams import StreamPlan, StreamsOutcome

# A core this busy is what limits; above it the clock ticks of /proc/stat are too coarse.
FULLY_BUSY = 0.95

# Of the full job, with durable holds.
LITELLM_AIM = 18.0
PORTKEY_AIM = 3.0
HARDCAP_AIM = 1.0
HARDCAP_LATENCY_AIM = 1.5
# What a new version may cost.
EARLIER_AIM = 0.95
FIRST_BYTE_AIM_S = 0.25
MEMORY_AIM_KB = 60.0


def percentile(values: Sequence[float], share: float) -> float:
    """Return the nearest-rank percentile; not a number of nothing."""
    ordered = sorted(values)
    if not ordered:
        return float("nan")
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


@dataclass(frozen=True, slots=True)
class CallsRound:
    """One contender in one round."""

    rate: float
    # Of all clients at once.
    crowd_p50_s: float
    crowd_p99_s: float
    # Of a client that is alone.
    alone_p50_s: float
    alone_p99_s: float
    busy: Busy
    # Of one call among all clients; where the parts can be told apart.
    cpu: CpuTimes | None
    errors: int
    first_error: str

    @classmethod
    def of(cls, crowd: Tally, busy: Busy, cpu: CpuTimes | None, alone: Tally) -> CallsRound:
        return cls(
            rate=crowd.rate,
            crowd_p50_s=percentile(crowd.latencies_s, 0.5),
            crowd_p99_s=percentile(crowd.latencies_s, 0.99),
            alone_p50_s=percentile(alone.latencies_s, 0.5),
            alone_p99_s=percentile(alone.latencies_s, 0.99),
            busy=busy,
            cpu=cpu,
            errors=crowd.errors + alone.errors,
            first_error=crowd.first_error or alone.first_error,
        )


@dataclass(slots=True)
class CallsResult:
    """One contender in all rounds."""

    name: str
    title: str
    rounds: list[CallsRound] = field(default_factory=list)

    def median(self, of: Callable[[CallsRound], float]) -> float:
        return median(map(of, self.rounds))

    @property
    def rate(self) -> float:
        return self.median(lambda it: it.rate)

    @property
    def alone_p50_s(self) -> float:
        return self.median(lambda it: it.alone_p50_s)

    @property
    def cpu(self) -> list[CpuTimes]:
        return [it.cpu for it in self.rounds if it.cpu]

    @property
    def errors(self) -> int:
        return sum(it.errors for it in self.rounds)

    @property
    def is_limited_by_load(self) -> bool:
        """Tell whether the generator was the bottleneck, so that the rate is a lower bound."""
        server = self.median(lambda it: it.busy.server)
        return self.median(lambda it: it.busy.load) >= FULLY_BUSY > server


@dataclass(frozen=True, slots=True)
class StreamsRound:
    """This proxy with so many streams, once, beside the upstream alone just before."""

    complete: int
    identical: int
    bytes_expected: int
    bytes_received: int
    direct_p50_s: float
    direct_p99_s: float
    added_p50_s: float
    added_p99_s: float
    last_late_s: float
    direct_last_late_s: float
    kb_a_stream: float
    refused_connections: int
    busy: Busy

    @classmethod
    def of(
        cls,
        direct: StreamsOutcome,
        proxied: StreamsOutcome,
        memory: MemoryWatch,
        busy: Busy,
        refused_connections: int,
    ) -> StreamsRound:
        direct_p50_s = percentile(direct.first_byte_s, 0.5)
        direct_p99_s = percentile(direct.first_byte_s, 0.99)
        return cls(
            complete=proxied.complete,
            identical=proxied.identical,
            bytes_expected=proxied.bytes_expected,
            bytes_received=proxied.bytes_received,
            direct_p50_s=direct_p50_s,
            direct_p99_s=direct_p99_s,
            added_p50_s=percentile(proxied.first_byte_s, 0.5) - direct_p50_s,
            added_p99_s=percentile(proxied.first_byte_s, 0.99) - direct_p99_s,
            last_late_s=max(proxied.late_s, default=float("nan")),
            direct_last_late_s=max(direct.late_s, default=float("nan")),
            kb_a_stream=(memory.peak_bytes - memory.idle_bytes) / 1024 / proxied.streams,
            refused_connections=refused_connections,
            busy=busy,
        )


@dataclass(slots=True)
class StreamsResult:
    """This proxy with so many streams, in all rounds."""

    plan: StreamPlan
    rounds: list[StreamsRound] = field(default_factory=list)

    def median(self, of: Callable[[StreamsRound], float]) -> float:
        return median(map(of, self.rounds))

    @property
    def complete(self) -> int:
        return min(it.complete for it in self.rounds)

    @property
    def identical(self) -> int:
        return min(it.identical for it in self.rounds)

    @property
    def refused_connections(self) -> int:
        return sum(it.refused_connections for it in self.rounds)


@dataclass(frozen=True, slots=True)
class Aim:
    """One promise beside what was measured; None where the run did not measure it."""

    what: str
    value: float | None
    limit: float
    unit: str
    is_floor: bool = False

    @property
    def is_met(self) -> bool | None:
        if self.value is None:
            return None
        return self.value >= self.limit if self.is_floor else self.value <= self.limit


@dataclass(slots=True)
class Report:
    """All of one run."""

    machine: Machine
    settings: dict[str, Any]
    calls: list[CallsResult] = field(default_factory=list)
    streams: list[StreamsResult] = field(default_factory=list)
    # Why a contender is not in the table.
    skipped: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def aims(self) -> list[Aim]:
        return [*self._call_aims(), *self._stream_aims()]

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "aims": [asdict(aim) | {"met": aim.is_met} for aim in self.aims()]}

    @property
    def is_sound(self) -> bool:
        """Tell whether everything that ran did its work; speed is another matter."""
        no_errors = not any(result.errors for result in self.calls)
        all_read = all(it.identical == it.plan.streams for it in self.streams)
        return no_errors and all_read and not self.failed

    def _call_aims(self) -> Iterable[Aim]:
        by_name = {result.name: result for result in self.calls}
        if by_name.get("earlier"):
            yield _rate_aim(by_name, "earlier", "the earlier version's", EARLIER_AIM)
        yield _rate_aim(by_name, "litellm", "LiteLLM's", LITELLM_AIM)
        yield _rate_aim(by_name, "portkey", "Portkey's", PORTKEY_AIM)
        yield _rate_aim(by_name, "hardcap", "hardcap's", HARDCAP_AIM)
        proxy, hardcap = by_name.get("solaris"), by_name.get("hardcap")
        latencies = proxy.alone_p50_s / hardcap.alone_p50_s if proxy and hardcap else None
        yield Aim("p50 of one client, times hardcap's", latencies, HARDCAP_LATENCY_AIM, "×")

    def _stream_aims(self) -> Iterable[Aim]:
        # What holds for the most streams of the run.
        most = max(self.streams, key=lambda it: it.plan.streams, default=None)
        count = f"{most.plan.streams:,} streams" if most else "streams"
        added = most.median(lambda it: it.added_p99_s) * 1000 if most else None
        memory = most.median(lambda it: it.kb_a_stream) if most else None
        yield Aim(f"{count}: added to the first byte, p99", added, FIRST_BYTE_AIM_S * 1000, "ms")
        yield Aim(f"{count}: memory of a stream", memory, MEMORY_AIM_KB, "KB")
        broken = sum(it.plan.streams - it.identical for it in self.streams)
        yield Aim(
            "streams not complete and identical", broken if self.streams else None, 0, "streams"
        )


def _rate_aim(results: Mapping[str, CallsResult], name: str, whose: str, limit: float) -> Aim:
    proxy, other = results.get("solaris"), results.get(name)
    ratio = proxy.rate / other.rate if proxy and other and other.rate else None
    return Aim(f"requests/s, times {whose}", ratio, limit, "×", is_floor=True)
