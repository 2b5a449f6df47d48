"""Matching targets that retrieval losses share: which columns a row matches, and how far hard labels are softened.

Softened where look-alikes of other persons, or other photographs of the same one, make 0 and 1 wrong (IRRA's factor
for other photographs of a person; label smoothing; Text-IoU as in CMMT; self-distillation as in TBPS-CLIP). All are
computed once a batch, and more than two at a time deserve an ablation first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from huecry.errors import UserError
from huecry.tasks.caption_iou import CaptionIoU
from huecry.tasks.pairs import ScaledConfig, ScaledTask
from huecry.tasks.similarity import row_stochastic
from huecry.training.encode import Encode
from huecry.training.task import Facts


@dataclass
class TargetConfig(ScaledConfig):
    """same_person: weight of another photograph of the same person; 1 counts it as any match, 0 not at all.

    smoothing: share of the target that all columns get alike. text_iou: weight of a caption of another person that
    describes the same, times its Text-IoU. distil: share of the model's own softmax, reached linearly in
    distil_steps optimiser steps.
    """

    same_person: float = 1.0
    smoothing: float = 0.0
    text_iou: float = 0.0
    distil: float = 0.0
    distil_steps: int = 0


class TargetTask(ScaledTask):
    """A task that compares similarities with soft targets."""

    Config = TargetConfig

    def __init__(self, config: Any, facts: Facts) -> None:
        super().__init__(config, facts)
        if config.text_iou:
            self.iou = CaptionIoU(facts)

    @classmethod
    def check(cls, name: str, config: Any) -> None:
        super().check(name, config)
        for key in ("same_person", "smoothing", "text_iou", "distil"):
            if not 0 <= getattr(config, key) <= 1:
                raise UserError(f"tasks.{name}.{key}={getattr(config, key)}: must be in 0..1")
        if config.distil_steps < 0:
            raise UserError(f"tasks.{name}.distil_steps={config.distil_steps}: must be 0 or more")

    def match_weights(self, encode: Encode, batch: dict[str, Tensor]) -> Tensor:
        """How much each column is a match, [B, W*B] in 0..1: 1 for the row's own photograph."""
        same_photo = batch["image"][:, None] == encode.gather_ids("image")
        weights = self.config.same_person * encode.positives.float()
        if self.config.text_iou:
            alike = self.iou(batch["row"], encode.gather_ids("row"))
            weights = torch.maximum(weights, self.config.text_iou * alike)
        return torch.where(same_photo, 1.0, weights)

    def targets(self, encode: Encode, batch: dict[str, Tensor]) -> Tensor:
        """Targets [B, W*B] whose rows sum to one; self-distillation comes on top, see `taught`."""
        target = row_stochastic(self.match_weights(encode, batch))
        return (1 - self.config.smoothing) * target + self.config.smoothing / target.shape[1]

    def taught(self, target: Tensor, logits: Tensor, step: int) -> Tensor:
        """Targets [B, N] mixed with the softmax of the model's own logits [B, N], which gets no gradient here."""
        config = self.config
        if not config.distil:
            return target
        share = config.distil * (min(step / config.distil_steps, 1.0) if config.distil_steps else 1.0)
        return share * logits.detach().softmax(dim=1) + (1 - share) * target
