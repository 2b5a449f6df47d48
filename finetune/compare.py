"""What a grid of runs says: means over seeds, differences to the base row with intervals, one table, one plot.

A result is what `huecry.finetune.ablate` writes as a run ends: `row`, `labelled` (a share; 0 for the pretrained model
before any fine-tuning), `seed` (None for a model that no run made), flat metrics in percent, `person_ap` (mean average
precision of each person's queries, in percent) and `person_queries` (how many those are); under `clean` the same
without the pairs of an exclusion list, where there is one.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from huecry.errors import UserError
from huecry.files import writing

PRIMARY = "mAP"
KEYS = ("R1", "R10", PRIMARY)
DRAWS = 2000
LEVEL = 0.95
_LOOKS = (("#0072B2", "o"), ("#D55E00", "s"), ("#009E73", "^"), ("#CC79A7", "D"), ("#E69F00", "v"), ("#56B4E9", "P"))


def bootstrap(
    differences: NDArray[np.float64], queries: NDArray[np.int64], draws: int = DRAWS, seed: int = 0
) -> tuple[float, float, float]:
    """Mean difference in mAP between two rows, and its 95 % bootstrap interval: (mean, low, high).

    differences [S, P]: of S seeds and P persons, the person's mean average precision in one row minus that in the other
    at the same seed; or the precision in one row itself, for the interval of its mAP. queries [P]: how many queries
    each person has.

    The statistic is the mean over seeds, then the mean over persons weighted by their queries: exactly the difference
    of the rows' mAP, averaged over seeds. A draw takes P persons and, independently, S seeds, both with replacement
    (the two-way bootstrap of Owen, Annals of Applied Statistics 2007). Persons, not queries, because captions of one
    person succeed and fail together. Seeds too, because a row is a way of training and not the S networks that came
    out of it: between rows that differ by noise alone, the spread over seeds is often the larger part. Seeds stay
    paired, since both rows saw the same order of samples. Of a single seed, the interval covers persons alone; where
    the spread over a few seeds is most of it, it is too narrow, as every bootstrap of few items is.
    """
    seeds, persons = differences.shape
    generator = np.random.default_rng(seed)
    found = np.empty(draws)
    for draw in range(draws):
        of_seeds = generator.integers(seeds, size=seeds)
        of_persons = generator.integers(persons, size=persons)
        means = differences[of_seeds].mean(axis=0)[of_persons]
        found[draw] = np.average(means, weights=queries[of_persons])
    low, high = np.quantile(found, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(np.average(differences.mean(axis=0), weights=queries)), float(low), float(high)


def summarise(results: Sequence[dict[str, Any]], base: str) -> list[dict[str, Any]]:
    """One entry for each share and row, in the order met: share by share, the base row first.

    An entry holds `row`, `labelled`, `seeds`; of R1, R10 and mAP the `mean`, the sample `std` (None for one seed) and
    the `runs` by seed; `interval`, the bootstrap's `low` and `high` of the mAP; and `difference`, in points of mAP to
    the row `base` at the same share over the seeds that both have: `mean`, `low`, `high` and those `seeds` (None in the
    base row itself and where it has no seed in common). A model that no run made stands beside every seed.

    Raises UserError where the rows were not asked the same queries.
    """
    found: dict[tuple[float, str], dict[Any, dict[str, Any]]] = {}
    queries = results[0]["person_queries"]
    for result in results:
        if result["person_queries"] != queries:
            raise UserError(
                f"{result['row']}, seed {result['seed']}: evaluated on other queries than the rest; "
                "remove its file in results/ and run the same command again"
            )
        found.setdefault((result["labelled"], result["row"]), {})[result["seed"]] = result
    entries = []
    for (labelled, row), runs in sorted(found.items(), key=lambda item: _order(item[0][0])):
        entry: dict[str, Any] = {"row": row, "labelled": labelled, "seeds": sorted(runs)}
        for key in KEYS:
            values = [runs[seed][key] for seed in sorted(runs)]
            spread = statistics.stdev(values) if len(values) > 1 else None
            entry[key] = {"mean": statistics.mean(values), "std": spread, "runs": values}
        _, low, high = bootstrap(_precisions(runs, sorted(runs), queries), np.array([*queries.values()]))
        entry["interval"] = {"low": low, "high": high}
        entry["difference"] = None if row == base else _difference(runs, found.get((labelled, base), {}), queries)
        entries.append(entry)
    return entries


def _order(labelled: float) -> float:
    """Shares from the largest, the zero-shot figures before them."""
    return -labelled if labelled else -2.0


def without_pairs(results: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The results without the pairs of an exclusion list; empty where one of them knows of no list."""
    return [{**one, **one["clean"]} for one in results] if all("clean" in one for one in results) else []


def _difference(
    runs: dict[Any, dict[str, Any]], base: dict[Any, dict[str, Any]], queries: dict[str, int]
) -> dict[str, Any] | None:
    if None in runs:
        runs = dict.fromkeys(base, runs[None])
    elif None in base:
        base = dict.fromkeys(runs, base[None])
    seeds = sorted(runs.keys() & base.keys())
    if not seeds:
        return None
    differences = _precisions(runs, seeds, queries) - _precisions(base, seeds, queries)
    mean, low, high = bootstrap(differences, np.array([*queries.values()]))
    return {"mean": mean, "low": low, "high": high, "seeds": seeds}


