"""Re-ranking: scores of captions with photographs that also ask who the photographs' neighbours are.

Source: `rvn`: NAFS (Gao et al., 2021) and TextReID (Han et al., BMVC 2021), relative visual neighbours, from the
    definition; published code compares neighbours of different index spaces. `kreciprocal`: Zhong et al., CVPR 2017.
Formula: rvn: N_t = the k photographs nearest to caption t, N_j = those nearest to photograph j, itself among them;
    score = S_tj + alpha |N_t n N_j| / |N_t u N_j|. kreciprocal: J over captions and photographs as one set;
    score = -((1 - keep) J_tj + keep d_tj), d = squared distance over the greatest of its row.
Deviations: for kreciprocal the mean caption and the mean photograph are taken off their sides before neighbours are
    looked for. Captions are otherwise all nearer to each other than to any photograph, and no list would cross over.
Memory: [1024, G] scores, and lists of k indices or some hundred entries for each caption and photograph.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from scipy import sparse
from torch import Tensor
from torch.nn import functional as F

from huecry.retrieval.kreciprocal import distances, encodings, nearest
from huecry.retrieval.metrics import rank_top, score_blocks

BLOCK = 1024


@dataclass
class RVN:
    """k: neighbours. alpha: weight of their agreement; tune it on val."""

    k: int = 5
    alpha: float = 0.05


@dataclass
class KReciprocal:
    """k1, k2: neighbours, see `huecry.retrieval.kreciprocal`. keep: share of the original distance; tune it on val."""

    k1: int = 20
    k2: int = 6
    keep: float = 0.3


@dataclass
class RerankConfig:
    """The settings of each re-ranking."""

    rvn: RVN = field(default_factory=RVN)
    kreciprocal: KReciprocal = field(default_factory=KReciprocal)


def rvn(queries: Tensor, gallery: Tensor, config: RVN) -> Iterator[Tensor]:
    """Scores [b, G] of consecutive queries [Q, D] with a gallery [G, D]."""
    k = min(config.k, len(gallery))
    asked = _members(rank_top(queries, gallery, k)[1].numpy(), len(gallery))
    near = _members(nearest(F.normalize(gallery.float(), dim=1), k)[0], len(gallery)).T.tocsc()
    done = 0
    for scores in score_blocks(queries, gallery, BLOCK):
        shared = (asked[done : done + len(scores)] @ near).toarray()
        done += len(scores)
        yield scores + config.alpha * torch.from_numpy(shared / (2 * k - shared)).to(scores)


def kreciprocal(queries: Tensor, gallery: Tensor, config: KReciprocal) -> Iterator[Tensor]:
    """As `rvn`."""
    centred = [unit - unit.mean(dim=0) for unit in (F.normalize(side.float(), dim=1) for side in (queries, gallery))]
    weights = encodings(torch.cat(centred), config.k1, config.k2, "zhong")
    done = 0
    for scores in score_blocks(queries, gallery, BLOCK):
        near = distances(weights, rows=range(done, done + len(scores)))[:, len(queries) :].tocoo()
        done += len(scores)
        jaccard = torch.ones(scores.shape)
        jaccard[torch.from_numpy(near.row), torch.from_numpy(near.col)] = torch.from_numpy(near.data)
        apart = 2 - 2 * scores
        apart = apart / apart.amax(dim=1, keepdim=True).clamp(min=torch.finfo(apart.dtype).tiny)
        yield -((1 - config.keep) * jaccard.to(scores) + config.keep * apart)


def _members(lists: np.ndarray, count: int) -> sparse.csr_matrix:
    """[N, count] float32: 1 where the column is in the row's list [N, k]."""
    bounds = np.arange(len(lists) + 1) * lists.shape[1]
    ones = np.ones(lists.size, dtype=np.float32)
    return sparse.csr_matrix((ones, lists.ravel(), bounds), shape=(len(lists), count))


RERANKINGS: dict[str, Callable[..., Iterator[Tensor]]] = {
    "rvn": lambda queries, gallery, config: rvn(queries, gallery, config.rvn),
    "kreciprocal": lambda queries, gallery, config: kreciprocal(queries, gallery, config.kreciprocal),
}
"""name -> scores of queries and a gallery under a `RerankConfig`."""
