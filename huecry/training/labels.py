"""The table of identity labels that tasks read: given ids, pairs, or labels published before an epoch."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from huecry.data.records import UNKNOWN, PhotoSet


@dataclass
class RelabelConfig:
    """How pseudo labels are made, with `data.labels: pseudo`.

    start, every: the first epoch (from 0) that begins with clustering, and epochs between; before, labels are pairs.
    source: whose clusters count, `image` | `text` | `both`.
    eps, min_samples: of DBSCAN. k1, k2, convention: of the k-reciprocal distance, see `huecry.retrieval.kreciprocal`.
    reliability: leave alone who does not stay when eps is 0.02 less or more. refine: across the two modalities.
    """

    start: int = 1
    every: int = 1
    source: str = "image"
    eps: float = 0.6
    min_samples: int = 4
    k1: int = 30
    k2: int = 6
    convention: str = "spcl"
    reliability: bool = True
    refine: bool = True


class LabelTable(nn.Module):
    """One label a photograph and one a caption, looked up by dataset row; -1 where unknown.

    image [N], text [R]: int64. thresholds [2]: of reliability, for photographs and captions, -1 until they are set.
    failures []: clusterings in a row that told nobody apart. All are saved with every snapshot.
    """

    image: Tensor
    text: Tensor
    row_image: Tensor
    thresholds: Tensor
    failures: Tensor

    def __init__(self, photos: PhotoSet, source: str) -> None:
        """source: `given` person ids; `pair` and, to begin with, `pseudo`: a photograph is alike only to itself."""
        super().__init__()
        row_image = torch.from_numpy(photos.row_image)
        image = torch.from_numpy(photos.image_person) if source == "given" else torch.arange(len(photos))
        self.register_buffer("row_image", row_image, persistent=False)
        self.register_buffer("image", image.clone())
        self.register_buffer("text", image[row_image])
        self.register_buffer("thresholds", torch.full((2,), UNKNOWN, dtype=torch.float64))
        self.register_buffer("failures", torch.zeros((), dtype=torch.int64))

    def of(self, rows: Tensor) -> Tensor:
        """Labels [B] of the photographs of dataset rows [B]."""
        return self.image[self.row_image[rows]]

    @property
    def by_row(self) -> Tensor:
        """The label [R] of every row's photograph: what an identity sampler groups by."""
        return self.image[self.row_image]

    def publish(self, image: Tensor, text: Tensor) -> None:
        """Replace all labels: image [N], text [R]."""
        self.image.copy_(image)
        self.text.copy_(text)
