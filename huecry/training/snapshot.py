"""Snapshots that are whole or absent.

Only when one is complete are older ones removed. Its `state.json` lists every file with its size, so that one cut short
by other means is passed over too.
"""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from huecry.errors import UserError
from huecry.files import write_folder
from huecry.towers import ModelConfig, load_towers

if TYPE_CHECKING:
    from huecry.training.bundle import Bundle

STATE = "state.json"
TOWERS = "towers."
DAMAGE = (OSError, ValueError, KeyError, SafetensorError, RuntimeError, EOFError, UserError, UnpicklingError)
"""What reading a damaged snapshot raises; RuntimeError is torch.load's word for a spoilt archive."""


def save_snapshot(
    folder: Path, step: int, bundle: Bundle, optimizer: dict[str, Any], state: dict[str, Any], keep: int
) -> None:
    """Write `folder/step-<step>`, then remove all but the newest `keep` snapshots up to this step.

    Snapshots of later steps can only be damaged ones, passed over when the run resumed: they go too.
    The towers lie in its `model/`, a folder like any other model; what else the bundle holds lies beside it.
    optimizer: nested state of tensors and plain values. state: JSON values.
    """

    def fill(path: Path) -> None:
        (path / "model").mkdir()
        bundle.save_model(path / "model")
        rest = {name: tensor for name, tensor in bundle.state_dict().items() if not name.startswith(TOWERS)}
        save_file({name: tensor.contiguous() for name, tensor in rest.items()}, path / "bundle.safetensors")
        torch.save(optimizer, path / "optimizer.pt")
        sizes = {str(file.relative_to(path)): file.stat().st_size for file in path.rglob("*") if file.is_file()}
        (path / STATE).write_text(json.dumps({**state, "step": step, "files": sizes}, indent=1))

    write_folder(folder / f"step-{step}", fill)
    newest = [path for path in _by_step(folder) if _step(path) <= step][:keep]
    for path in _by_step(folder):
        if path not in newest:
            shutil.rmtree(path, ignore_errors=True)


def load_snapshot(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any], dict[str, Any]] | None:
    """(state of the bundle, optimiser state, state) of the newest whole snapshot in a folder, or None."""
    for path in _by_step(folder):
        try:
            state = read_state(path)
            tensors = load_file(path / "bundle.safetensors")
            towers = load_towers(ModelConfig(source=str(path / "model"))).state_dict()
            optimizer = torch.load(path / "optimizer.pt", map_location="cpu", weights_only=True)
        except DAMAGE as error:
            warnings.warn(f"{path}: passed over, it is damaged ({error})", stacklevel=2)
            continue
        return tensors | {TOWERS + name: tensor for name, tensor in towers.items()}, optimizer, state
    return None


def read_state(path: Path) -> dict[str, Any]:
    """The state of the snapshot in a folder. Raises one of `DAMAGE` where a file of it is missing or cut short."""
    state = json.loads((path / STATE).read_text())
    for name, size in state["files"].items():
        if (path / name).stat().st_size != size:
            raise EOFError(f"{name} is cut short")
    return state


def newest_snapshot(folder: Path) -> Path | None:
    """The newest snapshot in a folder whose files are all there, or None; damaged ones are passed over."""
    for path in _by_step(folder):
        try:
            read_state(path)
        except DAMAGE as error:
            warnings.warn(f"{path}: passed over, it is damaged ({error})", stacklevel=2)
            continue
        return path
    return None


def _by_step(folder: Path) -> list[Path]:
    found = [path for path in folder.glob("step-*") if path.name.removeprefix("step-").isdigit()]
    return sorted(found, key=_step, reverse=True)


def _step(path: Path) -> int:
    return int(path.name.removeprefix("step-"))
