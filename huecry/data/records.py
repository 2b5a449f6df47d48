"""What a sample is: records (a photograph with its captions) and the rows that training iterates over."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, overload

import numpy as np
from PIL import Image, ImageOps

from huecry.errors import UserError

UNKNOWN = -1
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
"""What a photograph's file may hold, whatever its name: no format that another program would be started for."""


@dataclass(frozen=True, slots=True)
class HubImage:
    """A picture inside a Hugging Face data set, decoded when it is opened."""

    dataset: Any
    index: int
    column: str


@dataclass(frozen=True, slots=True)
class Record:
    """One photograph with every caption that describes it.

    image: a file, or a picture of a Hugging Face data set.
    captions: zero or more sentences; a photograph without one still stands in the gallery.
    person: the person's id as the source spells it, unique over all sources, or None where unknown.
    name: what messages and results call the photograph (its path inside the source).
    """

    image: Path | HubImage
    captions: tuple[str, ...]
    person: str | None
    name: str

    def open(self) -> Image.Image:
        """Decode the photograph as an RGB picture, upright as its camera noted.

        Raises UserError, naming the photograph, when it cannot be decoded.
        """
        try:
            if isinstance(self.image, Path):
                with Image.open(self.image, formats=FORMATS) as picture:
                    return ImageOps.exif_transpose(picture).convert("RGB")
            return self.image.dataset[self.image.index][self.image.column].convert("RGB")
        except (
            OSError,
            SyntaxError,
            ValueError,
            EOFError,
            struct.error,
            Image.DecompressionBombError,
        ) as error:
            raise UserError(
                f"{self.name}: the picture cannot be read ({error}); "
                "replace or remove it, or set data.on_bad_image=skip"
            ) from None


class PhotoSet(Sequence[Record]):
    """The photographs of one split, in a fixed order.

    A *row* is one (photograph, caption) pair; rows are numbered photograph by photograph, so that a row is
    also the id of its caption. Person ids are contiguous integers within the split, in order of first
    appearance; -1 where unknown.

    row_image [R], row_person [R], image_person [N]: int64 arrays over the R rows and N photographs.
    row_weight [R] float64: the chance, above 0, with which a row takes part in an epoch of training; 1 unless given.
    """

    def __init__(self, split: str, records: Sequence[Record], row_weight: np.ndarray | None = None) -> None:
        self.split = split
        self.records = tuple(records)
        names = dict.fromkeys(record.person for record in self.records if record.person is not None)
        self.persons: tuple[str, ...] = tuple(names)
        number = {name: index for index, name in enumerate(self.persons)}
        self.image_person = np.array(
            [UNKNOWN if record.person is None else number[record.person] for record in self.records],
            dtype=np.int64,
        )
        counts = [len(record.captions) for record in self.records]
        self.row_image = np.repeat(np.arange(len(self.records), dtype=np.int64), counts)
        self.row_person = self.image_person[self.row_image]
        self.first_row = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
        self.row_weight = np.ones(len(self.row_image)) if row_weight is None else row_weight

    def __len__(self) -> int:
        return len(self.records)

    @overload
    def __getitem__(self, index: int) -> Record: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[Record, ...]: ...

    def __getitem__(self, index: int | slice) -> Record | tuple[Record, ...]:
        return self.records[index]

    @property
    def captions(self) -> list[str]:
        """Every caption, in row order."""
        return [caption for record in self.records for caption in record.captions]

    def caption(self, row: int) -> str:
        """The caption of one row. Raises IndexError where there is no such row."""
        row = range(len(self.row_image))[row]
        image = int(self.row_image[row])
        return self.records[image].captions[row - int(self.first_row[image])]

    @cached_property
    def _person_rows(self) -> dict[int, np.ndarray]:
        order = np.argsort(self.row_person, kind="stable")
        persons, first = np.unique(self.row_person[order], return_index=True)
        return dict(zip(persons.tolist(), np.split(order, first[1:]), strict=True))

    def other_captions(self, row: int) -> list[str]:
        """The captions of other photographs of a row's person; none where the person is unknown."""
        person = int(self.row_person[row])
        if person == UNKNOWN:
            return []
        return [self.caption(one) for one in self._person_rows[person] if self.row_image[one] != self.row_image[row]]

    @cached_property
    def fingerprint(self) -> str:
        """A digest of names, persons, captions and weights in order; two sets with the same one have the same rows."""
        digest = hashlib.sha256()
        for record in self.records:
            digest.update(repr((record.name, record.person, record.captions)).encode())
        if (self.row_weight < 1).any():
            digest.update(self.row_weight.tobytes())
        return digest.hexdigest()[:16]

    def summary(self) -> str:
        """`train: 851 photographs, 213 persons, 1,702 captions`."""
        counts = (len(self), len(self.persons), len(self.row_image))
        return "{}: {:,} photographs, {:,} persons, {:,} captions".format(self.split, *counts)
