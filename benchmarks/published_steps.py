"""The training steps of IRRA and of the simplified TBPS-CLIP beside ours: same weights, batch, losses and machine.

    python benchmarks/published_steps.py [--rounds 9] [--json benchmarks/results/published_steps.json]

`published` computes what the authors' code computes, the way it does: see benchmarks/published_twins.py. Left out, for
it would cost the published steps alone: dropout in TBPS-CLIP's text tower, its deleting of words, running means of the
losses. `huecry` is the bundle under the recipe, with its own optimiser and the norm of its gradients.

Both take one batch of 8 of the embedded people in ViT-B/16 with random weights, in fp32 on a CPU, and classify as many
persons as CUHK-PEDES has. Every loss is compared to 1e-5 first. IRRA's published head attends to padding, which ours
does not: it leaves padding out for that comparison alone, and its loss as published is among the figures. In the rows
without padding captions are repeated to fill the 77 tokens. Then the two take turns, and the ratio is taken within a
round; peak memory is that of a process for each.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from published_twins import Irra, TbpsClip
from record import peak_gb, record
from torch import Tensor, nn
from transformers import CLIPConfig
from turns import ratio, take_turns

from huecry.config import Recipe, load_recipe
from huecry.data.loader import Batch, TrainingLoader, TrainingRows
from huecry.data.order import BatchOrder
from huecry.data.people import cached_people
from huecry.data.readers import read
from huecry.data.records import PhotoSet
from huecry.data.views import Shape
from huecry.tasks import TASKS
from huecry.towers import Towers
from huecry.towers.folder import CLIP_MEAN, CLIP_STD
from huecry.training.bundle import Bundle
from huecry.training.encode import normalised
from huecry.training.labels import LabelTable
from huecry.training.optim import build_optimizer
from huecry.training.stage import facts_of

BATCH = 8
PERSONS = 11003
TOLERANCE = 1e-5


@dataclass(frozen=True)
class Row:
    """What is timed: a recipe and its changes. fill: repeat captions until they fill all 77 tokens."""

    recipe: str
    changes: tuple[str, ...] = ()
    fill: bool = False


ALIASED = ("tasks.sdm.text_view=text_masked", "tasks.identity.text_view=text_masked")
"""What IRRA's published code does, unintended: it runs the masked caption twice; here one text pass serves all."""
ROWS = {
    "irra": Row("finetune/irra"),
    "irra, masked caption matched": Row("finetune/irra", ALIASED),
    "irra, no padding": Row("finetune/irra", fill=True),
    "irra, masked caption matched, no padding": Row("finetune/irra", ALIASED, fill=True),
    "tbps_clip_simple": Row("finetune/tbps_clip_simple", ("tasks.n_itc.distil_steps=0",)),  # past its first epoch
}
Step = Callable[[], None]


def vit_b16(recipe: Recipe) -> Towers:
    """Towers with random weights at the recipe's size."""
    assert recipe.model.image_size is not None
    height, width = recipe.model.image_size
    torch.manual_seed(0)
    towers = Towers(CLIPConfig(vision_config={"patch_size": 16}, text_config={}), (height, width), CLIP_MEAN, CLIP_STD)
    image, text = towers.image, towers.text
    for table in (image.class_embedding, image.positions, text.positions, text.words.weight):
        nn.init.normal_(table, std=0.02)
    return towers


def build(row: str, towers: Callable[[Recipe], Towers], photos: PhotoSet) -> tuple[Recipe, Bundle, Batch]:
    """A row's recipe, the bundle under it, and a batch with two photographs of each person."""
    recipe = load_recipe(ROWS[row].recipe, ROWS[row].changes, TASKS)
    if ROWS[row].fill:
        filled = [replace(one, captions=tuple(f"{said} " * 77 for said in one.captions)) for one in photos]
        photos = PhotoSet("train", filled)
    made = towers(recipe)
    facts = replace(facts_of(made, photos, labelled=True), persons=PERSONS)
    tasks = {name: TASKS[name](entry, facts) for name, entry in recipe.tasks.items()}
    bundle = Bundle(made, tasks, LabelTable(photos, "given"))
    shape = Shape(made.image_size, made.context)
    rows = TrainingRows(photos, sorted(bundle.views), recipe.views, shape, bundle.preparers, 0, "error")
    order = np.arange(0, len(photos.row_image), 4)
    (batch,) = TrainingLoader(rows, BatchOrder(BATCH, 0, 1), 0, False).epoch(order, 0, 0, 1)
    return recipe, bundle, batch


def twin_of(recipe: Recipe, bundle: Bundle) -> Irra | TbpsClip:
    """The published step with the bundle's weights."""
    twin, task = (Irra, "sdm") if "mlm" in recipe.tasks else (TbpsClip, "n_itc")
    return twin(bundle, recipe.tasks[task].text_view)  # type: ignore[attr-defined]


