"""Does clustering find the persons, and does it help retrieval? Pretraining without identities, over seeds.

    python benchmarks/clusters.py people PRETRAINED
    python benchmarks/clusters.py cuhk01 PRETRAINED DATA

The rows go on from the same model, PRETRAINED, for the same number of steps, by contrastive matching on pairs. `pairs`
is that alone; the others also contrast photographs and captions with means of the memories of both modalities. Whose
mean: `clusters`, found anew before every epoch; `own`, every photograph's (and its captions') alone;
`random members`, those clusters with their photographs exchanged at random, each with its captions; `random labels`,
photographs and captions exchanged each on their own; `identities`, the true ones, which the others never see. The
matching by Text-IoU, which needs no clusters, is off. The clusters are of captions on people and of photographs on
cuhk01: of the two, what PRETRAINED's features tell apart better on the training set. PRETRAINED was made of the
embedded people without identities or clusters; DATA is the CUHK01 part of CUHK-PEDES. Printed: text to image on val,
zero-shot, and how well each epoch's labels agree with the persons (ARI; 1 is perfect, 0 is chance). Every run is
written to benchmarks/results/clusters_<set>.json as it ends; started again, the script goes on with what is missing.
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
from torch import Tensor

from huecry.config import load_recipe
from huecry.pretrain.relabel import Relabel, figures
from huecry.tasks import TASKS
from huecry.training.labels import LabelTable
from huecry.training.stage import run_stage
from huecry.training.trainer import EpochContext

KEYS = ("R1", "R5", "R10", "mAP")
ROWS = ("pairs", "clusters", "own", "random members", "random labels", "identities")
LABELS = {"pairs": "pair", "own": "pair", "identities": "given"}
COLOUR = ("colour_words", "colourise", "grayscale")
COMMON = ("relabel.start=0", "relabel.source=text", "relabel.k1=8", "relabel.eps=0.6")
CHANGES = {
    "people": ("train.epochs=3", "eval.every=3"),
    "cuhk01": (
        *("train.epochs=6", "eval.every=6", "relabel.source=image", "relabel.k1=6", "relabel.eps=0.5"),
        *("views.rgb.brightness=0.2", "views.rgb.contrast=0.2"),
    ),
}


class Own(Relabel):
    """Labels stay what they are; the memories are filled."""

    def __call__(self, context: EpochContext) -> None:
        features = context.extract()
        context.remember(features.images, features.texts)


class RandomMembers(Relabel):
    """Clusters of the same sizes that hold anybody, each photograph with its captions."""

    def __call__(self, context: EpochContext) -> None:
        super().__call__(context)
        table: LabelTable = context.labels
        image = exchanged(table.image, context)
        table.publish(image, image[table.row_image])
        tell(context)


class RandomLabels(Relabel):
    """Labels of photographs and labels of captions, each exchanged at random."""

    def __call__(self, context: EpochContext) -> None:
        super().__call__(context)
        context.labels.publish(exchanged(context.labels.image, context), exchanged(context.labels.text, context))
        tell(context)


HOOKS = {
    "clusters": Relabel,
    "own": Own,
    "random members": RandomMembers,
    "random labels": RandomLabels,
    "identities": Own,
}
"""What labels the memories of a row; `pairs` has none."""


def exchanged(labels: Tensor, context: EpochContext) -> Tensor:
    """The same labels in a random order."""
    return labels[torch.from_numpy(context.generator.permutation(len(labels)))]


def tell(context: EpochContext) -> None:
    """Log how well the labels that were exchanged agree with the persons."""
    context.log({"labels": figures(context.labels.image.numpy(), context.labels.text.numpy(), context.photos)})


def run(name: str, row: str, seed: int, more: list[str]) -> dict[str, Any]:
    """Train once; the last model on val and each epoch's labels, as last logged."""
    with tempfile.TemporaryDirectory() as folder:
        off = [*COLOUR, "moco", *(["clustering"] if row == "pairs" else [])]
        changes = [*(f"tasks.{task}=null" for task in off), *COMMON, *CHANGES[name], *more]
        changes += [f"run.seed={seed}", f"run.dir={Path(folder) / 'run'}"]
        changes += [f"data.labels={LABELS.get(row, 'pseudo')}"]
        changes += [] if row == "pairs" else ["tasks.clustering.match=0", "tasks.clustering.across=1"]
        recipe = load_recipe("pretrain/all_tiny", changes, TASKS)
        results = run_stage(recipe, TASKS, HOOKS[row](recipe.relabel) if row in HOOKS else None)
        lines = [json.loads(line) for line in (Path(folder) / "run" / "metrics.jsonl").read_text().splitlines()]
    assert results is not None
    labels = {line["epoch"]: line["labels"] for line in lines if "labels" in line}
    return {**{key: results["val"][key] for key in KEYS}, "labels": list(labels.values())}


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
    rows: dict[str, Any] = json.loads(path.read_text())["figures"] if path.exists() else {}
    for seed, row in itertools.product(range(arguments.seeds), ROWS):
        runs = rows.setdefault(row, {"runs": []})["runs"]
        if len(runs) <= seed:
            runs.append(run(name, row, seed, more))
            rows[row] |= {key: statistics.mean(one[key] for one in runs) for key in KEYS}
            each = zip(*([labels["ari"] for labels in one["labels"]] for one in runs), strict=True)
            rows[row]["ari"] = [statistics.mean(epoch) for epoch in each]
            command = (
                f"python benchmarks/clusters.py {name} {arguments.pretrained}{' CUHK01' if arguments.data else ''}"
            )
            record(path, f"{command} --seeds {arguments.seeds}", rows)
    print(f"{'':20}" + "".join(f"{key:>14}" for key in KEYS) + "   ARI of each clustering")
    for row, found in rows.items():
        cells = (f"{found[key]:6.1f} ±{statistics.pstdev(one[key] for one in found['runs']):4.1f}" for key in KEYS)
        rising = " ".join(f"{ari:.2f}" for ari in found["ari"])
        print(f"{row:20}" + "".join(f"{cell:>14}" for cell in cells) + f"   {rising}")


if __name__ == "__main__":
    main()
