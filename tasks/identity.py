"""Identity classification: one linear classifier over training persons, shared by photographs and captions.

Source: IRRA (Jiang and Ye, CVPR 2023) and its published code for the plain form; ViTAA (Wang et al., ECCV 2020) for the
    normalised one at scale 28; TextReID (Han et al., BMVC 2021) for scale 1 with label smoothing 0.1.
Formula: L = (CE(W f, y) + CE(W g, y)) / 2; `scale`: f, g and the rows of W are normalised, logits are scale * cosine.
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
from huecry.tasks.pairs import PairConfig, PairTask
from huecry.tasks.similarity import cosines, full_precision, widened
from huecry.training.encode import Encode
from huecry.training.task import Facts


@dataclass
class IdentityConfig(PairConfig):
    """scale: null for plain logits with a bias, a number for normalised ones. smoothing: of the targets, 0 to 1."""

    smoothing: float = 0.0


class Identity(PairTask):
    """Cross-entropy over the persons of the training set."""

    Config = IdentityConfig

    def __init__(self, config: Any, facts: Facts) -> None:
        super().__init__(config, facts)
        if facts.persons < 2:
            raise UserError(
                "tasks.identity: fewer than two persons to tell apart (data.labels=pair has none); "
                "set tasks.identity=null"
            )
        self.classifier = nn.Linear(facts.embed_dim, facts.persons, bias=config.scale is None)
        nn.init.normal_(self.classifier.weight, std=0.001)
        if self.classifier.bias is not None:
            nn.init.zeros_(self.classifier.bias)

    @classmethod
    def check(cls, name: str, config: Any) -> None:
        super().check(name, config)
        if not 0 <= config.smoothing <= 1:
            raise UserError(f"tasks.{name}.smoothing={config.smoothing}: must be 0 to 1")

    def forward(self, encode: Encode, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        person = batch["person"]
        image_loss, image_hit = self._classify(encode("rgb").pooled, person)
        text_loss, text_hit = self._classify(encode(self.config.text_view).pooled, person)
        return (image_loss + text_loss) / 2, {"image_accuracy": image_hit, "text_accuracy": text_hit}

    def _classify(self, features: Tensor, person: Tensor) -> tuple[Tensor, Tensor]:
        known = person >= 0
        with full_precision(features):
            if self.config.scale is None:
                logits = self.classifier(widened(features))
            else:
                logits = self.config.scale * cosines(features, self.classifier.weight)
            losses = F.cross_entropy(
                logits, person.clamp(min=0), reduction="none", label_smoothing=self.config.smoothing
            )
            hit = global_mean((logits.argmax(dim=1) == person).float(), known)
            return global_mean(losses, known), hit.detach()
