"""How data sets lie on disk: what file makes which layout, its rows as spelt, and where the photographs are.

A layout ends here as a `Table` of raw rows; `readers` gives them their meaning. Only the photographs' folder
itself and the annotation file may be symbolic links that lead elsewhere: no row may point out of that folder.
"""

from __future__ import annotations

import difflib
import json
import os
import posixpath
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from huecry.data.records import HubImage
from huecry.errors import UserError

SPLITS = ("train", "val", "test")
COLUMNS = ("image", "caption", "person_id", "split")


@dataclass(frozen=True, slots=True)
class Picture:
    """A photograph that was found, and its name inside the source: one name, one photograph."""

    image: Path | HubImage
    name: str


@dataclass(frozen=True, slots=True)
class Row:
    """One annotation as its file spells it.

    where: what messages call it ("reid_raw.json: row 12", with the folder).
    split: what the file's own name says of the split, for rows that do not say it.
    """

    where: str
    fields: Mapping[str, Any]
    split: str | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """The rows of one source.

    place: what messages call the source.
    names: for each of COLUMNS the field names to try, in order.
    required: those of COLUMNS that every row must have (a person id may still be null).
    images: where paths in the image field are looked up; None where that field holds a Picture already.
    holdout: whether a missing val split is taken from the training persons.
    """

    place: str
    rows: Iterable[Row]
    names: Mapping[str, tuple[str, ...]]
    required: frozenset[str] = frozenset()
    images: ImageFolder | None = None
    holdout: bool = False


@dataclass(frozen=True, slots=True)
class Layout:
    """A known arrangement of a folder.

    files: patterns of the one annotation file, best first.
    split_files: patterns of one annotation file a split, `{}` standing for the split.
    images: the folder that image paths start from.
    """

    files: tuple[str, ...]
    split_files: tuple[str, ...] = ()
    images: str = "imgs"
    names: Mapping[str, tuple[str, ...]] = field(
        default_factory=lambda: {
            "image": ("file_path", "img_path"),
            "caption": ("captions", "caption"),
            "person_id": ("id",),
            "split": ("split",),
        }
    )
    required: frozenset[str] = frozenset(COLUMNS)
    holdout: bool = False

    def sought(self) -> list[str]:
        """The file names this layout is recognised by."""
        return [*self.files, *(pattern.format("<split>") for pattern in self.split_files)]

    def annotations(self, folder: Path) -> list[tuple[Path, str | None]]:
        """The annotation files in a folder, each with the split its name tells; empty where there is none.

        Raises UserError where several files answer to the same pattern.
        """
        for pattern in self.files:
            found = sorted(folder.glob(pattern))
            if len(found) > 1:
                names = ", ".join(file.name for file in found)
                raise UserError(f"{folder}: several annotation files ({names}); give the path of one as data.source")
            if found:
                return [(found[0], None)]
        firsts = (
            next(((folder / name, split) for name in self._names_of(split) if (folder / name).is_file()), None)
            for split in SPLITS
        )
        return [first for first in firsts if first is not None]

    def answers_to(self, name: str) -> bool:
        """Whether a file of this name is an annotation file of this layout."""
        return any(fnmatchcase(name, pattern) for pattern in self.files) or self.split_of(name) is not None

    def split_of(self, name: str) -> str | None:
        """The split told by the name of an annotation file."""
        return next((split for split in SPLITS if name in self._names_of(split)), None)

    def _names_of(self, split: str) -> list[str]:
        return [pattern.format(split) for pattern in self.split_files]


LAYOUTS = {
    "cuhk_pedes": Layout(
        ("reid_raw.json", "caption_all.json"),
        split_files=("caption_{}_new.json", "caption_{}.json", "{}_reid.json", "{}.json"),
    ),
    "icfg_pedes": Layout(("ICFG-PEDES.json", "ICFG_PEDES.json"), holdout=True),
    "rstpreid": Layout(("data_captions.json", "data_captions-*.json")),
    "imagefolder": Layout(
        ("metadata.jsonl",),
        images="",
        names={
            "image": ("file_name",),
            "caption": ("captions", "caption"),
            "person_id": ("person_id",),
            "split": ("split",),
        },
        required=frozenset({"image"}),
    ),
}


def recognise(source: Path) -> str:
    """The name of the layout of a folder, or of an annotation file: a key of LAYOUTS, or "hf".

    Raises UserError where no layout, or more than one, fits.
    """
    if source.is_file():
        found = [name for name, layout in LAYOUTS.items() if layout.answers_to(source.name)]
    else:
        found = [name for name, layout in LAYOUTS.items() if layout.annotations(source)]
        saved = (source / "state.json").is_file() and (source / "dataset_info.json").is_file()
        if saved or (source / "dataset_dict.json").is_file():
            found.append("hf")
    if len(found) > 1:
        raise UserError(f"{source}: fits several layouts ({', '.join(found)}); set data.layout to one of them")
    if not found:
        sought = [name for layout in LAYOUTS.values() for name in layout.sought()]
        raise UserError(
            f"{source}: no known layout (looked for {', '.join(sought)}, dataset_dict.json, state.json); "
            f"arrange it as one of {', '.join([*LAYOUTS, 'hf'])}, or name the layout in data.layout"
        )
    return found[0]


