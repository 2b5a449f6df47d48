"""Which pictures are found in a plain folder and in data sets, and why others are not."""

from __future__ import annotations

import hashlib
import os

import datasets
import pytest
from PIL import Image

from huecry.data.readers import ReadOptions, read
from huecry.errors import UserError
from huecry.retrieval.index_sources import Contents, find_pictures


def test_a_plain_folder(tmp_path) -> None:
    folder, outside = tmp_path / "photos", tmp_path / "outside"
    good = [
        "b.JPG",
        "a/z.png",
        "a/b/c/d.webp",
        "x.jpg/inner.jpeg",
        "two\nlines.jpg",
        "a.gif",
        "\udcff.png",
        "a/link.png",
    ]
    for name in [*good[:-1], ".hidden.jpg", ".cache/a.jpg", "notes.txt", "no_ending", "a/metadata.jsonl"]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"anything")
    outside.mkdir()
    (outside / "out.png").write_bytes(b"")
    (folder / "a" / "link.png").symlink_to("z.png")
    (folder / "out.png").symlink_to(outside / "out.png")
    (folder / "gone.png").symlink_to("nowhere.png")
    (folder / "linked").symlink_to(outside)
    (folder / "round").symlink_to(folder)
    os.mkfifo(folder / "pipe.jpg")
    found = find_pictures(str(folder), ReadOptions())
    assert [record.name for record in found.records] == sorted(good, key=lambda name: name.split("/"))
    assert all(record.image == folder / record.name for record in found.records)
    assert found.root == folder
    assert {name: why.split(",")[0] for name, why in found.left_out.items()} == {
        "out.png": "a link that leads out of the folder",
        "gone.png": "not a file",
        "pipe.jpg": "not a file",
        "linked": "a link to a folder",
        "round": "a link to a folder",
    }
    assert found.lines == [f"{folder}: 8 pictures in a plain folder"]


def test_a_folder_that_is_reached_through_a_link(tmp_path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(b"")
    (tmp_path / "link").symlink_to("photos")
    found = find_pictures(str(tmp_path / "link"), ReadOptions())
    assert ([record.name for record in found.records], found.left_out) == (["a.jpg"], {})
    assert found.root == tmp_path / "photos"


def test_a_data_set_by_its_annotations(photo_folder) -> None:
    found = find_pictures(str(photo_folder), ReadOptions())
    splits = read(photo_folder)
    expected = [record for photos in splits.values() for record in photos]
    assert found.records == expected
    assert found.root == photo_folder
    part = find_pictures(str(photo_folder), ReadOptions(), "val")
    assert part.records == [*splits["val"]]
    assert part.lines[1:] == ["val: 4 photographs, 2 persons, 8 captions"]


def test_a_photograph_in_two_splits_is_one_picture(make_photos) -> None:
    folder = make_photos()
    table = folder / "metadata.jsonl"
    first, *_ = table.read_text().splitlines()
    table.write_text(
        table.read_text() + first.replace('"split": "train"', '"split": "val"').replace("wall", "fence") + "\n"
    )
    found = find_pictures(str(folder), ReadOptions())
    names = [record.name for record in found.records]
    assert len(names) == len(set(names)) == 16
    assert [len(record.captions) for record in found.records[:2]] == [4, 2]


@pytest.mark.parametrize(
    ("plain", "split", "reason"),
    [
        (True, "test", "plain folder, which has no splits"),
        (False, "tset", "has train, val, test"),
        (None, None, "no such folder"),
    ],
)
def test_what_is_not_there(photo_folder, tmp_path, plain, split, reason) -> None:
    source = tmp_path / "nowhere" if plain is None else tmp_path if plain else photo_folder
    with pytest.raises(UserError, match=reason):
        find_pictures(str(source), ReadOptions(), split)


def test_contents_of_files_and_of_data_sets(tmp_path) -> None:
    path = tmp_path / "a.png"
    Image.new("RGB", (4, 8), "red").save(path)
    held = datasets.Dataset.from_dict({"image": [str(path)]}).cast_column("image", datasets.Image())
    held.map(lambda row: row).save_to_disk(tmp_path / "saved")
    (tmp_path / "photos").mkdir()
    path.rename(tmp_path / "photos" / "a.png")
    (inside,) = find_pictures(str(tmp_path / "saved"), ReadOptions()).records
    (plain,) = find_pictures(str(tmp_path / "photos"), ReadOptions()).records
    contents = Contents()
    digest = hashlib.sha256((tmp_path / "photos" / "a.png").read_bytes()).digest()
    assert contents.digest(inside.image) == contents.digest(plain.image) == digest
    assert find_pictures(str(tmp_path / "saved"), ReadOptions()).root is None
