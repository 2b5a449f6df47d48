"""Does colour pretraining look at real photographs? The probe on val, over seeds, beside what needs no network.

    python benchmarks/colour_real.py DATA PRETRAINED [--seeds 3] [--epochs 16]
        [--json benchmarks/results/colour_real.json]

DATA is the CUHK01 part of CUHK-PEDES in that data set's own layout; PRETRAINED a model pretrained on the embedded
people (`make demo` leaves runs/demo/pretrain). The recipe `pretrain/people` goes on from PRETRAINED on the photographs
of train; with the training captions shuffled between photographs it must gain nothing by seeing. The histogram
classifier names a masked colour from the Lab histograms of eight stripes and the noun, one logistic regression a zone
of the body. Every run is written as it ends; started again, the script goes on with what is missing (remove the file to
start over).
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from cuhk01 import shuffled
from histogram import describe_picture
from numpy.typing import NDArray
from record import record
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import OneHotEncoder

from huecry.api import pretrain
from huecry.data.captions import HUES, Span, find_spans
from huecry.data.readers import read
from huecry.data.records import PhotoSet
from huecry.pretrain.probe_rows import derangement
from huecry.pretrain.probe_words import Answers, word_figures

WORDS = ("macro_accuracy", "blind_macro_accuracy", "visual_gain", "visual_gain_low", "visual_gain_high")
PAINT = ("text_gain", "text_gain_low", "text_gain_high", "delta_e76", "delta_e76_gray", "counterfactual_accuracy")
FEWEST = 40


def scored(photos: PhotoSet) -> list[tuple[int, Span]]:
    """(photograph, span) of every colour that counts."""
    rows = zip(photos.row_image.tolist(), photos.captions, strict=True)
    return [(image, span) for image, caption in rows for span in find_spans(caption) if span.scored and span.hue]


def histogram_answers(train: PhotoSet, test: PhotoSet) -> Answers:
    """What the histogram classifier says of the masked colours of `test`, seeing and blind."""
    learnt, asked = scored(train), scored(test)
    pictures = [np.stack([describe_picture(one.open()) for one in photos]) for photos in (train, test)]
    partner, apart = derangement(test.image_person)
    asked = [(image, span) for image, span in asked if apart[image]]
    said, blind = (np.zeros(len(asked), dtype=np.int64) for _ in range(2))
    nouns = OneHotEncoder(handle_unknown="ignore", sparse_output=False).fit([[str(span.noun)] for _, span in learnt])

    def features(pairs: Sequence[tuple[int, Span]], shown: NDArray[Any]) -> NDArray[Any]:
        words = nouns.transform([[str(span.noun)] for _, span in pairs])
        return np.hstack([shown[[image for image, _ in pairs]], words])

    common = {span.zone for _, span in learnt}
    common = {zone for zone in common if sum(span.zone == zone for _, span in learnt) >= FEWEST}
    for zone in (*sorted(map(str, common)), "elsewhere"):

        def here(span: Span, zone: str = zone) -> bool:
            return (str(span.zone) if span.zone in common else "elsewhere") == zone

        own = [pair for pair in learnt if here(pair[1])]
        index = [number for number, (_, span) in enumerate(asked) if here(span)]
        if not index or len({span.hue for _, span in own}) < 2:
            continue
        model = LogisticRegression(C=3.0, max_iter=300, class_weight="balanced")
        model.fit(features(own, pictures[0]), [HUES.index(str(span.hue)) for _, span in own])
        pairs = [asked[number] for number in index]
        said[index] = model.predict(features(pairs, pictures[1]))
        blind[index] = model.predict(features(pairs, pictures[1][partner]))
    unknown = np.full(len(asked), -1)
    return Answers(
        owner=test.image_person[[image for image, _ in asked]],
        hue=np.array([HUES.index(str(span.hue)) for _, span in asked]),
        said=said,
        blind=blind,
        tag=np.array([span.tag for _, span in asked]),
        toned=unknown,
        tone=unknown,
        captions=len(test.captions),
        coloured=len(asked),
    )


def run(data: Path, source: str, seed: int, epochs: int) -> dict[str, Any]:
    """Pretrain on the photographs, and what the probe says on val."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        pretrain(
            "pretrain/people",
            f"data.source={data}",
            f"model.source={source}",
            f"train.epochs={epochs}",
            f"eval.every={epochs}",
            "views.rgb.brightness=0.2",
            "views.rgb.contrast=0.2",
            f"run.seed={seed}",
            f"run.dir={out}",
        )
        return json.loads((out / "probe" / "probe.json").read_text())


def main() -> None:
    """Run what is not in the result file yet, print the table."""
    parser = argparse.ArgumentParser(description="Colour pretraining on real photographs, probed over seeds.")
    parser.add_argument("data", type=Path)
    parser.add_argument("pretrained", help="a model or run folder")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=16)
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/colour_real.json"))
    arguments = parser.parse_args()
    data, source, epochs = arguments.data, arguments.pretrained, arguments.epochs
    splits = read(str(data))
    command = f"python benchmarks/colour_real.py CUHK01 runs/demo/pretrain --seeds {arguments.seeds} --epochs {epochs}"
    figures = json.loads(arguments.json.read_text())["figures"] if arguments.json.exists() else {}
    if "histogram" not in figures:
        found = word_figures(histogram_answers(splits["train"], splits["val"]))
        figures["histogram"] = {key: found[key] for key in WORDS}
        record(arguments.json, command, figures)
    for seed in range(arguments.seeds):
        for name in ("colour tasks", "shuffled captions"):
            runs = figures.setdefault(name, [])
            if len(runs) > seed:
                continue
            with tempfile.TemporaryDirectory() as folder:
                given = data if name == "colour tasks" else shuffled(data, Path(folder), seed)
                found = run(given, source, seed, epochs)
            runs.append({key: found[key] for key in (*WORDS, *PAINT)})
            record(arguments.json, command, figures)
    figures["means"] = {
        name: {key: statistics.mean(run[key] for run in figures[name]) for key in (*WORDS, *PAINT)}
        for name in ("colour tasks", "shuffled captions")
    }
    record(arguments.json, command, figures)
    print("histogram: " + "  ".join(f"{key} {value:.2f}" for key, value in figures["histogram"].items()))
    for name in ("colour tasks", "shuffled captions"):
        for key in (*WORDS, *PAINT):
            runs = "  ".join(f"{one[key]:.2f}" for one in figures[name])
            print(f"{name:20}{key:28}{figures['means'][name][key]:8.2f}   {runs}")


if __name__ == "__main__":
    main()
