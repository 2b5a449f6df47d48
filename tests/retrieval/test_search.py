"""`huecry search` as a user meets it: the table, JSON, the sheet, and what cannot be asked."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image, ImageColor

from huecry import Index, api
from huecry.cli import main
from huecry.retrieval import sheet


@pytest.fixture(scope="module")
def folder(photo_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an index `photos` of the pictures in `plain`."""
    folder = tmp_path_factory.mktemp("search")
    shutil.copytree(photo_folder / "train", folder / "plain")
    api.index("tiny", str(folder / "plain"), "data.workers=0", "train.cpu_threads=1", out=str(folder / "photos"))
    return folder


def ask(folder: Path, *arguments: str, k: int = 3) -> list[str]:
    return ["search", str(folder / "photos"), *arguments, "-k", str(k)]


def test_a_table_for_each_sentence(folder, capsys) -> None:
    assert main(ask(folder, "a red coat", "--exact", "blue trousers")) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"8 pictures in {folder / 'plain'}"
    index, expected = Index.open(folder / "photos"), []
    for sentence in ("a red coat", "blue trousers"):
        rows = [f"{rank:4}  {one.score:6.3f}  {one.path}" for rank, one in enumerate(index.search(sentence, k=3), 1)]
        expected += ["", sentence, *rows]
    assert lines[1:] == expected


def test_json(folder, capsys) -> None:
    picture = str(folder / "plain" / "1_0.png")
    assert (
        main(ask(folder, "a red coat", "--image", picture, "--attr", "upper=red", "--attr=bag=backpack", "--json")) == 0
    )
    printed = json.loads(capsys.readouterr().out)
    index = Index.open(folder / "photos")
    sentences = ["a red coat", "a person wearing a red top and carrying a backpack"]
    assert printed == {
        "index": str(folder / "photos"),
        "root": str(folder / "plain"),
        "gallery": 8,
        "exact": True,
        "recall": None,
        "queries": [
            {
                "sentence": sentence,
                "image": picture,
                "results": [
                    {"path": one.path, "score": pytest.approx(one.score), "captions": []}
                    for one in index.search(sentence, image=picture, k=3)
                ],
            }
            for sentence in sentences
        ],
    }
    assert api.search(str(folder / "photos"), image=picture, k=1)["queries"][0] == {
        "sentence": None,
        "image": picture,
        "results": [{"path": "1_0.png", "score": pytest.approx(1.0), "captions": ()}],
    }


def test_a_sheet_shows_what_was_found_and_what_is_missing(folder, tmp_path) -> None:
    shutil.copytree(folder / "plain", tmp_path / "plain")
    api.index("tiny", str(tmp_path / "plain"), "data.workers=0", out=str(tmp_path / "photos"))
    first, second, third = (one.path for one in Index.open(tmp_path / "photos").search("a red coat", k=3))
    (tmp_path / "plain" / second).unlink()
    (tmp_path / "plain" / third).write_bytes(b"\xff")
    assert main(ask(tmp_path, "a red coat", "--sheet", str(tmp_path / "new" / "sheet.png"))) == 0
    wall = Image.open(tmp_path / "plain" / first).getpixel((0, 0))
    left = sheet.MARGIN + sheet.TEXT_WIDTH + 2 * sheet.GAP
    with Image.open(tmp_path / "new" / "sheet.png") as drawn:
        corners = [
            drawn.getpixel(
                (left + number * (sheet.CELL_WIDTH + sheet.GAP) + sheet.FRAME + 4, sheet.MARGIN + sheet.FRAME + 14)
            )
            for number in range(3)
        ]
    mount = ImageColor.getrgb(sheet.MOUNT)
    assert corners == [wall, mount, mount]


def test_what_cannot_be_asked(folder, tmp_path, mistake) -> None:
    mistake(ask(folder), "nothing to search with", "--image", "--attr")
    mistake(ask(folder, ""), "an empty sentence")
    mistake(ask(folder, "a coat", k=0), "k=0")
    mistake(ask(folder, "a coat", "--kk", "3"), "--kk")
    mistake(ask(folder, "--attr", "upper=spotty"), "--attr upper=spotty", "things: blazer")
    mistake(ask(folder, "--image", str(tmp_path / "nowhere.png")), "nowhere.png", "give another")
    mistake(ask(folder, "a coat", "--model", "no/model/here"), "no/model/here")
    mistake(ask(folder, "a coat", "--sheet", str(folder / "photos" / "sheet.png")), "sheet.png", "cannot be written")
    mistake(ask(tmp_path, "a coat"), tmp_path / "photos", "no such index")
    (tmp_path / "photos").write_text("not an index")
    mistake(ask(tmp_path, "a coat"), tmp_path / "photos", "not an index")
