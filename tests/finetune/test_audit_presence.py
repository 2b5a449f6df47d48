"""Whether anybody is on a photograph: backdrops of it, and what is learnt from them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from huecry.finetune.audit_presence import KINDS, Backdrop, backdrop, judged


def test_a_backdrop_shows_the_edge_alone():
    pixels = torch.randint(0, 256, (3, 3, 40, 20), dtype=torch.uint8)
    for kind, edge in (("left", slice(0, 2)), ("right", slice(18, 20))):
        made = backdrop(pixels, kind)
        assert made.shape == pixels.shape
        assert made.dtype == torch.uint8
        other = torch.randint(0, 256, pixels.shape, dtype=torch.uint8)
        other[..., edge] = pixels[..., edge]
        assert torch.equal(backdrop(other, kind), made)
        assert torch.equal(made[..., 0], pixels[..., edge][..., 0])
        assert torch.equal(made[..., -1], pixels[..., edge][..., -1])


def test_disorder_keeps_every_pixel():
    pixels = torch.arange(2 * 3 * 8 * 4, dtype=torch.uint8).view(2, 3, 8, 4)
    made = backdrop(pixels, "disorder")
    assert not torch.equal(made, pixels)
    for before, after in zip(pixels.flatten(2), made.flatten(2), strict=True):
        assert {*map(tuple, before.T.tolist())} == {*map(tuple, after.T.tolist())}  # colours stay together


def test_a_picture_narrower_than_ten_pixels():
    assert torch.equal(backdrop(torch.full((1, 3, 4, 3), 9, dtype=torch.uint8), "left"), torch.full((1, 3, 4, 3), 9))


class Same(nn.Module):
    def forward(self, views: dict[str, Tensor], mode: str) -> dict[str, Tensor]:
        assert mode == "encode"
        return views


def test_backdrops_stand_in_the_place_of_photographs():
    pixels = torch.randint(0, 256, (2, 3, 8, 20), dtype=torch.uint8)
    for kind in KINDS:
        made = Backdrop(Same(), kind)({"rgb": pixels}, mode="encode")["rgb"]
        assert torch.equal(made, backdrop(pixels, kind))


def textures(count: int, level: float, seed: int, width: int = 12) -> Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed)) + level


@pytest.mark.parametrize("seed", range(3))
def test_who_is_not_there_is_seen_among_those_who_are(seed):
    shown, made = textures(300, 1.0, seed), torch.stack([textures(80, -1.0, seed + kind) for kind in (10, 20)])
    shown[[5, 100, 299]] = textures(3, -1.0, seed + 30)
    some = np.sort(np.random.default_rng(seed).permutation(300)[:80])
    found = judged(some, made, made, shown, seed)
    assert found.presence.shape == (300,)
    assert found.empty.shape == (2, 80)
    assert (found.empty == 0).mean() > 0.99
    assert set(np.flatnonzero(found.presence == 0).tolist()) >= {5, 100, 299}
    assert (found.presence == 0).sum() <= 6


def test_nothing_is_learnt_from_what_is_judged():
    """Textures of noise, more columns than rows: whoever has seen them can tell them all apart, nobody else can."""
    shown, made = textures(60, 0.0, 0, width=200), textures(60, 0.0, 1, width=200)[None]
    found = judged(np.arange(60), made, made, shown, 0)
    assert abs((found.presence > 0).mean() - (found.empty > 0).mean()) < 0.25


def test_a_single_photograph():
    found = judged(np.array([0]), textures(1, 0, 0)[None], textures(1, 0, 1)[None], textures(1, 0, 2), 0)
    assert (found.presence.tolist(), found.empty.tolist()) == ([0.0], [[0.0]])
