"""Triplet alignment: the hinge of a soft hardest negative against a soft mean of the matches, on trusted pairs.

Source: Qin et al., "Noisy-Correspondence Learning for Text-to-Image Person Re-identification" (RDE), CVPR 2024, and its
    published code.
Formula: a_ij = softmax over the matches j of S_ij / tau, without gradient;
    L = sum_i w_i [m - sum_j a_ij S_ij + tau log sum_{j no match} exp(S_ij / tau)]+, both directions, summed over the
    batch. `select`: the same is added on features of the selected tokens, see `tasks/token_selection.py`. `division`:
    w_i is 0 for pairs that stand out by their losses, see `divide`; else 1.
Deviations: logsumexp, where the published code clamps the exponentials; an anchor without any negative loses nothing.
    The losses that divide the pairs are those of the epoch before, as training saw them, where the published code runs
    through the set once more; without `select` the two that must agree are of the two directions, not of two features.
Shapes: features [B, D] against [W*B, D]; losses, keep: of the R rows of the training set.
Cost: no tower pass beyond the two views.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.mixture import GaussianMixture
from torch import Tensor
from torch.nn import functional as F

from huecry.errors import UserError
from huecry.processes import gather, gather_with_gradient
from huecry.tasks.pairs import PairConfig, PairTask
from huecry.tasks.similarity import cosines, full_precision
from huecry.tasks.token_selection import TokenSelection
from huecry.training.encode import Encode
from huecry.training.task import Facts

UNSEEN = -1.0
TRUSTED = 0.5
"""The posterior of the component of small losses above which a pair is clean."""


@dataclass
class TALConfig(PairConfig):
    """temperature: tau. margin: m, of cosines. select: share of the tokens whose features are aligned too, or null.

    division: leave out pairs that look mismatched, from the second epoch on.
    """

    temperature: float = 0.015
    margin: float = 0.1
    select: float | None = None
    division: bool = False


class TAL(PairTask):
    """Triplet alignment loss.

    losses [R, 2]: the latest of each row, `UNSEEN` before the first. keep [R]: the rows' weights.
    """

    Config = TALConfig
    losses: Tensor
    keep: Tensor

    def __init__(self, config: Any, facts: Facts) -> None:
        super().__init__(config, facts)
        self.selection = None if config.select is None else TokenSelection(facts.embed_dim, config.select)
        if config.division:
            self.register_buffer("losses", torch.full((facts.rows, 2), UNSEEN))
            self.register_buffer("keep", torch.ones(facts.rows))

    @classmethod
    def check(cls, name: str, config: Any) -> None:
        super().check(name, config)
        if config.temperature <= 0 or config.margin < 0:
            raise UserError(f"tasks.{name}: temperature must be above 0, margin 0 or more")
        if config.select is not None and not 0 < config.select <= 1:
            raise UserError(f"tasks.{name}.select={config.select}: a share above 0, at most 1, or null")

    def begin_epoch(self, generator: np.random.Generator) -> None:
        if not self.config.division:
            return
        seen = (self.losses != UNSEEN).all(dim=1)
        if seen.any():
            clean = divide(self.losses[seen].double().cpu().numpy(), generator)
            self.keep[seen] = torch.from_numpy(clean).to(self.keep)

    def forward(self, encode: Encode, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        directions = self._aligned(encode, *self.both_ways(encode))
        parts = list(directions)
        if self.selection is not None:
            views = (encode("rgb"), encode(self.config.text_view))
            with full_precision(views[0].pooled):
                f, g = (self.selection(view, text) for view, text in zip(views, (False, True), strict=True))
                chosen = self._aligned(encode, cosines(f, gather_with_gradient(g)), cosines(g, gather_with_gradient(f)))
            parts = [directions[0] + directions[1], chosen[0] + chosen[1]]
        if not self.config.division:
            return encode.world * torch.stack(parts).sum(), {}
        self._latest = torch.stack(parts, dim=1).detach()
        keep = self.keep[batch["row"]]
        return encode.world * (keep * torch.stack(parts)).sum(), {"kept": keep.mean()}

    @torch.no_grad()
    def after_backward(self, encode: Encode, batch: dict[str, Tensor]) -> None:
        if self.config.division:
            self.losses[encode.gather_ids("row")] = gather(self._latest).to(self.losses)

    def _aligned(self, encode: Encode, image_rows: Tensor, text_rows: Tensor) -> tuple[Tensor, Tensor]:
        """The losses [B] of both directions."""
        options = (encode.positives, self.config.temperature, self.config.margin)
        return triplet_alignment(image_rows, *options), triplet_alignment(text_rows, *options)


def triplet_alignment(similarity: Tensor, positives: Tensor, temperature: float, margin: float) -> Tensor:
    """The loss [B] of each row of cosines [B, N]; positives: [B, N] bool, at least one in every row."""
    scaled = similarity / temperature
    share = scaled.detach().masked_fill(~positives, float("-inf")).softmax(dim=1)
    there = ~positives.all(dim=1)
    others = scaled.masked_fill(positives & there[:, None], float("-inf")).logsumexp(dim=1)
    losses = F.relu(margin - (share * similarity).sum(dim=1) + temperature * others)
    return torch.where(there, losses, 0.0)


def divide(losses: NDArray[np.float64], generator: np.random.Generator) -> NDArray[np.bool_]:
    """Which of N pairs to keep, [N] bool, by two losses each [N, 2].

    Each column is brought to 0..1 and explained by two Gaussians; clean is what belongs to the one of small losses.
    Both clean: kept; both not: left out; in between the lot decides. Where a column finds nothing unclean, its worst
    hundredth counts as such.
    """
    votes = np.zeros(len(losses), dtype=np.int64)
    for column in losses.T:
        spread = np.ptp(column)
        if spread == 0:  # nothing tells the pairs apart
            votes += 1
            continue
        scaled = ((column - column.min()) / spread)[:, None]
        mixture = GaussianMixture(2, max_iter=10, tol=1e-2, reg_covar=5e-4, random_state=0).fit(scaled)
        trust = mixture.predict_proba(scaled)[:, mixture.means_.argmin()]
        threshold = np.sort(trust)[len(trust) // 100] if trust.min() > TRUSTED else TRUSTED
        votes += trust > threshold
    return votes + (votes == 1) * generator.integers(0, 2, size=len(votes)) == 2