def _precisions(runs: dict[Any, dict[str, Any]], seeds: Sequence[Any], queries: dict[str, int]) -> NDArray[np.float64]:
    """Mean average precision [S, P] of each person's queries at each seed."""
    return np.array([[runs[seed]["person_ap"][name] for name in queries] for seed in seeds])


def share_name(labelled: float) -> str:
    """`zero-shot`, `100 %`, `30 %`."""
    return f"{100 * labelled:g} %" if labelled else "zero-shot"


def mean_and_spread(figures: dict[str, Any]) -> str:
    """`41.20 ± 0.52`, or the mean alone of one seed."""
    return f"{figures['mean']:.2f}" + (f" ± {figures['std']:.2f}" if figures["std"] is not None else "")


def gap_in_words(difference: dict[str, Any] | None) -> str:
    """`+2.10 [+0.40, +3.80]`, or nothing."""
    return "" if difference is None else "{mean:+.2f} [{low:+.2f}, {high:+.2f}]".format(**difference)


def table(entries: Sequence[dict[str, Any]], base: str, split: str) -> str:
    """The entries as a Markdown table that also reads well in a terminal."""
    lines = [["labelled", "row", "seeds", *KEYS, f"{PRIMARY} minus {base}"]]
    for entry in entries:
        cells = [share_name(entry["labelled"]), entry["row"], str(len(entry["seeds"]))]
        lines.append([*cells, *(mean_and_spread(entry[key]) for key in KEYS), gap_in_words(entry["difference"])])
    note = (
        f"Text to image on {split}, percent; ± standard deviation over seeds. In brackets: {100 * LEVEL:g} % bootstrap "
        f"interval ({DRAWS:,} draws) over persons and, where there are several, seeds. Labelled: the share of the "
        "training persons that fine-tuning saw; zero-shot is before it."
    )
    return "\n".join([*markdown(lines), "", note])


def markdown(lines: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table of cells, the first line its head, in columns of even width."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    head, *rest = ("| " + " | ".join(map(str.ljust, line, widths)) + " |" for line in lines)
    return [head, "| " + " | ".join("-" * width for width in widths) + " |", *rest]


def plot(entries: Sequence[dict[str, Any]], base: str, split: str, path: Path) -> None:
    """A picture of the table: mAP of every seed with its mean, and beside it the differences with their intervals.

    Raises UserError when the disk refuses.
    """
    rows = list(dict.fromkeys(entry["row"] for entry in entries))
    shares = list(dict.fromkeys(entry["labelled"] for entry in entries))
    heights: dict[str, dict[float, float]] = {}
    top = 0.0
    for row in rows:
        own = [entry["labelled"] for entry in entries if entry["row"] == row]
        heights[row] = {labelled: top + line for line, labelled in enumerate(own)}
        top += len(own) + 0.6  # the gap that sets rows apart
    figure = Figure(figsize=(11, 1.6 + 0.25 * top), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, sharey=True)
    for labelled, (colour, marker) in zip(shares, itertools.cycle(_LOOKS), strict=False):
        label = f"{share_name(labelled)} labelled" if labelled else share_name(labelled)
        for entry in (entry for entry in entries if entry["labelled"] == labelled):
            height, figures, gap = heights[entry["row"]][labelled], entry[PRIMARY], entry["difference"]
            left.plot(figures["mean"], height, "|", color=colour, markersize=13, markeredgewidth=2)
            dots = [height] * len(figures["runs"])
            left.plot(figures["runs"], dots, marker, color=colour, alpha=0.6, markersize=5, label=label)
            label = "_nolegend_"  # one legend entry a share
            if gap is not None:
                right.plot([gap["low"], gap["high"]], [height, height], color=colour, linewidth=2)
                right.plot(gap["mean"], height, marker, color=colour, markersize=6)
    left.set_yticks([statistics.mean(heights[row].values()) for row in rows], rows)
    left.set_ylim(top - 0.8, -0.8)
    left.set_xlabel(f"{PRIMARY} on {split}, percent (a dot a seed, bar: mean)")
    right.axvline(0, color="black", linewidth=1)
    right.set_xlabel(f"{PRIMARY} minus {base}, points ({100 * LEVEL:g} % interval)")
    for axes in (left, right):
        axes.grid(axis="x", alpha=0.3)
        axes.tick_params(axis="y", length=0)
        for row in rows[1:]:
            axes.axhline(min(heights[row].values()) - 0.8, color="grey", linewidth=0.5, alpha=0.5)
        for side in ("top", "right", "left"):
            axes.spines[side].set_visible(False)
    figure.legend(loc="outside upper center", ncols=len(shares), frameon=False)
    temporary = path.with_name(f".{path.name}.part")
    with writing(path):
        figure.savefig(temporary, format="png", dpi=130)
        temporary.replace(path)
