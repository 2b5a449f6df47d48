"""Clusters, reliability and refinement, on cases made by hand and against the formulas written out over all pairs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import sparse

from huecry.pretrain.pseudo_labels import ALONE, cluster, contiguous, own_labels, refine, reliable


def array(*labels: int) -> np.ndarray:
    return np.array(labels, dtype=np.int64)


def test_clusters_of_sparse_distances():
    near = {(0, 1): 0.1, (1, 2): 0.5, (3, 4): 0.6, (4, 5): 0.7}
    distances = np.zeros((6, 6), dtype=np.float32)
    for (i, j), distance in near.items():
        distances[i, j] = distances[j, i] = distance
    np.fill_diagonal(distances, 1e-9)
    found = cluster(sparse.csr_matrix(distances), eps=0.6, min_samples=2)
    assert found.tolist() == [0, 0, 0, 1, 1, ALONE]


def test_numbers_for_those_alone():
    assert own_labels(array(1, -1, 0, -1, 1)).tolist() == [1, 2, 0, 3, 1]
    assert own_labels(array(-1, -1)).tolist() == [0, 1]
    assert own_labels(array()).tolist() == []
    assert contiguous(array(7, -1, 2, 7)).tolist() == [1, ALONE, 0, 1]


def written_out(labels: np.ndarray, tight: np.ndarray, loose: np.ndarray, threshold: float | None):
    """Reliability over all pairs; (labels, threshold)."""
    same, same_tight, same_loose = (one[:, None] == one for one in map(own_labels, (labels, tight, loose)))
    comp = 1 - (same & same_tight).sum(1) / (same | same_tight).sum(1)
    indep = 1 - (same & same_loose).sum(1) / (same | same_loose).sum(1)
    best = {k: (comp[labels == k].min(), indep[labels == k].min()) for k in set(labels.tolist()) - {ALONE}}
    if threshold is None:
        ranked = sorted(indep for _, indep in best.values())
        threshold = ranked[min(len(ranked) - 1, round(0.9 * len(ranked)))]
    kept = labels.copy()
    for i, label in enumerate(labels.tolist()):
        if label != ALONE and not (best[label][1] <= threshold and comp[i] <= best[label][0]):
            kept[i] = ALONE
    return contiguous(kept), threshold


@pytest.mark.parametrize("seed", range(8))
def test_reliability_is_the_formula_over_all_pairs(seed):
    generator = np.random.default_rng(seed)
    labels = contiguous(generator.integers(-1, 12, 120))
    tight = contiguous(np.where(generator.random(120) < 0.1, ALONE, labels * 2 + (generator.random(120) < 0.2)))
    loose = contiguous(np.where(labels == ALONE, ALONE, labels // (1 + (labels % 3 == 0))))
    for threshold in (None, 0.2):
        expected, expected_threshold = written_out(labels, tight, loose, threshold)
        found, found_threshold = reliable(labels, tight, loose, threshold)
        assert found.tolist() == expected.tolist()
        assert found_threshold == pytest.approx(expected_threshold)


def test_who_leaves_a_cluster():
    labels = array(0, 0, 0, 0, 1, 1, 2, 2, -1)
    tight = array(0, 0, 0, -1, 1, 1, 2, 2, -1)  # the fourth lets go first
    loose = array(0, 0, 0, 0, 1, 1, 1, 1, -1)  # 1 and 2 melt into one
    found, threshold = reliable(labels, tight, loose, 0.0)
    assert (found.tolist(), threshold) == ([0, 0, 0, -1, -1, -1, -1, -1, -1], 0.0)
    found, threshold = reliable(labels, labels, labels, None)
    assert (found.tolist(), threshold) == (labels.tolist(), 0.0)


def test_without_a_cluster_there_is_no_threshold():
    alone = array(-1, -1, -1)
    found, threshold = reliable(alone, alone, alone, None)
    assert (found.tolist(), threshold) == ([-1, -1, -1], None)


def angles(*degrees: float) -> torch.Tensor:
    """Unit features at these angles: the nearer the angles, the more alike."""
    turned = torch.deg2rad(torch.tensor(degrees))
    return torch.stack([turned.cos(), turned.sin()], dim=1)


def test_refinement_of_six_pairs():
    # photographs 0, 1, 2, 5 are one cluster, 3 is alone, 4 another; one caption each
    image_labels, text_labels = array(0, 0, 0, -1, 1, 0), array(-1, 3, 2, 2, -1, -1)
    pairs = np.arange(6)
    images = angles(0, 20, 10, 90, 180, 30)
    texts = angles(0, 40, 30, 35, 100, 5)
    new_images, new_texts = refine(image_labels, text_labels, pairs, images, texts)
    # caption 0: photograph 2 is the most like 0, its caption is in 2. Caption 5: of photograph 1 first, in 3.
    # Caption 4: its photograph's cluster holds nobody else: no candidate, it stays alone.
    assert new_texts.tolist() == [2, 3, 2, 2, ALONE, 3]
    # photograph 3: its caption is in 2 with caption 2, whose photograph is in 0
    assert new_images.tolist() == [0, 0, 0, 0, 1, 0]


def test_refinement_reads_the_labels_as_they_came():
    # caption 1 could be given a cluster only by caption 0, which is given one itself in this pass
    image_labels, text_labels = array(0, 0, 1, 1), array(-1, -1, 5, -1)
    _, texts = refine(image_labels, text_labels, np.arange(4), angles(0, 1, 2, 3), angles(0, 1, 2, 3))
    assert texts.tolist() == [-1, -1, 5, 5]


def test_the_nearest_photograph_without_a_clustered_caption_is_passed_over():
    image_labels, text_labels = array(0, 0, 0), array(-1, -1, 4)
    _, texts = refine(image_labels, text_labels, np.arange(3), angles(0, 5, 50), angles(0, 5, 50))
    assert texts.tolist() == [4, 4, 4]


def test_several_captions_of_a_photograph():
    # photograph 0 is alone; caption 1 is more like it than caption 0, so its cluster is asked first
    text_image = array(0, 0, 1, 2)
    image_labels, text_labels = array(-1, 0, 1), array(0, 1, 0, 1)
    images, texts = angles(0, 90, 180), angles(40, 10, 41, 11)
    new_images, _ = refine(image_labels, text_labels, text_image, images, texts)
    assert new_images.tolist() == [1, 0, 1]
    new_images, _ = refine(image_labels, text_labels, text_image, images, texts[[1, 0, 2, 3]])
    assert new_images.tolist() == [0, 0, 1]
    # a caption alone takes the best of the neighbour's captions that has a cluster
    image_labels, text_labels = array(0, 0), array(-1, 7, 8, -1)
    _, found = refine(image_labels, text_labels, array(0, 1, 1, 1), angles(0, 1), angles(0, 50, 30, 1))
    assert found.tolist() == [8, 7, 8, ALONE]  # caption 3: photograph 0 alone is asked, its caption has none


def test_nothing_is_refined_without_clusters():
    alone = array(-1, -1)
    for found in refine(alone, alone, np.arange(2), angles(0, 1), angles(0, 1)):
        assert found.tolist() == [-1, -1]
