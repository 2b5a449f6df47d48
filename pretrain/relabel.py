"""Before an epoch: extract the training set, cluster it, and publish the clusters as everybody's labels.

The hook for `data.labels: pseudo`, whatever the tasks. Every process extracts its share; the main process clusters and
tells the others. Where clustering finds nothing to tell apart (no cluster, or a single one), last epoch's labels stay,
with a warning; three times in a row is an error.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from accelerate.utils import broadcast_object_list
from numpy.typing import NDArray
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from torch import Tensor
from tqdm import tqdm

from huecry.config import Recipe, find_task
from huecry.data.records import UNKNOWN, PhotoSet
from huecry.errors import UserError
from huecry.pretrain.pseudo_labels import ALONE, Labels, cluster, own_labels, refine, reliable
from huecry.processes import world
from huecry.retrieval.evaluate import Features
from huecry.retrieval.kreciprocal import jaccard_distances
from huecry.tasks import TASKS
from huecry.training.labels import RelabelConfig
from huecry.training.trainer import EpochContext

APART = 0.02
"""What reliability adds to eps, and takes from it."""
PATIENCE = 3


def relabelling(recipe: Recipe) -> Relabel | None:
    """The hook that a recipe asks for, if any. Raises UserError where a task needs clusters that nobody makes."""
    if recipe.data.labels == "pseudo":
        return Relabel(recipe.relabel)
    for name in recipe.tasks:
        if find_task(name, TASKS).remembers:
            raise UserError(f"tasks.{name} learns from clusters: set data.labels=pseudo, it is {recipe.data.labels}")
    return None


class Relabel:
    """The hook of a run. Raises UserError after `PATIENCE` clusterings in a row that told nobody apart."""

    def __init__(self, config: RelabelConfig) -> None:
        self.config = config

    def __call__(self, context: EpochContext) -> None:
        config, table = self.config, context.labels
        if context.epoch < config.start or (context.epoch - config.start) % config.every:
            return
        features = context.extract()
        found: list[Any] = [None]
        if world()[0] == 0:
            thresholds = [None if one == UNKNOWN else one for one in table.thresholds.tolist()]
            found = [clustered(features, context.photos, config, thresholds)]
        image, text, thresholds = broadcast_object_list(found)[0]
        context.log({"labels": figures(image, text, context.photos)})
        table.thresholds.copy_(torch.tensor([UNKNOWN if one is None else one for one in thresholds]))
        asked = (text,) if config.source == "text" else (image, text) if config.source == "both" else (image,)
        if any(len(np.unique(labels[labels != ALONE])) < 2 for labels in asked):
            self._nothing(context)
            return
        table.failures.zero_()
        image = own_labels(image)
        text = image[context.photos.row_image] if config.source == "image" else own_labels(text)
        table.publish(torch.from_numpy(image), torch.from_numpy(text))
        context.remember(features.images, features.texts)

    def _nothing(self, context: EpochContext) -> None:
        failures = context.labels.failures.add_(1).item()
        message = f"epoch {context.epoch}: clustering tells nobody apart"
        if failures >= PATIENCE:
            raise UserError(
                f"{message}, the {PATIENCE}rd time in a row; set relabel.eps={self.config.eps:g} higher where all are "
                f"alone and lower where all are one, or relabel.start={self.config.start} later"
            )
        warnings.warn(f"{message}; the labels stay as they are", stacklevel=2)


def clustered(
    features: Features, photos: PhotoSet, config: RelabelConfig, thresholds: list[float | None]
) -> tuple[Labels, Labels, list[float | None]]:
    """Labels of photographs [N] and captions [R], `ALONE` for who is in no cluster, and the thresholds of reliability.

    features: of the whole training set. A photograph that cannot be read is alone.
    """
    image, thresholds[0] = _cluster(features.images, config, thresholds[0], "photographs")
    image[~features.readable.numpy()] = ALONE
    if config.source == "image" and not config.refine:
        return image, image[photos.row_image], thresholds
    text, thresholds[1] = _cluster(features.texts, config, thresholds[1], "captions")
    if config.refine:
        image, text = refine(image, text, photos.row_image, features.images, features.texts)
    if config.source == "image":
        text = image[photos.row_image]
    elif config.source == "text":
        image = _of_captions(text, photos.row_image, len(image))
    return image, text, thresholds


def _cluster(
    features: Tensor, config: RelabelConfig, threshold: float | None, what: str
) -> tuple[Labels, float | None]:
    reach = config.eps + (APART if config.reliability else 0.0)

    def shown(rows: Sequence[int]) -> Iterable[int]:
        return tqdm(rows, desc=f"comparing {what}", leave=False, disable=None)

    distances = jaccard_distances(features, config.k1, config.k2, config.convention, reach, shown)
    labels = cluster(distances, config.eps, config.min_samples)
    if not config.reliability:
        return labels, threshold
    tight, loose = (cluster(distances, config.eps + change, config.min_samples) for change in (-APART, APART))
    return reliable(labels, tight, loose, threshold)


def _of_captions(text: Labels, row_image: NDArray[np.int64], count: int) -> Labels:
    """Labels [N] of photographs: that of the first caption that has one."""
    image = np.full(count, ALONE, dtype=np.int64)
    rows = np.flatnonzero(text != ALONE)[::-1]
    image[row_image[rows]] = text[rows]
    return image


def figures(image: Labels, text: Labels, photos: PhotoSet) -> dict[str, float]:
    """Clusters, the share of photographs alone, the largest cluster's share; NMI and ARI where persons are known.

    The same of captions with `text_` before.
    """
    found: dict[str, float] = {}
    for prefix, labels, person in (("", image, photos.image_person), ("text_", text, photos.row_person)):
        sizes = np.bincount(labels[labels != ALONE])
        found[f"{prefix}clusters"] = int((sizes > 0).sum())
        found[f"{prefix}alone"] = float((labels == ALONE).mean())
        found[f"{prefix}largest"] = float(sizes.max(initial=0) / len(labels))
        known = person != UNKNOWN
        if known.any():
            own = own_labels(labels)[known]
            found[f"{prefix}nmi"] = float(normalized_mutual_info_score(person[known], own))
            found[f"{prefix}ari"] = float(adjusted_rand_score(person[known], own))
    return found
