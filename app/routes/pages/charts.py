"""Where the bars of a chart are: the server draws, the stylesheet colours."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

WIDTH, HEIGHT, GAP = 720, 160, 2


@dataclass(frozen=True, slots=True)
class Bar:
    """In the units of a chart of `WIDTH` by `HEIGHT`; ``part`` is what stands out at its foot."""

    x: float
    width: float
    y: float
    height: float
    part_y: float
    part_height: float
    value: int
    part: int
    of: Any


def bars(
    items: Sequence[Any], value: Callable[[Any], int], part: Callable[[Any], int]
) -> list[Bar]:
    """Return one bar for each item; the highest is as high as the chart."""
    if not items:
        return []
    values = [value(it) for it in items]
    highest = max(*values, 1) if len(values) > 1 else max(values[0], 1)
    step = WIDTH / len(items)
    found = []
    for index, (it, known) in enumerate(zip(items, values, strict=True)):
        height = _height(known, highest)
        part_height = _height(part(it), highest)
        found.append(
            Bar(
                x=round(index * step + GAP / 2, 2),
                width=round(max(1.0, step - GAP), 2),
                y=HEIGHT - height,
                height=height,
                part_y=HEIGHT - part_height,
                part_height=part_height,
                value=known,
                part=part(it),
                of=it,
            )
        )
    return found


def hours(items: Sequence[Any]) -> list[Bar]:
    """Calls by the hour, those that failed at the foot."""
    return bars(items, lambda it: int(it.calls), lambda it: int(it.failed))


def days(items: Sequence[Any]) -> list[Bar]:
    """Money by the day."""
    return bars(items, lambda it: int(it[1].cost_micro_usd), lambda _it: 0)


def level(used: int, limit: int) -> int:
    """Return how full a meter is, from 0 to 100."""
    if limit <= 0:
        return 100
    return max(0, min(100, used * 100 // limit))


def _height(value: int, highest: int) -> float:
    """What is there at all can be seen."""
    if value <= 0:
        return 0.0
    return max(2.0, round(value / highest * HEIGHT, 2))
