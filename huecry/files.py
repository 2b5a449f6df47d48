"""Writing that is whole or absent: files and folders appear under their name only when they are complete."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from huecry.errors import UserError

RESUME = "training goes on with train.resume=true"


def write_folder(target: Path, fill: Callable[[Path], None], advice: str = RESUME) -> None:
    """Make or replace a folder in one step: `fill` writes into a temporary one, which is synced and renamed.

    Raises UserError, which ends in the advice, when the disk refuses; what stood there before stays.
    """
    temporary = target.with_name(f".{target.name}.part")
    replaced = target.with_name(f".{target.name}.old")
    with writing(target, advice):
        target.parent.mkdir(parents=True, exist_ok=True)
        for leftover in (temporary, replaced):
            shutil.rmtree(leftover, ignore_errors=True)
        temporary.mkdir()
        try:
            fill(temporary)
            for path in temporary.rglob("*"):
                _settle(path)
            _sync(temporary)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        if target.exists():
            target.rename(replaced)
        temporary.rename(target)
        _sync(target.parent)
        shutil.rmtree(replaced, ignore_errors=True)


def own_folder(folder: Path, command: str, files: Collection[str]) -> Path:
    """The folder, resolved, if a command that writes `files`, `<command>.json` among them, may replace it.

    Raises UserError where it is a file, or holds anything but what a former call has written.
    """
    folder = folder.expanduser().resolve()
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: a file, not a folder; give another --out")
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    if names and not (f"{command}.json" in names and names <= {*files}):
        strange = next(iter(sorted(names - {*files})), f"no {command}.json")
        raise UserError(f"{folder}: not empty, and not a former {command} ({strange}); give another --out")
    return folder


def write_file(target: Path, content: str | Callable[[Path], object], advice: str = RESUME) -> None:
    """Make or replace a file in one step; a link or a device is written through, never replaced.

    content: its text, or what writes it at a path. Raises UserError, which ends in the advice, when the disk refuses.
    """
    fill = (lambda path: path.write_text(content)) if isinstance(content, str) else content
    temporary = target.with_name(f".{target.name}.part")
    with writing(target, advice):
        if target.is_symlink() or (target.exists() and not target.is_file()):
            fill(target)
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            fill(temporary)
            _settle(temporary)
            temporary.replace(target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


@contextmanager
def writing(target: Path, advice: str = RESUME) -> Iterator[None]:
    """Turn a disk's refusal into one line. Raises UserError naming the target, with the advice at its end."""
    try:
        yield
    except (OSError, SafetensorError, RuntimeError) as error:
        short = "inline_container" in str(error)  # all that torch.save says of a write cut short
        if type(error) is RuntimeError and not short:
            raise
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise UserError(
            f"{target}: cannot be written ({'the disk took only a part' if short else reason}); make room or choose "
            f"another place; {advice}"
        ) from error


def _settle(path: Path) -> None:
    """Bring what is new to the disk, a file with the mode that new files have: safetensors makes them private."""
    if path.is_file():
        umask = os.umask(0)
        os.umask(umask)
        path.chmod(0o666 & ~umask)
    _sync(path)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
