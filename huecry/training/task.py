"""What a task is: one training objective over the encodings of declared views."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from huecry.errors import UserError

if TYPE_CHECKING:
    from huecry.data.views import Sample
    from huecry.towers import Branches
    from huecry.training.encode import Encode

RAMPS = ("constant", "linear", "cosine")
Preparer = Callable[["Sample", np.random.Generator], dict[str, np.ndarray]]


@dataclass
class TaskConfig:
    """What every task's stanza may say.

    weight: factor of the loss in the total.
    ramp: how the factor grows from 0 to `weight`: constant | linear | cosine.
    ramp_start, ramp_steps: optimiser steps before the ramp begins, and its length.
    """

    weight: float = 1.0
    ramp: str = "constant"
    ramp_start: int = 0
    ramp_steps: int = 0


@dataclass(frozen=True)
class Facts:
    """What a task may need to know to build its head: sizes of the towers, and the training set's.

    captions: those of the training set, in row order.
    """

    embed_dim: int
    image_width: int
    text_width: int
    grid: tuple[int, int]
    persons: int
    images: int
    rows: int
    captions: tuple[str, ...] = ()


class Task(nn.Module):
    """One objective: reads the views it declares, returns an unweighted loss.

    views: the views it reads (a subclass whose config chooses between views overrides `reads`).
    momentum: whether it reads encodings of the momentum towers.
    remembers: whether it holds features of the whole training set, given to `remember` as clusters are made.
    use: what it does with the pictures; the column of the augmentation table (`huecry.data.views.LEGAL`).
    """

    Config: ClassVar[type[TaskConfig]] = TaskConfig
    views: ClassVar[frozenset[str]] = frozenset()
    momentum: ClassVar[bool] = False
    remembers: ClassVar[bool] = False
    use: ClassVar[str] = "retrieval"

    def __init__(self, config: Any, facts: Facts) -> None:
        super().__init__()
        self.config = config

    @classmethod
    def reads(cls, config: Any) -> frozenset[str]:
        """The views that the task reads under this configuration."""
        return cls.views

    @classmethod
    def check(cls, name: str, config: Any) -> None:
        """Refuse a stanza that is wrong in itself. Raises UserError naming the key."""
        check_choices(name, config, ramp=RAMPS)
        if not 0 <= config.weight < np.inf:
            raise UserError(f"tasks.{name}.weight={config.weight}: must be 0 or more; null switches the task off")

    @staticmethod
    def preparer(config: Any) -> Preparer | None:
        """A picklable function from (sample, generator) to arrays of fixed shape, run in the data workers; or None."""
        return None

    @property
    def exported(self) -> Branches | None:
        """What the exported model keeps of the task beside the towers; mostly nothing."""
        return None

    def forward(self, encode: Encode, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """The unweighted loss, [] in fp32, and detached scalars to log.

        batch: `row`, `image`, `person` [B], the declared views as the data workers made them, and the
        preparer's arrays, stacked.
        """
        raise NotImplementedError

    def begin_epoch(self, generator: np.random.Generator) -> None:
        """Prepare for an epoch; the generator is the same on every process, and after a resume."""

    @torch.no_grad()
    def after_backward(self, encode: Encode, batch: dict[str, Tensor]) -> None:
        """Update the task's own buffers, after the backward pass of every micro-batch."""

    def remember(self, images: Tensor, texts: Tensor) -> None:
        """Take up features of the whole training set, images [N, D] and texts [R, D], extracted before an epoch."""


def check_choices(name: str, config: Any, **choices: Iterable[str]) -> None:
    """Refuse a key of a task's stanza that takes one of some words, and has another. Raises UserError naming it."""
    for key, words in choices.items():
        if getattr(config, key) not in words:
            raise UserError(f"tasks.{name}.{key}={getattr(config, key)}: choose one of {', '.join(words)}")


def weight_at(config: TaskConfig, step: int) -> float:
    """The factor of a task's loss at an optimiser step."""
    if config.ramp == "constant":
        return config.weight if step >= config.ramp_start else 0.0
    share = min(max((step - config.ramp_start) / max(config.ramp_steps, 1), 0.0), 1.0)
    if config.ramp == "linear":
        return config.weight * share
    return config.weight * 0.5 * (1.0 - float(np.cos(np.pi * share)))
