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
from typing import Any

import torch
from torch import Tensor

from huecry.errors import UserError
from huecry.processes import gather
from huecry.tasks.targets import TargetConfig, TargetTask
from huecry.training.encode import Encode


@dataclass
class SDMConfig(TargetConfig):
    """scale: null for the factor that the towers learn.

    text_view: `text_masked`, beside `mlm`, for what the published code does unintended; both then share one text pass.
    compat: null | `columns`: each column of the target over that column's own sum, as the published code divides by
    the rows' sums without turning them; it matters where `same_person` is not 1.
    """

    scale: float | None = 50.0
    compat: str | None = None


class SDM(TargetTask):
    """KL(p || q) over the global batch."""

    Config = SDMConfig

    @classmethod
    def check(cls, name: str, config: Any) -> None:
        super().check(name, config)
        if config.compat not in (None, "columns"):
            raise UserError(f"tasks.{name}.compat={config.compat}: choose null or columns")

    def forward(self, encode: Encode, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        if self.config.compat == "columns":
            weights = self.match_weights(encode, batch)
            target = weights / gather(weights.sum(dim=1))
        else:
            target = self.targets(encode, batch)
        losses = []
        for similarity in self.both_ways(encode):
            logits = self.scale(encode) * similarity
            losses.append(divergence(logits, self.taught(target, logits, encode.step)))
        return torch.stack(losses).sum(), {}


def divergence(logits: Tensor, target: Tensor, eps: float = 1e-8) -> Tensor:
    """Mean over rows of KL(softmax(logits) || target), []; logits, target: [B, N]."""
    logs = torch.log_softmax(logits, dim=1)
    return (logs.exp() * (logs - torch.log(target + eps))).sum(dim=1).mean()
