"""Two people under one id, each with several photographs: then every photograph has another like it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.metrics import silhouette_samples
from torch import Tensor

from huecry.data.records import UNKNOWN, PhotoSet
from huecry.finetune.mixture import FEWEST, Array, posteriors
from huecry.retrieval.evaluate import identities

SILHOUETTE = 0.3
"""Of two clusters, above which they suggest two people."""


def groups(photos: PhotoSet) -> dict[int, NDArray[np.int64]]:
    """Person -> numbers of the photographs, for every known person with at least two."""
    known = np.flatnonzero(photos.image_person != UNKNOWN)
    order = known[np.argsort(photos.image_person[known], kind="stable")]
    parts = np.split(order, np.flatnonzero(np.diff(photos.image_person[order])) + 1)
    return {int(photos.image_person[part[0]]): part for part in parts if len(part) > 1}


def parted(photos: PhotoSet, looks: Tensor, seed: int) -> Array:
    """The posterior [N] that a photograph belongs to a part of its id that is another person than the rest.

    The photographs of an id fall in two clusters; how far apart, is compared with clusters of different ids. The
    smaller part is doubted, both where they are equal; 0 for parts of one photograph. looks: unit vectors [N, D].
    """
    chance, persons = np.zeros(len(photos)), identities(photos)
    generator = np.random.default_rng(seed)
    members = [own for own in groups(photos).values() if len(own) > 3]
    halves = [split_in_two(looks[own].double().numpy(), seed) for own in members]
    apart, different = [], []
    for own, (half, _) in zip(members, halves, strict=True):
        apart.append(float((looks[own[half]] @ looks[own[~half]].T).mean()))
        stranger = persons[generator.integers(len(persons))]
        if stranger != persons[own[0]]:
            them = np.flatnonzero(persons == stranger)[: int(half.sum())]
            different.append(float((looks[own[~half]] @ looks[them].T).mean()))
    if min(len(apart), len(different)) < FEWEST:
        return chance
    found = posteriors(np.array(apart)[:, None], {1: np.array(different)[:, None]}, seed)[:, 1]
    for own, (half, silhouette), value in zip(members, halves, found, strict=True):
        count = min(int(half.sum()), int((~half).sum()))
        if count > 1 and silhouette > SILHOUETTE:
            doubted = own if 2 * count == len(own) else own[half] if half.sum() == count else own[~half]
            chance[doubted] = value
    return chance


def split_in_two(vectors: Array, seed: int) -> tuple[NDArray[np.bool_], float]:
    """Which of at least three unit vectors [n, D] belong to the first of two clusters, and the mean silhouette.

    A cluster of one has no silhouette, and stays out of the mean.
    """
    labels = KMeans(2, n_init=4, random_state=seed).fit_predict(vectors)
    if len(np.unique(labels)) < 2:
        return np.arange(len(vectors)) == 0, 0.0
    each, alone = silhouette_samples(vectors, labels), np.bincount(labels)[labels] == 1
    return labels == 0, float(each[~alone].mean())
