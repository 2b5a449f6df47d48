"""The colour branch beside the towers, and the descriptor of three branches: RGB, grayscale and colour."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from huecry.errors import UserError
from huecry.towers.hub import fetch

BRANCHES_FILE = "branches.safetensors"
"""Beside the towers' weights in a model folder that was exported with its branches."""
LEAST = 1e-4
"""A feature that loses less than this share of its length with the colours has no colour feature."""


class Branches(nn.Module):
    """Maps of what a feature loses with its colours: image and text, D -> D each."""

    def __init__(self, embed_dim: int) -> None:
        super().__init__()
        self.image, self.text = (
            nn.Sequential(nn.Linear(embed_dim, embed_dim), nn.GELU(), nn.Linear(embed_dim, embed_dim)) for _ in range(2)
        )

    def descriptor(self, modality: str, full: Tensor, gray: Tensor) -> Tensor:
        """The three branches, normalised and joined, [B, 3 D]: a dot product of two is the sum of three cosines.

        modality: `image` | `text`. full, gray: [B, D] pooled features with and without colour.
        """
        full, gray = (part.to(torch.promote_types(part.dtype, torch.float32)) for part in (full, gray))
        lost = full - gray
        colour = F.normalize(getattr(self, modality)(lost), dim=1)
        colour = torch.where(lost.norm(dim=1, keepdim=True) > LEAST * full.norm(dim=1, keepdim=True), colour, 0.0)
        return torch.cat([F.normalize(full, dim=1), F.normalize(gray, dim=1), colour], dim=1)

    def save(self, folder: Path) -> None:
        """Write the weights beside those of the towers."""
        weights = {name: weight.detach().cpu().contiguous() for name, weight in self.state_dict().items()}
        save_file(weights, folder / BRANCHES_FILE)


def load_branches(source: str) -> Branches | None:
    """The branches of a model folder or a run, None where it has none. Raises UserError for a damaged file."""
    place = Path(fetch(source)).expanduser()
    for folder in (place, place / "model"):
        path = folder / BRANCHES_FILE
        if path.is_file():
            try:
                weights = load_file(path)
                branches = Branches(weights["image.0.weight"].shape[0])
                branches.load_state_dict(weights)
            except (OSError, KeyError, RuntimeError, SafetensorError) as error:
                raise UserError(f"{path}: cannot be read; remove it for the RGB branch alone") from error
            return branches
    return None
