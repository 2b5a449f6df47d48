"""Is there a person on a photograph at all? Learnt from what the photographs would be without one.

A backdrop is a photograph's left or right edge drawn as wide as the whole, or its pixels in disorder. A linear
classifier tells the textures of photographs from those of backdrops; what it says of one it has learnt from others.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from torch import Tensor, nn
from torch.nn import functional as F

from huecry.finetune.mixture import FEWEST, Array

KINDS = ("left", "right", "disorder")
EDGE = 0.1
"""Share of the width that is drawn as wide as the whole: what seldom shows the person."""
MOST = 2000
"""Photographs of which backdrops are made, and from which is learnt."""
FOLDS = 5


class Backdrops(NamedTuple):
    """Photographs [S], the features [K, S, D] of their backdrops, and who is there on these [K, S] and on all [N].

    empty, presence: 0 where the classifier sees nobody, above as far as it sees somebody.
    """

    photographs: NDArray[np.int64]
    features: Tensor
    empty: Array
    presence: Array


class Backdrop(nn.Module):
    """Encodes backdrops of one kind in the place of photographs."""

    def __init__(self, module: nn.Module, kind: str) -> None:
        super().__init__()
        self.module, self.kind = module, kind

    def forward(self, views: dict[str, Tensor], **options: Any) -> dict[str, Tensor]:
        """What the module gives for the backdrops of the photographs."""
        return self.module({"rgb": backdrop(views["rgb"], self.kind)}, **options)


def backdrop(pixels: Tensor, kind: str) -> Tensor:
    """A backdrop of each picture [B, 3, H, W] uint8, of the same shape."""
    height, width = pixels.shape[2:]
    if kind == "disorder":
        order = torch.randperm(height * width, generator=torch.Generator().manual_seed(0))
        return pixels.flatten(2)[:, :, order.to(pixels.device)].view_as(pixels)
    edge = max(1, round(EDGE * width))
    part = pixels[..., :edge] if kind == "left" else pixels[..., width - edge :]
    return F.interpolate(part.float(), (height, width), mode="bilinear").round().to(pixels.dtype)


def judged(photographs: NDArray[np.int64], features: Tensor, textures: Tensor, shown: Tensor, seed: int) -> Backdrops:
    """Backdrops, and who is there on them and on all photographs: nobody anywhere where the photographs are too few.

    photographs: [S] of which backdrops are made. features, textures: [K, S, D] and [K, S, E] of the backdrops.
    shown: textures [N, E] of all photographs.
    """
    photos, empty = shown.double().numpy(), textures.double().numpy()
    presence, absence = np.zeros(len(photos)), np.zeros(empty.shape[:2])
    fold = np.random.default_rng([seed, 3]).permutation(len(shown)) % FOLDS
    for own in range(FOLDS if len(shown) >= FEWEST else 0):
        photo, made = fold == own, fold[photographs] == own
        rows = np.concatenate([photos[photographs[~made]], *empty[:, ~made]])
        classifier = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto", priors=[0.5, 0.5])
        classifier.fit(rows, np.arange(len(rows)) < (~made).sum())
        presence[photo] = classifier.decision_function(photos[photo])
        for kind, one in enumerate(empty):
            absence[kind, made] = classifier.decision_function(one[made])
    return Backdrops(photographs, features, absence.clip(0), presence.clip(0))
