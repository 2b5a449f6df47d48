"""The rows that a probe reads, and the two devices behind its figures: a derangement and a bootstrap over persons."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from huecry.data.augment import ImageAugmentation
from huecry.data.loader import TrainingLoader, TrainingRows
from huecry.data.order import BatchOrder, random_order
from huecry.data.records import PhotoSet
from huecry.data.views import Shape, ViewsConfig
from huecry.retrieval.evaluate import identities
from huecry.tasks import colour_words, colourise
from huecry.towers import Encoded, Towers

MOST = 2000
"""Rows that the heads are asked about, the first of a shuffled order."""
BATCH = 64
DRAWS = 1000
PLAIN = ViewsConfig(rgb=ImageAugmentation(flip=0.0, pad=0.0))
VIEWS = ("ab", "rgb", "text_nocolour")
PREPARERS = {"colour_words": colour_words.prepare, "colourise": colourise.prepare}


@dataclass(frozen=True)
class Rows:
    """B rows of a split, as they are, without augmentation.

    row, image, owner: [B] int64; owner is the person, or stands for the photograph where nobody knows the person.
    views, inputs: as in a `Batch`, on the towers' device.
    """

    row: NDArray[np.int64]
    image: NDArray[np.int64]
    owner: NDArray[np.int64]
    captions: Sequence[str]
    views: dict[str, Tensor]
    inputs: dict[str, dict[str, Tensor]]

    def __len__(self) -> int:
        return len(self.row)

    def at(self, index: NDArray[np.int64] | Sequence[int]) -> Rows:
        """Some of the rows."""
        index = np.asarray(index, dtype=np.int64)
        place = torch.from_numpy(index)

        def some(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
            return {name: tensor[place.to(tensor.device)] for name, tensor in tensors.items()}

        return Rows(
            self.row[index],
            self.image[index],
            self.owner[index],
            [self.captions[i] for i in index],
            some(self.views),
            {task: some(arrays) for task, arrays in self.inputs.items()},
        )


def read_rows(photos: PhotoSet, towers: Towers, *, seed: int, workers: int, on_bad_image: str) -> Iterator[Rows]:
    """At most `MOST` rows of a split in a shuffled order, each once, in batches of nearly equal size.

    `on_bad_image=skip` goes on without the rows of a photograph that cannot be decoded; `error` raises UserError.
    """
    shape = Shape(towers.image_size, towers.context)
    rows = TrainingRows(photos, VIEWS, PLAIN, shape, PREPARERS, seed, on_bad_image)
    order = random_order(len(photos.row_image), seed, 0)[:MOST]
    count = -(-len(order) // BATCH)
    loader = TrainingLoader(rows, BatchOrder(-(-len(order) // max(count, 1)), 0, 1), workers, pin_memory=False)
    owners = identities(photos)
    seen: set[int] = set()
    for batch in loader.epoch(order, 0, 0, count):
        # The loader puts another row in the place of one that it skips: a row may come twice.
        _, first = np.unique(batch.row.numpy(), return_index=True)
        fresh = [place for place in np.sort(first) if int(batch.row[place]) not in seen]
        seen.update(batch.row.tolist())
        image = batch.image.numpy()
        captions = [photos.caption(row) for row in batch.row.tolist()]
        sent = batch.to(towers.logit_scale.device)
        found = Rows(batch.row.numpy(), image, owners[image], captions, sent.views, sent.inputs)
        if fresh:
            yield found.at(fresh)


def derangement(owners: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Another row for each: (partner [B], a permutation; whether the partner is of another owner [B]).

    The rows are sorted by owner and rolled by the size of the largest group, so that nobody keeps his own owner unless
    one has more than half of the rows; then as few do as can be.
    """
    order = np.argsort(owners, kind="stable")
    _, counts = np.unique(owners, return_counts=True)
    partner = np.empty(len(owners), dtype=np.int64)
    partner[order] = np.roll(order, -counts.max(initial=0))
    return partner, owners[partner] != owners


def taken(encoded: Encoded, index: NDArray[np.int64] | Sequence[int]) -> Encoded:
    """The encodings of some rows, in any order, also several times."""
    place = torch.from_numpy(np.asarray(index, dtype=np.int64)).to(encoded.tokens.device)
    return replace(encoded, pooled=encoded.pooled[place], tokens=encoded.tokens[place], valid=encoded.valid[place])


def resampled(persons: int, seed: int, draws: int = DRAWS) -> NDArray[np.float64]:
    """How often each of so many persons comes in each bootstrap draw, [draws, persons]; rows sum to `persons`."""
    generator = np.random.default_rng([seed, persons])
    return generator.multinomial(persons, np.full(persons, 1 / persons), size=draws).astype(np.float64)


def summed(owners: NDArray[np.int64], values: NDArray[Any]) -> NDArray[np.float64]:
    """Sums [P, ...] of values [N, ...] over the rows of each of the P different owners."""
    different, number = np.unique(owners, return_inverse=True)
    sums = np.zeros((len(different), *values.shape[1:]))
    np.add.at(sums, number, values)
    return sums


def interval(draws: NDArray[np.float64]) -> tuple[float, float]:
    """The 95 % percentile interval of bootstrap draws."""
    low, high = np.quantile(draws, [0.025, 0.975])
    return float(low), float(high)


def mean_interval(owners: NDArray[np.int64], values: NDArray[np.float64], seed: int) -> tuple[float, float]:
    """The interval of the mean of values [N], over draws of owners."""
    sums, counts = summed(owners, values), summed(owners, np.ones(len(values)))
    weights = resampled(len(counts), seed)
    return interval((weights @ sums) / (weights @ counts))
