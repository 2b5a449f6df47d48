"""Logistic alignment against a slow twin."""

from __future__ import annotations

import math
from typing import Any

import pytest

ROWS = 12


def test_align(step: Any, twin: Any) -> None:
    bundle, batch, images, texts, labels = step({"align": {}})
    loss, _ = bundle(batch)
    total = 0.0
    for i, cosines in enumerate(twin.cosines(images, texts)):
        for j, cosine in enumerate(cosines):
            exponent = -10 * (cosine - 0.6) if twin.match(batch, labels, i, j) else 40 * (cosine - 0.4)
            total += 2 / ROWS * math.log1p(math.exp(exponent))
    assert loss.item() == pytest.approx(total, rel=1e-4)
