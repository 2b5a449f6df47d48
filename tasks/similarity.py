"""Cosine similarities in full precision, and the matching targets that retrieval losses compare them with."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch
from torch import Tensor
from torch.nn import functional as F


def full_precision(tensor: Tensor) -> AbstractContextManager:
    """A context without autocast: losses are computed in fp32 whatever the towers run in."""
    return torch.autocast(tensor.device.type, enabled=False)


def widened(tensor: Tensor) -> Tensor:
    """The tensor in fp32, or as it is where it is wider."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def unit(features: Tensor) -> Tensor:
    """Features [B, D] at length one, in at least fp32."""
    return F.normalize(widened(features), dim=1)


def cosines(rows: Tensor, columns: Tensor) -> Tensor:
    """Cosine similarity [B, N] of features [B, D] and [N, D], in at least fp32."""
    with full_precision(rows):
        return unit(rows) @ unit(columns).T


def row_stochastic(weights: Tensor) -> Tensor:
    """Targets [B, N] whose rows sum to one, from non-negative weights with a positive entry in every row."""
    weights = widened(weights)
    return weights / weights.sum(dim=1, keepdim=True)
