"""Photographs seen four times: a model that reads one badly seldom does so mirrored and from nearer, too."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from huecry.training.bundle import Bundle

MARGINS = (0.04, 0.08)
"""Shares of the height and the width that are cut off at each side of the nearer look."""


class Glances(nn.Module):
    """Encodes as a bundle does; the feature of a photograph is the mean of the unit vectors of its four looks."""

    def __init__(self, bundle: Bundle) -> None:
        super().__init__()
        self.module = bundle

    def forward(self, views: dict[str, Tensor], **options: Any) -> dict[str, Tensor]:
        """Pooled features of the views, as `Bundle.forward`."""
        if "rgb" not in views:
            return self.module(views, **options)
        whole = views["rgb"]
        top, left = (round(share * size) for share, size in zip(MARGINS, whole.shape[2:], strict=True))
        near = whole[..., top : whole.shape[2] - top, left : whole.shape[3] - left]
        near = F.interpolate(near.float(), whole.shape[2:], mode="bilinear", antialias=True).round().to(whole.dtype)
        looks = [look for one in (whole, near) for look in (one, one.flip(3))]
        found = [F.normalize(self.module({"rgb": look}, **options)["rgb"].float(), dim=1) for look in looks]
        return {"rgb": torch.stack(found).mean(dim=0)}
