"""Similarity distribution matching: the softmax of similarities is pulled onto the distribution of true matches.

Source: Jiang and Ye, "Cross-Modal Implicit Relation Reasoning and Aligning for Text-to-Image Person Retrieval" (IRRA),
    CVPR 2023, eq. 3-6, and its published code.
Formula: p_ij = softmax_j(s cos(f_i, g_j)), q_ij = y_ij / sum_k y_ik,
    L = mean_i sum_j p_ij (log p_ij - log(q_ij + eps)), summed over image->text and text->image. This direction of the
    divergence punishes mass on non-matches and forgives an uncovered match; InfoNCE does the reverse.
Deviations: the published code compares within one process; here the columns are those of all processes.
Shapes: features [B, D] against [W*B, D].
Cost: no tower pass beyond the two views.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from huecry.tasks.pairs import PairConfig, PairTask
from huecry.tasks.similarity import cosines, row_stochastic
from huecry.training.encode import Encode


@dataclass
class SDMConfig(PairConfig):
    """scale: null for the factor that the towers learn.

    same_person: weight of another photograph of the same person; 1 counts it as any match.
    text_view: `text_aug` (with `views.text_aug.mask_p=0.15` what the published code does unintended).
    """

    scale: float | None = 50.0
    same_person: float = 1.0


class SDM(PairTask):
    """KL(p || q) over the global batch."""

    Config = SDMConfig

    def forward(self, encode: Encode, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        text = self.config.text_view
        scale = encode.scale if self.config.scale is None else self.config.scale
        same_photo = batch["image"][:, None] == encode.gather_ids("image")
        weights = torch.where(same_photo, 1.0, self.config.same_person * encode.positives.float())
        target = row_stochastic(weights)
        image_rows = cosines(encode("rgb").pooled, encode.gather(text))
        text_rows = cosines(encode(text).pooled, encode.gather("rgb"))
        return divergence(scale * image_rows, target) + divergence(scale * text_rows, target), {}


def divergence(logits: Tensor, target: Tensor, eps: float = 1e-8) -> Tensor:
    """Mean over rows of KL(softmax(logits) || target), []; logits, target: [B, N]."""
    logs = torch.log_softmax(logits, dim=1)
    return (logs.exp() * (logs - torch.log(target + eps))).sum(dim=1).mean()
