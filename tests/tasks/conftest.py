"""A bundle and a rendered batch for the losses."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from huecry.data.loader import Batch, TrainingLoader, TrainingRows
from huecry.data.order import BatchOrder
from huecry.data.readers import read
from huecry.data.views import Shape, ViewsConfig


@pytest.fixture
def make_batch(make_photos: Callable[..., Any], tiny_bundle: Callable[..., Any]) -> Callable[..., Any]:
    """`make_batch(tasks, rows, unknown_from, photos)`: bundle and batch; persons from that number on are unknown.

    The rows interleave persons, and hold several captions of a photograph and several photographs of a person.
    """
    folder = make_photos(persons=6, photos=2, captions=2)

    def make(tasks: dict[str, Any], rows: int, unknown_from: int, photos: Any = None) -> tuple[Any, Batch]:
        torch.manual_seed(0)
        photos = read(folder)["train"] if photos is None else photos
        photos.row_person[photos.row_person >= unknown_from] = -1
        photos.image_person[photos.image_person >= unknown_from] = -1
        bundle = tiny_bundle(tasks, photos)
        bundle.photos = photos
        shape = Shape(bundle.towers.image_size, bundle.towers.context)
        dataset = TrainingRows(photos, sorted(bundle.views), ViewsConfig(), shape, bundle.preparers, 0, "error")
        order = np.random.default_rng(3).permutation(len(photos.row_image))[:rows]
        (batch,) = TrainingLoader(dataset, BatchOrder(rows, 0, 1), 0, False).epoch(order, 0, 0, 1)
        return bundle, batch

    return make


@pytest.fixture
def drawn(make_batch: Any) -> Any:
    """Builds (bundle, batch of 12 rows) for a stanza of tasks."""
    return lambda tasks: make_batch(tasks, 12, unknown_from=5)


@pytest.fixture
def step(make_batch: Any) -> Any:
    """Builds (bundle, batch, image features, text features, labels) for a stanza of tasks."""

    def build(tasks: dict[str, Any]) -> Any:
        bundle, batch = make_batch(tasks, 12, unknown_from=5)
        features = bundle({"rgb": batch.views["rgb"], "text": batch.views["text"]}, mode="encode")
        return bundle, batch, features["rgb"].detach(), features["text"].detach(), bundle.labels.of(batch.row).tolist()

    return build


class Twin:
    """The losses' ingredients, written with loops in double precision."""

    @staticmethod
    def cosines(rows: Tensor, columns: Tensor) -> list[list[float]]:
        first = [_unit(row) for row in rows.double().tolist()]
        second = [_unit(row) for row in columns.double().tolist()]
        return [[sum(a * b for a, b in zip(x, y, strict=True)) for y in second] for x in first]

    @staticmethod
    def softmax(values: list[float]) -> list[float]:
        top = max(values)
        powers = [math.exp(value - top) for value in values]
        return [power / sum(powers) for power in powers]

    @staticmethod
    def match(batch: Batch, labels: list[int], i: int, j: int) -> bool:
        same_person = labels[i] == labels[j] and labels[i] >= 0
        return same_person or int(batch.image[i]) == int(batch.image[j])


def _unit(vector: list[float]) -> list[float]:
    norm = math.sqrt(sum(x * x for x in vector))
    return [x / norm for x in vector]


@pytest.fixture
def twin() -> type[Twin]:
    """Slow ingredients to build a loss from."""
    return Twin
