"""Contrastive matching against a slow twin."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

ROWS = 12


@pytest.mark.parametrize("positives", ["instance", "identity"])
@pytest.mark.parametrize("scale", [None, 20.0])
def test_contrastive(positives: str, scale: float | None, step: Any, twin: Any) -> None:
    bundle, batch, images, texts, labels = step({"contrastive": {"positives": positives, "scale": scale}})
    loss, _ = bundle(batch)
    s = scale if scale is not None else math.exp(bundle.towers.logit_scale.item())
    total = 0.0
    for rows, columns in ((images, texts), (texts, images)):
        cosines = twin.cosines(rows, columns)
        for i in range(ROWS):
            alike = [j for j in range(ROWS) if twin.match(batch, labels, i, j)]
            kept = (
                list(range(ROWS)) if positives == "identity" else [j for j in range(ROWS) if j == i or j not in alike]
            )
            chances = dict(zip(kept, twin.softmax([s * cosines[i][j] for j in kept]), strict=True))
            targets = alike if positives == "identity" else [i]
            total -= sum(math.log(chances[j]) for j in targets) / len(targets) / ROWS / 2
    assert loss.item() == pytest.approx(total, rel=1e-5)


def test_learnt_scale_has_a_gradient_and_a_fixed_one_has_none(step: Any, twin: Any) -> None:
    for scale, expected in ((None, True), (10.0, False)):
        bundle, batch, *_ = step({"contrastive": {"scale": scale}})
        bundle(batch)[0].backward()
        assert bool(bundle.towers.logit_scale.grad.abs() > 0) is expected


def test_contrastive_does_not_depend_on_the_order_of_the_batch(step: Any, twin: Any) -> None:
    bundle, batch, *_ = step({"contrastive": {"positives": "instance"}})
    order = torch.randperm(ROWS, generator=torch.Generator().manual_seed(1))
    shuffled = type(batch)(
        batch.row[order],
        batch.image[order],
        batch.person[order],
        {name: view[order] for name, view in batch.views.items()},
        {},
    )
    assert bundle(batch)[0].item() == pytest.approx(bundle(shuffled)[0].item(), rel=1e-5)
