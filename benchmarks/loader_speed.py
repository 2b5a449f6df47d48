"""Does loading keep up with training? Rows a second of two data workers beside what the tiny towers consume.

    python benchmarks/loader_speed.py [--json benchmarks/results/loader_speed.json]

On the embedded people with the views and augmentations of `finetune/people`; a consuming step is forward and backward
of both towers with the contrastive task, on all cores. The two are timed in turns.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import time
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the commands do, before torch is imported
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

from record import record

from huecry.config import load_recipe
from huecry.data.loader import TrainingLoader, TrainingRows
from huecry.data.order import BatchOrder, random_order
from huecry.data.readers import read
from huecry.data.views import Shape
from huecry.tasks import TASKS
from huecry.training.stage import build_bundle

BATCH, BATCHES = 128, 20


def main() -> None:
    """Time both, five times in turns, and print the medians."""
    parser = argparse.ArgumentParser(description="Loader throughput beside consumption.")
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/loader_speed.json"))
    arguments = parser.parse_args()
    recipe = load_recipe("finetune/people", ["model.source=tiny"], TASKS)
    photos = read(recipe.data.source, recipe.data)["train"]
    bundle = build_bundle(recipe, TASKS, photos)
    shape = Shape(bundle.towers.image_size, bundle.towers.context)
    rows = TrainingRows(photos, sorted(bundle.views), recipe.views, shape, {}, 0, "error")
    loader = TrainingLoader(rows, BatchOrder(BATCH, 0, 1), 2, False)
    loaded, consumed = [], []
    for turn in range(6):
        batches = loader.epoch(random_order(len(photos.row_image), 0, turn), turn, 0, BATCHES + 5)
        warm = list(itertools.islice(batches, 5))
        start = time.perf_counter()
        assert len(list(batches)) == BATCHES
        loaded.append(BATCHES * BATCH / (time.perf_counter() - start))
        start = time.perf_counter()
        for batch in warm:
            bundle(batch)[0].backward()
            bundle.after_backward()
        consumed.append(len(warm) * BATCH / (time.perf_counter() - start))
    loaded, consumed = loaded[1:], consumed[1:]
    ratios = [fast / slow for fast, slow in zip(loaded, consumed, strict=True)]
    figures = {
        "loaded_per_second": statistics.median(loaded),
        "consumed_per_second": statistics.median(consumed),
        "ratio": statistics.median(ratios),
        "range": [min(ratios), max(ratios)],
    }
    print("  ".join(f"{key} {value:.1f}" for key, value in figures.items() if isinstance(value, float)))
    record(arguments.json, "python benchmarks/loader_speed.py", figures)


if __name__ == "__main__":
    main()
