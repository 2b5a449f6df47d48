"""What an index holds, and how it lies on disk: one safetensors file, read without executing anything.

    features  [N, D] float32, of length 1, in the order of the gallery
    hashes    [N, 32] uint8: SHA-256 of each picture's file; pictures of the same hash have the same features
    stamps    [N, 2] int64: bytes and time of the last change (ns) of each file; -1 inside a Hugging Face data set
    paths     uint8: N names relative to the folder, each ended by a zero byte
    captions  uint8: N lists of sentences in JSON, each ended by a zero byte; not there where nothing has a caption
    broken    uint8: [name, bytes, time, why] in JSON of each file that could not be decoded, ended by a zero byte

The metadata have one key, `huecry`: the fields of `About` in JSON.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from huecry.errors import UserError
from huecry.files import write_file
from huecry.retrieval.metrics import BLOCK_SCORES, full_precision, top_scores


@dataclass(frozen=True)
class About:
    """model: the fields of its `ModelConfig`. digest: of its weights, see `Encoder`.

    source, reading: what was indexed, and the fields of `ReadOptions` it was read with. split: the only one indexed.
    root: the folder that paths are relative to; None inside a Hugging Face data set.
    fast: what `huecry.retrieval.search_faiss` has made beside the file; empty for nothing.
    """

    model: dict[str, Any]
    digest: str
    source: str
    reading: dict[str, Any]
    split: str | None
    root: str | None
    fast: dict[str, Any] = field(default_factory=dict)


class Broken(NamedTuple):
    """A file that cannot be decoded: bytes and time as in `stamps`, both -2 where it could not even be read."""

    path: str
    size: int
    time: int
    why: str


@dataclass(frozen=True)
class IndexFile:
    """N pictures and those that are none. captions: JSON lists, read when they are asked for; None where all are empty.

    The tensors may be mapped from the file: they are not to be written to.
    """

    about: About
    paths: list[str]
    features: Tensor
    hashes: Tensor
    stamps: Tensor
    captions: list[str] | None = None
    broken: list[Broken] = field(default_factory=list)

    @cached_property
    def same(self) -> Tensor | None:
        """For each picture the first of the same content, [N] int64; None where no two are alike."""
        rows = self.hashes.numpy()
        if len(np.unique(np.ascontiguousarray(rows[:, :8]).view(np.uint64))) == len(rows):
            return None
        first: dict[bytes, int] = {}
        return torch.tensor([first.setdefault(row.tobytes(), number) for number, row in enumerate(rows)])

    def nearest(self, queries: Tensor, k: int) -> Iterator[tuple[Tensor, Tensor]]:
        """For each query [Q, D] of length 1 the cosines [K] and places [K] of the nearest K = min(k, N), best first.

        Exact, in fp32; equal scores by their place in the gallery. Raises UserError where a score is not a number.
        """
        for block in queries.split(max(1, BLOCK_SCORES // max(1, len(self.paths)))):
            with full_precision(block.device):
                scores = block @ self.features.T
            if scores.isnan().any():
                raise UserError("the index holds features that are not finite; remove it and index again")
            same = self.same  # a product may round equal features differently
            yield from zip(*top_scores(scores if same is None else scores[:, same], k), strict=True)

    def write(self, path: Path) -> None:
        """Make or replace the file in one step. Raises UserError when the disk refuses."""
        tensors = {
            "features": self.features,
            "hashes": self.hashes,
            "stamps": self.stamps,
            "paths": _joined(os.fsencode(path) for path in self.paths),
            "broken": _joined(json.dumps(one).encode() for one in self.broken),
        }
        if self.captions is not None:
            tensors["captions"] = _joined(captions.encode() for captions in self.captions)
        about = json.dumps(dataclasses.asdict(self.about))
        advice = "what is done is kept beside it, the same command goes on"
        write_file(path, lambda place: save_file(tensors, place, metadata={"huecry": about}), advice)


def read_index(path: Path) -> IndexFile:
    """The index in a file. Raises UserError where there is none, or it is damaged."""
    if not path.is_file():
        raise UserError(f"{path}: no such index; make it with huecry index MODEL FOLDER --out {path}")
    try:
        with safe_open(path, framework="pt") as file:
            about = About(**json.loads((file.metadata() or {})["huecry"]))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        parts = {name: tensors[name] for name in ("features", "hashes", "stamps")}
        captions = [one.decode() for one in _parted(tensors["captions"])] if "captions" in tensors else None
        broken = [Broken(*json.loads(one)) for one in _parted(tensors["broken"])]
        found = IndexFile(
            about, [*map(os.fsdecode, _parted(tensors["paths"]))], **parts, captions=captions, broken=broken
        )
        count = len(found.paths)
        sizes = {"features": (count, found.features.shape[-1]), "hashes": (count, 32), "stamps": (count, 2)}
        kinds = {"features": torch.float32, "hashes": torch.uint8, "stamps": torch.int64}
        for name, tensor in parts.items():
            if tuple(tensor.shape) != sizes[name] or tensor.dtype != kinds[name]:
                raise ValueError(f"{name} is {tuple(tensor.shape)} {tensor.dtype} for {count} pictures")
        if captions is not None and len(captions) != count:
            raise ValueError(f"{len(captions)} captions for {count} pictures")
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, IndexError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path}: not an index that can be read ({reason}); make one with huecry index") from None
    return found


def _joined(texts: Iterable[bytes]) -> Tensor:
    content = b"".join(text + b"\0" for text in texts)
    return torch.frombuffer(bytearray(content), dtype=torch.uint8) if content else torch.zeros(0, dtype=torch.uint8)


def _parted(joined: Tensor) -> list[bytes]:
    return joined.numpy().tobytes().split(b"\0")[:-1]


def shown(path: str) -> str:
    """A name for people to read, on one line whatever is in it."""
    return path if path.isprintable() else repr(path)
