"""The optimiser's parameter groups and the learning rate as a function of the step."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import nn

from huecry.errors import UserError


@dataclass
class OptimConfig:
    """AdamW with warm-up and decay.

    lr: peak rate of the towers; heads learn at `lr * head_lr_scale`. weight_decay: not on norms, biases and the logit
    scale. warmup: share of all steps with a linearly growing rate. schedule: cosine | constant; the cosine ends at
    `final * lr`. clip: largest gradient norm, null for none. momentum: EMA factor of the momentum towers.
    """

    lr: float = 1e-5
    head_lr_scale: float = 5.0
    weight_decay: float = 0.02
    betas: list[float] = field(default_factory=lambda: [0.9, 0.98])
    eps: float = 1e-8
    warmup: float = 0.1
    schedule: str = "cosine"
    final: float = 0.0
    clip: float | None = 1.0
    momentum: float = 0.999


def build_optimizer(bundle: nn.Module, config: OptimConfig) -> torch.optim.AdamW:
    """AdamW over what is trainable: towers and heads, each with and without decay.

    Every group carries `scale`, its factor on the learning rate of the step.
    """
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in bundle.named_parameters():
        if parameter.requires_grad:
            head, decay = name.startswith("tasks."), parameter.ndim > 1
            groups.setdefault((head, decay), []).append(parameter)
    if not groups:
        raise UserError("nothing to train: switch a task on, for example tasks.contrastive.weight=1")
    return torch.optim.AdamW(
        [
            {
                "params": parameters,
                "weight_decay": config.weight_decay if decay else 0.0,
                "scale": config.head_lr_scale if head else 1.0,
            }
            for (head, decay), parameters in groups.items()
        ],
        lr=config.lr,
        betas=(config.betas[0], config.betas[1]),
        eps=config.eps,
        fused=True,
    )


def learning_rate(config: OptimConfig, step: int, steps: int) -> float:
    """The towers' rate at an optimiser step (counted from 0) of `steps`."""
    warmup = round(config.warmup * steps)
    if step < warmup:
        return config.lr * (step + 1) / warmup
    if config.schedule == "constant":
        return config.lr
    share = (step - warmup) / max(steps - warmup, 1)
    return config.lr * (config.final + (1 - config.final) * 0.5 * (1 + math.cos(math.pi * share)))
