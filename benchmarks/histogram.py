"""The plain baseline beside every retrieval result: colour histograms of eight stripes against a bag of words.

A photograph is the square root of a CIE Lab histogram (5 x 6 x 6 bins) of each of eight horizontal stripes; a caption
is an idf-weighted bag of its words and adjacent word pairs. Two linear maps to 128 numbers are trained with InfoNCE.
It knows no shape and no word order: a network below it has learnt little.

    python benchmarks/histogram.py DATA [--split test] [--shuffle] [--seed 0] [--json FILE]

DATA is a folder in any known layout, or `people` for the embedded set.
"""

from __future__ import annotations

import argparse
import json
import re
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from huecry.data.colour import rgb_to_lab
from huecry.data.readers import read
from huecry.data.records import PhotoSet
from huecry.errors import UserError
from huecry.retrieval.metrics import rank_metrics

STRIPES = 8
BINS = (5, 6, 6)
WIDTH, HEIGHT = 32, 96
MIN_COUNT = 4
DIMENSION, TEMPERATURE, DROPOUT = 128, 0.1, 0.3
LR, WEIGHT_DECAY, EPOCHS, BATCH = 2e-3, 0.5, 40, 256
LOWEST, HIGHEST = np.array([0.0, -60.0, -60.0]), np.array([100.0, 60.0, 60.0])


def describe_picture(picture: Image.Image) -> np.ndarray:
    """Square root of the Lab histograms of eight stripes, each summing to one before the root: [8 * 180] float32."""
    small = picture.convert("RGB").resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR)
    lab = rgb_to_lab(torch.from_numpy(np.array(small)).double().movedim(-1, 0) / 255).movedim(0, -1).numpy()
    bins = np.array(BINS)
    cell = np.clip(((lab - LOWEST) / (HIGHEST - LOWEST) * bins).astype(np.int64), 0, bins - 1)
    index = (cell[..., 0] * bins[1] + cell[..., 1]) * bins[2] + cell[..., 2]
    size = int(bins.prod())
    stripes = index.reshape(STRIPES, -1) + np.arange(STRIPES)[:, None] * size
    counts = np.bincount(stripes.ravel(), minlength=STRIPES * size)
    return np.sqrt(counts / (WIDTH * HEIGHT / STRIPES)).astype(np.float32)


def terms(caption: str) -> list[str]:
    """Lower-case words and adjacent word pairs of a caption."""
    words = re.findall(r"[a-z]+", caption.lower())
    return words + [f"{first} {second}" for first, second in pairwise(words)]


class BagOfWords:
    """Unit-length, idf-weighted bags of the words and word pairs that occur at least four times in training."""

    def __init__(self, captions: list[str]) -> None:
        counts = Counter(term for caption in captions for term in terms(caption))
        kept = sorted(term for term, count in counts.items() if count >= MIN_COUNT)
        self.number = {term: index for index, term in enumerate(kept)}
        documents = Counter(term for caption in captions for term in set(terms(caption)))
        self.idf = np.array([np.log(len(captions) / documents[term]) for term in kept], dtype=np.float32)

    def __call__(self, captions: list[str]) -> np.ndarray:
        """[captions, terms] float32."""
        bags = np.zeros((len(captions), len(self.number)), dtype=np.float32)
        for row, caption in enumerate(captions):
            for term in set(terms(caption)) & self.number.keys():
                bags[row, self.number[term]] = self.idf[self.number[term]]
        return bags / np.maximum(np.linalg.norm(bags, axis=1, keepdims=True), 1e-6)


def thinned(features: Tensor, generator: torch.Generator) -> Tensor:
    """Dropout from a generator of its own."""
    kept = torch.rand(features.shape, generator=generator) >= DROPOUT
    return features * kept / (1 - DROPOUT)


def info_nce(image: Tensor, text: Tensor, persons: Tensor) -> Tensor:
    """Both directions of InfoNCE; every pair of the same person is a positive of equal weight."""
    logits = image @ text.T / TEMPERATURE
    same = (persons[:, None] == persons[None, :]).float()
    target = same / same.sum(dim=1, keepdim=True)
    return (cross_entropy(logits, target) + cross_entropy(logits.T, target)) / 2


def histogram_baseline(train: PhotoSet, test: PhotoSet, seed: int = 0, shuffle: bool = False) -> dict[str, float]:
    """Train the two linear maps on `train`, rank the photographs of `test` for each of its captions.

    shuffle: deal the training captions out at random first; what is left is chance.
    Returns R1, R5, R10 and mAP, text to image, in percent; a photograph of the same person is relevant.
    """
    rng = np.random.default_rng(seed)
    torch_rng = torch.Generator().manual_seed(seed)
    captions = train.captions
    if shuffle:
        captions = [captions[row] for row in rng.permutation(len(captions))]
    bag = BagOfWords(captions)
    pictures = torch.from_numpy(np.stack([describe_picture(record.open()) for record in train]))
    words = torch.from_numpy(bag(captions))
    persons, row_image = torch.from_numpy(train.row_person), torch.from_numpy(train.row_image)

    weights = [
        nn.Parameter(torch.randn(size, DIMENSION, generator=torch_rng) / size**0.5)
        for size in (pictures.shape[1], words.shape[1])
    ]
    optimiser = torch.optim.AdamW(weights, lr=LR, weight_decay=WEIGHT_DECAY)
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(captions), generator=torch_rng).split(BATCH):
            image = normalize(thinned(pictures[row_image[rows]], torch_rng) @ weights[0], dim=1)
            text = normalize(thinned(words[rows], torch_rng) @ weights[1], dim=1)
            loss = info_nce(image, text, persons[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()

    with torch.no_grad():
        gallery = torch.from_numpy(np.stack([describe_picture(record.open()) for record in test]))
        figures = rank_metrics(
            torch.from_numpy(bag(test.captions)) @ weights[1],
            gallery @ weights[0],
            torch.from_numpy(test.row_person),
            torch.from_numpy(test.image_person),
        )
    return {name: figures[name] for name in ("R1", "R5", "R10", "mAP")}


def main() -> None:
    """Read the arguments, train, print the figures."""
    parser = argparse.ArgumentParser(description="Colour histograms and bags of words, two linear maps.")
    parser.add_argument("data", help="a folder in any known layout, or `people`")
    parser.add_argument("--split", default="test", choices=["val", "test"])
    parser.add_argument("--shuffle", action="store_true", help="train on shuffled captions: chance")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    arguments = parser.parse_args()
    try:
        splits = read(arguments.data)
        if missing := [split for split in ("train", arguments.split) if split not in splits]:
            raise UserError(f"{arguments.data}: no split {missing[0]}; there are {', '.join(splits)}")
        figures = histogram_baseline(splits["train"], splits[arguments.split], arguments.seed, arguments.shuffle)
    except UserError as error:
        parser.error(str(error))
    print("  ".join(f"{name} {value:.1f}" for name, value in figures.items()))
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
