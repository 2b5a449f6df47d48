"""The sparse Jaccard distance: equal to a dense one written out set by set, and what follows from its definition."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn.cluster import DBSCAN
from torch.nn import functional as F

from huecry.errors import UserError
from huecry.retrieval import kreciprocal
from huecry.retrieval.kreciprocal import encodings, jaccard_distances, nearest


def clusters(count: int, size: int, spread: float, width: int = 16, seed: int = 0) -> torch.Tensor:
    """Features [count, width] around centres, `size` each."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(-(-count // size), width, generator=generator)
    noise = torch.randn(count, width, generator=generator)
    return centres.repeat_interleave(size, dim=0)[:count] + spread * noise


def slow(features: torch.Tensor, k1: int, k2: int, convention: str) -> np.ndarray:
    """J [N, N] from sets of Python, one pair after the other."""
    unit = F.normalize(features.double(), dim=1)
    squared = (2 - 2 * unit @ unit.T).numpy()
    count = len(squared)
    rank = [sorted(range(count), key=lambda j, i=i: (j != i, squared[i, j])) for i in range(count)]
    if convention == "spcl":
        rank = [row[:k1] for row in rank]  # the search was asked for no more

    def mutual(k: int) -> list[set[int]]:
        return [{j for j in rank[i][:k] if i in rank[j][:k]} for i in range(count)]

    whole, half = mutual(k1 + 1), mutual(int(np.around(k1 / 2)) + 1)
    rows = []
    for i in range(count):
        members = set(whole[i])
        for other in whole[i]:
            if len(half[other] & whole[i]) > 2 / 3 * len(half[other]):
                members |= half[other]
        scale = (squared[i].max() if convention == "zhong" else 1.0) or 1.0  # a row alone has no distance
        weights = {j: math.exp(-squared[i, j] / scale) for j in members}
        total = sum(weights.values())
        rows.append({j: weight / total for j, weight in weights.items()})
    averaged = []
    for i in range(count):
        near = rank[i][:k2] if k2 > 1 else [i]
        terms = {m for n in near for m in rows[n]}
        averaged.append({m: sum(rows[n].get(m, 0.0) for n in near) / len(near) for m in terms})
    found = np.ones((count, count))
    for i in range(count):
        for j in range(count):
            shared = sum(min(value, averaged[j].get(m, 0.0)) for m, value in averaged[i].items())
            found[i, j] = max(1 - shared / (2 - shared), 0.0)
    return found


def dense(distances: sparse.csr_matrix) -> np.ndarray:
    found = np.ones(distances.shape)
    entries = distances.tocoo()
    found[entries.row, entries.col] = entries.data
    return found


@pytest.mark.parametrize("convention", ["spcl", "zhong"])
@pytest.mark.parametrize(("k1", "k2"), [(30, 6), (20, 6), (7, 3), (5, 1), (1, 1), (2, 9)])
def test_it_is_the_distance_written_out(monkeypatch, convention, k1, k2):
    monkeypatch.setattr(kreciprocal, "BLOCK", 29)
    monkeypatch.setattr(kreciprocal, "PAIRS", 101)
    features = clusters(100, 6, 0.6)
    expected = slow(features, k1, k2, convention)
    assert np.abs(dense(jaccard_distances(features, k1, k2, convention)) - expected).max() < 1e-5
    near = dense(jaccard_distances(features, k1, k2, convention, within=0.6))
    kept = expected <= 0.6
    assert np.abs(near - expected)[kept].max() < 1e-5
    assert (near[expected > 0.6 + 1e-5] == 1).all()


@pytest.mark.parametrize("convention", ["spcl", "zhong"])
def test_dbscan_finds_the_same_clusters(convention):
    alone = torch.randn(30, 32, generator=torch.Generator().manual_seed(3))
    features = torch.cat([clusters(120, 8, 0.5, width=32), alone])
    expected = DBSCAN(eps=0.6, min_samples=4, metric="precomputed").fit_predict(slow(features, 10, 4, convention))
    assert len(set(expected)) > 10
    assert (expected == -1).any()
    found = jaccard_distances(features, 10, 4, convention, within=0.6)
    assert DBSCAN(eps=0.6, min_samples=4, metric="precomputed").fit_predict(found).tolist() == expected.tolist()


def test_a_case_by_hand():
    # two pairs at right angles, lists of two: each list is the pair, V is 1/2 each where the pair is one point twice
    pair = torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0], [0.0, 3.0]])
    weights = encodings(pair, k1=2, k2=1).toarray()
    assert np.allclose(weights, [[0.5, 0.5, 0, 0], [0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5], [0, 0, 0.5, 0.5]])
    found = jaccard_distances(pair, k1=2, k2=1)
    assert found.nnz == 8  # a distance of zero is there, one of 1 is not
    assert found.toarray().max() < 1e-6


def test_it_is_symmetric_and_rows_of_v_are_distributions():
    features = clusters(200, 5, 0.8)
    found = dense(jaccard_distances(features, 12, 4))
    assert np.abs(found - found.T).max() < 1e-6
    assert np.abs(np.diag(found)).max() < 1e-6
    weights = encodings(features, 12, 4)
    assert np.allclose(weights.sum(axis=1), 1, atol=1e-5)
    assert (weights.data > 0).all()


def test_scale_and_order_of_the_features_do_not_matter():
    features = clusters(90, 5, 0.6)
    order = torch.randperm(90, generator=torch.Generator().manual_seed(1))
    found = dense(jaccard_distances(features, 8, 3))
    stretched = features * torch.linspace(0.1, 9, 90)[:, None]
    assert np.abs(dense(jaccard_distances(stretched, 8, 3)) - found).max() < 1e-5
    moved = dense(jaccard_distances(features[order], 8, 3))
    assert np.abs(moved - found[np.ix_(order, order)]).max() < 1e-5


def test_a_row_is_its_own_first_neighbour_among_copies():
    copies = torch.ones(9, 4)
    ranks, _ = nearest(F.normalize(copies, dim=1), 4)
    assert ranks[:, 0].tolist() == list(range(9))


@pytest.mark.parametrize("convention", ["spcl", "zhong"])
def test_fewer_rows_than_a_list_has_entries(convention):
    for count in (1, 2, 5):
        features = clusters(count, 2, 0.5)
        expected = slow(features, 30, 6, convention)
        assert np.abs(dense(jaccard_distances(features, convention=convention)) - expected).max() < 1e-5


def test_progress_sees_every_row():
    seen: list[int] = []
    jaccard_distances(clusters(20, 4, 0.5), 5, 2, progress=lambda rows: (seen.append(row) or row for row in rows))
    assert seen == list(range(20))


def test_mistakes():
    features = clusters(20, 4, 0.5)
    with pytest.raises(UserError, match="k1=0"):
        jaccard_distances(features, k1=0)
    with pytest.raises(UserError, match="zong"):
        jaccard_distances(features, convention="zong")
    features[3, 2] = float("nan")
    with pytest.raises(UserError, match="finite"):
        jaccard_distances(features)
