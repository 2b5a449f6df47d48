"""What indexing has done so far: pictures of former runs and of other processes, and the files they are kept in."""

from __future__ import annotations

import time
import warnings
from collections.abc import Container, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import Dataset

from huecry.data.augment import pixels_of
from huecry.data.records import Record
from huecry.errors import UserError
from huecry.processes import world
from huecry.retrieval.index_file import About, Broken, IndexFile
from huecry.retrieval.index_sources import Contents

Stamp = tuple[int, int]
INSIDE: Stamp = (-1, -1)
"""Of a picture inside a Hugging Face data set: its content alone tells whether it is the same."""
UNREAD: Stamp = (-2, -2)
"""Of a file that could not be read: it is tried again next time."""


@dataclass(frozen=True)
class Task:
    """A picture of the source, and its size and time of change when the source was looked through."""

    record: Record
    stamp: Stamp

    @property
    def key(self) -> tuple[str, int, int]:
        """What the picture is known by as long as it does not change."""
        return (self.record.name, *self.stamp)


@dataclass(frozen=True)
class Seen:
    """A batch as a data worker saw it.

    hashes [b]: SHA-256 of each, None where it could not be read. why [b]: what stands in the way of its features, ""
    for nothing. decoded: positions in the batch of those that were decoded, and pixels [d, 3, H, W] uint8 of these.
    """

    hashes: list[bytes | None]
    why: list[str]
    decoded: list[int]
    pixels: Tensor | None


class Done:
    """What is done already, by former runs or other processes; of two files that know a picture the later counts."""

    def __init__(self, files: Sequence[IndexFile]) -> None:
        self.files = files
        self.at: dict[tuple[str, int, int], tuple[int, int]] = {}
        self.by_hash: dict[bytes, tuple[int, int]] = {}
        self.broken: dict[tuple[str, int, int], str] = {}
        for number, file in enumerate(files):
            hashes = file.hashes.numpy()
            for row, (path, (size, changed)) in enumerate(zip(file.paths, file.stamps.tolist(), strict=True)):
                self.at[path, size, changed] = self.by_hash[hashes[row].tobytes()] = number, row
                self.broken.pop((path, size, changed), None)
            for one in file.broken:
                self.broken[one.path, one.size, one.time] = one.why
                self.at.pop((one.path, one.size, one.time), None)

    def rows(self, name: str, places: Sequence[tuple[int, int]]) -> Tensor:
        """The rows of `features` or `hashes` at some (file, row), [n, ...]."""
        like = next(getattr(file, name) for file in self.files if file.paths)
        joined = torch.empty(len(places), *like.shape[1:], dtype=like.dtype)
        wanted = torch.tensor(places).reshape(-1, 2)
        for number, file in enumerate(self.files):
            own = (wanted[:, 0] == number).nonzero().squeeze(1)
            joined[own] = getattr(file, name)[wanted[own, 1]]
        return joined


class Files(Dataset):
    """Pictures as `Seen` describes one, decoded unless their content is known."""

    def __init__(self, tasks: Sequence[Task], known: Container[bytes], size: tuple[int, int]) -> None:
        self.tasks, self.known, self.size = tasks, known, size
        self.contents = Contents()

    def __len__(self) -> int:
        return len(self.tasks)

    def __getitem__(self, number: int) -> tuple[bytes | None, str, Tensor | None]:
        record, digest = self.tasks[number].record, None
        try:
            digest = self.contents.digest(record.image)
            if digest in self.known:
                return digest, "", None
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # what Pillow thinks of sizes and of metadata
                return digest, "", pixels_of(record.open(), self.size)
        except Exception as error:  # a damaged picture fails in the words of many decoders
            cause = error.__context__ if isinstance(error, UserError) else error
            return digest, " ".join(str(cause or error).split()) or type(cause).__name__, None


def collate(pictures: list[tuple[bytes | None, str, Tensor | None]]) -> Seen:
    """One batch of what `Files` gives."""
    hashes, why, pixels = zip(*pictures, strict=True)
    decoded = [position for position, one in enumerate(pixels) if one is not None]
    stacked = torch.stack([pixels[position] for position in decoded]) if decoded else None
    return Seen([*hashes], [*why], decoded, stacked)


class Part:
    """What this process has done since it last saved."""

    def __init__(self, folder: Path, about: About) -> None:
        self.folder, self.about = folder, about
        self.saved = time.monotonic()
        self._clear()

    def _clear(self) -> None:
        self.tasks: list[Task] = []
        self.hashes: list[bytes] = []
        self.features: list[Tensor] = []
        self.broken: list[Broken] = []

    def add(self, tasks: Sequence[Task], seen: Seen, fresh: Tensor | None, done: Done) -> None:
        """Take a batch of tasks [b]. fresh [d, D]: the features of what was decoded.

        Raises UserError where they are not finite.
        """
        if fresh is not None and not fresh.isfinite().all():
            raise UserError("the model's features are not finite; it may have diverged: use an earlier checkpoint")
        made = {} if fresh is None else dict(zip(seen.decoded, fresh, strict=True))
        for position, (task, digest, why) in enumerate(zip(tasks, seen.hashes, seen.why, strict=True)):
            if digest is None or why:
                self.broken.append(Broken(task.record.name, *(UNREAD if digest is None else task.stamp), why))
                continue
            self.tasks.append(task)
            self.hashes.append(digest)
            known = None if position in made else done.rows("features", [done.by_hash[digest]])[0]
            self.features.append(made[position] if known is None else known)

    def save(self) -> None:
        """Write it as a file of its own. Raises UserError when the disk refuses."""
        self.saved = time.monotonic()
        if not (self.tasks or self.broken):
            return
        IndexFile(
            self.about,
            [task.record.name for task in self.tasks],
            torch.stack(self.features) if self.features else torch.zeros(0, 1),
            _bytes(self.hashes),
            torch.tensor([task.stamp for task in self.tasks], dtype=torch.int64).reshape(-1, 2),
            broken=self.broken,
        ).write(self.folder / f"{time.time_ns()}-{world()[0]}.safetensors")
        self._clear()


def _bytes(hashes: Sequence[bytes]) -> Tensor:
    """[n, 32] uint8."""
    joined = bytearray(b"".join(hashes))
    return torch.frombuffer(joined, dtype=torch.uint8).reshape(-1, 32) if joined else torch.zeros(0, 32).byte()
