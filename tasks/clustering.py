"""Clusters without identities: memories of all photographs and captions, and Text-IoU as soft matches.

Source: SpCL (Ge et al., NeurIPS 2020) for the hybrid memory; CMMT (Zhao et al., "Weakly Supervised Text-based Person
    Re-Identification", ICCV 2021) for Text-IoU as matching targets and for hard pairs.
Formula: a memory M holds a unit row for each photograph (and one for each caption); c_k is the mean of the rows with
    label k, not normalised, so that a cluster that is spread out says less. L_memory = -log softmax_k(f.c_k / tau) at
    the own label, the mean of both modalities. L_across is the same against the means of the other modality, at the
    label of the pair's other half. After the backward pass M_i <- norm(mu M_i + (1 - mu) f_i).
    Matching: S_ij = 1 for one label, else IoU(t_i, t_j) from `floor` on, else 0; q_ij = S_ij / sum_k S_ik;
    p_ij = softmax_j(f_i . norm(g_j)); L_match = mean_i KL(p_i || q_i), both directions summed.
    Mining: among the `nearest` other photographs of the batch, that whose caption has the highest IoU with the anchor's
    should be nearer than that with the lowest, by `margin` in cosine.
    L = L_memory + across * L_across + match * L_match + mine * L_mine.
Deviations: captions are indexed by caption, not by photograph. Rows that come twice in a batch are averaged before the
    update, so that all processes agree. How the paper joins labels and IoU is not published: the floor is ours. Mining
    leaves out an anchor whose best IoU is below 0.3 or whose worst is above 0.1.
Shapes: features [B, D] against [K, D] class means; [W*B] photographs of all processes.
Cost: no tower pass beyond the two views; until the memories are filled from an extraction the memory loss is zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from huecry.data.text_iou import UNITS
from huecry.errors import UserError
from huecry.processes import global_mean
from huecry.tasks.caption_iou import CaptionIoU
from huecry.tasks.sdm import divergence
from huecry.tasks.similarity import cosines, full_precision, row_stochastic, unit, widened
from huecry.training.encode import Encode
from huecry.training.task import Facts, Task, TaskConfig, check_choices

LEAST_ALIKE, MOST_APART = 0.3, 0.1
"""Mining: the least IoU of a positive, and the greatest of a negative."""


@dataclass
class ClusteringConfig(TaskConfig):
    """temperature: tau. momentum: mu, the share of the old row that stays.

    across: weight of the contrast with the other modality's means. match, mine: weights of the two losses that read
    Text-IoU. A weight of 0 leaves its loss out. unit: `word` | `phrase`. idf: rare
    units weigh more. floor: the least IoU that counts as a match. nearest, margin: of mining.
    """

    weight: float = 0.5
    temperature: float = 0.05
    momentum: float = 0.2
    across: float = 0.0
    match: float = 1.0
    mine: float = 0.0
    unit: str = "word"
    idf: bool = True
    floor: float = 0.3
    nearest: int = 20
    margin: float = 0.1


class Clustering(Task):
    """Contrast with the class means of two memories, and soft matching by Text-IoU.

    images [N, D], texts [R, D]: the memories. updates []: batches that changed them, -1 until they are filled.
    """

    Config = ClusteringConfig
    views = frozenset({"rgb", "text"})
    remembers = True
    images: Tensor
    texts: Tensor
    updates: Tensor

    def __init__(self, config: Any, facts: Facts) -> None:
        super().__init__(config, facts)
        self.register_buffer("images", torch.zeros(facts.images, facts.embed_dim))
        self.register_buffer("texts", torch.zeros(facts.rows, facts.embed_dim))
        self.register_buffer("updates", torch.full((), -1))
        if config.match or config.mine:
            self.iou = CaptionIoU(facts, config.unit, config.idf)

    @classmethod
    def check(cls, name: str, config: Any) -> None:
        super().check(name, config)
        check_choices(name, config, unit=UNITS)
        for key in ("momentum", "floor"):
            if not 0 <= getattr(config, key) <= 1:
                raise UserError(f"tasks.{name}.{key}={getattr(config, key)}: must be in 0..1")
        for key in ("across", "match", "mine", "margin"):
            if getattr(config, key) < 0:
                raise UserError(f"tasks.{name}.{key}={getattr(config, key)}: must be 0 or more")
        if config.temperature <= 0 or config.nearest < 2:
            raise UserError(f"tasks.{name}: temperature must be above 0, nearest at least 2")

    @torch.no_grad()
    def remember(self, images: Tensor, texts: Tensor) -> None:
        if self.updates < 0:
            for memory, features in ((self.images, images), (self.texts, texts)):
                memory.copy_(F.normalize(features.to(memory), dim=1))
            self.updates.zero_()

    def forward(self, encode: Encode, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        f, g = encode("rgb").pooled, encode("text").pooled
        with full_precision(f):
            f, g = widened(f), widened(g)
            photographs = self.images, encode.table.image, batch["image"]
            captions = self.texts, encode.table.text, batch["row"]
            memory = (self._contrast(f, *photographs) + self._contrast(g, *captions)) / 2
            loss, logs = memory, {"memory": memory.detach()}
            if self.config.across:
                across = (self._contrast(f, *captions) + self._contrast(g, *photographs)) / 2
                loss, logs["across"] = loss + self.config.across * across, across.detach()
            if self.config.match or self.config.mine:
                alike = self.iou(batch["row"], encode.gather_ids("row"))
            if self.config.match:
                match = self._match(encode, f, g, alike)
                loss, logs["match"] = loss + self.config.match * match, match.detach()
            if self.config.mine:
                mined, share = self._mine(encode, batch["image"], f, alike)
                loss, logs["mine"], logs["mined"] = loss + self.config.mine * mined, mined.detach(), share
            return loss, logs

    def _contrast(self, features: Tensor, memory: Tensor, labels: Tensor, own: Tensor) -> Tensor:
        """The memory loss []; labels: [M] of the memory's rows, where -1 is a class of its own; own: [B] rows."""
        if self.updates < 0:
            return 0.0 * features.sum()
        alone = -1 - torch.arange(len(labels), device=labels.device)
        kinds, kind = torch.where(labels < 0, alone, labels).unique(return_inverse=True)
        means = group_means(memory.to(features.dtype), kind, len(kinds))
        return F.cross_entropy(unit(features) @ means.T / self.config.temperature, kind[own])

    def _match(self, encode: Encode, f: Tensor, g: Tensor, alike: Tensor) -> Tensor:
        soft = torch.where(alike >= self.config.floor, alike, 0.0)
        target = row_stochastic(torch.where(encode.positives, 1.0, soft)).to(f.dtype)
        others = [unit(encode.gather(view)) for view in ("text", "rgb")]
        return divergence(f @ others[0].T, target) + divergence(g @ others[1].T, target)

    def _mine(self, encode: Encode, image: Tensor, f: Tensor, alike: Tensor) -> tuple[Tensor, Tensor]:
        """The triplet loss [] over anchors that have a pair to learn from, and their share."""
        cosine = cosines(f, encode.gather("rgb"))
        same_photo = image[:, None] == encode.gather_ids("image")
        kept = cosine.detach().masked_fill(same_photo, float("-inf"))
        near = kept.topk(min(self.config.nearest, kept.shape[1]), dim=1).indices
        there = kept.gather(1, near).isfinite()
        iou = alike.gather(1, near)
        best = iou.masked_fill(~there, -1.0).max(dim=1)
        worst = iou.masked_fill(~there, 2.0).min(dim=1)
        chosen = (best.values >= LEAST_ALIKE) & (worst.values <= MOST_APART)
        near_cosine = cosine.gather(1, near)
        positive, negative = (near_cosine.gather(1, one.indices[:, None])[:, 0] for one in (best, worst))
        losses = F.relu(self.config.margin - positive + negative)
        return global_mean(losses, chosen), chosen.float().mean()

    @torch.no_grad()
    def after_backward(self, encode: Encode, batch: dict[str, Tensor]) -> None:
        if self.updates < 0:
            return
        for memory, view, name in ((self.images, "rgb", "image"), (self.texts, "text", "row")):
            rows, place = encode.gather_ids(name).unique(return_inverse=True)
            mean = group_means(unit(encode.gather(view)).to(memory), place, len(rows))
            mixed = self.config.momentum * memory[rows] + (1 - self.config.momentum) * mean
            memory[rows] = F.normalize(mixed, dim=1)
        self.updates += 1


def group_means(rows: Tensor, group: Tensor, count: int) -> Tensor:
    """The mean [count, D] of the rows [M, D] of each group; group: [M], none of the `count` without a row."""
    sums = rows.new_zeros(count, rows.shape[1]).index_add(0, group, rows)
    return sums / torch.bincount(group, minlength=count)[:, None]
