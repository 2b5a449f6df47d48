"""What an audit has a model say of photographs: features, textures, and both of backdrops.

Photographs are seen four times: a model that reads one badly seldom does so mirrored and from nearer, too. The texture
of a photograph is what the image tower says of its places, wherever they are.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from accelerate import PartialState
from torch import Tensor, nn
from torch.nn import functional as F

from huecry.data.records import PhotoSet
from huecry.finetune.audit_presence import KINDS, MOST, Backdrop, Backdrops, judged
from huecry.retrieval.evaluate import Features, extract
from huecry.towers import Branches, Towers
from huecry.training.bundle import Bundle
from huecry.training.encode import encode_view
from huecry.training.labels import LabelTable

MARGINS = (0.04, 0.08)
"""Shares of the height and the width that are cut off at each side of the nearer look."""


class Glances(nn.Module):
    """Encodes as a bundle does; the feature of a photograph is the mean of the unit vectors of its four looks.

    Behind it comes the texture [2 d]: mean and deviation of the tower's tokens, of the whole photograph and its mirror.
    """

    def __init__(self, bundle: Bundle) -> None:
        super().__init__()
        self.module = bundle

    def forward(self, views: dict[str, Tensor], **options: Any) -> dict[str, Tensor]:
        """Features of the views, as `Bundle.forward`; those of photographs with their textures behind."""
        if "rgb" not in views:
            return self.module(views, **options)
        whole = views["rgb"]
        top, left = (round(share * size) for share, size in zip(MARGINS, whole.shape[2:], strict=True))
        near = whole[..., top : whole.shape[2] - top, left : whole.shape[3] - left]
        near = F.interpolate(near.float(), whole.shape[2:], mode="bilinear", antialias=True).round().to(whole.dtype)
        looks = [look for one in (whole, near) for look in (one, one.flip(3))]
        found = [F.normalize(self.module({"rgb": look}, **options)["rgb"].float(), dim=1) for look in looks]
        return {"rgb": torch.cat([torch.stack(found).mean(dim=0), self._texture(whole)], dim=1)}

    def _texture(self, pixels: Tensor) -> Tensor:
        textures = []
        for look in (pixels, pixels.flip(3)):
            tokens = encode_view(self.module.towers, "rgb", look).tokens.float()
            textures.append(torch.cat([tokens.mean(dim=1), tokens.std(dim=1)], dim=1))
        return torch.stack(textures).mean(dim=0)


class Observer:
    """A model as an audit asks it. options: batch_size and workers."""

    def __init__(self, towers: Towers, branches: Branches | None, options: dict[str, Any]) -> None:
        self.towers, self.branches, self.options = towers, branches, options

    def see(self, photos: PhotoSet, kind: str | None = None) -> tuple[Features, Tensor]:
        """Features of photographs and captions, or of backdrops of a kind, and the textures [N, 2 d]."""
        module: nn.Module = Glances(Bundle(self.towers, {}, LabelTable(photos, "given"), self.branches))
        if kind is not None:
            module = Backdrop(module, kind)
        shape: dict[str, Any] = {"size": self.towers.image_size, "context": self.towers.context}
        found = extract(module.to(PartialState().device), photos, **self.options, **shape, progress=True)
        texture = 2 * self.towers.image.projection.in_features
        return Features(found.images[:, :-texture], found.texts, found.readable), found.images[:, -texture:]

    def backdrops(self, photos: PhotoSet, textures: Tensor, seed: int) -> Backdrops:
        """Backdrops of some of the photographs, whose textures [N, 2 d] are given, and who is there."""
        taken = np.sort(np.random.default_rng([seed, 4]).permutation(len(photos))[:MOST])
        silent = PhotoSet(photos.split, [replace(photos[int(image)], captions=()) for image in taken])
        seen = [self.see(silent, kind) for kind in KINDS]
        features, empty = torch.stack([one.images for one, _ in seen]), torch.stack([texture for _, texture in seen])
        return judged(taken, features, empty, textures, seed)
