"""The command line of the benchmarks."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from app.config.settings import PROJECT_ROOT
from bench.rounds import CallsPlan
from bench.streams import StreamPlan

NAMES = (
    "direct",
    "nginx",
    "aiohttp",
    "solaris",
    "solaris-apart",
    "hardcap",
    "portkey",
    "litellm",
)
# Where `make run` and `make test` install it.
LITELLM = PROJECT_ROOT / "var" / "litellm-venv" / "bin" / "litellm"
QUICK = {
    "rounds": 1,
    "seconds": 1.0,
    "streams": (50,),
    "stream_rounds": 1,
    "chunks": 20,
    "ramp": 1.0,
}


@dataclass(frozen=True, slots=True)
class Options:
    """What to measure, and where to write it."""

    names: tuple[str, ...]
    litellm: Path
    earlier: Path | None
    calls: CallsPlan
    streams: tuple[StreamPlan, ...]
    stream_rounds: int
    json_path: Path | None
    markdown_path: Path | None


def read_options(arguments: list[str] | None = None) -> Options:
    parser = _parser()
    if parser.parse_args(arguments).quick:
        # Only other defaults: what is said beside --quick still holds.
        parser.set_defaults(**QUICK)
    given = parser.parse_args(arguments)
    return Options(
        names=tuple(name for name in NAMES if name in (given.only or NAMES)),
        litellm=given.litellm,
        earlier=given.earlier,
        calls=CallsPlan(given.rounds, given.seconds, given.clients),
        streams=tuple(StreamPlan(count, given.chunks, given.ramp) for count in given.streams),
        stream_rounds=given.stream_rounds,
        json_path=given.json,
        markdown_path=given.markdown,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measure this proxy beside its rivals, and print one table.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--quick", action="store_true", help="a short run, which shows that everything works")
    add("--only", action="append", choices=NAMES, metavar="NAME", help=f"of {', '.join(NAMES)}")
    add("--rounds", type=_count, default=5, help="rounds of whole answers; medians are printed")
    add("--seconds", type=_seconds, default=3.0, help="of each contender in each round")
    add("--clients", type=_count, default=16, help="that call at the same time")
    add("--streams", type=_counts, default=(200, 500, 1000), help="at a time; none: no streams")
    add("--stream-rounds", type=_count, default=3, help="rounds of streams")
    add("--chunks", type=_count, default=200, help="of each stream, 20 a second")
    add("--ramp", type=_seconds, default=5.0, metavar="SECONDS", help="in which all streams begin")
    add("--litellm", type=_path, default=LITELLM, metavar="PATH", help="LiteLLM's executable")
    add("--earlier", type=_path, metavar="DIR", help="another checkout, to measure beside this one")
    add("--json", type=_path, metavar="FILE", help="write every round there, too")
    add("--markdown", type=_path, metavar="FILE", help="write the table there, too")
    return parser


def _counts(text: str) -> tuple[int, ...]:
    return () if text == "none" else tuple(_count(part) for part in text.split(","))


def _count(text: str) -> int:
    if (value := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than one")
    return value


def _seconds(text: str) -> float:
    if not 0 <= (value := float(text)) <= 600:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 600 seconds")
    return value


def _path(text: str) -> Path:
    # The servers run in another directory.
    return Path(text).resolve()
