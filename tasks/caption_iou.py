"""Text-IoU between rows of the training set, for the tasks that read it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from huecry.data.text_iou import PhraseIndex, text_iou
from huecry.training.task import Facts


class CaptionIoU(nn.Module):
    """The units of all training captions, rows [R, 48] and weights [V], made anew from the captions, never saved."""

    rows: Tensor
    weights: Tensor

    def __init__(self, facts: Facts, unit: str = "word", idf: bool = True) -> None:
        super().__init__()
        index = PhraseIndex(facts.captions, unit, idf)
        self.register_buffer("rows", torch.from_numpy(index.rows), persistent=False)
        self.register_buffer("weights", torch.from_numpy(index.weights), persistent=False)

    def forward(self, rows: Tensor, columns: Tensor) -> Tensor:
        """IoU [B, N] of the captions of dataset rows [B] and [N]."""
        return text_iou(self.rows[rows], self.rows[columns], self.weights)
