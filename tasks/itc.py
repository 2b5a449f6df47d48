"""The image-text contrasts of TBPS-CLIP: normalised (`n_itc`), reversed (`r_itc`) and cyclic (`c_itc`).

Source: Cao et al., "An Empirical Study of CLIP for Text-Based Person Search" (TBPS-CLIP), AAAI 2024, and its published
    code.
Formula: S_ij = cos(f_i, g_j), p_ij = softmax_j(s S_ij), q_ij = y_ij / sum_k y_ik.
    n_itc: cross-entropy of p with alpha softmax_j(sg(s S_ij)) + (1 - alpha) q, mean of both directions; `multi_view`:
    mean of that of the photograph and that of a second rendering of it.
    r_itc: KL(p || q + eps), eps 0.01, mean of both directions.
    c_itc: mean_ij (cos(f_i, f_j) - cos(g_i, g_j))^2 / 4 + mean_ij (S_ij - S_ji)^2 / 4: both modalities have one
    geometry.
Deviations: the published code teaches n_itc by a second pass without gradient through the same network; without
    dropout, as here, its result is that of the first, which is taken.
Shapes: features [B, D] against [W*B, D].
Cost: no tower pass beyond the two views; `multi_view` one image pass more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from huecry.tasks.contrastive import cross_entropy
from huecry.tasks.pairs import PairConfig, PairTask
from huecry.tasks.sdm import divergence
from huecry.tasks.similarity import cosines
from huecry.tasks.targets import TargetConfig, TargetTask
from huecry.training.encode import Encode


@dataclass
class NITCConfig(TargetConfig):
    """scale: null for the factor that the towers learn. multi_view: also match a second rendering, view `rgb2`."""

    distil: float = 0.5
    multi_view: bool = False


class NITC(TargetTask):
    """Contrast with targets by identity, half of them the model's own."""

    Config = NITCConfig

    @classmethod
    def reads(cls, config: Any) -> frozenset[str]:
        return super().reads(config) | ({"rgb2"} if config.multi_view else set())

    def forward(self, encode: Encode, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        target = self.targets(encode, batch)
        losses = []
        for view in ("rgb", "rgb2") if self.config.multi_view else ("rgb",):
            for similarity in self.both_ways(encode, view):
                logits = self.scale(encode) * similarity
                losses.append(cross_entropy(logits, self.taught(target, logits, encode.step)).mean())
        return torch.stack(losses).mean(), {}


@dataclass
class RITCConfig(TargetConfig):
    """scale: null for the factor that the towers learn. eps: added to the target before its logarithm."""

    eps: float = 1e-2


class RITC(TargetTask):
    """KL divergence of the similarities from the targets, InfoNCE reversed."""

    Config = RITCConfig

    def forward(self, encode: Encode, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        target = self.targets(encode, batch)
        losses = []
        for similarity in self.both_ways(encode):
            logits = self.scale(encode) * similarity
            losses.append(divergence(logits, self.taught(target, logits, encode.step), self.config.eps))
        return torch.stack(losses).mean(), {}


@dataclass
class CITCConfig(PairConfig):
    """The published weight is 0.1."""

    weight: float = 0.1


class CITC(PairTask):
    """One geometry in both modalities, and a symmetric one across them."""

    Config = CITCConfig

    def forward(self, encode: Encode, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        f, g = encode("rgb").pooled, encode(self.config.text_view).pooled
        images, texts = encode.gather("rgb"), encode.gather(self.config.text_view)
        within = (cosines(f, images) - cosines(g, texts)).square().mean()
        first, second = self.both_ways(encode)
        across = (first - second).square().mean()
        return (within + across) / 4, {}
