"""An index that is open for search: from a sentence, a picture or both to the nearest pictures, as data.

    found = Index.open("photos.safetensors").search("a woman in a red coat", k=5)
    found[0].path, found[0].score

Search is exact, by a blocked matrix product in fp32, and breaks ties as the metrics do; in a large gallery it may go
through faiss, see `huecry.retrieval.search_faiss`.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from json import loads
from pathlib import Path

from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from huecry.data.layouts import inside
from huecry.data.readers import ReadOptions, read
from huecry.data.records import Record
from huecry.errors import UserError
from huecry.retrieval.encoder import AnyPicture, Encoder
from huecry.retrieval.index_file import IndexFile, read_index
from huecry.retrieval.index_sources import Contents
from huecry.retrieval.search_faiss import Cells, open_cells, rescored
from huecry.towers import ModelConfig


@dataclass(frozen=True, slots=True)
class Found:
    """One picture that was found. path: as the index has it. score: the cosine. captions: those known of it."""

    path: str
    score: float
    captions: tuple[str, ...] = ()


class Index:
    """The pictures of an index file and the model that it was made with, which is loaded at the first question.

    file: what was read. place: where it lies. model: where the model is now, if not where the index says.
    """

    def __init__(self, file: IndexFile, place: Path, model: str | None = None) -> None:
        self.file, self.place, self._model = file, place, model

    @classmethod
    def open(cls, path: str | os.PathLike[str], model: str | None = None) -> Index:
        """The index in a file. Raises UserError where there is none, or it is damaged."""
        place = Path(path).expanduser()
        return cls(read_index(place), place, model)

    def __len__(self) -> int:
        return len(self.file.paths)

    @property
    def paths(self) -> list[str]:
        """The names of the pictures, in the order of the gallery."""
        return self.file.paths

    @cached_property
    def encoder(self) -> Encoder:
        """The model. Raises UserError where it cannot be loaded, or is not the one that made the index."""
        settings = dict(self.file.about.model)
        before = settings.pop("source")
        source = before if self._model is None else self._model
        try:
            found = Encoder(ModelConfig(source=source, **settings))
        except UserError as error:
            hint = "" if self._model is not None else "; if the model has moved, say where it is with --model"
            raise UserError(f"{self.place}: its model cannot be loaded: {error}{hint}") from error
        if found.digest != self.file.about.digest:
            raise UserError(
                f"{self.place}: made with {before} (sha256 {self.file.about.digest[:12]}), and {source} is another "
                f"model now (sha256 {found.digest[:12]}); give that one with --model, or index again with this one"
            )
        return found

    @cached_property
    def cells(self) -> Cells | None:
        """What makes search in a large gallery faster, where it was made."""
        return open_cells(self.place.parent, self.file.about.fast, len(self))

    def search(
        self,
        sentence: str | None = None,
        *,
        image: AnyPicture | None = None,
        weight: float = 1.0,
        k: int = 10,
        exact: bool = False,
    ) -> list[Found]:
        """The k nearest pictures to a sentence, to a picture, or to both together, best first.

        weight: of the sentence beside the picture. exact: look at the whole gallery even where `cells` would do.
        Raises UserError as `queries` and `nearest` do.
        """
        return self.nearest(self.queries([] if sentence is None else [sentence], image, weight), k, exact)[0]

    def queries(self, sentences: Sequence[str], image: AnyPicture | None = None, weight: float = 1.0) -> Tensor:
        """What to search with, [Q, D] of length 1: each sentence, with the picture added to each, or the picture alone.

        weight: above 0, of a sentence beside the picture: weight * sentence + picture, both of length 1. At 1 the
        picture says more, since pictures differ more from each other than from sentences.
        Raises UserError where there is nothing to search with, and for an unreadable picture.
        """
        texts = self.encoder.encode_text(sentences)
        if any(not sentence.strip() for sentence in sentences):
            raise UserError("an empty sentence finds nothing; describe the person")
        if not sentences and image is None:
            raise UserError("nothing to search with; give a sentence, --image FILE or --attr key=value")
        if not 0 < weight < math.inf:
            raise UserError(f"weight={weight}: of a sentence beside a picture, must be above 0")
        if image is None:
            return texts
        seen = self.encoder.encode_images([image])
        return F.normalize(weight * texts + seen, dim=1) if sentences else seen

    def nearest(self, queries: Tensor, k: int = 10, exact: bool = False) -> list[list[Found]]:
        """The k nearest pictures to each query [Q, D] of length 1, best first; all of a gallery of fewer.

        Raises UserError for k below 1, queries of another width and features that are not finite.
        """
        if k < 1:
            raise UserError(f"k={k}: ask for at least one result")
        if queries.shape[1] != self.file.features.shape[1]:
            raise UserError(f"{self.place}: features of {self.file.features.shape[1]}, queries of {queries.shape[1]}")
        ranked = self.file.nearest(queries, k) if exact or self.cells is None else self._fast(queries, k)
        return [
            [Found(self.paths[row], score, self.captions(row)) for score, row in zip(scores, rows, strict=True)]
            for scores, rows in ((scores.tolist(), rows.tolist()) for scores, rows in ranked)
        ]

    def _fast(self, queries: Tensor, k: int) -> Iterator[tuple[Tensor, Tensor]]:
        assert self.cells is not None
        for query in queries:
            rows = self.cells.candidates(query, k)
            if len(rows) < min(k, len(self)):
                yield from self.file.nearest(query[None], k)
            else:
                yield rescored(self.file.features, rows, query, k)

    def captions(self, row: int) -> tuple[str, ...]:
        """The captions known of a picture, by its place in the gallery."""
        return () if self.file.captions is None else tuple(loads(self.file.captions[row]))

    def picture(self, path: str) -> Image.Image:
        """A picture of the index, decoded; of no other file.

        Raises UserError where the index has no such path, or its file is gone, unreadable, a link out of the folder or
        another picture than was indexed.
        """
        row = self._rows.get(path)
        if row is None:
            raise UserError(f"{path!r}: not a picture of {self.place}")
        root = self.file.about.root
        record = self._records.get(path) if root is None else self._record(root, path, row)
        if record is None:
            raise UserError(f"{path!r}: no longer in {root or self.file.about.source}; bring the index up to date")
        return record.open()

    def check_pictures(self) -> None:
        """Raises UserError where the folder or data set of the pictures is gone."""
        root = self.file.about.root
        if root is None:
            _ = self._records
        elif not os.path.isdir(root):
            raise UserError(f"{self.place}: its pictures are gone, {root} is no folder; index them again")

    def _record(self, root: str, path: str, row: int) -> Record | None:
        """A picture in a folder, if it is there and the one that was indexed."""
        file = Path(root, path)
        if not inside(str(file), [os.path.realpath(root)]):
            raise UserError(f"{path!r}: leads out of {root}; bring the index up to date")
        try:
            now = file.stat()
            same = [now.st_size, now.st_mtime_ns] == self.file.stamps[row].tolist()
            if not same and Contents().digest(file) != self.file.hashes[row].numpy().tobytes():
                raise UserError(f"{path!r}: has changed since it was indexed; bring the index up to date")
        except OSError:
            return None
        return Record(file, (), None, path)

    @cached_property
    def _rows(self) -> dict[str, int]:
        return {path: row for row, path in enumerate(self.paths)}

    @cached_property
    def _records(self) -> dict[str, Record]:
        """The pictures inside a Hugging Face data set by name."""
        splits = read(self.file.about.source, ReadOptions(**self.file.about.reading))
        return {record.name: record for photos in splits.values() for record in photos}
