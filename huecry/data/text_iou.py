"""Text-IoU: how much of what two captions describe is the same, from their noun phrases.

Source: Zhao et al., "Weakly Supervised Text-based Person Re-Identification" (CMMT), ICCV 2021.
Formula: P(t) is the set of units of a caption (its noun phrases, or the words inside them);
    IoU(t, u) = w(P(t) n P(u)) / w(P(t) u P(u)) with w the sum of the units' weights.
Deviations: words rather than phrases by default, and weights ln(1 + N / n_p) for a unit in n_p of N captions instead of
    1: a paisley scarf tells more than black trousers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from torch import Tensor

from huecry.data.phrases import Chunker, phrases, words

UNITS = {"word": words, "phrase": phrases}
MOST = 48
"""Units that a caption may have; what is more is left out, the commonest first."""
NONE = -1


class PhraseIndex:
    """The units of a set of captions, numbered from 0, and their weights [V] float32.

    rows [R, 48] int64: what a call gives for each of the captions.
    unit: `word` | `phrase`. idf: weigh a unit by how rare it is. chunker: finds the raw phrases, see `phrases`.
    """

    def __init__(
        self, captions: Sequence[str], unit: str = "word", idf: bool = True, chunker: Chunker | None = None
    ) -> None:
        self.unit, self.chunker = unit, chunker
        held = [UNITS[unit](caption, chunker) for caption in captions]
        counts = Counter(one for units in held for one in units)
        self.number = {one: number for number, one in enumerate(sorted(counts))}
        seen = np.array([counts[one] for one in self.number], dtype=np.float64)
        self.weights = (np.log1p(len(captions) / seen) if idf else np.ones_like(seen)).astype(np.float32)
        self.rows = np.array([self._numbers(units) for units in held], dtype=np.int64).reshape(-1, MOST)

    def __call__(self, caption: str) -> NDArray[np.int64]:
        """The numbers [48] of a caption's units, ascending, then `NONE`; units of no indexed caption are passed."""
        return np.array(self._numbers(UNITS[self.unit](caption, self.chunker)), dtype=np.int64)

    def _numbers(self, units: Iterable[str]) -> list[int]:
        found = [self.number[one] for one in units if one in self.number]
        kept = sorted(sorted(found, key=lambda number: -self.weights[number])[:MOST])
        return [*kept, *[NONE] * (MOST - len(kept))]


def text_iou(first: Tensor, second: Tensor, weights: Tensor) -> Tensor:
    """IoU [B, M] of captions by their units [B, 48] and [M, 48], in one product; weights: [V], those of the index.

    A caption without units has nothing in common with any, itself included.
    """
    units, place = torch.cat([first, second]).unique(return_inverse=True)
    held = weights.new_zeros(len(place), len(units)).scatter_(1, place, 1.0)
    worth = torch.where(units == NONE, 0.0, weights[units.clamp(min=0)])
    one, other = held.split([len(first), len(second)])
    shared = (one * worth) @ other.T
    union = (one @ worth)[:, None] + other @ worth - shared
    return torch.where(union > 0, shared / union.clamp(min=torch.finfo(union.dtype).tiny), 0.0)


def similar_pairs(index: PhraseIndex, threshold: float, block: int = 1024) -> Iterator[tuple[int, int, float]]:
    """Every pair of indexed captions (i < j) whose IoU is above a threshold, 0 < threshold < 1, with it; in order of i.

    Two such captions share a unit among the rarest of either, those whose removal would leave less than `threshold` of
    its weight; only captions that share one are compared, `block` of them with all at a time.
    """
    count, held = len(index.rows), index.rows != NONE
    weights = index.weights.astype(np.float64)
    own = np.where(held, weights[np.where(held, index.rows, 0)] if len(weights) else 0.0, 0.0)
    total = own.sum(axis=1)
    rank = np.empty(len(weights), dtype=np.int64)
    rank[np.lexsort((np.arange(len(weights)), -weights))] = np.arange(len(weights))
    order = np.argsort(np.where(held, rank[np.where(held, index.rows, 0)] if len(rank) else 0, len(rank)), axis=1)
    before = np.cumsum(np.take_along_axis(own, order, axis=1), axis=1) - np.take_along_axis(own, order, axis=1)
    # a little more than needed is compared: rounding must lose no pair
    early = np.take_along_axis(held, order, axis=1) & (
        total[:, None] - before >= threshold * total[:, None] * (1 - 1e-9)
    )
    whole = _incidence(index.rows, held, own, len(weights))
    prefix = _incidence(np.take_along_axis(index.rows, order, axis=1), early, early.astype(np.float64), len(weights))
    pattern = _incidence(index.rows, held, held.astype(np.float64), len(weights))
    columns = prefix.T.tocsr()
    for start in range(0, count, block):
        near = (prefix[start : start + block] @ columns).tocoo()
        later = near.col > near.row + start
        first, second = near.row[later] + start, near.col[later]
        for part in range(0, len(first), 1 << 16):
            a, b = first[part : part + (1 << 16)], second[part : part + (1 << 16)]
            shared = np.asarray(whole[a].multiply(pattern[b]).sum(axis=1)).ravel()
            iou = shared / np.maximum(total[a] + total[b] - shared, np.finfo(np.float64).tiny)
            above = np.flatnonzero(iou > threshold)
            for one in above[np.lexsort((b[above], a[above]))]:
                yield int(a[one]), int(b[one]), float(iou[one])


def _incidence(rows: NDArray[np.int64], held: NDArray[np.bool_], values: NDArray[np.float64], units: int) -> csr_matrix:
    """Captions by units [R, V], with the values where a caption holds a unit."""
    caption = np.nonzero(held)[0]
    return csr_matrix((values[held], (caption, rows[held])), shape=(len(rows), units))
