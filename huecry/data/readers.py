"""Any data set a user may name, read into photographs with captions, person ids and splits.

`read` takes a folder in a known layout, an annotation file in it, `hf:org/name`, `people` (the embedded set),
or a list of them. Every layout becomes a table of raw rows (`layouts`, `hubsets`); one path from there checks
the rows, merges those of the same photograph and makes the records, so that a mistake is told alike wherever
it is made.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from huecry.data.hubsets import read_hub, read_saved
from huecry.data.layouts import LAYOUTS, SPLITS, Picture, Row, Table, read_folder, recognise
from huecry.data.records import PhotoSet, Record
from huecry.errors import UserError

Source = str | os.PathLike[str]

_ALIASES = {**{split: split for split in SPLITS}, "validation": "val"}

# set, split, photographs, persons, captions
_PUBLISHED = (
    ("CUHK-PEDES as published", "train", 34_054, 11_003, 68_108),
    ("CUHK-PEDES as copies of it circulate", "train", 34_054, 11_003, 68_126),
    ("CUHK-PEDES as published", "val", 3_078, 1_000, 6_158),
    ("CUHK-PEDES as published", "test", 3_074, 1_000, 6_156),
    ("ICFG-PEDES as published", "train", 34_674, 3_102, 34_674),
    ("ICFG-PEDES as published", "test", 19_848, 1_000, 19_848),
    ("RSTPReid as published", "train", 18_505, 3_701, 37_010),
    ("RSTPReid as published", "val", 1_000, 200, 2_000),
    ("RSTPReid as published", "test", 1_000, 200, 2_000),
)


@dataclass
class ReadOptions:
    """How to read: the keys of the config section `data` that matter here.

    layout: a layout's name; None: recognised from what the folder holds.
    columns: field names by key (image, caption, person_id, split) where a data set has not the usual ones.
    holdout: share of the training persons that becomes val in a benchmark published without one (ICFG-PEDES).
    seed: of the persons held out, and of the embedded set.
    persons: how many persons the embedded set has.
    """

    layout: str | None = None
    columns: dict[str, str] = field(default_factory=dict)
    holdout: float = 0.05
    seed: int = 0
    persons: int = 1000


def read(source: Source | Sequence[Source], options: ReadOptions | None = None) -> dict[str, PhotoSet]:
    """The splits of a data set: "train", "val", "test", those that exist, in this order.

    From a list of sources the splits are joined in its order; persons and names are prefixed by their source.
    Photographs are looked for but not decoded.

    Raises UserError, in one line that names the file, row or key, for what is missing, malformed or
    contradictory.
    """
    options = options or ReadOptions()
    if not 0 <= options.holdout < 1:
        raise UserError(f"data.holdout={options.holdout}: not a share; give a number from 0 to below 1")
    if options.layout not in (None, "hf", "people", *LAYOUTS):
        known = ", ".join([*LAYOUTS, "hf", "people"])
        raise UserError(f"data.layout={options.layout}: no such layout; there are {known}")
    if isinstance(source, (str, os.PathLike)):
        splits = _read_one(os.fspath(source), options)
    else:
        splits = {}
        for prefix, one in short_names([os.fspath(one) for one in source]).items():
            for split, records in _read_one(one, options).items():
                splits.setdefault(split, []).extend(_prefixed(record, prefix) for record in records)
    return {split: PhotoSet(split, splits[split]) for split in SPLITS if split in splits}


def describe(source: Source | Sequence[Source], splits: dict[str, PhotoSet]) -> list[str]:
    """Lines to print about a data set: its source, the counts of every split, the published set they match.

    Photographs without a person id or a caption, and persons in two splits, are counted where there are any.
    """
    names = [source] if isinstance(source, (str, os.PathLike)) else source
    lines = [", ".join(os.fspath(name) for name in names)]
    for split, photos in splits.items():
        line = photos.summary()
        unknown = sum(record.person is None for record in photos)
        silent = sum(not record.captions for record in photos)
        line += f", {unknown:,} without a person id" if unknown else ""
        line += f", {silent:,} without a caption" if silent else ""
        published = _compare(split, [photos])
        lines.append(f"{line}; {published}" if published else line)
    if "train" in splits and "val" in splits:
        joined = _compare("train", [splits["train"], splits["val"]])
        lines += [f"train and val together: {joined}"] if joined else []
    pairs = [(a, b) for a in splits for b in splits if SPLITS.index(a) < SPLITS.index(b)]
    for first, second in pairs:
        shared = len(set(splits[first].persons) & set(splits[second].persons))
        lines += [f"{first} and {second} share {shared:,} persons"] if shared else []
    return lines


def _compare(split: str, parts: Sequence[PhotoSet]) -> str | None:
    """How near a published set is, if one has as many persons and, within 1 %, as many photographs."""
    photographs = sum(len(part) for part in parts)
    persons = len({person for part in parts for person in part.persons})
    captions = sum(len(part.row_image) for part in parts)
    near = [
        (abs(captions - c) + abs(photographs - n), name, abs(photographs - n), abs(captions - c))
        for name, its_split, n, p, c in _PUBLISHED
        if its_split == split and p == persons and abs(photographs - n) <= 0.01 * n
    ]
    if not near:
        return None
    distance, name, more_photographs, more_captions = min(near)
    if distance == 0:
        return f"matches {name} ({split})"
    by = [f"{more_photographs:,} photographs"] if more_photographs else []
    by += [f"{more_captions:,} captions"] if more_captions else []
    return f"differs from {name} ({split}) by {' and '.join(by)}"


def keep_labelled(photos: PhotoSet, share: float, seed: int) -> PhotoSet:
    """The photographs of that share of the persons, at least one person; share 1 keeps the set as it is.

    Person ids and seed alone choose, so that at the same seed a smaller share is part of a larger one. Below 1,
    photographs without a person are left out: who has labelled a part has no reason to trust them more than the rest.
    Raises UserError where there is no person to choose.
    """
    if share == 1:
        return photos
    if not photos.persons:
        raise UserError(f"data.labelled={share:g}: no photograph of {photos.split} has a person id; leave it at 1")
    count = max(1, round(share * len(photos.persons)))
    chosen = set(sorted(photos.persons, key=lambda person: _shuffle_key(person, seed))[:count])
    return PhotoSet(photos.split, [record for record in photos if record.person in chosen])


def short_names(sources: Sequence[str]) -> dict[str, str]:
    """The sources of a list under short names; none has a slash, so that prefixed ids cannot collide."""
    if not sources:
        raise UserError("data.source: an empty list; name at least one data set")
    prefixes: dict[str, str] = {}
    seen: set[str] = set()
    for source in sources:
        by_name = source == "people" or source.startswith("hf:")
        whole = source if by_name else os.path.realpath(os.path.expanduser(source))
        if whole in seen:
            raise UserError(f"data.source: {source} is listed twice; remove one")
        seen.add(whole)
        stem = source.replace("/", "--") if by_name else os.path.basename(whole)
        prefix, number = stem, 1
        while prefix in prefixes:
            number += 1
            prefix = f"{stem}-{number}"
        prefixes[prefix] = source
    return prefixes


def _prefixed(record: Record, prefix: str) -> Record:
    person = None if record.person is None else f"{prefix}/{record.person}"
    return Record(record.image, record.captions, person, f"{prefix}/{record.name}")


def _read_one(source: str, options: ReadOptions) -> dict[str, list[Record]]:
    table = _table(source, options)
    splits = _records(table)
    if table.holdout and "train" in splits and "val" not in splits:
        _hold_out(splits, options.holdout, options.seed)
    return splits


def _table(source: str, options: ReadOptions) -> Table:
    if source == "people":
        from huecry.data.people import cached_people

        return read_folder(cached_people(options.persons, options.seed), "imagefolder", {})
    if source.startswith("hf:"):
        return read_hub(source, options.columns)
    folder = Path(source).expanduser()
    if not source.strip() or not folder.exists():
        hint = f"hf:{source} if it is on the Hub, or " if re.fullmatch(r"[\w.-]+/[\w.-]+", source) else ""
        raise UserError(f"data.source={source!r}: no such folder; give {hint}the folder of a data set, or people")
    layout = options.layout or recognise(folder)
    if layout == "people":
        raise UserError(f"data.layout=people does not read {source}; write data.source=people, or set another layout")
    return read_saved(folder, options.columns) if layout == "hf" else read_folder(folder, layout, options.columns)


@dataclass(slots=True)
class _Draft:
    picture: Picture
    where: str
    person: str | None
    captions: list[str]


def _records(table: Table) -> dict[str, list[Record]]:
    """The one way from raw rows to records: look up, check, merge a split's rows of one photograph."""
    drafts: dict[str, dict[str, _Draft]] = {}
    missing: dict[str, str] = {}
    for row in table.rows:
        fields = _fields(row, table)
        picture = _picture(fields["image"], row, table, missing)
        captions = _captions(fields["caption"], row.where)
        if not captions and "caption" in table.required:
            raise UserError(f"{row.where}: no caption; add one or remove the row")
        person = _person(fields["person_id"], row.where)
        if picture is None:
            continue
        split = _split(fields["split"], row, table, picture.name)
        draft = drafts.setdefault(split, {}).setdefault(picture.name, _Draft(picture, row.where, person, []))
        if person is not None and draft.person is not None and person != draft.person:
            raise UserError(
                f"{row.where}: {picture.name!r} is person {person!r} here and "
                f"{draft.person!r} in {draft.where}; give each photograph one person"
            )
        draft.person = person if draft.person is None else draft.person
        draft.captions += captions
    if missing:
        path, where = next(iter(missing.items()))
        more = f", and {len(missing) - 1:,} more are missing" if len(missing) > 1 else ""
        root = table.images.root if table.images else table.place
        raise UserError(f"{where}: no photograph {path!r} in {root}{more}; put it there or remove the row")
    return {
        split: [Record(one.picture.image, tuple(one.captions), one.person, one.picture.name) for one in these.values()]
        for split, these in drafts.items()
    }


