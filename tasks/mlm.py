"""Masked language modelling: words of the caption are masked, and the photograph helps to say them.

Source: IRRA (Jiang and Ye, CVPR 2023), "implicit relation reasoning", and its published code.
Formula: 15 % of the tokens are masked (80 % show the mask, 10 % a random token, 10 % themselves), one at least;
    L = mean over masked tokens m of CE(linear(head(masked caption, photograph)_m), token m).
Deviations: the logits over the vocabulary are computed at masked positions alone, which gives the same loss; padding is
    not attended to; the mean runs over the masked tokens of all processes.
Shapes: caption tokens [B, L, D] and photograph tokens [B, 1+P, D], projected; logits [M, 49408].
Cost: one text pass, of the view `text_masked`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from huecry.data.tokens import VOCAB
from huecry.errors import UserError
from huecry.processes import global_mean
from huecry.tasks.heads import CrossHead, IrraHead
from huecry.tasks.similarity import full_precision, widened
from huecry.training.encode import Encode
from huecry.training.task import Facts, Task, TaskConfig, check_choices


@dataclass
class MLMConfig(TaskConfig):
    """head: `irra` | `cross`, with so many blocks."""

    head: str = "irra"
    blocks: int = 4


class MLM(Task):
    """Completion of masked words."""

    Config = MLMConfig
    views = frozenset({"rgb", "text", "text_masked", "masked"})

    def __init__(self, config: Any, facts: Facts) -> None:
        super().__init__(config, facts)
        self.head = {"irra": IrraHead, "cross": CrossHead}[config.head](facts.embed_dim, config.blocks)
        self.word = nn.Linear(facts.embed_dim, VOCAB)
        nn.init.normal_(self.word.weight, std=facts.embed_dim**-0.5 * (2 * config.blocks) ** -0.5)

    @classmethod
    def check(cls, name: str, config: Any) -> None:
        super().check(name, config)
        check_choices(name, config, head=("irra", "cross"))
        if config.blocks < 1:
            raise UserError(f"tasks.{name}.blocks={config.blocks}: must be at least 1")

    def forward(self, encode: Encode, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        text = encode("text_masked")
        chosen = batch["masked"][:, : text.valid.shape[1]].bool()
        most = max(int(chosen.sum(dim=1).max()), 1)
        first = chosen.int().argsort(dim=1, descending=True, stable=True)[:, :most]  # masked positions come first
        known = chosen.gather(1, first)
        states = self.head(text.projected, text.valid, encode("rgb").projected, first)[known]
        target = batch["text"].gather(1, first)[known]
        with full_precision(states):
            logits = self.word(widened(states))
            losses = F.cross_entropy(logits, target, reduction="none")
            every = torch.ones_like(losses, dtype=torch.bool)
            hit = global_mean((logits.argmax(dim=1) == target).to(losses.dtype), every).detach()
            return global_mean(losses, every), {"accuracy": hit}
