"""Contrastive matching of photographs and captions (InfoNCE), by pair or by identity.

Source: Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", ICML 2021; positives by
    identity as in Khosla et al., "Supervised Contrastive Learning", NeurIPS 2020, applied across modalities.
Formula: p_ij = softmax_j(s cos(f_i, g_j)), q_ij = y_ij / sum_k y_ik, L = -mean_i sum_j q_ij log p_ij, averaged over
    image->text and text->image. `instance`: y is the identity matrix, and columns of the same person or photograph are
    left out of the softmax, where they would be false negatives. `identity`: they are positives.
Deviations: none for one pair a person; published CLIP training keeps false negatives.
Shapes: features [B, D] against [W*B, D] of all processes; every process takes its rows' mean.
Cost: no tower pass beyond the two views.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from huecry.tasks.pairs import ScaledConfig, ScaledTask
from huecry.tasks.similarity import row_stochastic
from huecry.training.encode import Encode
from huecry.training.task import check_choices


@dataclass
class ContrastiveConfig(ScaledConfig):
    """positives: `instance` | `identity`. scale: null for the factor that the towers learn."""

    positives: str = "identity"


class Contrastive(ScaledTask):
    """InfoNCE over the global batch."""

    Config = ContrastiveConfig

    @classmethod
    def check(cls, name: str, config: Any) -> None:
        super().check(name, config)
        check_choices(name, config, positives=("instance", "identity"))

    def forward(self, encode: Encode, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        scale = self.scale(encode)
        image_rows, text_rows = self.both_ways(encode)
        if self.config.positives == "identity":
            target, ignored = row_stochastic(encode.positives), None
        else:
            target, ignored = encode.own.float(), encode.positives & ~encode.own
        loss = (
            cross_entropy(scale * image_rows, target, ignored).mean()
            + cross_entropy(scale * text_rows, target, ignored).mean()
        ) / 2
        hit = encode.positives.gather(1, text_rows.argmax(dim=1, keepdim=True)).float().mean()
        return loss, {"batch_R1": hit}


def cross_entropy(logits: Tensor, target: Tensor, ignored: Tensor | None = None) -> Tensor:
    """-sum_j target_ij log softmax_j(logits_ij) of every row, [B].

    logits, target: [B, N], target row-stochastic and zero where ignored. ignored: [B, N] bool, columns left out of a
    row's softmax.
    """
    if ignored is not None:
        logits = logits.masked_fill(ignored, float("-inf"))
    logs = torch.log_softmax(logits, dim=1)
    return -torch.where(target > 0, target * logs, 0.0).sum(dim=1)
