"""Tensors of all processes, with exact gradients; one process needs no process group."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, distributed

PATIENCE = timedelta(hours=3)
"""How long a process waits for another that works by itself: clustering a large set takes the main one many minutes."""

_by_itself = False


def world() -> tuple[int, int]:
    """(rank, number of processes)."""
    if not _by_itself and distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


def join() -> torch.device:
    """Join the other processes of a launch, if there are any; the device that this one computes on.

    For a command that has no Accelerator. Without a GPU accelerate alone would leave every process by itself.
    """
    from accelerate import PartialState

    launched = int(os.environ.get("WORLD_SIZE", "1")) > 1
    without = not torch.cuda.is_available() or os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true", "yes")
    return PartialState(cpu=launched and without, timeout=PATIENCE).device


@contextmanager
def alone() -> Iterator[None]:
    """Work that this process does by itself: within, `world()` is (0, 1). The others wait where they next meet it."""
    global _by_itself
    before, _by_itself = _by_itself, True
    try:
        yield
    finally:
        _by_itself = before


def leave() -> None:
    """Part from the other processes, at the end of a command that did its work."""
    if distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()


def cores() -> int:
    """Processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def gather(tensor: Tensor) -> Tensor:
    """Equal-shaped tensors [B, ...] of all processes, joined in rank order: [W*B, ...]. No gradient."""
    _, size = world()
    if size == 1:
        return tensor.detach()
    parts = [torch.empty_like(tensor) for _ in range(size)]
    distributed.all_gather(parts, tensor.detach().contiguous())
    return torch.cat(parts)


class _GatherWithGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        return gather(tensor)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        rank, size = world()
        total = gradients[0].clone(memory_format=torch.contiguous_format)  # others may hold the same tensor
        distributed.all_reduce(total)
        return total.chunk(size)[rank]


def gather_with_gradient(tensor: Tensor) -> Tensor:
    """As `gather`; the backward pass sums what every process's loss asks of the local part.

    With every process taking the mean over its local rows, the average that DDP takes is the gradient of the mean
    over all rows.
    """
    _, size = world()
    return tensor if size == 1 else _GatherWithGradient.apply(tensor)


def global_mean(values: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean over all processes, as the share that DDP's average makes whole.

    values, weights: of one shape, which may differ between processes; weights are bool or not negative, and a value of
    weight zero may be anything.
    Returns W * (local weighted sum) / (global sum of weights), [], and 0 where all weights are zero.
    """
    _, size = world()
    weights = weights.to(values.dtype)
    total = weights.sum()
    if size > 1:
        distributed.all_reduce(total)
    summed = torch.where(weights > 0, weights * values, 0.0).sum()
    return size * summed / torch.where(total > 0, total, 1.0)
