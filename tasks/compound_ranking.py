"""Compound ranking: a photograph ranks its own caption first, and then another caption of the person.

Source: Ding et al., "Semantically Self-Aligned Network for Text-to-Image Part-aware Person Re-identification" (SSAN),
    2021, eq. of the CR loss, and its published code.
Formula: L = rank(S(f, g), m) + weak rank(S(f, g'), m'), g' a caption of another photograph of the person,
    m' = (lambda + 1) m / 2, lambda = min(1, |S(f_i, g'_i)| / |S(f_i, g_i)|) without gradient. In the first `warmup`
    optimiser steps m' = m / 2; after them only anchors with lambda >= `least` enter the weak term. So a caption of the
    same person that tells of something else asks for less, or nothing. `rank` is any ranking of `triplet`.
Deviations: anchors whose person has no other photograph are left out of the weak term; |S(f, g)| is at least 1e-4; the
    loss is 0 where no anchor has an eligible negative; the published code then takes any negative of the last one.
Shapes: features [B, D] against [W*B, D].
Cost: one text pass more, of the view `text_other`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from huecry.errors import UserError
from huecry.tasks.triplet import RankingConfig, RankingTask
from huecry.training.encode import Encode

SMALLEST = 1e-4


@dataclass
class CompoundRankingConfig(RankingConfig):
    """weak: weight of the other caption's term. least: lambda below which an anchor leaves it. warmup: in steps."""

    mining: str = "semi_hard"
    reduction: str = "sum"
    weak: float = 0.1
    least: float = 0.6
    warmup: int = 0


class CompoundRanking(RankingTask):
    """Strong and weak positives with a margin each."""

    Config = CompoundRankingConfig

    @classmethod
    def reads(cls, config: Any) -> frozenset[str]:
        return super().reads(config) | {"text", "text_other"}

    @classmethod
    def check(cls, name: str, config: Any) -> None:
        super().check(name, config)
        if config.margin is None:
            raise UserError(f"tasks.{name}.margin=null: the weak term scales the margin; give a number")
        for key in ("weak", "least", "warmup"):
            if getattr(config, key) < 0:
                raise UserError(f"tasks.{name}.{key}={getattr(config, key)}: must be 0 or more")

    def forward(self, encode: Encode, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        config = self.config
        strong, weak = self.both_ways(encode), self.both_ways(encode, text="text_other")
        matched, loosely = strong[0][encode.own], weak[0][encode.own]
        margin = matched.new_tensor(config.margin)
        described = (batch["text_other"] != batch["text"]).any(dim=1)
        share = (loosely.abs() / matched.abs().clamp(min=SMALLEST)).clamp(max=1).detach()
        if encode.step < config.warmup:
            margins, used = margin / 2 * torch.ones_like(share), described
        else:
            margins, used = (share + 1) * margin / 2, described & (share >= config.least)
        every = torch.ones_like(used)
        first = torch.stack([self.rank(encode, one, matched, margin, every) for one in strong]).sum()
        second = torch.stack([self.rank(encode, one, loosely, margins[:, None], used) for one in weak]).sum()
        return first + config.weak * second, {"weak": used.float().mean(), "similar": share.mean()}
