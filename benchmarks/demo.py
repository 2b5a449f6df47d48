"""The end of `make demo`: one table of what was learnt on the 100 held-out persons, and a sheet of answers to look at.

    python benchmarks/demo.py runs/demo [--json FILE]

Reads the runs `pretrain` and `finetune` in the folder; beside them stand the untrained towers and the histogram
baseline. Leaves `sheet.png` in the folder.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path

from histogram import histogram_baseline
from record import record

from huecry.data.readers import read
from huecry.data.records import PhotoSet
from huecry.retrieval.evaluate import Features, extract, retrieval_metrics
from huecry.retrieval.metrics import rank_top
from huecry.retrieval.sheet import Hit, SheetRow, contact_sheet
from huecry.towers import ModelConfig, Towers, load_towers
from huecry.training.bundle import Bundle
from huecry.training.labels import LabelTable

KEYS = ("R1", "R5", "R10", "mAP")
PROBED = (
    *("macro_accuracy", "blind_macro_accuracy", "visual_gain", "visual_gain_low", "visual_gain_high"),
    *("text_gain", "text_gain_low", "text_gain_high", "counterfactual_accuracy", "counterfactual_chance"),
)


def features_of(towers: Towers, photos: PhotoSet) -> Features:
    """Features of every photograph and caption of a split."""
    bundle = Bundle(towers, {}, LabelTable(photos, "given"))
    return extract(bundle, photos, size=towers.image_size, context=towers.context)


def answers(towers: Towers, photos: PhotoSet, queries: int, k: int) -> list[SheetRow]:
    """The first k photographs for some captions, one a person, chosen by a fixed seed."""
    features = features_of(towers, photos)
    rows = []
    by_person = {int(person): int(row) for row, person in reversed(list(enumerate(photos.row_person)))}
    for row in random.Random(4).sample(sorted(by_person.values()), queries):
        scores, index = rank_top(features.texts[row : row + 1], features.images, k)
        person = photos.row_person[row]
        hits = [
            Hit(photos[i].open(), score, bool(photos.image_person[i] == person))
            for score, i in zip(scores[0].tolist(), index[0].tolist(), strict=True)
        ]
        rows.append(SheetRow(photos.caption(row), hits, photos[int(photos.row_image[row])].open()))
    return rows


def main() -> None:
    """Print the table and draw the sheet."""
    parser = argparse.ArgumentParser(description="The table and the sheet of `make demo`.")
    parser.add_argument("folder", type=Path, help="holds the runs `pretrain` and `finetune`")
    parser.add_argument("--json", type=Path, help="also record the table here")
    arguments = parser.parse_args()
    splits = read("people")
    test = splits["test"]
    table = {
        "untrained": retrieval_metrics(features_of(load_towers(ModelConfig("tiny")), test), test),
        "histogram": histogram_baseline(splits["train"], test),
    }
    for stage, name in (("pretrain", "pretrained, zero-shot"), ("finetune", "fine-tuned")):
        table[name] = json.loads((arguments.folder / stage / "results.json").read_text())["test"]
    sizes = f"{len(test.row_image)} sentences, {len(test)} photographs"
    print(f"\n{len(test.persons)} persons that no training saw: {sizes}\n")
    print(f"{'':24}" + "".join(f"{key:>8}" for key in KEYS))
    for name, metrics in table.items():
        print(f"{name:24}" + "".join(f"{metrics[key]:8.1f}" for key in KEYS))
    sheet = arguments.folder / "sheet.png"
    towers = load_towers(ModelConfig(str(arguments.folder / "finetune")))
    contact_sheet(answers(towers, test, 6, 5), sheet, "Sentences and the five photographs found first")
    print(f"\nmodel: {arguments.folder / 'finetune' / 'model'}   look at: {sheet}")
    if arguments.json:
        figures = {name: {key: metrics[key] for key in KEYS} for name, metrics in table.items()}
        probe = json.loads((arguments.folder / "pretrain" / "probe" / "probe.json").read_text())
        figures["probe of the pretraining, val"] = {key: probe[key] for key in PROBED}
        record(arguments.json, f"make demo; python benchmarks/demo.py runs/demo --json {arguments.json}", figures)


if __name__ == "__main__":
    main()
