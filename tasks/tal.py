"""Triplet alignment: the hinge of a soft hardest negative against a soft mean of the matches.

Source: Qin et al., "Noisy-Correspondence Learning for Text-to-Image Person Re-identification" (RDE), CVPR 2024, and its
    published code.
Formula: a_ij = softmax over the matches j of S_ij / tau, without gradient;
    L = sum_i [m - sum_j a_ij S_ij + tau log sum_{j no match} exp(S_ij / tau)]+, both directions, summed over the batch.
Deviations: logsumexp, where the published code clamps the exponentials; an anchor without any negative loses nothing.
Shapes: features [B, D] against [W*B, D].
Cost: no tower pass beyond the two views.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from huecry.errors import UserError
from huecry.tasks.pairs import PairConfig, PairTask
from huecry.training.encode import Encode


@dataclass
class TALConfig(PairConfig):
    """temperature: tau. margin: m, of cosines."""

    temperature: float = 0.015
    margin: float = 0.1


class TAL(PairTask):
    """Triplet alignment loss."""

    Config = TALConfig

    @classmethod
    def check(cls, name: str, config: Any) -> None:
        super().check(name, config)
        if config.temperature <= 0 or config.margin < 0:
            raise UserError(f"tasks.{name}: temperature must be above 0, margin 0 or more")

    def forward(self, encode: Encode, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        temperature, margin = self.config.temperature, self.config.margin
        first, second = (
            triplet_alignment(similarity, encode.positives, temperature, margin)
            for similarity in self.both_ways(encode)
        )
        return encode.world * (first + second).sum(), {}


def triplet_alignment(similarity: Tensor, positives: Tensor, temperature: float, margin: float) -> Tensor:
    """The loss [B] of each row of cosines [B, N]; positives: [B, N] bool, at least one in every row."""
    scaled = similarity / temperature
    share = scaled.detach().masked_fill(~positives, float("-inf")).softmax(dim=1)
    there = ~positives.all(dim=1)
    others = scaled.masked_fill(positives & there[:, None], float("-inf")).logsumexp(dim=1)
    losses = F.relu(margin - (share * similarity).sum(dim=1) + temperature * others)
    return torch.where(there, losses, 0.0)
