"""Tensors of all processes, with exact gradients; one process needs no process group."""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import Tensor, distributed


def world() -> tuple[int, int]:
    """(rank, number of processes)."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


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


def global_mean(values: Tensor, chosen: Tensor) -> Tensor:
    """Mean of the chosen values over all processes, as the share that DDP's average makes whole.

    values, chosen: [M] and [M] bool; M may differ between processes.
    Returns W * (local sum) / max(global count, 1), [].
    """
    _, size = world()
    count = chosen.sum().to(values.dtype)
    if size > 1:
        distributed.all_reduce(count)
    return size * torch.where(chosen, values, 0.0).sum() / count.clamp(min=1)
