"""Grayscale and colour branches: match people without colour, match them by colour alone, and learn from each other.

Source: CAIBC (Wang et al., ACM MM 2022): RGB, grayscale and colour branches with mutual learning.
Formula: rgb f, g of photograph and caption; grs f', g' of the grey photograph and the caption without its colour words;
    clr M_v(f - f'), M_t(g - g'), on features that are not normalised. L = L_grs + L_clr + mutual * L_ML, where L_b is
    InfoNCE between the branch's image and text features (the rgb branch's is the task `contrastive`) and
    L_ML = 1/6 sum over branches b and others b' of CE(sg(p_b'), p_b), both directions averaged. With `identities`, p_b
    are class probabilities of the training persons, and each branch has a classification loss too, weight `identity`;
    without, p_b are the rows of the batch's softmax of similarities.
Deviations: the paper's matching loss is a triplet; the maps M, the stop-gradient and the factor 1/6 are ours. At test
    time the RGB branch stands alone; `export: concat` keeps the three, normalised and joined, so that the dot product
    is the sum of three cosines. A row whose caption names no colour, or whose photograph has none (mean chroma below
    2), has no clr feature and leaves every clr term.
Shapes: pooled features [B, D] against [W*B, D] of all processes.
Cost: one image pass (`gray`) and one text pass (`text_nocolour`), shared with `colourise` and `colour_words`.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from huecry.data.captions import find_spans
from huecry.data.colour import rgb_to_lab
from huecry.errors import UserError
from huecry.processes import gather, gather_with_gradient, global_mean
from huecry.tasks.contrastive import cross_entropy
from huecry.tasks.similarity import cosines, full_precision, row_stochastic, widened
from huecry.towers import Branches
from huecry.training.encode import Encode
from huecry.training.task import Facts, Preparer, Task, TaskConfig, check_choices

if TYPE_CHECKING:
    from PIL import Image

    from huecry.data.views import Sample

LEAST_CHROMA = 2.0


@dataclass
class GrayscaleConfig(TaskConfig):
    """mutual: weight of the branches' learning from each other. scale: of the cosines, null for the towers' own.

    identities: classify the training persons in every branch. identity: weight of that loss.
    export: `rgb` | `concat` (three branches, a model that only this library reads whole).
    """

    weight: float = 0.5
    mutual: float = 0.5
    scale: float | None = None
    identities: bool = False
    identity: float = 1.0
    export: str = "rgb"


class Preparation:
    """`coloured` [] bool: the caption names a colour, and the photograph shows some; the latter is seen once each."""

    def __init__(self) -> None:
        self.shown: dict[int, bool] = {}

    def __call__(self, sample: Sample, _: np.random.Generator) -> dict[str, np.ndarray]:
        named = bool(find_spans(sample.caption))
        if named and sample.image not in self.shown:
            self.shown[sample.image] = chroma(sample.picture) >= LEAST_CHROMA
        return {"coloured": np.array(named and self.shown[sample.image])}


def chroma(picture: Image.Image) -> float:
    """Mean distance of a photograph's colours from grey, in units of Lab."""
    small = np.array(picture.resize((16, 32)))
    lab = rgb_to_lab(torch.from_numpy(small).permute(2, 0, 1) / 255)
    return float(lab[1:].square().sum(dim=0).sqrt().mean())


