"""Soft targets: what each softener adds, and that rows stay distributions."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from huecry.data.phrases import words

ROWS = 12


def task_and_encode(bundle: Any, batch: Any) -> Any:
    bundle(batch)
    return next((task, encode, inputs) for _, task, encode, inputs in bundle._each_task())


@pytest.mark.parametrize(
    "softened", [{}, {"same_person": 0.3}, {"smoothing": 0.2}, {"text_iou": 0.5, "smoothing": 0.1}]
)
def test_targets(softened: dict[str, float], step: Any, twin: Any) -> None:
    bundle, batch, _, _, labels = step({"r_itc": softened})
    task, encode, inputs = task_and_encode(bundle, batch)
    found = task.targets(encode, inputs)
    captions = [bundle.photos.caption(row) for row in batch.row.tolist()]
    held = [set(words(caption)) for caption in captions]
    everyone = [set(words(caption)) for caption in bundle.photos.captions]
    rarity = {word: math.log1p(len(everyone) / sum(word in one for one in everyone)) for word in set().union(*everyone)}
    for i in range(ROWS):
        weights = []
        for j in range(ROWS):
            shared = sum(rarity[word] for word in held[i] & held[j]) / sum(rarity[word] for word in held[i] | held[j])
            weight = softened.get("text_iou", 0.0) * shared
            if twin.match(batch, labels, i, j):
                weight = max(weight, softened.get("same_person", 1.0))
            weights.append(1.0 if int(batch.image[i]) == int(batch.image[j]) else weight)
        smoothing = softened.get("smoothing", 0.0)
        expected = [(1 - smoothing) * weight / sum(weights) + smoothing / ROWS for weight in weights]
        assert found[i].tolist() == pytest.approx(expected, rel=1e-5)


def test_teaching_by_own_logits_gives_them_no_gradient(step: Any) -> None:
    bundle, batch, *_ = step({"n_itc": {"distil": 1.0}})
    task, encode, inputs = task_and_encode(bundle, batch)
    logits = torch.randn(ROWS, ROWS, requires_grad=True)
    taught = task.taught(task.targets(encode, inputs), logits, 0)
    assert not taught.requires_grad
    assert torch.equal(taught, logits.softmax(dim=1).detach())