def read_folder(source: Path, name: str, columns: Mapping[str, str]) -> Table:
    """The table of a folder, or of one annotation file, in the layout of that name.

    Raises UserError where an annotation file is missing, malformed or empty, or the photographs' folder
    missing.
    """
    layout = LAYOUTS[name]
    if source.is_file():
        folder, files = source.parent, [(source, layout.split_of(source.name))]
    else:
        folder, files = source, layout.annotations(source)
    if not files:
        raise UserError(
            f"{folder}: layout {name} needs {' or '.join(layout.sought())}, and none is there; "
            "add it or set data.layout to another"
        )
    rows = [
        Row(f"{file}: {where}", fields, split)
        for file, split in files
        for where, fields in (_lines(file) if file.suffix == ".jsonl" else _entries(file))
    ]
    place = str(files[0][0]) if len(files) == 1 else str(folder)
    if not rows:
        raise UserError(f"{place}: no rows at all; an empty data set cannot be read")
    root = folder / layout.images
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; the photographs that {place} names belong there")
    available = dict.fromkeys(name for row in rows for name in row.fields)
    return Table(
        place=place,
        rows=rows,
        names=choose_names(place, layout.names, columns, list(available)),
        required=layout.required,
        images=ImageFolder(root),
        holdout=layout.holdout,
    )


def choose_names(
    place: str, usual: Mapping[str, tuple[str, ...]], columns: Mapping[str, str], available: list[str]
) -> dict[str, tuple[str, ...]]:
    """The usual field names, replaced where `columns` (data.columns) says otherwise.

    Raises UserError for a key that is not one of COLUMNS and for a column that no row has.
    """
    for key, name in columns.items():
        if key not in COLUMNS:
            raise UserError(f"data.columns.{key}: no such key; there are {', '.join(COLUMNS)}")
        if name not in available:
            near = difflib.get_close_matches(name, available, n=1, cutoff=0.0)
            raise UserError(
                f"data.columns.{key}={name}: {place} has no such column; "
                f"it has {', '.join(available)}" + (f"; did you mean {near[0]}?" if near else "")
            )
    return {key: (columns[key],) if key in columns else usual[key] for key in COLUMNS}


class ImageFolder:
    """The photographs under one folder, each directory listed once however many are asked for."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._real = os.path.realpath(root)
        self._listed: dict[str, dict[str, bool]] = {}

    def find(self, path: str, where: str) -> Picture | None:
        """The photograph at a path relative to the folder, or None where there is no such file.

        Raises UserError, beginning with `where`, when the path or a link on its way leads out of the folder.
        """
        name = posixpath.normpath(path)
        if posixpath.isabs(path) or name.split("/")[0] == "..":
            raise self._outside(path, where)
        parent, leaf = posixpath.split(name)
        try:
            if parent not in self._listed:
                if not inside(os.path.join(self.root, parent), [self._real]):
                    raise self._outside(path, where)
                with os.scandir(os.path.join(self.root, parent)) as entries:
                    self._listed[parent] = {
                        entry.name: entry.is_symlink() for entry in entries if entry.is_symlink() or entry.is_file()
                    }
            is_link = self._listed[parent].get(leaf)
            if is_link and not inside(os.path.join(self.root, name), [self._real]):
                raise self._outside(path, where)
            if is_link is None or (is_link and not (self.root / name).is_file()):
                return None
        except PermissionError as error:
            raise UserError(f"{where}: {error.filename} may not be read; change its permissions") from None
        except (OSError, ValueError):  # no such directory, or no possible name
            self._listed.setdefault(parent, {})
            return None
        return Picture(self.root / name, name)

    def _outside(self, path: str, where: str) -> UserError:
        return UserError(f"{where}: {path!r} leads out of {self.root}; keep the photographs under that folder")


def inside(path: str, real_roots: Iterable[str]) -> bool:
    """Whether the real path lies in one of the folders, given as real paths."""
    real = os.path.realpath(path)
    return any(real == root or real.startswith(root.rstrip(os.sep) + os.sep) for root in real_roots)


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: not UTF-8 text (byte {error.start}); save it as UTF-8") from None
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror}); check the file and its permissions") from None


def _parse(text: str, file: Path, first_line: int) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        line = first_line + error.lineno - 1
        raise UserError(f"{file}: line {line}: not valid JSON ({error.msg}); correct that line") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file}: line {first_line}: not usable JSON ({error}); correct the file") from None


def _entries(file: Path) -> Iterable[tuple[str, dict[str, Any]]]:
    entries = _parse(_text(file), file, 1)
    if not isinstance(entries, list):
        raise UserError(f"{file}: holds {_kind(entries)}; a list of objects, one a photograph, is needed")
    for number, entry in enumerate(entries, 1):
        if not isinstance(entry, dict):
            raise UserError(f"{file}: row {number}: holds {_kind(entry)}; an object with named fields is needed")
        yield f"row {number}", entry


def _lines(file: Path) -> Iterable[tuple[str, dict[str, Any]]]:
    for number, line in enumerate(_text(file).split("\n"), 1):
        if line.strip():
            entry = _parse(line, file, number)
            if not isinstance(entry, dict):
                raise UserError(f"{file}: line {number}: holds {_kind(entry)}; one JSON object a line is needed")
            yield f"line {number}", entry


def _kind(value: Any) -> str:
    kinds = {dict: "an object", list: "a list", str: "a string", bool: "true or false", type(None): "null"}
    return kinds.get(type(value), "a number")
