"""What learns, and how fast: frozen layers, the optimiser's parameter groups, the learning rate of a step.

`optim.freeze` with a whole tower is locked-image tuning (LiT; Zhai et al., CVPR 2022), or the same of the text tower;
`optim.layer_decay` is the layer-wise decay of ELECTRA (Clark et al., ICLR 2020) and BEiT (Bao et al., ICLR 2022).
`optim.muon` is Muon (Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024) as torch has it,
with the rate matched to AdamW's (Liu et al., "Muon is scalable for LLM training", 2025).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from huecry.errors import UserError


@dataclass
class FreezeConfig:
    """How much of each tower stays as it was loaded.

    image, text: the share of its layers, from the input on, together with patches or words and positions; 0 for
    nothing, 1 for the whole tower with its last norm and projection.
    """

    image: float = 0.0
    text: float = 0.0


@dataclass
class OptimConfig:
    """AdamW with warm-up and decay.

    lr: peak rate of the towers; heads learn at `lr * head_lr_scale`. weight_decay: not on norms, biases and the
    logit scale. warmup: share of all steps with a linearly growing rate. schedule: cosine | trapezoid | steps |
    constant; the first two end at `final * lr`, the trapezoid by a straight line over the last half of the steps;
    `steps` takes a tenth after each of the `milestones`, shares of all steps. clip: largest gradient norm, null for
    none. momentum: EMA factor of the momentum towers, from the first step on (momentum_schedule `constant`) or growing
    to 1 by half a cosine (`cosine`).
    muon: the matrices of linear layers learn by Muon instead, at this factor on their rate; null for AdamW throughout.
    Meant for towers from scratch.
    layer_decay: factor on the rate from each layer of a tower to the one below it, beginning with 1 at its last norm
    and projection; 1 for one rate. freeze: what does not learn, see `FreezeConfig`.
    """

    lr: float = 1e-5
    head_lr_scale: float = 5.0
    weight_decay: float = 0.02
    betas: list[float] = field(default_factory=lambda: [0.9, 0.98])
    eps: float = 1e-8
    warmup: float = 0.1
    schedule: str = "cosine"
    final: float = 0.0
    milestones: list[float] = field(default_factory=lambda: [0.5, 0.875])
    clip: float | None = 1.0
    momentum: float = 0.999
    momentum_schedule: str = "constant"
    muon: float | None = None
    layer_decay: float = 1.0
    freeze: FreezeConfig = field(default_factory=FreezeConfig)


class MuonAdamW(torch.optim.Optimizer):
    """Muon for some parameters and AdamW for the others, as one optimiser.

    `param_groups` are the groups of both, `state_dict` holds the states of both by name.
    """

    def __init__(self, muon: torch.optim.Muon, adamw: torch.optim.AdamW) -> None:
        self.parts = {"muon": muon, "adamw": adamw}
        super().__init__([*muon.param_groups, *adamw.param_groups], {})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step of both; closure: evaluates the loss anew, once."""
        loss: float | None = self.parts["muon"].step(closure)
        self.parts["adamw"].step()
        return loss

    def state_dict(self) -> dict[str, Any]:
        return {name: part.state_dict() for name, part in self.parts.items()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for name, part in self.parts.items():
            part.load_state_dict(state_dict[name])
        self.param_groups = [group for part in self.parts.values() for group in part.param_groups]


_LEVEL = re.compile(r"(image|text)\.(?:layers\.(\d+)\.|(norm|projection)\.)?")


def levels(names: Iterable[str]) -> dict[str, tuple[str, int, int]]:
    """Where weights of the towers stand, by name: (tower, level, number of layers L of that tower).

    names: of all weights in the towers, as in `Towers.named_parameters`; what belongs to no tower is left out. Level 0
    is what comes before the layers, 1 to L are the layers, L + 1 is the last norm and the projection.
    """
    found = {name: match for name in names if (match := _LEVEL.match(name))}
    layers = dict.fromkeys(("image", "text"), 0)
    for match in found.values():
        layers[match[1]] = max(layers[match[1]], int(match[2] or -1) + 1)

    def level(match: re.Match[str]) -> int:
        return layers[match[1]] + 1 if match[3] else int(match[2] or -1) + 1

    return {name: (match[1], level(match), layers[match[1]]) for name, match in found.items()}


def freeze(towers: nn.Module, config: FreezeConfig) -> None:
    """Let the towers' weights that `config` names out of training."""
    shares = {"image": config.image, "text": config.text}
    weights = dict(towers.named_parameters())
    for name, (tower, level, layers) in levels(weights).items():
        share = shares[tower]
        if share == 1 or (share > 0 and level <= round(share * layers)):
            weights[name].requires_grad_(False)


def build_optimizer(bundle: nn.Module, config: OptimConfig) -> torch.optim.Optimizer:
    """The optimiser over what is trainable: towers and heads, each with and without weight decay, level by level.

    Every group carries `scale`, its factor on the learning rate of the step.
    """
    matrices = {id(module.weight) for module in bundle.modules() if isinstance(module, nn.Linear)}
    stands = levels(name.removeprefix("towers.") for name, _ in bundle.named_parameters() if name.startswith("towers."))
    groups: dict[tuple[float | None, float, bool], list[nn.Parameter]] = {}
    for name, parameter in bundle.named_parameters():
        if parameter.requires_grad:
            muon = config.muon if id(parameter) in matrices else None
            scale = config.head_lr_scale if name.startswith("tasks.") else 1.0
            if at := stands.get(name.removeprefix("towers.")):
                _, level, layers = at
                scale *= config.layer_decay ** (layers + 1 - level)
            groups.setdefault((muon, scale, parameter.ndim > 1), []).append(parameter)
    if not groups:
        raise UserError("nothing to train: switch a task on, for example tasks.contrastive.weight=1")
    parts: dict[bool, list[dict[str, Any]]] = {False: [], True: []}
    for (muon, scale, decay), parameters in groups.items():
        weight_decay = config.weight_decay if decay else 0.0
        scale *= 1.0 if muon is None else muon
        parts[muon is not None].append({"params": parameters, "weight_decay": weight_decay, "scale": scale})
    fast, slow = config.betas
    adamw = torch.optim.AdamW(parts[False], lr=config.lr, betas=(fast, slow), eps=config.eps, fused=True)
    if not parts[True]:
        return adamw
    return MuonAdamW(torch.optim.Muon(parts[True], lr=config.lr, momentum=fast, adjust_lr_fn="match_rms_adamw"), adamw)


def learning_rate(config: OptimConfig, step: int, steps: int) -> float:
    """The towers' rate at an optimiser step (counted from 0) of `steps`."""
    warmup = round(config.warmup * steps)
    if step < warmup:
        return config.lr * (step + 1) / warmup
    if config.schedule == "constant":
        return config.lr
    if config.schedule == "steps":
        return config.lr * 0.1 ** sum(step >= share * steps for share in config.milestones)
    if config.schedule == "trapezoid":
        height = min(2 * (steps - step) / steps, 1.0)
    else:
        height = 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(steps - warmup, 1)))
    return config.lr * (config.final + (1 - config.final) * height)


def momentum_at(config: OptimConfig, step: int, steps: int) -> float:
    """The EMA factor of the momentum towers after an optimiser step (counted from 0) of `steps`."""
    if config.momentum_schedule == "constant":
        return config.momentum
    return 1 - (1 - config.momentum) * 0.5 * (1 + math.cos(math.pi * step / steps))