def _fields(row: Row, table: Table) -> dict[str, Any]:
    """The values of the four columns, None where the row has none."""
    values: dict[str, Any] = {}
    for key, names in table.names.items():
        present = [name for name in names if name in row.fields]
        if not present and key in table.required and not (key == "split" and row.split):
            raise UserError(
                f"{row.where}: no field {' or '.join(names)} (its fields: {', '.join(row.fields)}); "
                f"add it, or name the right one in data.columns.{key}"
            )
        values[key] = next((row.fields[name] for name in present if row.fields[name] is not None), None)
    return values


def _picture(value: Any, row: Row, table: Table, missing: dict[str, str]) -> Picture | None:
    if table.images is None:
        return value
    if not isinstance(value, str) or not value.strip():
        raise UserError(f"{row.where}: {value!r} is not the path of a photograph; write one or remove the row")
    picture = table.images.find(value, row.where)
    if picture is None:
        missing.setdefault(value, row.where)
    return picture


def _captions(value: Any, where: str) -> list[str]:
    captions = [] if value is None else [value] if isinstance(value, str) else value
    if not isinstance(captions, list) or not all(isinstance(caption, str) for caption in captions):
        raise UserError(f"{where}: captions {value!r} are neither a sentence nor a list of sentences; correct them")
    for number, caption in enumerate(captions, 1):
        if not caption.strip():
            raise UserError(f"{where}: caption {number} is empty; write it or remove it")
    return captions


