"""What the tiny towers learn from real photographs, over seeds, beside what must and must not learn.

    python benchmarks/cuhk01.py DATA PRETRAINED [--seeds 3] [--json benchmarks/results/cuhk01.json]

DATA is the CUHK01 part of CUHK-PEDES in that data set's own layout; PRETRAINED a model pretrained on the embedded
people (`make demo` leaves runs/demo/pretrain). Text to image on val. Untrained towers and the histogram baseline stand
beside the recipe `finetune/cuhk01_tiny` from scratch and from PRETRAINED, its objective contrastive matching on
identities; with the training captions shuffled between photographs it must learn nothing. Every run is written as it
ends; started again, the script goes on with what is missing (remove the file to start over).
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from histogram import histogram_baseline
from record import record

from huecry.api import evaluate, finetune
from huecry.data.readers import read

KEYS = ("R1", "R5", "R10", "mAP")
ON_IDENTITIES = ("tasks.n_itc=null", "tasks.r_itc=null", "tasks.contrastive.positives=identity")
"""Contrastive matching instead of the recipe's objective."""


def shuffled(data: Path, folder: Path, seed: int) -> Path:
    """A copy of the annotations whose training captions belong to other photographs; the photographs are linked."""
    rows = json.loads((data / "reid_raw.json").read_text())
    train = [row for row in rows if row["split"] == "train"]
    captions = [row["captions"] for row in train]
    for row, index in zip(train, np.random.default_rng(seed).permutation(len(train)), strict=True):
        row["captions"] = captions[index]
    (folder / "reid_raw.json").write_text(json.dumps(rows))
    (folder / "imgs").symlink_to((data / "imgs").resolve())
    return folder


def run(data: Path, source: str, seed: int) -> dict[str, float]:
    """Fine-tune once; the selected model on val."""
    with tempfile.TemporaryDirectory() as folder:
        results = finetune(
            "finetune/cuhk01_tiny",
            f"data.source={data}",
            f"model.source={source}",
            f"run.seed={seed}",
            f"run.dir={Path(folder) / 'run'}",
            *ON_IDENTITIES,
        )
    assert results is not None
    return results["val"]


def run_shuffled(data: Path, source: str, seed: int) -> dict[str, float]:
    """The control: fine-tune on captions of other photographs."""
    with tempfile.TemporaryDirectory() as folder:
        return run(shuffled(data, Path(folder), seed), source, seed)


def main() -> None:
    """Run what is not in the result file yet, print the table."""
    parser = argparse.ArgumentParser(description="Learning from real photographs, over seeds.")
    parser.add_argument("data", type=Path)
    parser.add_argument("pretrained", help="a model or run folder")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/cuhk01.json"))
    arguments = parser.parse_args()
    data, source = arguments.data, arguments.pretrained
    splits = read(str(data))
    rows: dict[str, Callable[[int], dict[str, Any]]] = {
        "untrained": lambda seed: evaluate("tiny", str(data), f"run.seed={seed}", split="val"),
        "histogram": lambda seed: histogram_baseline(splits["train"], splits["val"], seed=seed),
        "tiny, from scratch": lambda seed: run(data, "tiny", seed),
        "tiny, pretrained": lambda seed: run(data, source, seed),
        "tiny, pretrained, shuffled captions": lambda seed: run_shuffled(data, source, seed),
    }
    figures = json.loads(arguments.json.read_text())["figures"] if arguments.json.exists() else {}
    for seed, (name, measure) in itertools.product(range(arguments.seeds), rows.items()):
        found = figures.setdefault(name, {key: {"runs": []} for key in KEYS})
        if len(found["mAP"]["runs"]) > seed:
            continue
        metrics = measure(seed)
        for key in KEYS:
            found[key]["runs"].append(metrics[key])
            found[key]["mean"] = statistics.mean(found[key]["runs"])
        command = f"python benchmarks/cuhk01.py CUHK01 runs/demo/pretrain --seeds {arguments.seeds}"
        record(arguments.json, command, figures)
    print(f"{'':40}" + "".join(f"{key:>14}" for key in KEYS))
    for name, row in figures.items():
        cells = (f"{row[key]['mean']:6.1f} ±{statistics.pstdev(row[key]['runs']):4.1f}" for key in KEYS)
        print(f"{name:40}" + "".join(f"{cell:>14}" for cell in cells))


if __name__ == "__main__":
    main()
