"""One folder for three libraries: the files that each of them reads, beside the others'.

transformers and sentence-transformers share weights, tokenizer and preprocessor; open_clip has its own file of weights.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from huecry.towers import Towers
from huecry.towers.folder import OWN_FILE, POSITIONS_FILE, write_model
from huecry.towers.openclip import to_open_clip

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
CARD = "README.md"
FILES = (
    *("config.json", "model.safetensors", "preprocessor_config.json", OWN_FILE, POSITIONS_FILE),
    *("tokenizer.json", "tokenizer_config.json", "open_clip_config.json", "open_clip_model.safetensors"),
    *("modules.json", "sentence_bert_config.json", "config_sentence_transformers.json", CARD),
)
"""What an exported folder may hold."""


def rounded(state: dict[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    """The weights with every matrix in half precision.

    The logit scale, norms and biases stay as they are, which costs next to nothing, and so do the image positions,
    which transformers still has to resize.
    """
    halved = {name for name, weight in state.items() if weight.ndim > 1} - {"image.positions"}
    return {name: weight.to(dtype) if name in halved else weight for name, weight in state.items()}


def write_formats(folder: Path, towers: Towers, formats: Sequence[str], dtype: torch.dtype | None) -> Towers:
    """Write the towers for the libraries named; returns them as they now are, in fp32, rounded where dtype says so.

    dtype: of the matrices; None for fp32. Raises UserError for towers that a library cannot hold.
    """
    state = {name: weight.detach().cpu().contiguous() for name, weight in towers.state_dict().items()}
    config = copy.deepcopy(towers.config)
    config.dtype = dtype or torch.float32
    if dtype is not None:
        state = rounded(state, dtype)
        towers = copy.deepcopy(towers)
        towers.load_state_dict(state)
    settings = {
        "image_size": list(towers.image_size),
        "mean": list(towers.mean),
        "std": list(towers.std),
        "position_mode": towers.position_mode,
    }
    if set(formats) & {"transformers", "sentence_transformers"}:
        write_model(folder, config, state, towers.image.grid, settings)
    else:
        _write_json(folder / OWN_FILE, settings)
    if "sentence_transformers" in formats:
        _write_sentence_transformers(folder)
    if "open_clip" in formats:
        _write_open_clip(folder, towers, state)
    return towers


def _write_open_clip(folder: Path, towers: Towers, state: dict[str, Tensor]) -> None:
    settings, weights = to_open_clip(towers.config, state, towers.image_size)
    pixels = {"mean": list(towers.mean), "std": list(towers.std), "interpolation": "bicubic", "resize_mode": "squash"}
    _write_json(folder / "open_clip_config.json", {"model_cfg": settings, "preprocess_cfg": pixels})
    save_file(weights, folder / "open_clip_model.safetensors", metadata={"format": "pt"})


def _write_sentence_transformers(folder: Path) -> None:
    """Its modules, as version 5.4 and later write them; `encode` then takes `interpolate_pos_encoding`.

    Pillow resizes the pictures, as here: torchvision's result is another by a grey level now and then.
    """
    module = {
        "idx": 0,
        "name": "0",
        "path": "",
        "type": "sentence_transformers.base.modules.transformer.Transformer",
        "kwargs": ["interpolate_pos_encoding"],
    }
    ways = {
        modality: {"method": f"get_{modality}_features", "method_output_name": "pooler_output"}
        for modality in ("text", "image")
    }
    _write_json(folder / "modules.json", [module])
    settings = {"transformer_task": "feature-extraction", "processor_kwargs": {"backend": "pil"}}
    settings |= {"modality_config": ways, "module_output_name": "sentence_embedding"}
    _write_json(folder / "sentence_bert_config.json", settings)
    _write_json(
        folder / "config_sentence_transformers.json",
        {"model_type": "SentenceTransformer", "prompts": {}, "similarity_fn_name": "cosine"},
    )


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