def _person(value: Any, where: str) -> str | None:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, bool) or not isinstance(value, (int, str)) or not str(value).strip():
        raise UserError(f"{where}: {value!r} is not a person id; write a number, a name, or null where it is unknown")
    return str(value)


def _split(value: Any, row: Row, table: Table, name: str) -> str:
    """The split a row states, else its file's name, else, where none is required, the path's first folder."""
    stated = value if value is not None else row.split
    if stated is None and "split" not in table.required:
        return _ALIASES.get(name.split("/")[0], "train")
    if not isinstance(stated, str) or stated not in _ALIASES:
        raise UserError(f"{row.where}: no split {stated!r}; write one of {', '.join(_ALIASES)}")
    return _ALIASES[stated]


def _hold_out(splits: dict[str, list[Record]], share: float, seed: int) -> None:
    """Move that share of the training persons, at least one, to val; ids and seed alone choose them."""
    persons = {record.person for record in splits["train"] if record.person is not None}
    if share == 0 or len(persons) < 2:
        return
    count = min(max(1, round(share * len(persons))), len(persons) - 1)
    held_out = set(sorted(persons, key=lambda person: _shuffle_key(person, seed))[:count])
    train = splits["train"]
    splits["val"] = [record for record in train if record.person in held_out]
    splits["train"] = [record for record in train if record.person not in held_out]


def _shuffle_key(person: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}:{person}".encode("utf-8", "surrogatepass")).digest()
