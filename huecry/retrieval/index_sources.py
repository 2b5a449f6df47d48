"""Which pictures an index is made of: those of a plain folder, or of any data set that the readers know.

A plain folder is one without annotations: every picture below it counts, by the endings in `ENDINGS`. Names that begin
with a dot are passed over. A link to a file inside the folder is a picture like another; one that leads out of it, and
any link to a folder, is not followed. Of a moving picture the first frame counts.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from huecry.data.layouts import LAYOUTS, inside
from huecry.data.readers import ReadOptions, describe, read
from huecry.data.records import HubImage, Record
from huecry.errors import UserError

ENDINGS = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"}
)
SAVED = ("dataset_dict.json", "state.json")
"""By these a Hugging Face data set saved on disk is known."""


@dataclass(frozen=True)
class Pictures:
    """The pictures of a source in the order of the gallery, each name once.

    root: the folder that names are relative to; None inside a Hugging Face data set.
    left_out: name -> why it cannot be a picture of the gallery. lines: to print about the source.
    """

    records: list[Record]
    root: Path | None
    left_out: dict[str, str]
    lines: list[str]


def find_pictures(source: str, options: ReadOptions, split: str | None = None) -> Pictures:
    """The pictures of a plain folder or a data set; of a split of it where one is named.

    Raises UserError for a source that is not there, a split that it has not, and as the readers do.
    """
    folder = Path(source).expanduser()
    if options.layout is None and source != "people" and not source.startswith("hf:") and _is_plain(folder):
        if split is not None:
            raise UserError(f"--split {split}: {source} is a plain folder, which has no splits; leave it out")
        return _of_folder(folder.resolve())
    splits = read(source, options)
    if split is not None and split not in splits:
        raise UserError(f"--split {split}: {source} has {', '.join(splits)}")
    splits = {name: photos for name, photos in splits.items() if split in (None, name)}
    records: dict[str, Record] = {}
    for record in (record for photos in splits.values() for record in photos):
        before = records.get(record.name)
        both = record if before is None else replace(before, captions=before.captions + record.captions)
        records[record.name] = both
    return Pictures([*records.values()], _root([*records.values()]), {}, describe(source, splits))


def _is_plain(folder: Path) -> bool:
    if not folder.is_dir():
        return False
    annotated = any(layout.annotations(folder) for layout in LAYOUTS.values())
    return not (annotated or any((folder / name).is_file() for name in SAVED))


def _root(records: list[Record]) -> Path | None:
    """The folder that the names of a data set's files are relative to."""
    image, name = records[0].image, records[0].name
    if isinstance(image, HubImage):
        return None
    return image.absolute().parents[len(PurePosixPath(name).parts) - 1]


def _of_folder(folder: Path) -> Pictures:
    names: list[str] = []
    left_out: dict[str, str] = {}

    def named(place: str, name: str) -> str:
        return os.path.relpath(os.path.join(place, name), folder)

    def unlisted(error: OSError) -> None:
        left_out[named(error.filename, "")] = f"the folder cannot be listed ({error.strerror})"

    for place, folders, files in os.walk(folder, onerror=unlisted):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in folders:
            if os.path.islink(os.path.join(place, name)):
                left_out[named(place, name)] = "a link to a folder, which is not followed"
        for name in files:
            if name.startswith(".") or os.path.splitext(name)[1].lower() not in ENDINGS:
                continue
            path = os.path.join(place, name)
            if os.path.islink(path) and not inside(path, [str(folder)]):
                left_out[named(place, name)] = "a link that leads out of the folder"
            elif os.path.isfile(path):
                names.append(named(place, name))
            else:
                left_out[named(place, name)] = "not a file"
    names.sort(key=lambda name: name.split("/"))
    records = [Record(folder / name, (), None, name) for name in names]
    return Pictures(records, folder, left_out, [f"{folder}: {len(records):,} pictures in a plain folder"])


class Contents:
    """SHA-256 of what is stored of pictures, decoding none."""

    def __init__(self) -> None:
        self._stored: dict[int, Any] = {}

    def digest(self, image: Path | HubImage) -> bytes:
        """Of a file, or of the bytes inside a Hugging Face data set. Raises OSError for a file that cannot be read."""
        if isinstance(image, HubImage):
            stored = self._rows(image)[image.index][image.column]
            if stored.get("bytes") is not None:
                return hashlib.sha256(stored["bytes"]).digest()
            image = Path(stored["path"])
        with image.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()

    def _rows(self, image: HubImage) -> Any:
        from datasets import Image

        key = id(image.dataset)
        if key not in self._stored:
            self._stored[key] = image.dataset.cast_column(image.column, Image(decode=False))
        return self._stored[key]
