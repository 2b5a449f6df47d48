"""The metric-learning family: triplets in both directions, pairs, and quadruplets.

Source: bi-directional triplets as in Faghri et al., "VSE++", BMVC 2018 (`mining: hard`); semi-hard negatives as in SSAN
    (Ding et al., 2021) and its published code; `mirror` and `intra` as described of VTA; `adaptive` as described of
    CMAAM; pairs: Hadsell et al., CVPR 2006; quadruplets: Chen et al., CVPR 2017.
Formula: S = cosines, d = 1 - S. triplet: [m + S_an - S_ap]+ for image and for text anchors; `margin: null`:
    log(1 + exp(S_an - S_ap)). mirror: besides the hardest negative text t_n of (v_a, t_a), [m + S(v_n, t_a) - S_ap]+.
    intra: also within each modality, against the least similar photograph (caption) of the same person.
    adaptive: margin m (1 + adaptive (1 - Text-IoU(a, n))). pairs: y d^2 + (1 - y) [m - d]+^2, mean over all pairs.
    quadruplet: [m + d_ap - d_an]+ + [m2 + d_ap - d_nn']+ with d = 2 - 2 S, n the hardest negative and n' the hardest of
    yet another person for n.
Deviations: the margins of the quadruplet (1 and 0.5) and the distance of the adaptive margin were not checked against
    their papers.
Shapes: features [B, D] against [W*B, D]. The positive is the own pair; with `mining: hard` the least similar match.
Cost: no tower pass beyond the two views.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from huecry.errors import UserError
from huecry.processes import global_mean
from huecry.tasks.caption_iou import CaptionIoU
from huecry.tasks.pairs import PairConfig, PairTask
from huecry.tasks.ranking import RANKINGS, against, draw_lots, hardest, hinge, take
from huecry.tasks.similarity import cosines
from huecry.training.encode import Encode
from huecry.training.task import Facts, check_choices

FORMS = ("triplet", "pairs", "quadruplet")
REDUCTIONS = ("mean", "sum")


@dataclass
class RankingConfig(PairConfig):
    """mining: `hard` | `semi_hard` | `all`. margin: of cosines, null for the soft margin.

    reduction: `mean` over the anchors that have a negative, or `sum`, as SSAN's published code.
    """

    mining: str = "hard"
    margin: float | None = 0.2
    reduction: str = "mean"


class RankingTask(PairTask):
    """A task that ranks each anchor's match above the negatives of the batch."""

    Config = RankingConfig

    @classmethod
    def check(cls, name: str, config: Any) -> None:
        super().check(name, config)
        check_choices(name, config, mining=RANKINGS, reduction=REDUCTIONS)
        if config.margin is not None and config.margin < 0:
            raise UserError(f"tasks.{name}.margin={config.margin}: must be 0 or more, or null for the soft margin")
        if config.margin is None and config.mining == "semi_hard":
            raise UserError(f"tasks.{name}.mining=semi_hard needs a margin; set tasks.{name}.margin=0.2")

    def reduced(self, encode: Encode, losses: Tensor, used: Tensor) -> Tensor:
        """One number [] of the losses [B] of the anchors used [B]."""
        if self.config.reduction == "sum":
            return encode.world * torch.where(used, losses, 0.0).sum()
        return global_mean(losses, used)

    def rank(self, encode: Encode, similarity: Tensor, positive: Tensor, margin: Tensor | None, used: Tensor) -> Tensor:
        """The loss [] of the anchors used [B] against other persons' columns; margin: [B, N] or like it."""

        def lots() -> Tensor:
            rows = encode.gather_ids("row")
            return draw_lots(rows.chunk(encode.world)[encode.rank], rows)

        losses, there = RANKINGS[self.config.mining](similarity, positive, ~encode.positives, margin, lots)
        return self.reduced(encode, losses, there & used)


@dataclass
class TripletConfig(RankingConfig):
    """form: `triplet` | `pairs` | `quadruplet`. mirror, intra, adaptive: see above; of triplets.

    second_margin: of the quadruplet's other term.
    """

    form: str = "triplet"
    mirror: bool = False
    intra: bool = False
    adaptive: float = 0.0
    second_margin: float = 0.5


