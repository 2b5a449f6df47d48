"""Bins of the ab plane against what Zhang et al. ask of them."""

from __future__ import annotations

import math

import pytest
import torch

from huecry.data.colour import rgb_to_lab
from huecry.tasks.ab_bins import NEIGHBOURS, Bins


def colours(count: int = 500) -> torch.Tensor:
    """Random colours [n, 2] of sRGB."""
    rgb = torch.rand(3, 1, count, generator=torch.Generator().manual_seed(0))
    return rgb_to_lab(rgb)[1:, 0].T


def test_every_colour_has_a_bin_near_it() -> None:
    bins = Bins()
    assert 250 < len(bins) < 350  # 313 on the photographs of ImageNet
    assert len(bins.centres.unique(dim=0)) == len(bins)
    assert torch.cdist(colours(), bins.centres).min(dim=1).values.max() < 5 * math.sqrt(2) + 5


def test_soft_codes_sum_to_one_and_weigh_by_distance() -> None:
    bins = Bins()
    index, shares = bins.encode(colours())
    assert index.shape == shares.shape == (500, NEIGHBOURS)
    assert torch.allclose(shares.sum(dim=1), torch.ones(500))
    for colour, near, share in zip(colours().tolist()[::25], index.tolist()[::25], shares.tolist()[::25], strict=True):
        distances = sorted((math.dist(colour, centre), number) for number, centre in enumerate(bins.centres.tolist()))
        assert {number for _, number in distances[:NEIGHBOURS]} == set(near)
        raw = [math.exp(-(math.dist(colour, bins.centres[i].tolist()) ** 2) / 50) for i in near]
        assert share == pytest.approx([value / sum(raw) for value in raw], rel=1e-4)


def test_decoding_undoes_encoding() -> None:
    bins = Bins()
    index, shares = bins.encode(colours())
    logits = torch.full((500, len(bins)), -30.0).scatter(1, index, shares.log())
    assert (bins.decode(logits) - colours()).norm(dim=1).max() < 4
    sharp = torch.full((1, len(bins)), -100.0)
    sharp[0, 17] = 0
    assert torch.allclose(bins.decode(sharp)[0], bins.centres[17])


def test_rebalanced_weights() -> None:
    bins = Bins()
    assert torch.allclose(bins.weights, torch.ones(len(bins)), atol=0.5)  # nothing was counted yet
    ab = torch.zeros(1, 10, 10, 2)
    ab[0, 0, 0] = torch.tensor([60.0, 40.0])
    bins.count(ab, torch.ones(1, 10, 10))
    assert bins.counts.sum() == 100
    assert float((bins.prior * bins.weights).sum()) == pytest.approx(1, rel=1e-5)
    grey = int(torch.cdist(torch.zeros(1, 2), bins.centres).argmin())
    red = int(torch.cdist(torch.tensor([[60.0, 40.0]]), bins.centres).argmin())
    assert bins.weights[red] > bins.weights[grey]


def test_invalid_cells_are_not_counted() -> None:
    bins = Bins()
    valid = torch.zeros(1, 4, 4)
    valid[0, 0, 0] = 1
    bins.count(torch.zeros(1, 4, 4, 2), valid)
    assert bins.counts.sum() == 1
