"""Cross-modal projection: matching (`cmpm`) and classification (`cmpc`) of features projected on the other modality.

Source: Zhang and Lu, "Deep Cross-Modal Projection Learning for Image-Text Matching", ECCV 2018.
Formula: g' = g / |g|. cmpm: p_ij = softmax_j(f_i . g'_j), q_ij = y_ij / sum_k y_ik,
    L = mean_i sum_j p_ij (log p_ij - log(q_ij + 1e-8)), summed over both directions; the length of f is the scale.
    cmpc: f~_i = (f_i . g'_i) g'_i, L = CE(f~ W', y) with the columns of W at length one, summed over both directions.
Deviations: `compat: l2` divides y by the length of its row as the widely copied PyTorch port does, whose least loss
    then is below 0 where a row has several matches. cmpc leaves rows of unknown persons out.
Shapes: features [B, D] against [W*B, D]; W [D, C], C the persons of the training set.
Cost: no tower pass beyond the two views.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from huecry.errors import UserError
from huecry.processes import global_mean
from huecry.tasks.identity import need_persons
from huecry.tasks.pairs import PairTask
from huecry.tasks.sdm import divergence
from huecry.tasks.similarity import full_precision, unit, widened
from huecry.tasks.targets import TargetConfig, TargetTask
from huecry.training.encode import Encode
from huecry.training.task import Facts


@dataclass
class CMPMConfig(TargetConfig):
    """scale: of the projections, null for 1. compat: null | `l2`, see above."""

    compat: str | None = None


class CMPM(TargetTask):
    """KL(p || q) of projections."""

    Config = CMPMConfig

    @classmethod
    def check(cls, name: str, config: Any) -> None:
        super().check(name, config)
        if config.compat not in (None, "l2"):
            raise UserError(f"tasks.{name}.compat={config.compat}: choose null or l2")

    def forward(self, encode: Encode, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        text = self.config.text_view
        if self.config.compat == "l2":
            target = F.normalize(self.match_weights(encode, batch), dim=1)
        else:
            target = self.targets(encode, batch)
        losses = []
        for rows, columns in (("rgb", text), (text, "rgb")):
            with full_precision(target):
                projected = widened(encode(rows).pooled) @ unit(encode.gather(columns)).T
            logits = projected if self.config.scale is None else self.config.scale * projected
            losses.append(divergence(logits, self.taught(target, logits, encode.step)))
        return torch.stack(losses).sum(), {}


class CMPC(PairTask):
    """Classification of the training persons from projections."""

    def __init__(self, config: Any, facts: Facts) -> None:
        super().__init__(config, facts)
        need_persons("cmpc", facts)
        self.classes = nn.Parameter(torch.empty(facts.embed_dim, facts.persons))
        nn.init.xavier_uniform_(self.classes)

    def forward(self, encode: Encode, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        person, known = batch["person"], batch["person"] >= 0
        f, g = encode("rgb").pooled, encode(self.config.text_view).pooled
        losses, hits = [], []
        with full_precision(f):
            classes = F.normalize(widened(self.classes), dim=0)
            for rows, others in ((widened(f), unit(g)), (widened(g), unit(f))):
                logits = (rows * others).sum(dim=1, keepdim=True) * others @ classes
                losses.append(global_mean(F.cross_entropy(logits, person.clamp(min=0), reduction="none"), known))
                hits.append(global_mean((logits.argmax(dim=1) == person).float(), known).detach())
        return torch.stack(losses).sum(), {"image_accuracy": hits[0], "text_accuracy": hits[1]}
