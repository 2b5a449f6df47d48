"""Rankings: what one anchor loses against the negatives of a batch, by the way in which negatives are chosen.

Similarities are those of anchors [B] with candidates [N]; `positive` [B] is each anchor's similarity with its match,
`negatives` [B, N] bool what must rank below it, `margin` [B, N] by how much, or None for the soft margin: softplus in
place of the hinge. An anchor with no (eligible) negative loses nothing and counts in no mean.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

NEVER = float("-inf")

Lots = Callable[[], Tensor]
Ranking = Callable[[Tensor, Tensor, Tensor, Tensor | None, Lots], tuple[Tensor, Tensor]]


def hinge(violation: Tensor, margin: Tensor | None) -> Tensor:
    """[margin + violation]+, or log(1 + exp(violation)) without a margin."""
    return F.softplus(violation) if margin is None else F.relu(margin + violation)


def hard(
    similarity: Tensor, positive: Tensor, negatives: Tensor, margin: Tensor | None, lots: Lots
) -> tuple[Tensor, Tensor]:
    """Against the most similar negative: (loss [B], anchors that have one [B] bool)."""
    there = negatives.any(dim=1)
    return against(hardest(similarity, negatives), similarity, positive, margin, there), there


def semi_hard(
    similarity: Tensor, positive: Tensor, negatives: Tensor, margin: Tensor | None, lots: Lots
) -> tuple[Tensor, Tensor]:
    """Against a random negative among those inside the margin yet below the positive; lots() [B, N] draws it."""
    assert margin is not None
    violation = (similarity - positive[:, None] + margin).detach()
    eligible = negatives & (violation > 0) & (violation < margin)
    there = eligible.any(dim=1)
    drawn = lots().masked_fill(~eligible, -1).argmax(dim=1)
    return against(drawn, similarity, positive, margin, there), there


def every(
    similarity: Tensor, positive: Tensor, negatives: Tensor, margin: Tensor | None, lots: Lots
) -> tuple[Tensor, Tensor]:
    """The mean over all negatives."""
    there = negatives.any(dim=1)
    losses = torch.where(negatives, hinge(similarity - positive[:, None], margin), 0.0)
    return losses.sum(dim=1) / negatives.sum(dim=1).clamp(min=1), there


RANKINGS: dict[str, Ranking] = {"hard": hard, "semi_hard": semi_hard, "all": every}


def hardest(similarity: Tensor, negatives: Tensor) -> Tensor:
    """The most similar negative [B] of each anchor; any column where there is none."""
    return similarity.detach().masked_fill(~negatives, NEVER).argmax(dim=1)


def take(matrix: Tensor, column: Tensor) -> Tensor:
    """One entry [B] of each row of [B, N]."""
    return matrix.gather(1, column[:, None])[:, 0]


def against(column: Tensor, similarity: Tensor, positive: Tensor, margin: Tensor | None, there: Tensor) -> Tensor:
    """The loss [B] of each anchor that is there against one column of its own."""
    chosen = None if margin is None else take(margin.expand_as(similarity), column)
    return torch.where(there, hinge(take(similarity, column) - positive, chosen), 0.0)


def draw_lots(rows: Tensor, columns: Tensor) -> Tensor:
    """Numbers [B, N] in 0 .. 2^32 - 1 that look random and depend on the two dataset rows alone.

    So a draw among them is the same on any number of processes, and after a resume; batches differ, so over epochs a
    pair's chances do as well.
    """
    mixed = rows[:, None] * 0x9E3779B1 + columns[None] * 0x85EBCA77
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        mixed = mixed & 0xFFFFFFFF
        mixed = (mixed ^ (mixed >> shift)) * factor
    mixed = mixed & 0xFFFFFFFF
    return mixed ^ (mixed >> 16)
