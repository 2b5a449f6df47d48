"""Snapshots that are whole or absent.

A snapshot is written under a temporary name, synced, and renamed; only then are older ones removed. Its `state.json`
lists every file with its size, so that one cut short by other means is passed over too.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from huecry.errors import UserError
from huecry.towers import ModelConfig, load_towers

if TYPE_CHECKING:
    from huecry.training.bundle import Bundle

STATE = "state.json"
TOWERS = "towers."


def write_folder(target: Path, fill: Callable[[Path], None]) -> None:
    """Make or replace a folder in one step: `fill` writes into a temporary one, which is synced and renamed.

    Raises UserError when the disk refuses; what stood there before stays.
    """
    temporary = target.with_name(f".{target.name}.part")
    replaced = target.with_name(f".{target.name}.old")
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        for leftover in (temporary, replaced):
            shutil.rmtree(leftover, ignore_errors=True)
        temporary.mkdir()
        try:
            fill(temporary)
            for path in temporary.rglob("*"):
                _sync(path)
            _sync(temporary)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        if target.exists():
            target.rename(replaced)
        temporary.rename(target)
        _sync(target.parent)
        shutil.rmtree(replaced, ignore_errors=True)


def write_file(target: Path, text: str) -> None:
    """Make or replace a text file in one step; a link or a device is written through, never replaced.

    Raises UserError when the disk refuses.
    """
    temporary = target.with_name(f".{target.name}.part")
    with writing(target):
        if target.is_symlink() or (target.exists() and not target.is_file()):
            target.write_text(text)
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.write_text(text)
            _sync(temporary)
            temporary.replace(target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


@contextmanager
def writing(target: Path) -> Iterator[None]:
    """Turn a disk's refusal into one line. Raises UserError naming the target."""
    try:
        yield
    except (OSError, SafetensorError, RuntimeError) as error:
        short = "inline_container" in str(error)  # all that torch.save says of a write cut short
        if type(error) is RuntimeError and not short:
            raise
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise UserError(
            f"{target}: cannot be written ({'the disk took only a part' if short else reason}); make room or choose "
            "another place; training goes on with train.resume=true"
        ) from error


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def save_snapshot(
    folder: Path, step: int, bundle: Bundle, optimizer: dict[str, Any], state: dict[str, Any], keep: int
) -> None:
    """Write `folder/step-<step>` and remove all but the newest `keep` snapshots.

    The towers lie in its `model/`, a folder like any other model; what else the bundle holds lies beside it.
    optimizer: nested state of tensors and plain values. state: JSON values.
    """

    def fill(path: Path) -> None:
        (path / "model").mkdir()
        bundle.towers.save(path / "model")
        rest = {name: tensor for name, tensor in bundle.state_dict().items() if not name.startswith(TOWERS)}
        save_file({name: tensor.contiguous() for name, tensor in rest.items()}, path / "bundle.safetensors")
        torch.save(optimizer, path / "optimizer.pt")
        sizes = {str(file.relative_to(path)): file.stat().st_size for file in path.rglob("*") if file.is_file()}
        (path / STATE).write_text(json.dumps({**state, "step": step, "files": sizes}, indent=1))

    write_folder(folder / f"step-{step}", fill)
    for old in _by_step(folder)[keep:]:
        shutil.rmtree(old, ignore_errors=True)


def load_snapshot(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any], dict[str, Any]] | None:
    """(state of the bundle, optimiser state, state) of the newest whole snapshot in a folder, or None."""
    for path in _by_step(folder):
        try:
            state = json.loads((path / STATE).read_text())
            if any((path / name).stat().st_size != size for name, size in state["files"].items()):
                continue
            tensors = load_file(path / "bundle.safetensors")
            towers = load_towers(ModelConfig(source=str(path / "model"))).state_dict()
            optimizer = torch.load(path / "optimizer.pt", map_location="cpu", weights_only=True)
        except (OSError, ValueError, KeyError, SafetensorError, RuntimeError, EOFError, UserError, UnpicklingError):
            continue
        return tensors | {TOWERS + name: tensor for name, tensor in towers.items()}, optimizer, state
    return None


def _by_step(folder: Path) -> list[Path]:
    found = [path for path in folder.glob("step-*") if path.name.removeprefix("step-").isdigit()]
    return sorted(found, key=lambda path: int(path.name.removeprefix("step-")), reverse=True)
