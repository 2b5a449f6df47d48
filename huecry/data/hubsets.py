"""Hugging Face data sets, saved on disk or on the Hub, as tables of raw rows.

Pictures stay inside the Arrow files and are decoded when opened. Rows that carry the same picture (same path,
same bytes) get the same name, so that a set with a caption a row is read as photographs with several
captions.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from huecry.data.layouts import Picture, Row, Table, choose_names, inside
from huecry.data.records import HubImage
from huecry.errors import UserError

if TYPE_CHECKING:
    from datasets import Dataset

USUAL_NAMES = {
    "image": ("image",),
    "caption": (
        "captions",
        "caption",
        "texts",
        "text",
        "sentences",
        "sentence",
        "descriptions",
        "description",
    ),
    "person_id": ("person_id", "pid", "person"),
    "split": ("split",),
}


def read_saved(folder: Path, columns: Mapping[str, str]) -> Table:
    """The table of a data set written by `save_to_disk`.

    Raises UserError where it cannot be loaded, lies partly outside the folder, or has no column of pictures.
    """
    from datasets import load_from_disk

    try:
        loaded = load_from_disk(str(folder))
    except Exception as error:  # a damaged set fails in the words of pyarrow, json, fsspec and others
        problem = f"cannot be loaded as a data set saved on disk ({_first_line(error)})"
        raise UserError(f"{folder}: {problem}; save it again with save_to_disk, without empty splits") from None
    sets = _by_split(loaded)
    real = os.path.realpath(folder)
    for data in sets.values():
        for file in data.cache_files:
            if not inside(file["filename"], [real]):
                raise UserError(f"{folder}: {file['filename']!r} lies outside it; copy the whole data set here")
    return _table(str(folder), sets, [real], columns)


def read_hub(source: str, columns: Mapping[str, str]) -> Table:
    """The table of `hf:org/name[:config]`, downloaded or from the local cache; its code is never run.

    Raises UserError where the name is malformed or unknown, the Hub is out of reach, or no column holds
    pictures.
    """
    match = re.fullmatch(r"hf:([\w.-]+/[\w.-]+)(?::([\w.-]+))?", source)
    if match is None:
        raise UserError(f"{source}: not the name of a data set on the Hub; write hf:org/name or hf:org/name:config")
    name, config = match.groups()
    if Path(name).exists():
        raise UserError(f"{source}: a folder {name} lies here and would be read instead; run from another folder")
    import datasets
    from huggingface_hub.constants import HF_HUB_CACHE

    try:
        loaded = datasets.load_dataset(name, config)
    except Exception as error:  # whatever the network, the server or the files there come up with
        if getattr(datasets.config, "HF_HUB_OFFLINE", False):
            remedy = "it is not on this machine; without --dry-run, and with HF_HUB_OFFLINE unset, it is downloaded"
        else:
            remedy = "check the name, the network and, for a private set, `hf auth login`"
        raise UserError(f"{source}: cannot be loaded ({_first_line(error)}); {remedy}") from None
    caches = [HF_HUB_CACHE, datasets.config.HF_DATASETS_CACHE, datasets.config.DOWNLOADED_DATASETS_PATH]
    return _table(source, _by_split(loaded), [os.path.realpath(cache) for cache in caches], columns)


def _by_split(loaded: Any) -> dict[str, Dataset]:
    """Every split, without the array format it was saved with: under it a picture would come as an array."""
    sets = dict(loaded) if isinstance(loaded, dict) else {str(loaded.split or "train"): loaded}
    return {key: data.with_format(None) for key, data in sets.items()}


def _table(place: str, sets: dict[str, Dataset], real_roots: Sequence[str], columns: Mapping[str, str]) -> Table:
    if not any(len(data) for data in sets.values()):
        raise UserError(f"{place}: no rows at all; an empty data set cannot be read")
    available = list(dict.fromkeys(name for data in sets.values() for name in data.column_names))
    names = choose_names(place, USUAL_NAMES, columns, available)
    chosen = {key: _image_column(place, data, columns.get("image")) for key, data in sets.items()}
    names["image"] = tuple(dict.fromkeys(chosen.values()))
    wanted = {name for key in ("caption", "person_id", "split") for name in names[key]}
    rows = (row for key, data in sets.items() for row in _rows(place, key, data, chosen[key], wanted, real_roots))
    return Table(place=place, rows=rows, names=names, required=frozenset({"image"}))


def _image_column(place: str, data: Dataset, wanted: str | None) -> str:
    from datasets import Image

    found = [name for name, feature in data.features.items() if isinstance(feature, Image)]
    if wanted is not None:
        if wanted not in found:
            raise UserError(f"data.columns.image={wanted}: not a column of pictures in {place}; those are {found}")
        return wanted
    if not found:
        raise UserError(
            f"{place}: none of its columns ({', '.join(data.column_names)}) holds pictures; "
            "cast one to datasets.Image and save it again"
        )
    if len(found) > 1 and "image" not in found:
        raise UserError(f"{place}: several columns of pictures ({', '.join(found)}); name one in data.columns.image")
    return "image" if "image" in found else found[0]


def _rows(
    place: str, key: str, data: Dataset, column: str, wanted: set[str], real_roots: Sequence[str]
) -> Iterator[Row]:
    from datasets import Image

    pictures = data.select_columns([column]).cast_column(column, Image())
    others = [name for name in data.column_names if name in wanted and name != column]
    stored = data.select_columns([column, *others]).cast_column(column, Image(decode=False))
    first: dict[tuple[str | None, bytes], Picture] = {}
    for index, fields in enumerate(stored):
        where = f"{place}[{key}]: row {index + 1}"
        path, content = (fields[column] or {}).get("path"), (fields[column] or {}).get("bytes")
        if content is None:
            if path is None:
                raise UserError(f"{where}: column {column} holds no picture; remove the row")
            if not (inside(path, real_roots) and os.path.isfile(path)):
                raise UserError(f"{where}: the picture {path!r} is not stored in the data set; save it with its bytes")
        identity = (path, hashlib.sha256(content or b"").digest())
        picture = first.setdefault(identity, Picture(HubImage(pictures, index, column), f"{key}/{index}"))
        yield Row(where, {**fields, column: picture}, key)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
