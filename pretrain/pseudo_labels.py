"""Labels without identities: clusters of one modality, those to be trusted, and what two modalities teach each other.

Source: SpCL (Ge et al., NeurIPS 2020) for clustering and reliability; CMMT (Zhao et al., ICCV 2021) for the refinement.
A label is the number of a cluster, from 0; `ALONE` marks what belongs to none, and never matches itself.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from sklearn.cluster import DBSCAN
from torch import Tensor
from torch.nn import functional as F

ALONE = -1
KEPT = 0.9
"""The share of clusters that are independent enough when the threshold is set."""

Labels = NDArray[np.int64]


def cluster(distances: sparse.csr_matrix, eps: float = 0.6, min_samples: int = 4) -> Labels:
    """DBSCAN labels [N] of sparse distances [N, N]; what they lack is far."""
    found = DBSCAN(eps=eps, min_samples=min_samples, metric="precomputed").fit_predict(distances)
    return found.astype(np.int64)


def own_labels(labels: Labels) -> Labels:
    """Labels in which everyone alone has a number of its own, behind those of the clusters."""
    labels = labels.copy()
    alone = labels == ALONE
    labels[alone] = labels.max(initial=ALONE) + 1 + np.arange(alone.sum())
    return labels


def contiguous(labels: Labels) -> Labels:
    """The same clusters, numbered from 0 without gaps in their former order."""
    found = np.full_like(labels, ALONE)
    member = labels != ALONE
    found[member] = np.unique(labels[member], return_inverse=True)[1]
    return found


def reliable(labels: Labels, tight: Labels, loose: Labels, threshold: float | None) -> tuple[Labels, float | None]:
    """Leave alone who does not stay in its cluster when the clustering is made tighter or looser.

    labels, tight, loose: [N] at three radii. A member stays if its cluster keeps apart at the looser radius (its best
    member's 1 - |I n I_loose| / |I u I_loose| is at most the threshold) and itself holds together at the tighter one as
    well as the best of the cluster does.
    threshold: None to set it now, at the share `KEPT` of the clusters. Returns the labels and the threshold, which is
    None as long as there was no cluster.
    """
    labels = contiguous(labels)
    everyone = own_labels(labels)
    apart_tight, apart_loose = (_disagreement(everyone, own_labels(other)) for other in (tight, loose))
    count = everyone.max(initial=ALONE) + 1
    best_tight, best_loose = np.full(count, np.inf), np.full(count, np.inf)
    np.minimum.at(best_tight, everyone, apart_tight)
    np.minimum.at(best_loose, everyone, apart_loose)
    clusters = labels.max(initial=ALONE) + 1
    if threshold is None and clusters:
        ranked = np.sort(best_loose[:clusters])
        threshold = float(ranked[min(clusters - 1, round(KEPT * clusters))])
    if threshold is None:
        return labels, None
    stays = (best_loose[everyone] <= threshold) & (apart_tight <= best_tight[everyone])
    return contiguous(np.where(stays, labels, ALONE)), threshold


def _disagreement(labels: Labels, other: Labels) -> NDArray[np.float64]:
    """1 - |I n J| / |I u J| [N] of each item's two clusters, from the table of label pairs."""
    pairs, pair, shared = np.unique(np.stack([labels, other]), axis=1, return_inverse=True, return_counts=True)
    size, other_size = np.bincount(labels), np.bincount(other)
    union = size[pairs[0]] + other_size[pairs[1]] - shared
    return (1 - shared / union)[pair.ravel()]


def refine(
    image_labels: Labels, text_labels: Labels, text_image: Labels, images: Tensor, texts: Tensor
) -> tuple[Labels, Labels]:
    """Give those alone in one modality a cluster that the other modality knows for them.

    A caption alone takes the cluster of a caption of the photograph most like its own, within the cluster of its own
    photograph; a photograph alone the cluster of the photograph whose caption is most like its own captions, within
    theirs. All of it is read from the labels as they came in.

    image_labels [N], text_labels [R]; text_image [R]: the photograph of each caption; images [N, D], texts [R, D]:
    features. Returns labels of photographs and captions, clusters numbered as before.
    """
    images, texts = F.normalize(images.float(), dim=1).cpu(), F.normalize(texts.float(), dim=1).cpu()
    captions = _groups(text_image, len(image_labels))
    of_images, of_texts = (_groups(labels, labels.max(initial=ALONE) + 1) for labels in (image_labels, text_labels))
    new_images, new_texts = image_labels.copy(), text_labels.copy()
    for text in np.flatnonzero(text_labels == ALONE).tolist():
        image = int(text_image[text])
        if image_labels[image] != ALONE:
            alike = (i for i in _nearest(image, of_images[image_labels[image]], images, images) if i != image)
            candidates = (t for i in alike for t in _nearest(text, captions[i], texts, texts))
            new_texts[text] = _first_label(text_labels[t] for t in candidates)
    for image in np.flatnonzero(image_labels == ALONE).tolist():
        own = [t for t in _nearest(image, captions[image], images, texts) if text_labels[t] != ALONE]
        candidates = (t for o in own for t in _nearest(o, of_texts[text_labels[o]], texts, texts))
        new_images[image] = _first_label(image_labels[text_image[t]] for t in candidates)
    return new_images, new_texts


def _groups(labels: Labels, count: int) -> list[Labels]:
    """The items of each label 0 .. count - 1."""
    order = np.argsort(labels, kind="stable")
    bounds = np.searchsorted(labels[order], np.arange(count + 1))
    return [order[start:end] for start, end in itertools.pairwise(bounds)]


def _nearest(item: int, others: Labels, queries: Tensor, features: Tensor) -> list[int]:
    """The others by cosine to an item, nearest first; equal ones in their order."""
    cosines = features[torch.from_numpy(others)] @ queries[item]
    return [int(others[i]) for i in cosines.argsort(descending=True, stable=True)]


def _first_label(labels: Iterable[int]) -> int:
    """The first label of a cluster, or ALONE."""
    return next((label for label in labels if label != ALONE), ALONE)
