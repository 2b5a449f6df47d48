"""The k-reciprocal Jaccard distance in sparse form, for clustering without identities and for re-ranking.

Source: Zhong et al., "Re-ranking person re-identification with k-reciprocal encoding", CVPR 2017, and the variant of
    SpCL (Ge et al., NeurIPS 2020) that clusters with it.
Formula: NN_k(i) are the k nearest rows by cosine, i first; R(i, k) = {j in NN_k(i) : i in NN_k(j)}. R*(i) is R(i, k1)
    united with R(c, k1 / 2) of every c in it that shares more than two thirds of them. V_i, a distribution over R*(i),
    falls with the squared distance and is then averaged over NN_k2(i). s_ij = sum_m min(V_im, V_jm);
    J_ij = 1 - s_ij / (2 - s_ij).
Conventions, as published: `zhong` takes k1 + 1 rows (i and k1 more) and divides each row's distances by their greatest;
    `spcl` takes k1 rows, i among them, and distances as they are. Both take round(k1 / 2) + 1 rows for the halves.
Memory: never N x N. Lists of k1 indices, V with some hundred entries a row, and the pairs nearer than asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor
from torch.nn import functional as F

from huecry.errors import UserError

CONVENTIONS = ("spcl", "zhong")
BLOCK = 1024
PAIRS = 1 << 15
LEAST = 1e-9
"""What a distance of zero is stored as: a sparse matrix that lacks an entry means far apart."""
SLACK = 1e-6

Progress = Callable[[Sequence[Any]], Iterable[Any]]


def jaccard_distances(
    features: Tensor,
    k1: int = 30,
    k2: int = 6,
    convention: str = "spcl",
    within: float = 1.0,
    progress: Progress = iter,
) -> sparse.csr_matrix:
    """Jaccard distances of N features [N, D]: [N, N] float32, those up to `within`; an entry that is not there is more.

    The features need not be normalised; their device makes the lists of neighbours. `scikit-learn`'s DBSCAN takes the
    result with metric="precomputed" and an eps of at most `within`. progress: wraps the rows, such as `tqdm`.
    Raises UserError for k1 or k2 below 1, a convention that is not known, or features that are not finite.
    """
    weights = encodings(features, k1, k2, convention)
    return distances(weights, within, progress)


def encodings(features: Tensor, k1: int, k2: int, convention: str = "spcl") -> sparse.csr_matrix:
    """V [N, N] float32, rows that sum to 1; arguments as in `jaccard_distances`."""
    if min(k1, k2) < 1:
        raise UserError(f"k1={k1}, k2={k2}: lists of neighbours have at least 1 entry")
    if convention not in CONVENTIONS:
        raise UserError(f"convention {convention}: choose one of {', '.join(CONVENTIONS)}")
    if not torch.isfinite(features).all():
        raise UserError("features that are not finite have no neighbours; lower the learning rate that made them")
    features = F.normalize(features.float(), dim=1)
    spcl = convention == "spcl"
    whole, half = k1 if spcl else k1 + 1, round(k1 / 2) + 1
    ranks, greatest = nearest(features, whole if spcl else max(whole, k2))
    members = _reciprocal(ranks, whole), _reciprocal(ranks, half)
    scale = np.ones_like(greatest) if spcl else np.where(greatest > 0, greatest, 1)
    rows = [_weighed(block, members, features, scale) for block in _blocks(len(features))]
    weights = sparse.vstack(rows, format="csr")
    if k2 > 1:
        near = _lists(ranks, k2)
        weights = near.multiply(np.float32(1) / near.sum(axis=1)).astype(np.float32).tocsr() @ weights
    return weights


def nearest(features: Tensor, count: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Each unit row's nearest rows by cosine, itself first: indices [N, count], at most N of them.

    Also the greatest squared distance [N] of each row from any.
    """
    count = min(count, len(features))
    ranks = np.empty((len(features), count), dtype=np.int64)
    greatest = np.empty(len(features), dtype=np.float32)
    for block in _blocks(len(features)):
        cosines = features[block] @ features.T
        greatest[block] = (2 - 2 * cosines.amin(dim=1)).cpu().numpy()
        here = torch.arange(len(cosines), device=cosines.device)
        cosines[here, here + block.start] = torch.inf
        ranks[block] = cosines.topk(count, dim=1).indices.cpu().numpy()
    return ranks, greatest


