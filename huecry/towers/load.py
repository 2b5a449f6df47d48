"""Towers from any source: from scratch, a transformers folder or Hub name, a run, open_clip weights."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import CLIPConfig

from huecry.data.tokens import MASK, VOCAB
from huecry.errors import UserError
from huecry.towers.folder import Source, read_folder_or_hub
from huecry.towers.hub import fetch
from huecry.towers.model import Towers
from huecry.towers.positions import resize

POSITION_MODES = ("bicubic", "bilinear")


@dataclass
class ModelConfig:
    """The section ``model`` of a recipe.

    Attributes:
        source: ``tiny``, a folder, a run, a Hub name, ``open_clip:ARCH/TAG`` or ``open_clip:ARCH/FILE``. A snapshot,
            by its folder or as ``hf:org/name``, brings its heads and queues along when a run begins from it.
        image_size: height and width in pixels; None: the checkpoint's own.
        position_mode: how positions are resized when the grid changes, ``bicubic`` or ``bilinear``.
        gradient_checkpointing: recompute layers in the backward pass.
        mean, std: pixel statistics; None: the checkpoint's own, else CLIP's.
    """

    source: str = "tiny"
    image_size: list[int] | None = None
    position_mode: str = "bicubic"
    gradient_checkpointing: bool = False
    mean: list[float] | None = None
    std: list[float] | None = None


def load_towers(config: ModelConfig, seed: int = 0) -> Towers:
    """Build the towers and fill them with fp32 weights from ``config.source``.

    Weights that were not saved by this library have the row of the mask id set to the mean word. The global
    random generator is left alone; ``seed`` matters for ``tiny`` only.

    Raises:
        UserError: the source cannot be used, or another key of the section does not fit it.
    """
    if config.position_mode not in POSITION_MODES:
        raise UserError(f"model.position_mode={config.position_mode}: choose one of {', '.join(POSITION_MODES)}")
    if config.source == "tiny":
        source = _tiny(seed)
    elif config.source.startswith("open_clip:"):
        from huecry.towers.openclip import read_open_clip

        source = read_open_clip(config.source)
    else:
        source = read_folder_or_hub(fetch(config.source))
    words = source.state["text.words.weight"] = source.state["text.words.weight"].float()
    if len(words) < VOCAB:
        raise UserError(f"{config.source}: a vocabulary of {len(words)} words; CLIP's has {VOCAB}")
    if source.foreign:
        words[MASK] = words.mean(dim=0)
    patch = source.config.vision_config.patch_size
    height, width = _image_size(config.image_size, source.grid, patch)
    grid = (height // patch, width // patch)
    positions = source.state["image.positions"]
    source.state["image.positions"] = resize(positions, source.grid, grid, config.position_mode)
    with torch.device("meta"):
        towers = Towers(
            source.config,
            (height, width),
            _statistics("mean", config.mean, source.mean),
            _statistics("std", config.std, source.std),
            source.position_mode if grid == source.grid else config.position_mode,
        )
    _fill(towers, source.state, config.source)
    towers.set_checkpointing(config.gradient_checkpointing)
    return towers


def _fill(towers: Towers, state: dict[str, Tensor], name: str) -> None:
    wanted = towers.state_dict()
    missing = [key for key in wanted if key not in state]
    extra = [key for key in state if key not in wanted]
    if missing or extra:
        key, what = (missing[0], "lacks") if missing else (extra[0], "has an unknown")
        raise UserError(
            f"{name}: {what} weight {key} ({len(missing)} missing, {len(extra)} unknown): another architecture"
        )
    for key, weight in wanted.items():
        if weight.shape != state[key].shape:
            shapes = f"{list(state[key].shape)} where its config says {list(weight.shape)}"
            raise UserError(f"{name}: weight {key} is {shapes}")
    towers.load_state_dict({key: state[key].float().contiguous() for key in wanted}, assign=True)


def _image_size(wanted: list[int] | None, grid: tuple[int, int], patch: int) -> tuple[int, int]:
    if wanted is None:
        return grid[0] * patch, grid[1] * patch
    if len(wanted) != 2 or min(wanted) < 1:
        raise UserError(f"model.image_size={wanted}: give height and width in pixels, as in [384, 128]")
    if any(side % patch for side in wanted):
        below = [max(side // patch, 1) * patch for side in wanted]
        above = [math.ceil(side / patch) * patch for side in wanted]
        nearest = f"{below}" if below == above else f"{below} or {above}"
        raise UserError(f"model.image_size={list(wanted)}: sides must be multiples of the patch {patch}; try {nearest}")
    return wanted[0], wanted[1]


def _statistics(key: str, wanted: list[float] | None, own: tuple[float, float, float]) -> tuple[float, float, float]:
    if wanted is None:
        return own
    if len(wanted) != 3 or (key == "std" and min(wanted) <= 0):
        raise UserError(f"model.{key}={list(wanted)}: give three numbers, for red, green and blue")
    return wanted[0], wanted[1], wanted[2]


def _tiny(seed: int) -> Source:
    """The smallest towers that learn: 128x64 pixels, patch 16, width 128, four and three layers, D 128."""
    common = {"hidden_size": 128, "intermediate_size": 512, "num_attention_heads": 2, "projection_dim": 128}
    config = CLIPConfig(
        vision_config={**common, "num_hidden_layers": 4, "patch_size": 16, "image_size": 128},
        text_config={**common, "num_hidden_layers": 3},
        projection_dim=128,
    )
    source = Source(config, {}, grid=(8, 4), foreign=False)
    with torch.device("meta"):
        shapes = Towers(config, (128, 64), source.mean, source.std).state_dict()
    generator = torch.Generator().manual_seed(seed)
    for name, like in shapes.items():
        weight = torch.empty(like.shape)
        if name == "logit_scale":
            weight.fill_(config.logit_scale_init_value)
        elif like.ndim == 1 and name != "image.class_embedding":
            weight.fill_(0.0 if name.endswith("bias") else 1.0)
        else:
            weight.normal_(0.0, _deviation(name, like, config), generator=generator)
        source.state[name] = weight
    return source


def _deviation(name: str, weight: Tensor, config: CLIPConfig) -> float:
    """Standard deviations of the original CLIP."""
    tower = config.vision_config if name.startswith("image") else config.text_config
    if name == "text.words.weight":
        return 0.02
    if name == "text.positions":
        return 0.01
    if name.endswith("mlp.fc1.weight"):
        return (2 * tower.hidden_size) ** -0.5
    if name.endswith(("out_proj.weight", "mlp.fc2.weight")):
        return (2 * tower.hidden_size * tower.num_hidden_layers) ** -0.5
    if name == "image.patch.weight":
        return weight[0].numel() ** -0.5
    return tower.hidden_size**-0.5
