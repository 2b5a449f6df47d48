"""Steps that take turns in one process, so that what else the machine does falls on all of them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence


def take_turns(steps: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each step in each round, after a round to warm up; who begins changes from round to round."""
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    names = list(steps)
    for turn in range(-1, rounds):
        begins = turn % len(names)
        for name in names[begins:] + names[:begins]:
            start = time.perf_counter()
            steps[name]()
            if turn >= 0:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def ratio(times: Sequence[float], base: Sequence[float]) -> tuple[float, list[float]]:
    """Median, and least and greatest, of the ratios within each round."""
    ratios = [own / other for own, other in zip(times, base, strict=True)]
    return statistics.median(ratios), [min(ratios), max(ratios)]
