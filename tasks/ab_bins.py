"""Bins of the ab plane: soft encoding, rebalancing and decoding of colours as classes.

Source: Zhang, Isola and Efros, "Colorful Image Colorization", ECCV 2016. The bins here are all that sRGB reaches, and
    the prior is counted on the training pictures as they come, not on ImageNet.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from huecry.data.colour import rgb_to_lab
from huecry.processes import gather

STEP = 10.0
NEIGHBOURS, SIGMA = 5, 5.0
MIXING, TEMPERATURE = 0.5, 0.38


class Bins(nn.Module):
    """Q centres on a grid of step 10, and how often each was seen.

    centres: [Q, 2]. counts: [Q] float64, part of a snapshot.
    """

    centres: Tensor
    counts: Tensor
    blur: Tensor

    def __init__(self) -> None:
        super().__init__()
        levels = torch.linspace(0, 1, 33)
        cube = torch.stack(torch.meshgrid(levels, levels, levels, indexing="ij")).flatten(2)
        cells = (rgb_to_lab(cube)[1:].flatten(1).T / STEP).round()
        centres = cells.unique(dim=0) * STEP
        distances = torch.cdist(centres.double(), centres.double())
        blur = torch.exp(-(distances**2) / (2 * SIGMA**2))
        self.register_buffer("centres", centres, persistent=False)
        self.register_buffer("blur", (blur / blur.sum(dim=0)).float(), persistent=False)
        self.register_buffer("counts", torch.zeros(len(centres), dtype=torch.float64))

    def __len__(self) -> int:
        return len(self.centres)

    def encode(self, ab: Tensor) -> tuple[Tensor, Tensor]:
        """The five nearest bins [..., 5] of colours [..., 2] and their shares, which sum to one."""
        distances = self._distances(ab)
        near, index = distances.topk(NEIGHBOURS, dim=1, largest=False)
        shares = torch.softmax(-(near**2) / (2 * SIGMA**2), dim=1)
        shape = (*ab.shape[:-1], NEIGHBOURS)
        return index.reshape(shape), shares.reshape(shape)

    def _distances(self, ab: Tensor) -> Tensor:
        """[n, Q] of n colours; not by a matrix product, which loses the digits of a small difference."""
        exact = "donot_use_mm_for_euclid_dist"
        return torch.cdist(ab.reshape(-1, 2), self.centres.to(ab.dtype), compute_mode=exact)

    def decode(self, logits: Tensor) -> Tensor:
        """The annealed mean [..., 2] of class logits [..., Q]."""
        return torch.softmax(logits / TEMPERATURE, dim=-1) @ self.centres.to(logits.dtype)

    @property
    def weights(self) -> Tensor:
        """[Q] loss weights ~ 1 / (prior / 2 + 1 / 2Q), the prior smoothed in ab; their mean under the prior is one."""
        prior = self.prior
        weights = 1 / ((1 - MIXING) * prior + MIXING / len(self))
        return weights / (prior * weights).sum()

    @property
    def prior(self) -> Tensor:
        """[Q] smoothed shares of the colours counted so far; even before the first."""
        counts = self.counts.to(self.blur.dtype)
        total = counts.sum()
        shares = torch.where(total > 0, counts / total.clamp(min=1), 1 / len(self))
        return self.blur @ shares

    @torch.no_grad()
    def count(self, ab: Tensor, valid: Tensor) -> None:
        """Count the colours [B, h, w, 2] of all processes, where valid [B, h, w]."""
        index = self._distances(ab).argmin(dim=1)
        local = torch.bincount(index, weights=valid.flatten().double(), minlength=len(self))
        self.counts += gather(local[None]).sum(dim=0)
