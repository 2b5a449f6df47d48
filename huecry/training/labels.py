"""The table of identity labels that tasks read: given ids, pairs, or labels published before an epoch."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from huecry.data.records import PhotoSet


class LabelTable(nn.Module):
    """One label a photograph and one a caption, looked up by dataset row; -1 where unknown.

    image [N], text [R]: int64, saved with every snapshot.
    """

    image: Tensor
    text: Tensor
    row_image: Tensor

    def __init__(self, photos: PhotoSet, source: str) -> None:
        """source: `given` person ids, or `pair` (a photograph is alike only to itself)."""
        super().__init__()
        row_image = torch.from_numpy(photos.row_image)
        image = torch.from_numpy(photos.image_person) if source == "given" else torch.arange(len(photos))
        self.register_buffer("row_image", row_image, persistent=False)
        self.register_buffer("image", image.clone())
        self.register_buffer("text", image[row_image])

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
