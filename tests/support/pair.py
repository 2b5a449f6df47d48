"""Run by two processes (torchrun, gloo) and by one: the same global batch must give the same results.

Usage: torchrun --nproc_per_node 2 pair.py PHOTOS OUT; process r writes OUT/results-r.pt.
"""

from __future__ import annotations

import os
import re
import signal
import sys
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from safetensors.torch import load_file
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from huecry.config import build_recipe
from huecry.data.loader import TrainingLoader, TrainingRows
from huecry.data.order import BatchOrder, random_order
from huecry.data.readers import read
from huecry.data.views import Shape
from huecry.processes import gather, global_mean, world
from huecry.retrieval.encoder import Encoder
from huecry.retrieval.evaluate import evaluate_split
from huecry.retrieval.index_file import read_index
from huecry.retrieval.indexing import index
from huecry.tasks import TASKS
from huecry.training.bundle import Bundle
from huecry.training.signals import Stopped
from huecry.training.stage import build_accelerator, build_bundle, run_stage
from huecry.training.task import Task
from huecry.training.trainer import Trainer

BATCH = 16


class TokensOnly(Task):
    """Reads tokens, not pooled features: the projections get no gradient from it."""

    views = frozenset({"rgb", "text"})

    def forward(self, encode: Any, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        return encode("rgb").tokens.square().mean() + encode("text").tokens[:, 0].square().mean(), {}


class Queue(Task):
    """Momentum keys of the global batch, kept in a persistent buffer in rank order."""

    views = frozenset({"rgb", "text"})
    momentum = True
    rows: Tensor
    keys: Tensor

    def __init__(self, config: Any, facts: Any) -> None:
        super().__init__(config, facts)
        self.register_buffer("rows", torch.full((BATCH,), -1))
        self.register_buffer("keys", torch.zeros(BATCH, facts.embed_dim))

    def forward(self, encode: Any, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        key = encode("text", momentum=True).pooled
        both = encode.gather("rgb") + encode.gather("text")  # an addition hands one gradient to both
        return (encode("rgb").pooled - key).square().mean() + both.square().mean(), {}

    @torch.no_grad()
    def after_backward(self, encode: Any, batch: dict[str, Tensor]) -> None:
        rows = encode.gather_ids("row")
        self.rows[: len(rows)] = rows
        self.keys[: len(rows)] = encode.gather("text", momentum=True)


TASK_SETS: dict[str, dict[str, Any]] = {
    "instance": {"contrastive": {"positives": "instance"}},
    "identity_positives": {"contrastive": {"positives": "identity"}},
    "sdm": {"sdm": {"same_person": 0.3}},
    "identity": {"identity": {}},
    "targets": {"n_itc": {"text_iou": 0.5, "multi_view": True}, "sdm": {"same_person": 0.3, "compat": "columns"}},
    "contrasts": {"r_itc": {}, "c_itc": {}, "cmpm": {}, "cmpc": {}, "identity": {"mutual": 0.5}},
    "rankings": {"compound_ranking": {"margin": 0.4}, "tal": {}, "align": {}, "hetero_centre": {}},
    "triplets": {"triplet": {"mirror": True, "intra": True, "adaptive": 1.0}},
    "quadruplets": {"triplet": {"form": "quadruplet", "margin": 1.0}},
    "selection": {"tal": {"select": 0.3, "division": True, "margin": 0.5}},
    "mlm": {"mlm": {}, "simclr": {}, "colour_detection": {}},
    "tokens": {"tokens": {}},
    "colour_words": {"colour_words": {}},
    "bins": {"colourise": {"loss": "bins"}},
    "channels": {"colourise": {"hide": "channels"}},
    "grayscale_identities": {"grayscale": {"identities": True}},
    "colourless_half": {"colour_words": {}, "colourise": {}, "grayscale": {}},
    "moco": {"moco": {"queue_size": 40}},
    "moco_union": {"moco": {"queue_size": 40, "negatives": "union", "intra": True, "image_key": "rgb2"}},
    "moco_multi_positive": {"moco": {"queue_size": 40, "negatives": "multi_positive"}},
    "clustering": {"clustering": {"mine": 0.7, "across": 0.7}},
    "all": {"contrastive": {}, "sdm": {}, "identity": {"scale": 28.0}, "queue": {}},
}


TABLE = {**TASKS, "queue": Queue, "tokens": TokensOnly}


def recipe_of(photos: str, tasks: dict[str, Any], *overrides: str) -> Any:
    """A recipe on drawn photographs in which a third of the persons is unknown."""
    values = {"data": {"source": photos, "workers": 0}, "tasks": tasks, "train": {"batch_size": BATCH}}
    return build_recipe("pair", values, overrides, TABLE)


def bundle_of(photos: str, tasks: dict[str, Any]) -> tuple[Bundle, Any, Any]:
    """Bundle, recipe and training photographs; weights do not depend on the process."""
    recipe = recipe_of(photos, tasks)
    train = read(photos, recipe.data)["train"]
    torch.manual_seed(0)
    return build_bundle(recipe, TABLE, train), recipe, train


def gradients(photos: str, name: str) -> dict[str, Any]:
    """Loss and gradients of one global batch whose second half knows no person."""
    bundle, recipe, train = bundle_of(photos, TASK_SETS[name])
    train.row_person[train.row_person >= len(train.persons) // 2] = -1
    bundle.labels.image[bundle.labels.image >= len(train.persons) // 2] = -1
    generator = torch.Generator().manual_seed(2)
    bundle.remember(*(torch.randn(n, 128, generator=generator) for n in (len(train), len(train.row_image))))
    rank, size = world()
    shape = Shape(bundle.towers.image_size, bundle.towers.context)
    rows = TrainingRows(train, sorted(bundle.views), recipe.views, shape, bundle.preparers, 0, "error")
    loader = TrainingLoader(rows, BatchOrder(BATCH, rank, size), 0, False)
    order = random_order(len(train.row_image), 0, 0)
    order = order[(train.row_person[order] < 0).argsort(kind="stable")]  # known persons first, unknown last
    chosen = torch.cat([torch.from_numpy(order[: BATCH // 2]), torch.from_numpy(order[-BATCH // 2 :])]).numpy()
    (batch,) = loader.epoch(chosen, 0, 0, 1)
    if name == "colourless_half":  # what the second process gets names no colour at all
        rank_of_row = torch.arange(rank * BATCH // size, (rank + 1) * BATCH // size) // (BATCH // 2)
        for inputs in batch.inputs.values():
            for array in inputs.values():
                array[rank_of_row == 1] = False if array.dtype == torch.bool else -1
    if "moco" in TASK_SETS[name]:  # a queue that holds other rows, and has come round once
        for start in (0, 8, 16):
            (earlier,) = loader.epoch(order[start : start + BATCH], 0, 0, 1)
            with torch.no_grad():
                bundle(earlier)
            bundle.after_backward()
    with torch.no_grad():
        single = gather(bundle(batch)[0][None]).mean()
    bundle.double()
    model: Any = DistributedDataParallel(bundle) if size > 1 else bundle
    loss, _ = model(batch)
    loss.backward()
    bundle.after_backward()
    bundle.after_step(1, 0.9)
    return {
        "single": single,
        "loss": gather(loss.detach()[None]).mean(),
        "gradients": {key: value.grad for key, value in bundle.named_parameters() if value.grad is not None},
        "buffers": {key: value for key, value in bundle.named_buffers() if re.search("queue|moco|clustering|tal", key)},
    }


def trained(photos: str, folder: Path, sampler: str) -> dict[str, Any]:
    """Weights and metrics after one AdamW step at lr 1e-4 through the trainer, two micro-batches."""
    bundle, _, train = bundle_of(photos, TASK_SETS["all"])
    recipe = recipe_of(
        photos,
        TASK_SETS["all"],
        f"data.sampler={sampler}",
        "optim.lr=1e-4",
        "optim.warmup=0",
        "train.max_steps=1",
        "train.batch_size=8",
        "train.accumulate=2",
        f"run.dir={folder}",
    )
    trainer = Trainer(recipe, build_accelerator(recipe), bundle, train, folder)
    folder.mkdir(parents=True, exist_ok=True)
    trainer.fit()
    test = read(photos, recipe.data)["test"]
    metrics = evaluate_split(trainer.model, bundle.towers, test, recipe.eval).summary()
    weights = {key: value.detach().clone() for key, value in bundle.state_dict().items()}
    return {"weights": weights, "metrics": metrics, "lines": (folder / "metrics.jsonl").read_text()}


def resumed(photos: str, out: Path) -> dict[str, Any]:
    """A stage left alone, and one whose last process alone got a signal, resumed: (metrics, weights, results) each."""
    settings = (
        "data.sampler=identity",
        "train.epochs=2",
        "train.batch_size=8",
        "train.log_every=3",
        "train.save_every=2",
    )
    original = Bundle.after_step
    rank, size = world()

    def after_step(self: Bundle, step: int, momentum: float) -> None:
        original(self, step, momentum)
        if step == 5 and rank == size - 1:
            os.kill(os.getpid(), signal.SIGTERM)

    def run(name: str, *more: str) -> None:
        run_stage(recipe_of(photos, TASK_SETS["all"], *settings, *more, f"run.dir={out / name}"), TABLE)

    run("alone")
    Bundle.after_step = after_step  # type: ignore[method-assign]
    try:
        run("resumed")
    except Stopped as stopped:
        status = stopped.status
    finally:
        Bundle.after_step = original  # type: ignore[method-assign]
    run("resumed", "train.resume=true")
    found: dict[str, Any] = {"status": status}
    for name in ("alone", "resumed"):
        weights = load_file(out / name / "model" / "model.safetensors")
        found[name] = {"weights": weights, "lines": (out / name / "metrics.jsonl").read_text()}
    return found


def indexed(photos: str, out: Path) -> dict[str, Any]:
    """An index whose making a signal to the last process alone stopped, and which was then finished."""
    original, batches = Encoder.encode_pixels, 0
    rank, size = world()

    def encode_pixels(self: Encoder, pixels: Tensor) -> Tensor:
        nonlocal batches
        batches += 1
        if batches == 2 and rank == size - 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(self, pixels)

    arguments = ("tiny", photos, ["data.workers=0", "eval.batch_size=3", "train.cpu_threads=1"])
    Encoder.encode_pixels = encode_pixels  # type: ignore[method-assign]
    try:
        index(*arguments, out=str(out / "photos.safetensors"))
    except Stopped as stopped:
        status = stopped.status
    finally:
        Encoder.encode_pixels = original  # type: ignore[method-assign]
    PartialState().wait_for_everyone()
    parts = len([*out.glob("photos.safetensors.parts/*.safetensors")])
    PartialState().wait_for_everyone()
    index(*arguments, out=str(out / "photos.safetensors"))
    PartialState().wait_for_everyone()
    made = read_index(out / "photos.safetensors")
    found = {"paths": made.paths, "features": made.features.clone(), "hashes": made.hashes.clone()}
    return {**found, "status": status, "parts": parts, "left": sorted(path.name for path in out.glob("photos*"))}


def unequal_counts() -> dict[str, Any]:
    """A mean over data-dependent elements: three on the first process, none on the second."""
    rank, _ = world()
    values = torch.tensor([1.0, 2.0, 6.0, 5.0], requires_grad=True)
    chosen = torch.tensor([True, True, True, False]) if rank == 0 else torch.zeros(4, dtype=torch.bool)
    mean = global_mean(values, chosen)
    return {"mean": gather(mean[None]).mean()}


def run_all(photos: str, out: Path) -> dict[str, Any]:
    """Every scenario by name."""
    results: dict[str, Any] = {name: gradients(photos, name) for name in TASK_SETS}
    results |= {f"trained_{sampler}": trained(photos, out / sampler, sampler) for sampler in ("random", "identity")}
    return results | {
        "unequal_counts": unequal_counts(),
        "resumed": resumed(photos, out),
        "indexed": indexed(photos, out),
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo")
    found = run_all(sys.argv[1], Path(sys.argv[2]))
    torch.save(found, Path(sys.argv[2]) / f"results-{world()[0]}.pt")
    torch.distributed.destroy_process_group()
