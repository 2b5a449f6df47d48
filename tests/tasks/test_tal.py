"""Triplet alignment against a slow twin."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from huecry.tasks.tal import triplet_alignment

ROWS = 12


@pytest.mark.parametrize("margin", [0.1, 0.6])
def test_tal(margin: float, step: Any, twin: Any) -> None:
    bundle, batch, images, texts, labels = step({"tal": {"margin": margin, "temperature": 0.05}})
    loss, _ = bundle(batch)
    total = 0.0
    for rows, columns in ((images, texts), (texts, images)):
        for i, cosines in enumerate(twin.cosines(rows, columns)):
            alike = [j for j in range(ROWS) if twin.match(batch, labels, i, j)]
            shares = twin.softmax([cosines[j] / 0.05 for j in alike])
            match = sum(share * cosines[j] for share, j in zip(shares, alike, strict=True))
            rest = sum(math.exp(cosines[j] / 0.05) for j in range(ROWS) if j not in alike)
            total += max(margin - match + 0.05 * math.log(rest), 0.0)
    assert total > 0
    assert loss.item() == pytest.approx(total, rel=1e-4)


def test_sharp_temperatures_do_not_overflow_and_the_shares_get_no_gradient() -> None:
    similarity = torch.tensor([[0.9, 0.5, 0.2], [-1.0, 1.0, 0.99]], requires_grad=True)
    positives = torch.tensor([[True, True, False], [True, False, False]])
    losses = triplet_alignment(similarity, positives, 0.001, 0.1)
    assert losses.tolist() == pytest.approx([0.0, 0.1 + 1.0 + 1.0], abs=1e-4)
    warm = triplet_alignment(similarity, positives, 1.0, 1.0).sum()
    (gradient,) = torch.autograd.grad(warm, similarity)
    share = math.exp(0.9) / (math.exp(0.9) + math.exp(0.5))
    assert gradient[0].tolist() == pytest.approx([-share, share - 1, 1.0], rel=1e-5)


def test_an_anchor_without_negatives_loses_nothing_and_stays_finite() -> None:
    similarity = torch.rand(2, 3, requires_grad=True)
    losses = triplet_alignment(similarity, torch.ones(2, 3, dtype=torch.bool), 0.015, 0.1)
    losses.sum().backward()
    assert losses.tolist() == [0.0, 0.0]
    assert similarity.grad is not None
    assert similarity.grad.abs().max() == 0
