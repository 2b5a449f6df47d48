"""CLIP in transformers' format: read from a folder or the Hub, written as a folder.

Inside this library weights carry the towers' names and positions lie on the grid that is used.
"""

from __future__ import annotations

import copy
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import HfApi, try_to_load_from_cache
from huggingface_hub.errors import RepositoryNotFoundError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer
from transformers.utils import cached_file, logging

from huecry.data.tokens import vocabulary
from huecry.errors import UserError
from huecry.towers.positions import resize, to_square

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)

OWN_FILE = "huecry.json"
"""Beside the weights: image_size, mean, std and position_mode."""
POSITIONS_FILE = "positions.safetensors"
"""Beside the weights of a rectangle: its exact table, which config.json cannot describe."""

_NAMES = {
    "image.class_embedding": "vision_model.embeddings.class_embedding",
    "image.patch.": "vision_model.embeddings.patch_embedding.",
    "image.positions": "vision_model.embeddings.position_embedding.weight",
    "image.pre_norm.": "vision_model.pre_layrnorm.",
    "image.layers.": "vision_model.encoder.layers.",
    "image.norm.": "vision_model.post_layernorm.",
    "image.projection.": "visual_projection.",
    "text.words.": "text_model.embeddings.token_embedding.",
    "text.positions": "text_model.embeddings.position_embedding.weight",
    "text.layers.": "text_model.encoder.layers.",
    "text.norm.": "text_model.final_layer_norm.",
    "text.projection.": "text_projection.",
    "logit_scale": "logit_scale",
}


@dataclass
class Source:
    """What a loader found: weights under this library's names, and how to read them.

    Attributes:
        config: transformers' description of both towers.
        state: the weights; positions lie on ``grid``.
        grid: rows and columns of patches.
        foreign: not saved by this library, so the mask id still means a word.
        mean, std: pixel statistics.
        position_mode: how the positions were last resized.
    """

    config: CLIPConfig
    state: dict[str, Tensor]
    grid: tuple[int, int]
    foreign: bool = True
    mean: tuple[float, float, float] = CLIP_MEAN
    std: tuple[float, float, float] = CLIP_STD
    position_mode: str = "bicubic"


def _to_transformers(name: str) -> str:
    for ours, theirs in _NAMES.items():
        if name.startswith(ours):
            return theirs + name[len(ours) :]
    raise KeyError(name)


def _from_transformers(name: str) -> str:
    for ours, theirs in _NAMES.items():
        if name.startswith(theirs):
            return ours + name[len(theirs) :]
    return name


def read_folder_or_hub(source: str) -> Source:
    """Read a CLIP from a folder (a run's ``model/`` is found) or by its Hub name; safetensors only.

    Raises:
        UserError: nothing there, another architecture, damaged or pickled weights.
    """
    name = _locate(source)
    config = _read_config(name)
    state = _read_weights(name, config)
    side = config.vision_config.image_size // config.vision_config.patch_size
    found = Source(config, state, grid=(side, side))
    own = _read_json(name, OWN_FILE)
    if own is not None:
        missing = [key for key in ("image_size", "mean", "std", "position_mode") if key not in own]
        if missing:
            raise UserError(f"{name}: {OWN_FILE} has no {missing[0]}; save the model again")
        found.foreign = False
        found.mean, found.std, found.position_mode = (
            tuple(own["mean"]),
            tuple(own["std"]),
            own["position_mode"],
        )
        _restore_grid(found, name, own["image_size"])
        return found
    pixels = _read_json(name, "preprocessor_config.json")
    pixels = pixels or (_read_json(name, "processor_config.json") or {}).get("image_processor", {})
    found.mean = tuple(pixels.get("image_mean", CLIP_MEAN))
    found.std = tuple(pixels.get("image_std", CLIP_STD))
    return found


def _locate(source: str) -> str:
    path = Path(source).expanduser()
    if path.is_file():
        raise UserError(f"{source}: a file; give its folder, or open_clip:ARCH/{source} for open_clip weights")
    if path.is_dir():
        for folder in (path, path / "model"):
            if (folder / "config.json").is_file():
                return str(folder)
        raise UserError(f"{source}: no config.json here; a transformers CLIP folder or a finished run is expected")
    if not re.fullmatch(r"[\w-][\w.-]*(/[\w.-]+)?", source):
        raise UserError(f"{source}: no such folder")
    if not isinstance(try_to_load_from_cache(source, "config.json"), str):
        try:
            HfApi().model_info(source, timeout=10)
        except RepositoryNotFoundError as error:
            raise UserError(f"{source}: neither a folder here nor a model on the Hub that you may read") from error
        except Exception as error:  # the HTTP library's own kinds change with the Hub client's version
            raise UserError(f"{source}: no such folder, and the Hub does not answer ({one_line(error)})") from error
    return source


def _read_json(name: str, file: str) -> dict[str, Any] | None:
    path = cached_file(
        name,
        file,
        _raise_exceptions_for_gated_repo=False,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
    )
    if path is None:
        return None
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path}: not valid JSON ({one_line(error)})") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: a JSON object is expected")
    return content


