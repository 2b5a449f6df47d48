"""Weights in open_clip's format, read by tag or from a file, and written: ViT with a causal text tower only."""

from __future__ import annotations

import dataclasses
import difflib
import math
import pickle
import re
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from transformers import CLIPConfig, CLIPTextConfig, CLIPVisionConfig

from huecry.data.tokens import VOCAB
from huecry.errors import UserError
from huecry.towers.folder import CLIP_MEAN, CLIP_STD, Source, one_line

_TOWER = {"layers", "width", "mlp_ratio", "output_tokens", "norm_kwargs"}
_READ = {
    "vision_cfg": {
        *_TOWER,
        "head_width",
        "patch_size",
        "image_size",
        "patch_dropout",
        "timm_model_pretrained",
    },
    "text_cfg": {*_TOWER, "heads", "context_length", "vocab_size", "pad_id", "eos_id"},
}
"""Keys of open_clip's two sections that are understood here; any other must have open_clip's default."""

_BLOCK = {
    "ln_1.": "layer_norm1.",
    "ln_2.": "layer_norm2.",
    "attn.out_proj.": "self_attn.out_proj.",
    "mlp.c_fc.": "mlp.fc1.",
    "mlp.c_proj.": "mlp.fc2.",
}
_OTHERS = {
    "visual.class_embedding": "image.class_embedding",
    "visual.conv1.weight": "image.patch.weight",
    "visual.positional_embedding": "image.positions",
    "visual.ln_pre.weight": "image.pre_norm.weight",
    "visual.ln_pre.bias": "image.pre_norm.bias",
    "visual.ln_post.weight": "image.norm.weight",
    "visual.ln_post.bias": "image.norm.bias",
    "token_embedding.weight": "text.words.weight",
    "positional_embedding": "text.positions",
    "ln_final.weight": "text.norm.weight",
    "ln_final.bias": "text.norm.bias",
}


def read_open_clip(source: str) -> Source:
    """Read ``open_clip:ARCH/TAG`` or ``open_clip:ARCH/FILE`` (.safetensors, or .pt with nothing but tensors).

    Raises:
        UserError: unknown architecture or tag, one that CLIP's layers cannot hold, unreadable weights.
    """
    import open_clip

    arch, _, rest = source.removeprefix("open_clip:").partition("/")
    settings = open_clip.get_model_config(arch)
    if settings is None:
        near = difflib.get_close_matches(arch, open_clip.list_models(), n=3)
        hint = f"; did you mean {', '.join(near)}?" if near else ""
        raise UserError(f"{source}: open_clip knows no architecture {arch}{hint}")
    _refuse_others(source, settings)
    tag = open_clip.pretrained.get_pretrained_cfg(arch, rest)
    if tag:
        try:
            path = Path(open_clip.download_pretrained(tag))
        except Exception as error:  # urllib, the Hub and the checksum test each raise their own
            raise UserError(f"{source}: the download failed ({one_line(error)})") from error
    else:
        path = Path(rest).expanduser()
        if not path.is_file():
            tags = ", ".join(open_clip.list_pretrained_tags_by_model(arch)) or "none"
            raise UserError(f"{source}: {rest or 'nothing'} is neither a file nor a tag of {arch} (tags: {tags})")
    config = _to_config(settings, bool(tag.get("quick_gelu", settings.get("quick_gelu", False))))
    state = _convert(_read_file(path), source)
    grid = _grid(settings, len(state["image.positions"]) - 1, source)
    mean, std = (tuple(tag.get(key, default)) for key, default in (("mean", CLIP_MEAN), ("std", CLIP_STD)))
    return Source(config, state, grid, mean=mean, std=std)


