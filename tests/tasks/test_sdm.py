"""Similarity distribution matching against a slow twin."""

from __future__ import annotations

import math
from typing import Any

import pytest

ROWS = 12


@pytest.mark.parametrize("same_person", [1.0, 0.3])
def test_sdm(same_person: float, step: Any, twin: Any) -> None:
    bundle, batch, images, texts, labels = step({"sdm": {"scale": 50.0, "same_person": same_person}})
    loss, _ = bundle(batch)
    total = 0.0
    for rows, columns in ((images, texts), (texts, images)):
        cosines = twin.cosines(rows, columns)
        for i in range(ROWS):
            weights = []
            for j in range(ROWS):
                photo = int(batch.image[i]) == int(batch.image[j])
                weights.append(1.0 if photo else same_person * twin.match(batch, labels, i, j))
            p = twin.softmax([50.0 * value for value in cosines[i]])
            q = [weight / sum(weights) for weight in weights]
            total += sum(a * (math.log(a) - math.log(b + 1e-8)) for a, b in zip(p, q, strict=True)) / ROWS
    assert loss.item() == pytest.approx(total, rel=1e-4)
