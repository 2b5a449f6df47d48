"""Identity classification: one linear classifier over training persons, shared by photographs and captions.

Source: IRRA (Jiang and Ye, CVPR 2023) and its published code for the plain form; ViTAA (Wang et al., ECCV 2020) for the
    normalised one at scale 28; TextReID (Han et al., BMVC 2021) for scale 1 with label smoothing 0.1; MCCL for
    `mutual`.
Formula: L = (CE(W f, y) + CE(W g, y)) / 2; `scale`: f, g and the rows of W are normalised, logits are scale * cosine.
    `mutual`: + mutual (CE(sg(p_g), p_f) + CE(sg(p_f), p_g)), p the softmax of the logits: what one modality confuses
    teaches the other.
Deviations: rows of unknown persons are left out, and the mean runs over the known rows of all processes.
Shapes: pooled features [B, D], weights [C, D], C the persons of the training set.
Cost: no tower pass beyond the two views.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from huecry.errors import UserError
from huecry.processes import global_mean
from huecry.tasks.contrastive import cross_entropy
from huecry.tasks.pairs import ScaledConfig, ScaledTask
from huecry.tasks.similarity import cosines, full_precision, widened
from huecry.training.encode import Encode
from huecry.training.task import Facts


@dataclass
class IdentityConfig(ScaledConfig):
    """scale: null for plain logits with a bias, a number for normalised ones. smoothing: of the targets, 0 to 1.

    mutual, mutual_start: weight of the mutual term, and the optimiser step from which it counts; before, both
    modalities would teach noise.
    """

    smoothing: float = 0.0
    mutual: float = 0.0
    mutual_start: int = 0


class Identity(ScaledTask):
    """Cross-entropy over the persons of the training set."""

    Config = IdentityConfig

    def __init__(self, config: Any, facts: Facts) -> None:
        super().__init__(config, facts)
        need_persons("identity", facts)
        self.classifier = nn.Linear(facts.embed_dim, facts.persons, bias=config.scale is None)
        nn.init.normal_(self.classifier.weight, std=0.001)
        if self.classifier.bias is not None:
            nn.init.zeros_(self.classifier.bias)

    @classmethod
    def check(cls, name: str, config: Any) -> None:
        super().check(name, config)
        if not 0 <= config.smoothing <= 1:
            raise UserError(f"tasks.{name}.smoothing={config.smoothing}: must be 0 to 1")
        for key in ("mutual", "mutual_start"):
            if getattr(config, key) < 0:
                raise UserError(f"tasks.{name}.{key}={getattr(config, key)}: must be 0 or more")

    def forward(self, encode: Encode, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        person, known = batch["person"], batch["person"] >= 0
        pooled = [encode("rgb").pooled, encode(self.config.text_view).pooled]
        with full_precision(pooled[0]):
            both = [self._logits(features) for features in pooled]
            first, second = (
                F.cross_entropy(logits, person.clamp(min=0), reduction="none", label_smoothing=self.config.smoothing)
                for logits in both
            )
            loss = global_mean(first + second, known) / 2
            if self.config.mutual and encode.step >= self.config.mutual_start:
                chances = [logits.detach().softmax(dim=1) for logits in both]
                taught = cross_entropy(both[0], chances[1]) + cross_entropy(both[1], chances[0])
                loss = loss + self.config.mutual * global_mean(taught, known)
            hits = [global_mean((logits.argmax(dim=1) == person).float(), known).detach() for logits in both]
        return loss, {"image_accuracy": hits[0], "text_accuracy": hits[1]}

    def _logits(self, features: Tensor) -> Tensor:
        if self.config.scale is None:
            return self.classifier(widened(features))
        return self.config.scale * cosines(features, self.classifier.weight)


def need_persons(task: str, facts: Facts) -> None:
    """Raises UserError for a task that classifies persons where the training set does not tell two apart."""
    if facts.persons < 2:
        raise UserError(
            f"tasks.{task}: fewer than two persons to tell apart (data.labels=pair has none); set tasks.{task}=null"
        )
