"""Image positions from one grid of patches to another, and onto transformers' square grid without loss."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def resize(table: Tensor, old: tuple[int, int], new: tuple[int, int], mode: str = "bicubic") -> Tensor:
    """Interpolate positions [1 + h*w, d] from the grid ``old`` to the grid ``new``; the first row stays.

    Args:
        mode: ``bicubic`` (transformers' own way) or ``bilinear``.
    """
    if old == new:
        return table
    cells = table[1:].T.reshape(1, -1, *old)
    cells = F.interpolate(cells, size=new, mode=mode, align_corners=False)
    return torch.cat([table[:1], cells.flatten(2)[0].T])


def to_square(table: Tensor, grid: tuple[int, int]) -> Tensor:
    """The table [1 + n*n, d] that transformers' bicubic resizing turns into ``table`` [1 + h*w, d]; n = max(h, w).

    Resizing n cells to fewer is a matrix of full row rank, so its pseudo-inverse undoes it from the right.
    """
    side = max(grid)
    rows, columns = (torch.linalg.pinv(_bicubic(side, cells)) for cells in grid)
    cells = table[1:].double().reshape(*grid, -1)
    square = torch.einsum("ih,jw,hwd->ijd", rows, columns, cells)
    return torch.cat([table[:1], square.flatten(0, 1).to(table.dtype)])


def _bicubic(old: int, new: int) -> Tensor:
    unit = torch.eye(old, dtype=torch.float64).reshape(1, old, old, 1)
    return F.interpolate(unit, size=(new, 1), mode="bicubic", align_corners=False)[0, :, :, 0].T
