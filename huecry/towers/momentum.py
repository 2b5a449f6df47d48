"""A slowly moving copy of the towers, for keys and targets without gradient."""

from __future__ import annotations

import copy

import torch
from torch import nn

from huecry.towers.model import Towers


class Momentum(nn.Module):
    """Exponential moving average of the towers' weights, theta_k <- m theta_k + (1 - m) theta_q.

    ``towers`` encodes like any other pair, without gradients. Its logit scale is the live one, not an average.

    Args:
        towers: the live pair; the average starts as its exact copy.
    """

    def __init__(self, towers: Towers) -> None:
        super().__init__()
        self.towers = copy.deepcopy(towers).requires_grad_(False)

    @torch.no_grad()
    def update(self, towers: Towers, m: float) -> None:
        """Move towards ``towers`` once, after an optimiser step; ``m`` in 0..1 is the share that stays."""
        averages, lives = dict(self.towers.named_parameters()), dict(towers.named_parameters())
        averages.pop("logit_scale").copy_(lives.pop("logit_scale"))
        torch._foreach_lerp_(list(averages.values()), [lives[name] for name in averages], 1.0 - m)
        for own, live in zip(self.towers.buffers(), towers.buffers(), strict=True):
            own.copy_(live)
