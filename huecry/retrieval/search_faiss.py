"""Search of a large gallery through faiss: only the cells of the gallery that are nearest to a query are looked at.

Used from `LARGE` pictures on, where faiss is installed and it is worth it: it must find `RECALL` of what exact search
finds, measured on sentences, in less than half the time. The cells lie beside the index in a file of their own, made by
`huecry index` and mapped, not read, when it is opened. The scores of what they bring up are exact again.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from huecry.errors import UserError
from huecry.files import write_file
from huecry.retrieval.index_file import IndexFile

LARGE = 200_000
RECALL = 0.95
K = 10
SAMPLE = 64
"""Features a cell that its centre is made of."""
SPARE = 4
"""Candidates a result: cells hold features in half precision, so that the order of the best is theirs only nearly."""


@dataclass(frozen=True)
class Cells:
    """The features of a gallery in cells around their centres.

    probes: cells looked at for a query. recall: share of the exact first ten that are found (0..1). milliseconds: of a
    query, and exact_milliseconds of an exact one, where they were measured.
    """

    index: Any
    probes: int
    recall: float
    milliseconds: float
    exact_milliseconds: float

    def candidates(self, query: Tensor, count: int) -> Tensor:
        """Rows of the gallery, ascending, among which the best `count` of a query [D] should be."""
        self.index.nprobe = self.probes
        _, rows = self.index.search(query[None].numpy(), max(count * SPARE, 100))
        found = torch.from_numpy(rows[0])
        return found[found >= 0].sort().values

    @property
    def line(self) -> str:
        """For people: how much of the gallery is looked at, and how much is found."""
        return (
            f"faiss: {self.probes} of {self.index.nlist} cells a query, recall@{K} {self.recall:.3f} against exact, "
            f"{self.milliseconds:.1f} ms and {self.exact_milliseconds:.1f} ms exact"
        )

    @property
    def facts(self) -> dict[str, Any]:
        """What was measured, by name."""
        names = ("probes", "recall", "milliseconds", "exact_milliseconds")
        return {name: getattr(self, name) for name in names}

    def save(self, path: Path) -> dict[str, Any]:
        """Write the cells; returns what `open_cells` needs to know. Raises UserError when the disk refuses."""
        import faiss

        def fill(place: Path) -> None:
            try:
                faiss.write_index(self.index, str(place))
            except RuntimeError as error:  # faiss's word for a disk that refuses
                raise OSError(str(error)) from error

        write_file(path, fill, "what is done is kept beside it, the same command goes on")
        return {"file": path.name, **self.facts}


def installed() -> bool:
    """Whether faiss can be imported."""
    return find_spec("faiss") is not None


def open_cells(folder: Path, fast: dict[str, Any], count: int) -> Cells | None:
    """The cells beside an index of `count` pictures, by what `save` returned; None without them or without faiss.

    Raises UserError for a damaged file.
    """
    facts = dict(fast)
    path = folder / Path(facts.pop("file", ".")).name
    if not path.is_file() or not installed():
        return None
    import faiss

    try:
        index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP | faiss.IO_FLAG_READ_ONLY)
        if index.ntotal != count:
            raise RuntimeError(f"{index.ntotal} features")
        return Cells(index, **facts)
    except (RuntimeError, TypeError) as error:
        raise UserError(f"{path}: not the cells of this index ({error}); remove the file") from None


def make_cells(file: IndexFile, queries: Tensor) -> tuple[Cells, bool]:
    """Cells for the features of an index, and whether they are worth it; as few are probed as find enough.

    queries [Q, D] of length 1: what is asked, exactly and through the cells, to find that out.
    """
    import faiss

    features = file.features
    count, dim = features.shape
    cells = 2 ** round(math.log2(count) / 2)
    index = faiss.index_factory(dim, f"IVF{cells},SQfp16", faiss.METRIC_INNER_PRODUCT)
    sample = torch.randperm(count, generator=torch.Generator().manual_seed(0))[: SAMPLE * cells].sort().values
    index.train(features[sample].numpy())
    for part in features.split(1 << 16):
        index.add(part.numpy())
    slow, right = _timed(queries, lambda query: next(file.nearest(query[None], K))[1])
    probes = 1
    while True:
        tried = Cells(index, probes, 0.0, 0.0, slow)
        fast, found = _timed(queries, partial(_found, features, tried))
        shares = [len({*one.tolist()} & {*other.tolist()}) / len(one) for one, other in zip(right, found, strict=True)]
        made = replace(tried, recall=sum(shares) / len(shares), milliseconds=fast)
        if made.recall >= RECALL or 2 * fast >= slow or probes == cells:
            return made, made.recall >= RECALL and 2 * fast < slow
        probes *= 2


def _found(features: Tensor, cells: Cells, query: Tensor) -> Tensor:
    return rescored(features, cells.candidates(query, K), query, K)[1]


def _timed(queries: Tensor, search: Callable[[Tensor], Tensor]) -> tuple[float, list[Tensor]]:
    """Milliseconds a query, asked one by one, and what was found."""
    search(queries[0])
    start = time.perf_counter()
    found = [search(query) for query in queries]
    return 1000 * (time.perf_counter() - start) / len(queries), found


def rescored(features: Tensor, rows: Tensor, query: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k best of some rows [n] of a gallery for a query [D], with their exact scores: [k] and [k]."""
    scores = (features[rows] * query).sum(dim=1)
    best = scores.sort(descending=True, stable=True).indices[:k]
    return scores[best], rows[best]