class Grayscale(Task):
    """The grayscale and the colour branch, beside the RGB branch of the towers."""

    Config = GrayscaleConfig
    views = frozenset({"rgb", "gray", "text", "text_nocolour"})
    use = "grayscale"

    def __init__(self, config: Any, facts: Facts) -> None:
        super().__init__(config, facts)
        self.branches = Branches(facts.embed_dim)
        if config.identities:
            if facts.persons < 2:
                raise UserError(
                    "tasks.grayscale.identities=true: fewer than two persons to tell apart (data.labels=pair has "
                    "none); set tasks.grayscale.identities=false"
                )
            classifiers = [nn.Linear(facts.embed_dim, facts.persons) for _ in range(3)]
            for classifier in classifiers:
                nn.init.normal_(classifier.weight, std=0.001)
                nn.init.zeros_(classifier.bias)
            self.classifiers = nn.ModuleList(classifiers)

    @classmethod
    def check(cls, name: str, config: Any) -> None:
        super().check(name, config)
        check_choices(name, config, export=("rgb", "concat"))
        if config.scale is not None and config.scale <= 0:
            raise UserError(f"tasks.{name}.scale={config.scale}: must be above 0")
        for key in ("mutual", "identity"):
            if getattr(config, key) < 0:
                raise UserError(f"tasks.{name}.{key}={getattr(config, key)}: must be 0 or more")

    @property
    def exported(self) -> Branches | None:
        return self.branches if self.config.export == "concat" else None

    @staticmethod
    def preparer(config: Any) -> Preparer:
        return Preparation()

    def forward(self, encode: Encode, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        f, g = encode("rgb").pooled, encode("text").pooled
        f_gray, g_gray = encode("gray").pooled, encode("text_nocolour").pooled
        coloured = batch["coloured"]
        with full_precision(f):
            f, g, f_gray, g_gray = map(widened, (f, g, f_gray, g_gray))
            images = [f, f_gray, self.branches.image(f - f_gray)]
            texts = [g, g_gray, self.branches.text(g - g_gray)]
            everyone = torch.ones_like(coloured)
            rows = [everyone, everyone, coloured]
            matching, distributions = self._match(encode, images, texts, coloured, rows)
            loss = matching
            logs = {"matching": matching.detach()}
            if self.config.identities:
                known = batch["person"] >= 0
                identity, distributions = self._classify(images, texts, batch["person"], [row & known for row in rows])
                rows = [row & known for row in rows]
                loss = loss + self.config.identity * identity
                logs["identity"] = identity.detach()
            mutual = self._mutual(distributions, rows)
            logs |= {"mutual": mutual.detach(), "coloured": coloured.float().mean()}
            return loss + self.config.mutual * mutual, logs

    def _match(
        self, encode: Encode, images: list[Tensor], texts: list[Tensor], coloured: Tensor, rows: list[Tensor]
    ) -> tuple[Tensor, list[list[Tensor]]]:
        """InfoNCE of the grey and the colour branch; every branch's scaled cosines [B, W*B], by direction."""
        scale = encode.scale if self.config.scale is None else self.config.scale
        pooled = {"rgb": images[0], "text": texts[0], "gray": images[1], "text_nocolour": texts[1]}
        columns = [
            [encode.gather(view).to(pooled[view].dtype) for view in pair]
            for pair in (("rgb", "text"), ("gray", "text_nocolour"))
        ]
        columns.append([gather_with_gradient(images[2]), gather_with_gradient(texts[2])])
        logits = [
            [scale * cosines(images[b], columns[b][1]) for b in range(3)],
            [scale * cosines(texts[b], columns[b][0]) for b in range(3)],
        ]
        shown = gather(coloured)  # columns that have a colour feature
        ignored = ~(shown[None] & coloured[:, None]) & ~encode.own
        every = torch.zeros_like(ignored)
        total = logits[0][0].new_zeros(())
        for b, left_out in ((1, every), (2, ignored)):
            target = row_stochastic(encode.positives & ~left_out)
            for direction in logits:
                losses = cross_entropy(direction[b], target.to(direction[b].dtype), left_out)
                total = total + global_mean(losses, rows[b]) / 2
        for direction in logits:  # what the colour branch cannot say, nobody is asked
            direction[2] = direction[2].masked_fill(ignored, float("-inf"))
        return total, logits

    def _classify(
        self, images: list[Tensor], texts: list[Tensor], person: Tensor, rows: list[Tensor]
    ) -> tuple[Tensor, list[list[Tensor]]]:
        """Cross-entropy over persons in all three branches; the logits [B, C], by modality."""
        logits = [
            [classifier(features) for classifier, features in zip(self.classifiers, branches, strict=True)]
            for branches in (images, texts)
        ]
        total = logits[0][0].new_zeros(())
        for modality in logits:
            for scores, known in zip(modality, rows, strict=True):
                losses = F.cross_entropy(scores, person.clamp(min=0), reduction="none")
                total = total + global_mean(losses, known) / 2
        return total, logits

    def _mutual(self, logits: list[list[Tensor]], rows: list[Tensor]) -> Tensor:
        """Every branch is pulled to what the two others say, where both can speak."""
        total = logits[0][0].new_zeros(())
        for direction in logits:
            for teacher, student in permutations(range(3), 2):
                gone = direction[teacher].isinf() | direction[student].isinf()
                taught = direction[teacher].detach().masked_fill(gone, float("-inf")).softmax(dim=1)
                logs = torch.log_softmax(direction[student].masked_fill(gone, float("-inf")), dim=1)
                losses = -torch.where(gone, 0.0, taught * logs.masked_fill(gone, 0.0)).sum(dim=1)
                total = total + global_mean(losses, rows[teacher] & rows[student]) / 12
        return total
