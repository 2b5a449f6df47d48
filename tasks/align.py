"""Logistic alignment: every match above one cosine, every other pair below another.

Source: ViTAA (Wang et al., ECCV 2020), also used by TextReID (Han et al., BMVC 2021), and their published code.
Formula: L = 2/B (sum_{y_ij = 1} sp(-10 (S_ij - 0.6)) + sum_{y_ij = 0} sp(40 (S_ij - 0.4))), sp(x) = log(1 + e^x); the
    sum over other pairs grows with the batch.
Deviations: none.
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
from huecry.tasks.similarity import cosines
from huecry.training.encode import Encode


@dataclass
class AlignConfig(PairConfig):
    """above, below: the cosines that matches and other pairs are pushed over and under.

    match_scale, other_scale: how steeply.
    """

    above: float = 0.6
    below: float = 0.4
    match_scale: float = 10.0
    other_scale: float = 40.0


class Align(PairTask):
    """Two logistic losses over all pairs of the batch."""

    Config = AlignConfig

    @classmethod
    def check(cls, name: str, config: Any) -> None:
        super().check(name, config)
        for key in ("match_scale", "other_scale"):
            if getattr(config, key) <= 0:
                raise UserError(f"tasks.{name}.{key}={getattr(config, key)}: must be above 0")

    def forward(self, encode: Encode, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        config = self.config
        similarity = cosines(encode("rgb").pooled, encode.gather(config.text_view))
        match = F.softplus(-config.match_scale * (similarity - config.above))
        other = F.softplus(config.other_scale * (similarity - config.below))
        return 2 * torch.where(encode.positives, match, other).sum() / len(similarity), {}
