"""Image self-supervision: two strongly changed pictures of a photograph recognise each other in the batch.

Source: Chen et al., "A Simple Framework for Contrastive Learning of Visual Representations" (SimCLR), ICML 2020, with
    the constants of TBPS-CLIP (Cao et al., AAAI 2024).
Formula: a, b = unit(mlp(f(view 1))), unit(mlp(f(view 2))); for a_i the match is b_i among all b and all other a:
    L = -mean_i log(exp(a_i b_i / T) / (sum_j exp(a_i b_j / T) + sum_{j != i} exp(a_i a_j / T))), and so for b; the
    mean of both.
Deviations: other photographs of a person stay among the negatives, as published.
Shapes: pooled features [B, D] of each view against [W*B, D]; the MLP is D - hidden - D with ReLU, and is not exported.
Cost: two image passes, of the views `strong` and `strong2`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from huecry.errors import UserError
from huecry.tasks.similarity import full_precision, unit, widened
from huecry.training.encode import Encode
from huecry.training.task import Facts, Task, TaskConfig


@dataclass
class SimCLRConfig(TaskConfig):
    """temperature: T. hidden: width of the MLP. Pictures are changed as `views.strong` says."""

    weight: float = 0.4
    temperature: float = 0.1
    hidden: int = 128


class SimCLR(Task):
    """NT-Xent over the global batch."""

    Config = SimCLRConfig
    views = frozenset({"strong", "strong2"})
    use = "pictures"

    def __init__(self, config: Any, facts: Facts) -> None:
        super().__init__(config, facts)
        width = facts.embed_dim
        self.mlp = nn.Sequential(nn.Linear(width, config.hidden), nn.ReLU(), nn.Linear(config.hidden, width))

    @classmethod
    def check(cls, name: str, config: Any) -> None:
        super().check(name, config)
        if config.temperature <= 0 or config.hidden < 1:
            raise UserError(f"tasks.{name}: temperature must be above 0, hidden at least 1")

    def forward(self, encode: Encode, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        own = encode.own
        target = own.int().argmax(dim=1)
        with full_precision(encode("strong").pooled):
            rows = [unit(self.mlp(widened(encode(view).pooled))) for view in ("strong", "strong2")]
            columns = [unit(self.mlp(widened(encode.gather(view)))) for view in ("strong", "strong2")]
            losses = []
            for here, there in ((0, 1), (1, 0)):
                across = rows[here] @ columns[there].T
                within = (rows[here] @ columns[here].T).masked_fill(own, float("-inf"))
                losses.append(F.cross_entropy(torch.cat([across, within], dim=1) / self.config.temperature, target))
            return torch.stack(losses).mean(), {}