def _read_config(name: str) -> CLIPConfig:
    settings = _read_json(name, "config.json")
    if settings is None:
        raise UserError(f"{name}: no config.json on the Hub")
    kind = settings.get("model_type")
    if kind != "clip":
        what = ", ".join(settings.get("architectures") or [str(kind)])
        raise UserError(f"{name}: its architecture is {what}; only CLIP (model_type clip) can be loaded")
    try:
        config = CLIPConfig.from_dict(settings)
    except Exception as error:  # transformers validates with exceptions of its own
        raise UserError(f"{name}: config.json does not describe a CLIP ({one_line(error)})") from error
    size = config.vision_config.image_size
    if not isinstance(size, int):
        raise UserError(f"{name}: config.json has image_size={size}; one number is expected")
    return config


def _read_weights(name: str, config: CLIPConfig) -> dict[str, Tensor]:
    folder = Path(name)
    if folder.is_dir() and not any(folder.glob("model*.safetensors")):
        pickles = sorted(path.name for end in ("bin", "pt", "pth", "ckpt") for path in folder.glob(f"*.{end}"))
        if pickles:
            raise UserError(f"{name}: only pickled weights ({pickles[0]}), never opened; convert them to safetensors")
        raise UserError(f"{name}: no model.safetensors beside its config.json")
    try:
        with quiet():
            model, report = CLIPModel.from_pretrained(
                name,
                config=config,
                use_safetensors=True,
                dtype=torch.float32,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
            )
    except (OSError, RuntimeError, ValueError, SafetensorError) as error:
        raise UserError(f"{name}: the weights cannot be read ({one_line(error)})") from error
    if report["mismatched_keys"]:
        key, found, wanted = min(report["mismatched_keys"])
        shapes = f"{list(found)} where its config says {list(wanted)}"
        raise UserError(f"{name}: weight {key} is {shapes}")
    if report["missing_keys"]:
        missing = sorted(report["missing_keys"])
        raise UserError(f"{name}: {len(missing)} weights are missing, among them {missing[0]}")
    return {_from_transformers(key): weight for key, weight in model.state_dict().items()}


@contextmanager
def quiet() -> Iterator[None]:
    """No bar and no table of keys from transformers: what is wrong is told in one line."""
    bars, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def _restore_grid(found: Source, name: str, image_size: list[int]) -> None:
    """Bring transformers' square table back to the rectangle it was saved from."""
    patch = found.config.vision_config.patch_size
    grid = (image_size[0] // patch, image_size[1] // patch)
    table = resize(found.state["image.positions"], found.grid, grid)
    exact = cached_file(name, POSITIONS_FILE, _raise_exceptions_for_missing_entries=False)
    if exact is not None:
        try:
            saved = load_file(exact)["image.positions"]
        except (OSError, KeyError, SafetensorError) as error:
            raise UserError(f"{exact}: cannot be read; delete it or save the model again") from error
        # Whoever trained the folder on elsewhere left this file as it was: the weights have the last word.
        if saved.shape == table.shape and torch.allclose(saved, table, atol=1e-4):
            table = saved
    found.state["image.positions"], found.grid = table, grid


def one_line(error: Exception) -> str:
    """The message of a foreign error on a single line, cut after 200 characters."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else text[:200] + "..."


def write_model(
    folder: Path,
    config: CLIPConfig,
    state: dict[str, Tensor],
    grid: tuple[int, int],
    settings: dict[str, Any],
) -> None:
    """Write weights, config, tokenizer and preprocessor so that transformers loads them.

    Args:
        folder: made when it is not there; a model in it is replaced.
        config: transformers' description of both towers.
        state: contiguous weights on the CPU, positions on ``grid``.
        grid: rows and columns of patches.
        settings: image_size, mean, std and position_mode.
    """
    folder.mkdir(parents=True, exist_ok=True)
    exact = state["image.positions"]
    named = {_to_transformers(name): weight for name, weight in state.items()}
    named[_to_transformers("image.positions")] = to_square(exact, grid)
    _save_weights(named, folder / "model.safetensors")
    if grid[0] == grid[1]:
        (folder / POSITIONS_FILE).unlink(missing_ok=True)
    else:
        _save_weights({"image.positions": exact}, folder / POSITIONS_FILE)
    config = copy.deepcopy(config)
    config.architectures = ["CLIPModel"]
    config.vision_config.image_size = max(grid) * config.vision_config.patch_size
    config.save_pretrained(folder)
    words, merges = vocabulary()
    context = config.text_config.max_position_embeddings
    CLIPTokenizer(vocab=words, merges=merges, model_max_length=context).save_pretrained(folder)
    height, width = settings["image_size"]
    preprocessor = {
        "image_processor_type": "CLIPImageProcessor",
        "do_convert_rgb": True,
        "do_resize": True,
        "size": {"height": height, "width": width},
        "resample": 3,
        "do_center_crop": False,
        "crop_size": {"height": height, "width": width},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": settings["mean"],
        "image_std": settings["std"],
    }
    for file, content in ((OWN_FILE, settings), ("preprocessor_config.json", preprocessor)):
        (folder / file).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _save_weights(weights: dict[str, Tensor], path: Path) -> None:
    """Written beside and renamed: tensors may still be mapped from the file that is replaced."""
    partial = path.with_name(path.name + ".partial")
    save_file(weights, partial, metadata={"format": "pt"})
    os.replace(partial, path)
