"""Does what `huecry serve` shows of a match point at the right place? On drawn people, dressed from top to toe.

    python benchmarks/explanations.py MODEL

MODEL knows the embedded people (`make demo` leaves runs/demo/finetune). For every colour word of a top or of trousers
and skirts in captions of their test split: where is what the word adds to the match? Printed and recorded, by zone of
the garment: how often the hottest place lies in the rows of the zone, and the share of the heat there beside the zone's
share of the picture. `covering` is what the page shows (`huecry.retrieval.explain`); `gradient` the gradient of the
word's addition by the tokens that enter the last layer, times the tokens; `sentence` the heat of the whole sentence,
whatever the word, which must point worse; `another picture` the heat of the word on a photograph of somebody else.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from record import record
from torch import Tensor
from torch.nn import functional as F

from huecry import load
from huecry.data.augment import pixels_of
from huecry.data.captions import Span, find_spans
from huecry.data.readers import read
from huecry.pretrain.probe_colours import MAIN, ZONES
from huecry.retrieval.encoder import Encoder
from huecry.retrieval.explain import Word, explain

ROWS = 96
"""What every heat is stretched to before it is looked at."""


def gradient(encoder: Encoder, direction: Tensor, pixels: Tensor) -> NDArray[np.float32]:
    """Gradient times token, [h, w], of the cosine along a direction [D] by the tokens that enter the last layer."""
    tower = encoder.bundle.towers.image
    found: list[Tensor] = []

    def keep(_module: object, _given: object, tokens: Tensor) -> Tensor:
        found.append(tokens.detach().requires_grad_())
        return found[-1]

    hook = tower.layers[-2].register_forward_hook(keep)
    features = encoder.bundle({"rgb": pixels[None]}, mode="encode")["rgb"]
    hook.remove()
    slopes = torch.autograd.grad(F.normalize(features.float(), dim=1)[0] @ direction, found)
    heats = [(slope * one).sum(dim=2)[0, 1:].unflatten(0, tower.grid) for slope, one in zip(slopes, found, strict=True)]
    return torch.stack(heats).sum(dim=0).detach().numpy()


def words_of(caption: str, words: tuple[Word, ...]) -> Iterator[tuple[Span, Word]]:
    """The colour words of tops and of what is worn below, each where the caption names one colour of the zone."""
    spans = find_spans(caption)
    for span in spans:
        alone = sum(other.zone in (span.zone, "whole") for other in spans) == 1
        word = next((one for one in words if one.start <= span.start and span.end <= one.end), None)
        if span.zone in MAIN and span.scored and alone and word is not None:
            yield span, word


def pointed(heat: NDArray[np.float32], zone: str) -> tuple[float, float]:
    """Whether the hottest row lies in the rows of a zone, 0 or 1, and the share of the heat above 0 that does."""
    low, high = (round(share * ROWS) for share in ZONES[zone])
    wide = F.interpolate(torch.from_numpy(heat)[None, None].clamp(min=0), size=(ROWS, 32), mode="bilinear")[0, 0]
    hottest = int(wide.argmax()) // 32
    return float(low <= hottest < high), float(wide[low:high].sum() / wide.sum().clamp(min=1e-12))


def main() -> None:
    """Measure, print, record."""
    parser = argparse.ArgumentParser(description="Where the heat of a word lies, on drawn people.")
    parser.add_argument("model")
    arguments = parser.parse_args()
    encoder, photos = load(arguments.model), read("people")["test"]
    found: dict[str, dict[str, list[tuple[float, float]]]] = defaultdict(lambda: defaultdict(list))
    for row, photo in enumerate(photos):
        caption, picture = photo.captions[0], photo.open()
        other = photos[(row + len(photos) // 2) % len(photos)].open()
        told, elsewhere = explain(encoder, caption, picture), explain(encoder, caption, other)
        for span, word in words_of(caption, told.words):
            texts = encoder.encode_text([caption, caption[: word.start] + caption[word.end :]])
            heats = {
                "covering": word.heat,
                "gradient": gradient(encoder, texts[0] - texts[1], pixels_of(picture, encoder.size)),
                "sentence": told.heat,
                "another picture": elsewhere.words[told.words.index(word)].heat,
            }
            for name, heat in heats.items():
                found[str(span.zone)][name].append(pointed(heat, str(span.zone)))
    figures: dict[str, dict[str, Any]] = {}
    for zone, rows in found.items():
        area = ZONES[zone][1] - ZONES[zone][0]
        figures[zone] = {"words": len(rows["covering"]), "share_of_picture": round(area, 3)}
        print(f"{zone}: {len(rows['covering'])} words, {area:.0%} of the picture")
        for name, each in rows.items():
            hits, shares = np.array(each).mean(axis=0)
            figures[zone][name] = {"hottest_in_zone": float(hits), "heat_in_zone": float(shares)}
            print(f"  {name:18}hottest in the zone {hits:6.1%}   heat in the zone {shares:6.1%}")
    record(
        Path("benchmarks/results/explanations.json"), f"python benchmarks/explanations.py {arguments.model}", figures
    )


if __name__ == "__main__":
    main()