def _refuse_others(source: str, settings: dict[str, Any]) -> None:
    from open_clip import CLIPTextCfg, CLIPVisionCfg

    reasons = [key for key in ("multimodal_cfg", "custom_text") if settings.get(key)]
    for section, defaults in (("vision_cfg", CLIPVisionCfg()), ("text_cfg", CLIPTextCfg())):
        known = {field.name: getattr(defaults, field.name) for field in dataclasses.fields(defaults)}
        for key, value in settings[section].items():
            if key not in _READ[section] and value != known.get(key):
                reasons.append(f"{section}.{key}={value}")
        if set(settings[section].get("norm_kwargs") or {}) - {"eps"}:
            reasons.append(f"{section}.norm_kwargs")
    if not isinstance(settings["vision_cfg"].get("layers", 12), int):
        reasons.append("a convolutional image tower")
    words = settings["text_cfg"].get("vocab_size", VOCAB)
    if words != VOCAB:
        reasons.append(f"text_cfg.vocab_size={words}")
    if reasons:
        raise UserError(f"{source}: only ViT with CLIP's causal text tower can be converted; this has {reasons[0]}")


def _to_config(settings: dict[str, Any], quick_gelu: bool) -> CLIPConfig:
    from open_clip import CLIPTextCfg, CLIPVisionCfg

    vision, text = CLIPVisionCfg(**settings["vision_cfg"]), CLIPTextCfg(**settings["text_cfg"])
    size = vision.image_size if isinstance(vision.image_size, int) else max(vision.image_size)

    def common(tower: Any, heads: int) -> dict[str, Any]:
        return {
            "hidden_size": tower.width,
            "intermediate_size": int(tower.width * tower.mlp_ratio),
            "num_hidden_layers": tower.layers,
            "num_attention_heads": heads,
            "hidden_act": "quick_gelu" if quick_gelu else "gelu",
            "layer_norm_eps": (tower.norm_kwargs or {}).get("eps", 1e-5),
            "projection_dim": settings["embed_dim"],
        }

    return CLIPConfig(
        vision_config={
            **common(vision, vision.width // vision.head_width),
            "patch_size": vision.patch_size,
            "image_size": size,
        },
        text_config={**common(text, text.heads), "max_position_embeddings": text.context_length},
        projection_dim=settings["embed_dim"],
    )


def _read_file(path: Path) -> dict[str, Tensor]:
    try:
        content = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, SafetensorError, EOFError, pickle.UnpicklingError) as error:
        raise UserError(f"{path}: the weights cannot be read ({one_line(error)})") from error
    content = content.get("state_dict", content) if isinstance(content, dict) else {}
    return {name.removeprefix("module."): value for name, value in content.items() if isinstance(value, Tensor)}


def _convert(weights: dict[str, Tensor], source: str) -> dict[str, Tensor]:
    state: dict[str, Tensor] = {}
    for name, weight in weights.items():
        block = re.fullmatch(r"(visual\.)?transformer\.resblocks\.(\d+)\.(.+)", name)
        if block:
            prefix = f"{'image' if block[1] else 'text'}.layers.{block[2]}."
            state.update((prefix + key, part) for key, part in _convert_block(block[3], weight))
        elif name in _OTHERS:
            state[_OTHERS[name]] = weight
        elif name in ("visual.proj", "text_projection"):
            state["image.projection.weight" if name == "visual.proj" else "text.projection.weight"] = weight.T
        elif name == "logit_scale":
            state[name] = weight.reshape(())
        else:
            raise UserError(f"{source}: unknown weight {name}; not a CLIP in open_clip's format")
    if "image.positions" not in state:
        raise UserError(f"{source}: no weight visual.positional_embedding; not a CLIP in open_clip's format")
    return state


def _convert_block(name: str, weight: Tensor) -> list[tuple[str, Tensor]]:
    """open_clip stacks query, key and value in one matrix."""
    if name.startswith("attn.in_proj_"):
        kind = name.removeprefix("attn.in_proj_")
        return [
            (f"self_attn.{part}_proj.{kind}", rows.clone()) for part, rows in zip("qkv", weight.chunk(3), strict=True)
        ]
    for theirs, ours in _BLOCK.items():
        if name.startswith(theirs):
            return [(ours + name.removeprefix(theirs), weight)]
    return [(name, weight)]


