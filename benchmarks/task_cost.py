"""What the tasks cost: a training step with them beside the contrastive step alone, in turns, in one run.

    python benchmarks/task_cost.py [--rounds 9] [--json benchmarks/results/task_cost.json]

ViT-B/16 with random weights at 384x128, batch 8, and `tiny` at batch 128; fp32 on a CPU (bf16 on a GPU), AdamW,
the same photographs of the embedded people, in clusters of four. A step is forward, backward, update, and the momentum
towers' where a task has them. Every round takes each row once, and its ratio to the contrastive step is taken within
the round. Clustering itself, once an epoch, is not in it.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from record import record
from transformers import CLIPConfig
from turns import ratio, take_turns

from huecry.config import build_recipe
from huecry.data.loader import TrainingLoader, TrainingRows
from huecry.data.order import BatchOrder
from huecry.data.people import cached_people
from huecry.data.readers import read
from huecry.data.records import PhotoSet
from huecry.data.views import Shape
from huecry.tasks import TASKS
from huecry.towers import Towers
from huecry.towers.folder import CLIP_MEAN, CLIP_STD
from huecry.training.bundle import Bundle
from huecry.training.labels import LabelTable
from huecry.training.stage import build_bundle, facts_of

COLOUR = ("colour_words", "colourise", "grayscale")
ALL = (*COLOUR, "moco", "clustering")
ROWS = {
    "contrastive": (),
    **{f"contrastive + {name}": (name,) for name in ALL},
    "colour tasks": COLOUR,
    "all five": ALL,
}


def bundle_of(size: str, tasks: tuple[str, ...], photos: PhotoSet) -> Bundle:
    """The bundle of a row, on random weights."""
    stanzas: dict[str, Any] = {"contrastive": {"positives": "instance"}, **{name: {} for name in tasks}}
    recipe = build_recipe("cost", {"tasks": stanzas, "data": {"labels": "pseudo"}}, (), TASKS)
    torch.manual_seed(0)
    if size == "tiny":
        return clustered(build_bundle(recipe, TASKS, photos), photos)
    config = CLIPConfig(
        vision_config={"patch_size": 16, "image_size": 384, "hidden_act": "quick_gelu"},
        text_config={"hidden_act": "quick_gelu"},
    )
    towers = Towers(config, (384, 128), CLIP_MEAN, CLIP_STD)
    for weight in towers.parameters():
        torch.nn.init.normal_(weight, std=0.02)
    facts = facts_of(towers, photos, labelled=False)
    heads = {name: TASKS[name](entry, facts) for name, entry in recipe.tasks.items()}
    return clustered(Bundle(towers, heads, LabelTable(photos, "pseudo")), photos)


def clustered(bundle: Bundle, photos: PhotoSet) -> Bundle:
    """The bundle as it is once photographs were clustered: each four that follow each other."""
    image = torch.arange(len(photos)) // 4
    bundle.labels.publish(image, image[bundle.labels.row_image])
    bundle.remember(*(torch.randn(n, bundle.towers.embed_dim) for n in (len(photos), len(photos.row_image))))
    return bundle


def step_of(bundle: Bundle, photos: PhotoSet, count: int, device: torch.device) -> Callable[[], None]:
    """A whole training step on one batch."""
    views = build_recipe("cost", {}, (), TASKS).views
    shape = Shape(bundle.towers.image_size, bundle.towers.context)
    rows = TrainingRows(photos, sorted(bundle.views), views, shape, bundle.preparers, 0, "error")
    order = np.random.default_rng(0).permutation(len(photos.row_image))
    (batch,) = TrainingLoader(rows, BatchOrder(count, 0, 1), 0, False).epoch(order, 0, 0, 1)
    bundle.to(device)
    batch = batch.to(device)
    optimizer = torch.optim.AdamW(bundle.parameters(), lr=1e-5, fused=True)

    def step() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            loss, _ = bundle(batch)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        bundle.after_backward()
        bundle.after_step(1, 0.999)
        if device.type == "cuda":
            torch.cuda.synchronize()

    return step


def compare(steps: dict[str, Callable[[], None]], rounds: int) -> dict[str, Any]:
    """Median seconds of each row, and the median, least and greatest ratio to the first row over the rounds."""
    seconds = take_turns(steps, rounds)
    base = seconds[next(iter(steps))]
    figures = {}
    for name, times in seconds.items():
        middle, (low, high) = ratio(times, base)
        figures[name] = {"seconds": statistics.median(times), "times_contrastive": middle, "range": [low, high]}
        print(f"  {name:28}{figures[name]['seconds']:8.3f} s{middle:8.2f} x ({low:.2f} to {high:.2f})")
    return figures


def main() -> None:
    """Measure and print; write the figures."""
    parser = argparse.ArgumentParser(description="The cost of the tasks.")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/task_cost.json"))
    arguments = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    photos = read(cached_people(100, 0))["train"]
    results: dict[str, Any] = {"device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu"}
    for size, batch in (("tiny", 128), ("ViT-B/16 384x128", 8)):
        print(f"{size}, batch {batch}")
        rows = ROWS if size == "tiny" else {name: ROWS[name] for name in ("contrastive", "colour tasks", "all five")}
        steps = {name: step_of(bundle_of(size, tasks, photos), photos, batch, device) for name, tasks in rows.items()}
        results[f"{size}, batch {batch}"] = compare(steps, arguments.rounds)
        steps.clear()
    record(arguments.json, f"python benchmarks/task_cost.py --rounds {arguments.rounds}", results)


if __name__ == "__main__":
    main()