def ours(recipe: Recipe, bundle: Bundle, batch: Batch) -> Step:
    """The trainer's step."""
    optimizer = build_optimizer(bundle, recipe.optim)

    def step() -> None:
        loss, _ = bundle(batch)
        loss.backward()
        bundle.after_backward()
        torch.nn.utils.clip_grad_norm_(bundle.parameters(), recipe.optim.clip or float("inf"))
        optimizer.step()
        optimizer.zero_grad()
        bundle.after_step(bundle.step + 1, recipe.optim.momentum)

    return step


def published(recipe: Recipe, twin: Irra | TbpsClip, pixels: Tensor, batch: Batch) -> Step:
    """The published step; its pixels [B, 3, H, W] come normalised from the data workers."""
    optimizer = twin.optimizer(recipe)
    return lambda: twin.step(optimizer, pixels, batch)


@torch.no_grad()
def losses_of(twin: Irra | TbpsClip, bundle: Bundle, batch: Batch) -> dict[str, Any]:
    """Each task's loss, ours and published. Raises ValueError where they differ."""
    pixels = normalised(batch.views["rgb"], bundle.towers)
    own = {name: float(loss) for name, (loss, _) in bundle.task_losses(batch).items()}
    theirs, _ = twin(pixels, batch, leave_padding=True) if isinstance(twin, Irra) else twin(pixels, batch)
    bundle.forget()
    for name, loss in theirs.items():
        if abs(own[name] - float(loss)) > TOLERANCE * abs(float(loss)):
            raise ValueError(f"{name} is {own[name]} here and {float(loss)} as published: no steps to compare")
    found: dict[str, Any] = {"losses": own}
    if isinstance(twin, Irra):
        found["mlm_with_padding"] = float(twin(pixels, batch)[0]["mlm"])
    return found


def embedded() -> PhotoSet:
    """The photographs that batches are drawn from."""
    return read(cached_people(100, 0))["train"]


def peak(row: str, name: str) -> float:
    """Peak memory in GB of two steps; for a process that did nothing before."""
    recipe, bundle, batch = build(row, vit_b16, embedded())
    if name == "huecry":
        step = ours(recipe, bundle, batch)
    else:
        twin, pixels = twin_of(recipe, bundle), normalised(batch.views["rgb"], bundle.towers)
        del bundle
        step = published(recipe, twin, pixels, batch)
    step()
    step()
    return peak_gb()


def measure(row: str, rounds: int) -> dict[str, Any]:
    """All figures of a row but memory."""
    recipe, bundle, batch = build(row, vit_b16, embedded())
    twin, pixels = twin_of(recipe, bundle), normalised(batch.views["rgb"], bundle.towers)
    found = losses_of(twin, bundle, batch)
    found["tokens_a_caption"] = float(batch.views[twin.retrieval].argmax(dim=1).float().mean()) + 1
    steps = {"published": published(recipe, twin, pixels, batch), "huecry": ours(recipe, bundle, batch)}
    times = take_turns(steps, rounds)
    found["seconds"] = {name: statistics.median(times[name]) for name in steps}
    found["time_ratio"], found["range"] = ratio(times["huecry"], times["published"])
    return found


def main() -> None:
    """Measure and print; write the figures."""
    parser = argparse.ArgumentParser(description="Two papers' training steps beside ours.")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/published_steps.json"))
    parser.add_argument("--peak", nargs=2, metavar=("ROW", "STEP"), help="print one step's peak memory in GB, no more")
    arguments = parser.parse_args()
    if arguments.peak:
        if arguments.peak[0] not in ROWS or arguments.peak[1] not in ("published", "huecry"):
            parser.error(f"--peak takes one of {', '.join(map(repr, ROWS))}, then published or huecry")
        print(peak(*arguments.peak))
        return
    figures: dict[str, Any] = {}
    for row in ROWS:  # before this process grows: a new one begins with its parent's peak
        peaks = {}
        for name in ("published", "huecry"):
            said = subprocess.run([sys.executable, __file__, "--peak", row, name], check=True, stdout=subprocess.PIPE)
            peaks[name] = float(said.stdout.split()[-1])
            print(f"{row}, {name}: {peaks[name]:.2f} GB", flush=True)
        figures[row] = {"peak_gb": peaks, "memory_ratio": peaks["huecry"] / peaks["published"]}
    for row in ROWS:
        print(row)
        figures[row] |= measure(row, arguments.rounds)
        print(f"  time {figures[row]['time_ratio']:.3f}, memory {figures[row]['memory_ratio']:.3f}")
    record(arguments.json, f"python benchmarks/published_steps.py --rounds {arguments.rounds}", figures)


if __name__ == "__main__":
    main()
