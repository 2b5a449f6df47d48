"""Few photographs: does it help to let less of the towers learn? Over seeds, on real photographs.

    python benchmarks/small_data.py DATA PRETRAINED [--seeds 3] [--split val]

DATA is the CUHK01 part of CUHK-PEDES in that data set's own layout; PRETRAINED a model pretrained on the embedded
people (`make demo` leaves runs/demo/pretrain). Every row is `finetune/cuhk01_tiny` from PRETRAINED: `full` learns all
weights, the others keep the text tower or the first half of the layers of both towers as they are, or let lower layers
learn slower. With all training persons and with a tenth of them, in ten times as many epochs. Row by row: figures on
the split, and the difference in mAP to `full` at the same share with its interval over persons and seeds; the epoch is
chosen on val in any case. Run folders stay in runs/small_data: started again, the script goes on with what is missing,
and `--split test` measures the models that are there.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path

from cells import fill

from huecry.api import finetune
from huecry.config import load_recipe
from huecry.data.readers import read
from huecry.tasks import TASKS

RECIPE = "finetune/cuhk01_tiny"
ROWS: dict[str, tuple[str, ...]] = {
    "full": (),
    "frozen text tower": ("optim.freeze.text=1",),
    "frozen lower halves": ("optim.freeze.image=0.5", "optim.freeze.text=0.5"),
    "layer decay 0.8": ("optim.layer_decay=0.8",),
}
SHARES = (1.0, 0.1)
"""Of the training persons that are labelled."""
RUNS = Path("runs/small_data")


def train(row: str, share: float, seed: int, changes: list[str]) -> Path:
    """The run folder of a row at a share and a seed, trained if it is not there, in as many steps at every share."""
    folder = RUNS / f"{row.replace(' ', '_')}-{share:g}-{seed}"
    if not (folder / "results.json").exists():
        recipe = load_recipe(RECIPE, [], TASKS)
        lengths = {"train.epochs": recipe.train.epochs, "eval.every": recipe.eval.every}
        own = [f"{key}={round(epochs / share)}" for key, epochs in lengths.items()]
        own += [f"data.labelled={share:g}", f"run.seed={seed}", f"run.dir={folder}", "train.resume=true"]
        finetune(RECIPE, *ROWS[row], *own, *changes)
    return folder


def main() -> None:
    """Train what is missing, measure, record, print the table."""
    parser = argparse.ArgumentParser(description="Freezing and layer-wise decay on few photographs, over seeds.")
    parser.add_argument("data")
    parser.add_argument("pretrained", help="a model or run folder")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--split", choices=("val", "test"), default="val")
    parser.add_argument("changes", nargs="*", metavar="key=value", help="for every run, to try the script with")
    arguments = parser.parse_intermixed_args()
    photos = read(arguments.data)[arguments.split]
    changes = [f"data.source={arguments.data}", f"model.source={arguments.pretrained}", *arguments.changes]
    cells = itertools.product(range(arguments.seeds), SHARES, ROWS)
    fill(
        Path("benchmarks/results") / f"small_data_{arguments.split}.json",
        f"python benchmarks/small_data.py CUHK01 {arguments.pretrained} --split {arguments.split}",
        ((row, share, seed) for seed, share, row in cells),
        [*ROWS],
        lambda cell: train(*cell, changes),
        photos,
    )


if __name__ == "__main__":
    main()
