"""Small data sets in the known layouts, written by tests, and how they are looked at."""

import json

import pytest
from PIL import Image

from huecry.data.readers import ReadOptions, read
from huecry.errors import UserError


def picture(path, colour="red"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 8), colour).save(path)


def row(path, captions=("a red coat",), person=1, split="train"):
    return {"file_path": path, "captions": captions, "id": person, "split": split}


def write_set(folder, rows, name="reid_raw.json", images="imgs"):
    """A layout with one JSON list, with a picture for every path that stays inside."""
    (folder / images).mkdir(parents=True, exist_ok=True)
    for one in rows:
        path = one.get("file_path", one.get("img_path"))
        if isinstance(path, str) and path and ".." not in path and not path.startswith("/"):
            picture(folder / images / path)
    (folder / name).write_text(json.dumps(rows))
    return folder


def write_lines(folder, rows):
    folder.mkdir(parents=True, exist_ok=True)
    for one in rows:
        picture(folder / one["file_name"])
    (folder / "metadata.jsonl").write_text("\n".join(json.dumps(one) for one in rows))
    return folder


def content(splits):
    """What a data set says, without where it lies."""
    return {
        split: [(record.name, record.person, record.captions) for record in photos] for split, photos in splits.items()
    }


def mistake(source, *parts, **options):
    """The line a mistake ends in, checked to be one line with these parts."""
    with pytest.raises(UserError) as raised:
        read(source, ReadOptions(**options))
    line = str(raised.value)
    assert "\n" not in line
    for part in parts:
        assert part in line
    return line