class Triplet(RankingTask):
    """Margins between matches and the rest."""

    Config = TripletConfig

    def __init__(self, config: Any, facts: Facts) -> None:
        super().__init__(config, facts)
        if config.adaptive:
            self.iou = CaptionIoU(facts)

    @classmethod
    def check(cls, name: str, config: Any) -> None:
        super().check(name, config)
        check_choices(name, config, form=FORMS)
        if config.adaptive < 0 or config.second_margin < 0:
            raise UserError(f"tasks.{name}: adaptive and second_margin must be 0 or more")
        if config.margin is None and (config.form != "triplet" or config.adaptive):
            raise UserError(f"tasks.{name}.margin=null: form={config.form} and adaptive need a margin")
        for key in ("mirror", "intra", "adaptive"):
            if getattr(config, key) and config.form != "triplet":
                raise UserError(f"tasks.{name}.{key} is of triplets; leave it out, or set tasks.{name}.form=triplet")

    def forward(self, encode: Encode, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        image, text = "rgb", self.config.text_view
        across = self.both_ways(encode)
        if self.config.form == "pairs":
            return torch.stack([self._pairs(encode, similarity) for similarity in across]).sum(), {}
        if self.config.form == "quadruplet":
            ways = zip(across, ((image, text), (text, image)), strict=True)
            return torch.stack([self._quadruplets(encode, one, *views) for one, views in ways]).sum(), {}
        margin = self._margin(encode, batch, across[0])
        every = torch.ones_like(batch["row"], dtype=torch.bool)
        losses = [self.rank(encode, one, self._positive(encode, one), margin, every) for one in across]
        if self.config.mirror:
            losses += [self._mirrored(encode, one, other, margin) for one, other in (across, across[::-1])]
        if self.config.intra:
            losses += [self._within(encode, view, margin) for view in (image, text)]
        return torch.stack(losses).sum(), {}

    def _positive(self, encode: Encode, similarity: Tensor) -> Tensor:
        if self.config.mining == "hard":
            return similarity.masked_fill(~encode.positives, float("inf")).min(dim=1).values
        return similarity[encode.own]

    def _margin(self, encode: Encode, batch: dict[str, Tensor], like: Tensor) -> Tensor | None:
        if self.config.margin is None:
            return None
        margin = like.new_tensor(self.config.margin)
        if self.config.adaptive:
            alike = self.iou(batch["row"], encode.gather_ids("row"))
            margin = margin * (1 + self.config.adaptive * (1 - alike.to(like.dtype)))
        return margin

    def _mirrored(self, encode: Encode, similarity: Tensor, other: Tensor, margin: Tensor | None) -> Tensor:
        """The pair opposite to the hardest negative of each anchor: that negative's photograph with the own caption."""
        negatives = ~encode.positives
        there = negatives.any(dim=1)
        losses = against(hardest(similarity, negatives), other, other[encode.own], margin, there)
        return self.reduced(encode, losses, there)

    def _within(self, encode: Encode, view: str, margin: Tensor | None) -> Tensor:
        """Triplets of one modality; anchors without another photograph of their person take no part."""
        similarity = cosines(encode(view).pooled, encode.gather(view))
        others = encode.positives & ~encode.own
        positive = similarity.masked_fill(~others, float("inf")).min(dim=1).values
        there = others.any(dim=1)
        return self.rank(encode, similarity, torch.where(there, positive, 0.0), margin, there)

    def _pairs(self, encode: Encode, similarity: Tensor) -> Tensor:
        distance = 1 - similarity
        apart = F.relu(self.config.margin - distance).square()
        return torch.where(encode.positives, distance.square(), apart).mean()

    def _quadruplets(self, encode: Encode, similarity: Tensor, anchor: str, other: str) -> Tensor:
        labels = encode.gather_ids("labels")
        negatives = ~encode.positives
        positive, column = self._positive(encode, similarity), hardest(similarity, negatives)
        first = hinge(2 * (take(similarity, column) - positive), similarity.new_tensor(self.config.margin))
        pairs = cosines(encode.gather(other)[column], encode.gather(anchor))  # of each negative, with the other side
        elsewhere = negatives & (labels[column][:, None] != labels[None]) & (labels >= 0)
        second = hinge(
            2 * (take(pairs, hardest(pairs, elsewhere)) - positive), similarity.new_tensor(self.config.second_margin)
        )
        there = negatives.any(dim=1)
        return self.reduced(encode, first + torch.where(elsewhere.any(dim=1), second, 0.0), there)
