"""Lists of pairs that weigh less, or nothing: `data.exclude` and `data.weights`.

A list is a file with one JSON object a line. `file` names a photograph as the data set calls it; `caption` one of its
captions, counted from 0, null or missing for all of them; `split` the split, missing for any. A weight list has a
`weight` from 0 to 1 in each line; an exclusion list has none, so that findings of an audit can be one as they are.
Other fields are passed over. What a list says is fixed by the SHA-256 of its bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from huecry.data.records import PhotoSet, Record
from huecry.errors import UserError


@dataclass(frozen=True, slots=True)
class Entry:
    """A line: which photograph or caption, in which split (None: any), and what it weighs."""

    where: str
    file: str
    caption: int | None
    split: str | None
    weight: float


@dataclass(frozen=True)
class PairList:
    """The lines of a list. digest: SHA-256 of its bytes, in hex."""

    path: Path
    digest: str
    entries: tuple[Entry, ...]

    def check(self, splits: Mapping[str, PhotoSet]) -> None:
        """Raises UserError for a line about a photograph or caption that no split has."""
        known = {(split, record.name): record for split, photos in splits.items() for record in photos}
        for entry in self.entries:
            meant = [
                known[key] for split in splits if entry.split in (None, split) and (key := (split, entry.file)) in known
            ]
            if not meant:
                place = "the data set" if entry.split is None else f"split {entry.split}"
                raise UserError(f"{entry.where}: no photograph {entry.file!r} in {place}; correct or remove the line")
            most = max(len(record.captions) for record in meant)
            if entry.caption is not None and entry.caption >= most:
                raise UserError(
                    f"{entry.where}: {entry.file!r} has no caption {entry.caption}, it has {most} from 0 on; correct it"
                )

    def row_weights(self, photos: PhotoSet) -> NDArray[np.float64]:
        """The weight [R] of every row of a split; the least where several lines name it, 1 where none does."""
        weights = np.ones(len(photos.row_image))
        for image, entry in self._of(photos):
            first, last = (int(row) for row in photos.first_row[image : image + 2])
            rows = (
                slice(first, last) if entry.caption is None else slice(first + entry.caption, first + entry.caption + 1)
            )
            weights[rows] = np.minimum(weights[rows], entry.weight)
        return weights

    def images(self, photos: PhotoSet) -> NDArray[np.bool_]:
        """Which photographs [N] of a split are meant as a whole, not only some of their captions, and weigh nothing."""
        whole = np.zeros(len(photos), dtype=bool)
        for image, entry in self._of(photos):
            whole[image] |= entry.caption is None and entry.weight == 0
        return whole

    def _of(self, photos: PhotoSet) -> Iterator[tuple[int, Entry]]:
        number = {record.name: image for image, record in enumerate(photos)}
        for entry in self.entries:
            if entry.file in number and entry.split in (None, photos.split):
                yield number[entry.file], entry


def read_pair_list(path: str, weighted: bool) -> PairList:
    """Read an exclusion list, or a weight list. Raises UserError naming file and line for one that cannot be used."""
    key = "data.weights" if weighted else "data.exclude"
    file = Path(path).expanduser()
    try:
        content = file.read_bytes()
        lines = content.decode("utf-8-sig").split("\n")
    except OSError as error:
        raise UserError(
            f"{key}={path}: cannot be read ({error.strerror}); name a file with one JSON object a line"
        ) from None
    except UnicodeDecodeError as error:
        raise UserError(f"{key}={path}: not UTF-8 text (byte {error.start}); save it as UTF-8") from None
    entries = [_entry(f"{path}: line {number}", line, weighted) for number, line in enumerate(lines, 1) if line.strip()]
    return PairList(file, hashlib.sha256(content).hexdigest(), tuple(entries))


def _entry(where: str, line: str, weighted: bool) -> Entry:
    try:
        fields: Any = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: not valid JSON ({error}); correct that line") from None
    if not isinstance(fields, dict):
        raise UserError(f'{where}: not an object; write {{"file": ...}}')
    file, caption, split = fields.get("file"), fields.get("caption"), fields.get("split")
    if not isinstance(file, str):
        raise UserError(f"{where}: file={file!r} does not name a photograph; write its path inside the data set")
    if caption is not None and (isinstance(caption, bool) or not isinstance(caption, int) or caption < 0):
        raise UserError(f"{where}: caption={caption!r}: not the number of a caption; count from 0, or leave it out")
    if split is not None and not isinstance(split, str):
        raise UserError(f"{where}: split={split!r}: write train, val or test, or leave it out")
    weight = fields.get("weight", None) if weighted else 0.0
    if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not 0 <= weight <= 1:
        raise UserError(f"{where}: weight={weight!r}: write a number from 0 to 1")
    return Entry(where, file, caption, split, float(weight))


@dataclass(frozen=True)
class PairLists:
    """The two lists of a recipe, None where it has not got one."""

    exclude: PairList | None = None
    weights: PairList | None = None

    def training(self, photos: PhotoSet) -> PhotoSet:
        """The photographs and captions that training sees, with their weights; what weighs nothing is left out.

        A photograph all of whose captions leave goes with them.
        """
        if self.exclude is None and self.weights is None:
            return photos
        weights, gone = np.ones(len(photos.row_image)), np.zeros(len(photos), dtype=bool)
        for one in (self.exclude, self.weights):
            if one is not None:
                weights, gone = np.minimum(weights, one.row_weights(photos)), gone | one.images(photos)
        records = []
        for image, record in enumerate(photos):
            first = int(photos.first_row[image])
            captions = tuple(caption for row, caption in enumerate(record.captions, first) if weights[row] > 0)
            if not gone[image] and (captions or not record.captions):
                records.append(Record(record.image, captions, record.person, record.name))
        return PhotoSet(photos.split, records, weights[weights > 0])


def read_pair_lists(
    exclude: str | None, weights: str | None, exclude_sha256: str | None, weights_sha256: str | None
) -> PairLists:
    """The lists of a recipe. A digest that is given must be that of the list.

    Raises UserError for a list that cannot be used, and for one that is not what it was.
    """
    lists: dict[str, PairList | None] = {}
    for key, path, digest in (("exclude", exclude, exclude_sha256), ("weights", weights, weights_sha256)):
        lists[key] = one = None if path is None else read_pair_list(path, weighted=key == "weights")
        if digest is not None and (one is None or one.digest != digest):
            now = "no list is named" if one is None else f"{path} has {one.digest[:12]}"
            raise UserError(
                f"data.{key}_sha256={digest[:12]}: {now}; give back the list that it was, or set data.{key}_sha256=null"
            )
    return PairLists(lists["exclude"], lists["weights"])