def distances(
    weights: sparse.csr_matrix, within: float = 1.0, progress: Progress = iter, rows: range | None = None
) -> sparse.csr_matrix:
    """J [N, N] float32 of the rows of V, up to `within`; found row by row, through the rows that share an entry.

    rows: those asked for, which then are the rows of the result.
    """
    rows = range(weights.shape[0]) if rows is None else rows
    columns = weights.tocsc()
    least = max(2 * (1 - within) / (2 - within) - SLACK, 0.0)
    data, indices, bounds = [], [], [0]
    for row in progress(rows):
        own = slice(weights.indptr[row], weights.indptr[row + 1])
        terms = weights.indices[own]
        starts, lengths = columns.indptr[terms], columns.indptr[terms + 1] - columns.indptr[terms]
        ends = np.cumsum(lengths)
        at = np.repeat(starts - ends + lengths, lengths) + np.arange(ends[-1])
        common = np.minimum(np.repeat(weights.data[own], lengths), columns.data[at])
        shared = np.bincount(columns.indices[at], common)
        near = np.flatnonzero(shared > least)
        shared = shared[near]
        data.append(np.maximum(1 - shared / (2 - shared), LEAST).astype(np.float32))
        indices.append(near.astype(np.int32))
        bounds.append(bounds[-1] + len(near))
    return sparse.csr_matrix(
        (np.concatenate(data), np.concatenate(indices), bounds), shape=(len(rows), weights.shape[0])
    )


def _blocks(count: int) -> Iterator[slice]:
    for start in range(0, count, BLOCK):
        yield slice(start, min(start + BLOCK, count))


def _lists(ranks: NDArray[np.int64], k: int) -> sparse.csr_matrix:
    """[N, N] int32: 1 where the column is among the row's first k."""
    near = ranks[:, :k]
    bounds = np.arange(len(near) + 1) * near.shape[1]
    return sparse.csr_matrix((np.ones(near.size, dtype=np.int32), near.ravel(), bounds), shape=(len(near), len(near)))


def _reciprocal(ranks: NDArray[np.int64], k: int) -> sparse.csr_matrix:
    """[N, N] int32: 1 where each of the two is among the other's first k."""
    near = _lists(ranks, k)
    return near.multiply(near.T).tocsr()


def _weighed(
    block: slice,
    members: tuple[sparse.csr_matrix, sparse.csr_matrix],
    features: Tensor,
    scale: NDArray[np.float32],
) -> sparse.csr_matrix:
    """Rows of V before they are averaged; members: R of all rows at k1 and at its half."""
    whole, half = members
    own = whole[block]
    shared = (own @ half.T).multiply(own).tocsr()
    sizes = np.diff(half.indptr)
    shared.data = (3 * shared.data > 2 * sizes[shared.indices]).astype(np.int32)
    widened = (own + shared @ half).tocsr()
    widened.eliminate_zeros()
    row = np.repeat(np.arange(widened.shape[0]), np.diff(widened.indptr))
    squared = (2 - 2 * _cosines(features, row + block.start, widened.indices)) / scale[block][row]
    falling = np.exp(-squared)
    total = np.bincount(row, falling)
    data = (falling / total[row]).astype(np.float32)
    return sparse.csr_matrix((data, widened.indices, widened.indptr), shape=widened.shape)


def _cosines(features: Tensor, first: NDArray[Any], second: NDArray[Any]) -> NDArray[np.float32]:
    """The products of pairs of rows."""
    pairs = torch.from_numpy(np.stack([first, second]).astype(np.int64)).to(features.device)
    parts = [(features[one] * features[other]).sum(dim=1) for one, other in pairs.split(PAIRS, dim=1)]
    return torch.cat(parts).cpu().numpy()
