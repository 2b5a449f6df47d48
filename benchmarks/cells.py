"""Fine-tunings of a table, measured one by one, recorded as each ends; what is recorded is not made again."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from record import record

from huecry.config import load_recipe
from huecry.data.records import PhotoSet
from huecry.finetune.compare import summarise, table
from huecry.finetune.compare_models import evaluate_run
from huecry.tasks import TASKS

Cell = tuple[str, float, int]
"""Row, share of the training persons that are labelled, seed."""


def fill(
    path: Path,
    command: str,
    cells: Iterable[Cell],
    order: Sequence[str],
    train: Callable[[Cell], Path],
    photos: PhotoSet,
) -> None:
    """Train and measure the cells that the result file lacks, and print the table after each.

    order: of the rows, the base first. train: gives the run folder of a cell. photos: what models are measured on.
    """
    runs: list[dict[str, Any]] = json.loads(path.read_text())["figures"]["runs"] if path.exists() else []
    there = {(one["row"], one["labelled"], one["seed"]) for one in runs}
    for cell in cells:
        if cell in there:
            continue
        row, share, seed = cell
        folder = train(cell)
        figures = evaluate_run(folder, load_recipe(str(folder / "config.yaml"), [], TASKS), photos)
        runs.append({"row": row, "labelled": share, "seed": seed, **figures})
        summary = summarise(sorted(runs, key=lambda one: order.index(one["row"])), order[0])
        record(path, command, {"summary": summary, "runs": runs})
        print(table(summary, order[0], photos.split))
