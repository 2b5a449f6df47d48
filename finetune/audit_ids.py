"""Photographs that look like another person than the others of their id."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.metrics import silhouette_samples
from torch import Tensor
from torch.nn import functional as F

from huecry.data.records import UNKNOWN, PhotoSet
from huecry.finetune.findings import Finding, found
from huecry.finetune.mixture import Array, check_told_apart, posterior
from huecry.retrieval.evaluate import identities

SILHOUETTE = 0.3
"""Of two clusters, above which they suggest two people."""
SURE, UNCLEAR = 0.9, 0.1
"""Posteriors from which on the looks alone decide, and below which they speak for one person."""


def groups(photos: PhotoSet) -> dict[int, NDArray[np.int64]]:
    """Person -> numbers of the photographs, for every known person with at least two."""
    known = np.flatnonzero(photos.image_person != UNKNOWN)
    order = known[np.argsort(photos.image_person[known], kind="stable")]
    parts = np.split(order, np.flatnonzero(np.diff(photos.image_person[order])) + 1)
    return {int(photos.image_person[part[0]]): part for part in parts if len(part) > 1}


def id_findings(photos: PhotoSet, features: Tensor, witness: NDArray[np.int8], seed: int) -> Iterator[Finding]:
    """The photographs of a person that look like another: the smaller part of two, both where they are equal.

    features: [N, D]. witness [N]: what captions that fit a photograph say of it: 1, that it is the person, then it is
    not doubted whatever it looks like; -1, that it is another, then an unclear look is enough; 0, nothing.
    Raises CannotTell.
    """
    images = F.normalize(features.float() - features.float().mean(dim=0), dim=1)
    members = groups(photos)
    halves = {person: split_in_two(images[own].double().numpy(), seed) for person, own in members.items()}
    between, other = [], []
    generator = np.random.default_rng(seed)
    persons = identities(photos)
    for person, own in members.items():
        half = halves[person][0]
        between.append(float((images[own[half]] @ images[own[~half]].T).mean()))
        for _ in range(4):  # parts of the same sizes, of two persons
            stranger = generator.choice(len(images))
            them = np.flatnonzero(persons == persons[stranger])[: max(int(half.sum()), 1)]
            if persons[stranger] != person:
                other.append(float((images[own[~half]] @ images[them].T).mean()))
    check_told_apart(-np.array(between), -np.array(other), "photographs of a person")
    apart = posterior(-np.array(between), -np.array(other))
    for (person, own), chance, cosine in zip(members.items(), apart, between, strict=True):
        half, silhouette = halves[person]
        count, size = int(half.sum()), len(own)
        doubted = own if 2 * count == size else own[half] if 2 * count < size else own[~half]
        seen = chance > SURE or (chance > 0.5 and (size == 2 or silhouette > SILHOUETTE))
        if seen or (chance > UNCLEAR and (witness[doubted] < 0).all()):
            evidence = f"{size} photographs of person {photos.persons[person]} fall in two: mean cosine {cosine:.2f}, "
            evidence += f"of different persons {np.mean(other):.2f}" + (
                f", silhouette {silhouette:.2f}" if size > 2 else ""
            )
            for image in doubted[witness[doubted] < 1]:
                yield found("id_consistency", photos, int(image), evidence)


def split_in_two(vectors: Array, seed: int) -> tuple[NDArray[np.bool_], float]:
    """Which of at least two unit vectors [n, D] belong to the first of two clusters, and the mean silhouette.

    A cluster of one has no silhouette, and stays out of the mean.
    """
    if len(vectors) == 2:
        return np.array([True, False]), 0.0
    labels = KMeans(2, n_init=4, random_state=seed).fit_predict(vectors)
    if len(np.unique(labels)) < 2:
        return np.arange(len(vectors)) == 0, 0.0
    each, alone = silhouette_samples(vectors, labels), np.bincount(labels)[labels] == 1
    return labels == 0, float(each[~alone].mean())
