"""Indexes made, brought up to date, stopped and resumed, over folders that hold anything."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pytest
import torch
from PIL import Image

import huecry
from huecry import api
from huecry.cli import main
from huecry.data.readers import read
from huecry.data.records import Record
from huecry.retrieval import indexing
from huecry.retrieval.encoder import Encoder
from huecry.retrieval.index_file import IndexFile, read_index
from huecry.towers import ModelConfig, load_towers

SMALL = ("data.workers=0", "eval.batch_size=3", "train.cpu_threads=1")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A plain folder of seven pictures, no two alike, in two places."""
    photos = tmp_path / "photos"
    (photos / "more").mkdir(parents=True)
    for number in range(7):
        Image.new("RGB", (64, 128), (30 * number, 90, 200 - 20 * number)).save(
            photos / f"{'more/' * (number > 4)}{number}.png"
        )
    return photos


def make(folder: Path, *overrides: str, model: str = "tiny") -> dict[str, Any]:
    return api.index(model, str(folder), *SMALL, *overrides, out=str(folder.parent / "index"))


def made(folder: Path) -> IndexFile:
    return read_index(folder.parent / "index")


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the pictures that were decoded since it was last cleared."""
    names: list[str] = []
    original = Record.open

    def open_and_note(self: Record) -> Image.Image:
        names.append(self.name)
        return original(self)

    monkeypatch.setattr(Record, "open", open_and_note)
    return names


def test_features_and_captions_are_those_of_the_pictures_in_order(photo_folder, tmp_path) -> None:
    result = api.index(
        "tiny", str(photo_folder), "eval.batch_size=2", "train.cpu_threads=2", out=str(tmp_path / "index")
    )
    records = [record for photos in read(photo_folder).values() for record in photos]
    index = read_index(tmp_path / "index")
    assert index.paths == [record.name for record in records]
    expected = huecry.load("tiny").encode_images([record.image for record in records])
    torch.testing.assert_close(index.features, expected, rtol=0, atol=1e-6)
    assert [huecry.Index.open(tmp_path / "index").captions(row) for row in range(16)] == [
        one.captions for one in records
    ]
    assert result == {"out": str(tmp_path / "index"), "pictures": 16, "new": 16, "gone": 0, "left_out": {}}
    assert [path.name for path in tmp_path.iterdir()] == ["index"]


def test_a_second_run_reads_and_writes_nothing(folder, decoded, monkeypatch) -> None:
    (folder / "broken.jpg").write_bytes(b"\xff")
    first = make(folder)
    assert sorted(decoded) == ["0.png", "1.png", "2.png", "3.png", "4.png", "broken.jpg", "more/5.png", "more/6.png"]
    decoded.clear()
    before = (folder.parent / "index").stat()
    monkeypatch.setattr("huecry.retrieval.index_sources.Contents.digest", None)  # no file is even opened
    assert make(folder) == {**first, "new": 0}
    assert decoded == []
    assert (folder.parent / "index").stat().st_ino == before.st_ino


def test_only_what_is_new_is_decoded(folder, decoded, capsys) -> None:
    make(folder)
    before = made(folder)
    decoded.clear()
    Image.new("RGB", (64, 128), "white").save(folder / "0.png")  # another picture
    os.utime(folder / "1.png", ns=(1, 1))  # the same one
    (folder / "2.png").rename(folder / "more" / "2.png")
    shutil.copy(folder / "3.png", folder / "copy.png")
    (folder / "4.png").unlink()
    capsys.readouterr()
    result = make(folder)
    assert decoded == ["0.png"]
    assert (result["pictures"], result["new"], result["gone"]) == (7, 3, 2)
    assert "7 pictures, 3 new or changed, 2 gone, 0 left out" in capsys.readouterr().out
    after = made(folder)
    assert after.paths == ["0.png", "1.png", "3.png", "copy.png", "more/2.png", "more/5.png", "more/6.png"]
    old = dict(zip(before.paths, before.features, strict=True))
    for name, known in {
        "1.png": "1.png",
        "copy.png": "3.png",
        "more/2.png": "2.png",
        "more/5.png": "more/5.png",
    }.items():
        assert torch.equal(after.features[after.paths.index(name)], old[known])
    assert not torch.equal(after.features[0], old["0.png"])
    fresh = huecry.load("tiny").encode_images([folder / name for name in after.paths])
    torch.testing.assert_close(after.features, fresh, rtol=0, atol=1e-6)
    decoded.clear()
    make(folder)
    assert decoded == []


def bomb(path: Path, width: int, height: int) -> None:
    """A PNG of some hundred bytes that says it is that large."""
    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([8, 2, 0, 0, 0])
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b"")]
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + b"".join(
            len(body).to_bytes(4, "big") + name + body + zlib.crc32(name + body).to_bytes(4, "big")
            for name, body in chunks
        )
    )


@pytest.mark.parametrize("threads", [1, 2])
def test_a_folder_that_holds_anything(folder, tmp_path, capsys, monkeypatch, threads) -> None:
    whole = (folder / "more" / "6.png").read_bytes()
    (folder / "one_byte.jpg").write_bytes(b"\xff")
    (folder / "empty.png").write_bytes(b"")
    (folder / "half.png").write_bytes(whole[: len(whole) // 2])
    (folder / "a text.jpeg").write_text("not a picture")
    bomb(folder / "bomb.png", 30_000, 30_000)
    Image.new("L", (40, 90), 9).save(
        folder / "moving.gif", save_all=True, append_images=[Image.new("L", (40, 90), 200)]
    )
    (folder / "x.jpg").mkdir()
    Image.new("CMYK", (9, 5)).save(folder / "x.jpg" / "two\nlines \t.jpg")
    Image.new("RGB", (5, 5)).save(tmp_path / "outside.png")
    (folder / "link.png").symlink_to(tmp_path / "outside.png")
    os.mkfifo(folder / "pipe.png")
    original = Path.open

    def refuse(self: Path, *arguments: Any, **options: Any) -> Any:  # a superuser may read all
        if self.name == "0.png":
            raise PermissionError(13, "Permission denied")
        return original(self, *arguments, **options)

    monkeypatch.setattr(Path, "open", refuse)
    assert main(["index", "tiny", str(folder), "--out", str(tmp_path / "index"), f"train.cpu_threads={threads}"]) == 0
    output = capsys.readouterr()
    index = made(folder)
    assert index.paths == [
        "1.png",
        "2.png",
        "3.png",
        "4.png",
        "more/5.png",
        "more/6.png",
        "moving.gif",
        "x.jpg/two\nlines \t.jpg",
    ]
    expected = huecry.load("tiny").encode_images([folder / name for name in index.paths])
    torch.testing.assert_close(index.features, expected, rtol=0, atol=1e-6)
    reports = dict(line.split(": ")[1:3] for line in output.out.splitlines() if line.startswith("left out: "))
    bad = {"0.png", "one_byte.jpg", "empty.png", "half.png", "a text.jpeg", "bomb.png", "link.png", "pipe.png"}
    assert reports.keys() == bad
    assert "decompression bomb" in reports["bomb.png"]
    assert "Permission denied" in reports["0.png"]
    assert "8 pictures, 8 new or changed, 0 gone, 8 left out" in output.out
    assert output.err == ""
    monkeypatch.undo()
    assert api.index("tiny", str(folder), *SMALL, out=str(tmp_path / "index"))["new"] == 1  # it may be read now


def test_a_folder_without_a_picture(tmp_path, mistake) -> None:
    (tmp_path / "photos").mkdir()
    out = ["--out", str(tmp_path / "index")]
    mistake(["index", "tiny", str(tmp_path / "photos"), *out], "photos: no picture can be indexed", "it holds none")
    (tmp_path / "photos" / "a\nb.jpg").write_bytes(b"\xff")
    mistake(["index", "tiny", str(tmp_path / "photos"), *out], "1 were left out", "cannot identify image file")
    assert not (tmp_path / "index").exists()


def stop_after(monkeypatch: pytest.MonkeyPatch, batches: int, act: Callable[[], None]) -> None:
    """Do something while a batch of that number is encoded."""
    original, seen = Encoder.encode_pixels, []

    def encode(self: Encoder, pixels: torch.Tensor) -> torch.Tensor:
        seen.append(len(pixels))
        if len(seen) == batches:
            act()
        return original(self, pixels)

    monkeypatch.setattr(Encoder, "encode_pixels", encode)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_keeps_what_is_done(folder, decoded, monkeypatch, capsys, number, status) -> None:
    with monkeypatch.context() as patch:
        stop_after(patch, 2, lambda: os.kill(os.getpid(), number))
        assert main(["index", "tiny", str(folder), "--out", str(folder.parent / "index"), *SMALL]) == status
    told = f"huecry: stopped by {number.name} after 6 of 7 pictures, which are kept; the same command goes on\n"
    assert capsys.readouterr().err == told
    assert not (folder.parent / "index").exists()
    decoded.clear()
    assert make(folder)["pictures"] == 7
    assert decoded == ["more/6.png"]
    assert sorted(path.name for path in folder.parent.iterdir()) == ["index", "photos"]


def test_a_crash_keeps_what_was_saved(folder, decoded, monkeypatch) -> None:
    def crash() -> None:
        raise ZeroDivisionError

    make(folder.parent / "photos")
    first = made(folder)
    (folder.parent / "index").unlink()
    monkeypatch.setattr(indexing, "SAVE_SECONDS", 0.0)
    with monkeypatch.context() as patch:
        stop_after(patch, 3, crash)
        with pytest.raises(ZeroDivisionError):
            make(folder)
    decoded.clear()
    Image.new("RGB", (9, 9), "red").save(folder / "0.png")  # changed before it goes on
    (folder / "1.png").unlink()
    make(folder)
    assert decoded == ["0.png", "more/6.png"]
    assert made(folder).paths == ["0.png", *first.paths[2:]]
    assert torch.equal(made(folder).features[1:-1], first.features[2:-1])
    torch.testing.assert_close(made(folder).features[-1], first.features[-1], rtol=0, atol=1e-6)


def test_parts_that_hold_no_picture_or_are_damaged(folder, decoded, monkeypatch) -> None:
    """Three broken pictures come first; then a part is spoilt, and what it held is done again."""
    for number in range(3):
        (folder / f"!{number}.jpg").write_bytes(b"\xff")
    monkeypatch.setattr(indexing, "SAVE_SECONDS", 0.0)
    with monkeypatch.context() as patch:
        stop_after(patch, 2, lambda: os.kill(os.getpid(), signal.SIGINT))
        assert main(["index", "tiny", str(folder), "--out", str(folder.parent / "index"), *SMALL]) == 130
    parts = sorted((folder.parent / "index.parts").iterdir())
    assert [len(read_index(part).paths) for part in parts] == [0, 3, 3]
    parts[1].write_bytes(parts[1].read_bytes()[:-1])
    decoded.clear()
    assert make(folder)["pictures"] == 7
    assert decoded == ["0.png", "1.png", "2.png", "more/6.png"]
    expected = huecry.load("tiny").encode_images([folder / name for name in made(folder).paths])
    torch.testing.assert_close(made(folder).features, expected, rtol=0, atol=1e-6)


@pytest.mark.slow
def test_a_process_that_is_killed_again_and_again(make_photos, tmp_path) -> None:
    folder, whole, parts = make_photos(persons=20, photos=8), tmp_path / "whole", tmp_path / "index.parts"
    api.index("tiny", str(folder), *SMALL, out=str(whole))
    code = "import sys; from huecry.retrieval import indexing; indexing.SAVE_SECONDS = 0.0; "
    code += "from huecry.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "index", "tiny", str(folder), *SMALL, "--out", str(tmp_path / "index")]
    kills = 0
    while True:
        before = len([*parts.glob("*")])
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        while process.poll() is None and (kills == 3 or len([*parts.glob("*")]) < before + 5):
            time.sleep(0.002)
        if process.poll() is not None:
            break
        process.kill()
        process.wait()
        kills += 1
    assert (process.returncode, kills) == (0, 3)
    first, second = read_index(whole), read_index(tmp_path / "index")
    assert first.paths == second.paths
    assert torch.equal(first.hashes, second.hashes)
    torch.testing.assert_close(first.features, second.features, rtol=0, atol=1e-6)
    assert not parts.exists()


def test_an_index_of_another_model_or_source_is_not_written_over(folder, photo_folder, tmp_path, mistake) -> None:
    load_towers(ModelConfig("tiny"), seed=1).save(tmp_path / "other")
    make(folder)
    out = ["--out", str(tmp_path / "index")]
    before = (tmp_path / "index").read_bytes()
    advice = "give another --out, or remove it"
    mistake(["index", str(tmp_path / "other"), str(folder), *out], tmp_path / "index", "another model (tiny)", advice)
    mistake(["index", "tiny", str(photo_folder), *out], tmp_path / "index", f"made of {folder}", advice)
    assert (tmp_path / "index").read_bytes() == before
    (tmp_path / "notes").write_text("mine")
    mistake(["index", "tiny", str(folder), "--out", str(tmp_path / "notes")], tmp_path / "notes", "not an index")
    mistake(["index", "tiny", str(folder), "--out", str(folder)], folder, "not an index")
    assert (tmp_path / "notes").read_text() == "mine"
    api.index("tiny", str(photo_folder), *SMALL, out=str(tmp_path / "part"), split="val")
    mistake(["index", "tiny", str(photo_folder), "--out", str(tmp_path / "part")], "split val", advice)
    mistake(["index", "no/model/here", str(folder), *out], "no/model/here")
    mistake(["index", "tiny", str(tmp_path / "nowhere"), *out], "nowhere")


def test_a_folder_that_has_moved(folder, decoded, tmp_path) -> None:
    make(folder)
    decoded.clear()
    folder.rename(tmp_path / "elsewhere")
    result = api.index("tiny", str(tmp_path / "elsewhere"), *SMALL, out=str(tmp_path / "index"))
    assert (decoded, result["new"], result["gone"]) == ([], 0, 0)
    assert huecry.Index.open(tmp_path / "index").picture("0.png").size == (64, 128)


def test_a_hugging_face_data_set(tmp_path, decoded) -> None:
    def save(colours: list[str]) -> str:
        rows = {"image": [Image.new("RGB", (8, 16), one) for one in colours], "text": [f"in {one}" for one in colours]}
        held = datasets.Dataset.from_dict(rows).cast_column("image", datasets.Image())
        held.save_to_disk(tmp_path / "saved")
        return str(tmp_path / "saved")

    out = str(tmp_path / "index")
    api.index("tiny", save(["red", "green", "blue"]), *SMALL, out=out)
    assert decoded == ["train/0", "train/1", "train/2"]
    decoded.clear()
    inode = Path(out).stat().st_ino
    assert api.index("tiny", str(tmp_path / "saved"), *SMALL, out=out)["new"] == 0
    assert (decoded, Path(out).stat().st_ino) == ([], inode)
    shutil.rmtree(tmp_path / "saved")
    assert api.index("tiny", save(["red", "white"]), *SMALL, out=out)["new"] == 1
    assert decoded == ["train/1"]
    index = huecry.Index.open(out)
    assert index.picture("train/1").getpixel((0, 0)) == (255, 255, 255)
    assert index.captions(1) == ("in white",)
    expected = index.encoder.encode_images([Image.new("RGB", (8, 16), one) for one in ("red", "white")])
    torch.testing.assert_close(index.file.features, expected, rtol=0, atol=1e-6)