def to_open_clip(
    config: CLIPConfig, state: dict[str, Tensor], image_size: tuple[int, int]
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """(model_cfg, weights) of towers in open_clip's format, which holds rectangles as they are.

    Args:
        config: transformers' description of both towers.
        state: weights under this library's names, positions on the grid of ``image_size``.
        image_size: height and width in pixels.

    Raises:
        UserError: towers that open_clip's own layers cannot hold.
    """
    vision, text = config.vision_config, config.text_config
    if vision.hidden_act != text.hidden_act or vision.hidden_act not in ("gelu", "quick_gelu"):
        acts = f"{vision.hidden_act} and {text.hidden_act}"
        raise UserError(f"open_clip has one activation for both towers, gelu or quick_gelu; these have {acts}")
    height, width = image_size

    def common(tower: CLIPVisionConfig | CLIPTextConfig) -> dict[str, Any]:
        shape = {"width": tower.hidden_size, "layers": tower.num_hidden_layers}
        ratio = tower.intermediate_size / tower.hidden_size
        exact = int(tower.hidden_size * ratio) == tower.intermediate_size  # as open_clip computes it back
        shape["mlp_ratio"] = ratio if exact else math.nextafter(ratio, math.inf)
        return shape if tower.layer_norm_eps == 1e-5 else shape | {"norm_kwargs": {"eps": tower.layer_norm_eps}}

    settings = {
        "embed_dim": config.projection_dim,
        "quick_gelu": vision.hidden_act == "quick_gelu",
        "vision_cfg": {
            **common(vision),
            "image_size": height if height == width else [height, width],
            "patch_size": vision.patch_size,
            "head_width": vision.hidden_size // vision.num_attention_heads,
        },
        "text_cfg": {
            **common(text),
            "context_length": text.max_position_embeddings,
            "vocab_size": text.vocab_size,
            "heads": text.num_attention_heads,
        },
    }
    names = {ours: theirs for theirs, ours in _OTHERS.items()}
    weights: dict[str, Tensor] = {}
    for name, weight in state.items():
        block = re.fullmatch(r"(image|text)\.layers\.(\d+)\.(.+)", name)
        if block:
            prefix = f"{'visual.' if block[1] == 'image' else ''}transformer.resblocks.{block[2]}."
            weights.update((prefix + key, part) for key, part in _block_of(block[3], name, state))
        elif name.endswith("projection.weight"):
            weights["visual.proj" if name.startswith("image") else "text_projection"] = weight.T.contiguous()
        else:
            weights[names.get(name, name)] = weight
    return settings, weights


def _block_of(name: str, key: str, state: dict[str, Tensor]) -> list[tuple[str, Tensor]]:
    """The reverse of `_convert_block`; the query stands for the key and the value, too."""
    stacked = re.fullmatch(r"self_attn\.([qkv])_proj\.(weight|bias)", name)
    if stacked is None:
        return next(
            [(theirs + name.removeprefix(ours), state[key])] for theirs, ours in _BLOCK.items() if name.startswith(ours)
        )
    if stacked[1] != "q":
        return []
    parts = [state[key.replace("q_proj", f"{part}_proj")] for part in "qkv"]
    return [(f"attn.in_proj_{stacked[2]}", torch.cat(parts))]


def _grid(settings: dict[str, Any], cells: int, source: str) -> tuple[int, int]:
    """Rows and columns of patches of the file: the architecture's own if they fit, else a square."""
    vision = settings["vision_cfg"]
    size, patch = vision.get("image_size", 224), vision.get("patch_size", 16)
    height, width = (size, size) if isinstance(size, int) else size
    if (height // patch) * (width // patch) == cells:
        return height // patch, width // patch
    side = math.isqrt(cells)
    if side * side != cells:
        raise UserError(f"{source}: {cells} positions are neither a {height}x{width} image's nor a square")
    return side, side
