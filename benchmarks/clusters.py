"""Does clustering find the persons, and does it help retrieval? Pretraining without identities, over seeds.

    python benchmarks/clusters.py people PRETRAINED
    python benchmarks/clusters.py cuhk01 PRETRAINED DATA

Three rows go on from the same model, PRETRAINED, for the same number of steps on pairs: `pairs` by contrastive matching
alone; `clusters` by cluster contrast as well, with clusters found anew before every epoch; `random clusters` by those
clusters with their photographs exchanged at random, a control that must do worse than pairs. The matching by Text-IoU,
which needs no clusters, is off. The clusters are of captions on people and of photographs on cuhk01: of the two, what
PRETRAINED's features tell apart better on the training set. PRETRAINED was made of the embedded people without
identities; DATA is the CUHK01 part of CUHK-PEDES. Printed: text to image on val, zero-shot, and how well each epoch's
clusters agree with the persons (ARI; 1 is perfect, 0 is chance), whom no training sees. Every run is written to
benchmarks/results/clusters_<set>.json as it ends; started again, the script goes on with what is missing.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

import torch
from record import record

from huecry.config import load_recipe
from huecry.pretrain.relabel import Relabel
from huecry.tasks import TASKS
from huecry.training.labels import LabelTable
from huecry.training.stage import run_stage
from huecry.training.trainer import EpochContext

KEYS = ("R1", "R5", "R10", "mAP")
ROWS = ("pairs", "clusters", "random clusters")
COLOUR = ("colour_words", "colourise", "grayscale")
COMMON = ("relabel.start=0", "relabel.source=text", "relabel.k1=8", "relabel.eps=0.6")
CHANGES = {
    "people": ("train.epochs=3", "eval.every=3"),
    "cuhk01": (
        *("train.epochs=6", "eval.every=6", "relabel.source=image", "relabel.k1=6", "relabel.eps=0.5"),
        *("views.rgb.brightness=0.2", "views.rgb.contrast=0.2"),
    ),
}


class Exchanged(Relabel):
    """Labels by clusters of the same sizes that hold anybody."""

    def __call__(self, context: EpochContext) -> None:
        before = context.labels.image.clone()
        super().__call__(context)
        table: LabelTable = context.labels
        if not torch.equal(before, table.image):
            image = table.image[torch.from_numpy(context.generator.permutation(len(table.image)))]
            table.publish(image, image[table.row_image])


def run(name: str, row: str, seed: int, more: list[str]) -> dict[str, Any]:
    """Train once; the last model on val and each clustering's figures."""
    with tempfile.TemporaryDirectory() as folder:
        off = [*COLOUR, "moco", *(["clustering"] if row == "pairs" else [])]
        changes = [*(f"tasks.{task}=null" for task in off), *COMMON, *CHANGES[name], *more]
        changes += [f"run.seed={seed}", f"run.dir={Path(folder) / 'run'}"]
        changes.append("data.labels=pair" if row == "pairs" else "tasks.clustering.match=0")
        recipe = load_recipe("pretrain/all_tiny", changes, TASKS)
        hook = {"pairs": None, "clusters": Relabel(recipe.relabel), "random clusters": Exchanged(recipe.relabel)}[row]
        results = run_stage(recipe, TASKS, hook)
        lines = [json.loads(line) for line in (Path(folder) / "run" / "metrics.jsonl").read_text().splitlines()]
    assert results is not None
    labels = [line["labels"] for line in lines if "labels" in line]
    return {**{key: results["val"][key] for key in KEYS}, "labels": labels}


def main() -> None:
    """Run what is not in the result file yet, print the table."""
    parser = argparse.ArgumentParser(description="Clusters without identities, over seeds.")
    parser.add_argument("name", choices=CHANGES)
    parser.add_argument("pretrained", help="a model or run folder")
    parser.add_argument("data", nargs="?", help="the CUHK01 part of CUHK-PEDES; none for people")
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    name = arguments.name
    if bool(arguments.data) != (name == "cuhk01"):
        parser.error("give the data for cuhk01, and none for people")
    more = [f"model.source={arguments.pretrained}", *([f"data.source={arguments.data}"] if arguments.data else [])]
    path = Path("benchmarks/results") / f"clusters_{name}.json"
    figures: dict[str, Any] = json.loads(path.read_text())["figures"] if path.exists() else {}
    for seed, row in itertools.product(range(arguments.seeds), ROWS):
        runs = figures.setdefault(row, {"runs": []})["runs"]
        if len(runs) <= seed:
            runs.append(run(name, row, seed, more))
            figures[row] |= {key: statistics.mean(one[key] for one in runs) for key in KEYS}
            each = zip(*([labels["ari"] for labels in one["labels"]] for one in runs), strict=True)
            figures[row]["ari"] = [statistics.mean(epoch) for epoch in each]
            command = (
                f"python benchmarks/clusters.py {name} {arguments.pretrained}{' CUHK01' if arguments.data else ''}"
            )
            record(path, f"{command} --seeds {arguments.seeds}", figures)
    print(f"{'':20}" + "".join(f"{key:>14}" for key in KEYS) + "   ARI of each clustering")
    for row, found in figures.items():
        cells = (f"{found[key]:6.1f} ±{statistics.pstdev(one[key] for one in found['runs']):4.1f}" for key in KEYS)
        rising = " ".join(f"{ari:.2f}" for ari in found["ari"])
        print(f"{row:20}" + "".join(f"{cell:>14}" for cell in cells) + f"   {rising}")


if __name__ == "__main__":
    main()
