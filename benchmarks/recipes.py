"""The objectives of the fine-tuning recipes on small towers and real photographs, over seeds.

    python benchmarks/recipes.py DATA PRETRAINED [--seeds 3] [--split val]

DATA is the CUHK01 part of CUHK-PEDES in that data set's own layout; PRETRAINED a model pretrained on the embedded
people (`make demo` leaves runs/demo/pretrain). Every row takes towers, pictures, optimiser and length from
`finetune/cuhk01_tiny`, and from its recipe the tasks, the second views that they ask for and the sampler: objectives
are compared, not the papers' schedules. What a recipe counts in steps is scaled to this length. Row by row: figures on
the split, and the difference in mAP to `clip_itc` with its interval over persons and seeds; the epoch is chosen on val
in any case. Run folders stay in runs/recipes: started again, the script goes on with what is missing, and
`--split test` measures the models that are there.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path

from cells import fill
from omegaconf import DictConfig, OmegaConf

from huecry.api import finetune
from huecry.config import read_yaml, recipe_path
from huecry.data.readers import read

TINY, BASE, IDENTITIES = "cuhk01_tiny", "clip_itc", "clip_itc on identities"
ROWS = (
    *(BASE, IDENTITIES, "irra", "tbps_clip", "tbps_clip_simple", "rde", "textreid"),
    *("cmpm_c", "ssan_loss", "vta", "cmaam", "mccl", "dlis_loss"),
)
SHARES = {"n_itc.distil_steps": 1 / 5, "compound_ranking.warmup": 5 / 60, "identity.mutual_start": 5 / 60}
"""What a task counts in steps, as the share of the training that its recipe gives it."""
RUNS = Path("runs/recipes")


def recipe(row: str, steps: int) -> DictConfig:
    """`finetune/cuhk01_tiny` with the objective of another recipe."""
    tiny, other = (read_yaml(recipe_path(f"finetune/{name}")) for name in (TINY, BASE if row == IDENTITIES else row))
    tiny.tasks = other.tasks
    if row == IDENTITIES:
        tiny.tasks.contrastive.positives = "identity"
    for key, share in SHARES.items():
        if OmegaConf.select(other, f"tasks.{key}") is not None:
            OmegaConf.update(tiny, f"tasks.{key}", round(share * steps))
    views = {key: value for key, value in other.views.items() if key != "rgb"}
    if "rgb2" in views:
        views["rgb2"] = tiny.views.rgb
    tiny.views = {"rgb": tiny.views.rgb, **views}
    if "sampler" in other.data:
        tiny.data.sampler = other.data.sampler
    return tiny


def train(row: str, seed: int, data: str, pretrained: str, captions: int) -> Path:
    """The run folder of a row at a seed, trained if it is not there."""
    folder = RUNS / f"{row.replace(' ', '_')}-{seed}"
    if not (folder / "results.json").exists():
        tiny = read_yaml(recipe_path(f"finetune/{TINY}")).train
        made = folder.with_name(f"{folder.name}.yaml")
        made.parent.mkdir(parents=True, exist_ok=True)
        OmegaConf.save(recipe(row, tiny.epochs * (captions // tiny.batch_size)), made)
        changes = (f"data.source={data}", f"model.source={pretrained}", f"run.seed={seed}", f"run.dir={folder}")
        finetune(str(made), *changes)
    return folder


def main() -> None:
    """Train what is missing, measure, record, print the table."""
    parser = argparse.ArgumentParser(description="Objectives of the fine-tuning recipes, over seeds.")
    parser.add_argument("data")
    parser.add_argument("pretrained", help="a model or run folder")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=ROWS)
    parser.add_argument("--split", choices=("val", "test"), default="val")
    arguments = parser.parse_args()
    splits = read(arguments.data)
    captions = len(splits["train"].row_image)
    fill(
        Path("benchmarks/results") / f"recipes_{arguments.split}.json",
        f"python benchmarks/recipes.py CUHK01 {arguments.pretrained} --split {arguments.split}",
        ((row, 1.0, seed) for seed, row in itertools.product(range(arguments.seeds), arguments.rows)),
        ROWS,
        lambda cell: train(cell[0], cell[2], arguments.data, arguments.pretrained, captions),
        splits[arguments.split],
    )


if __name__ == "__main__":
    main()
