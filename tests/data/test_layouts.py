"""Every layout, read from small sets written here."""

import json

import pytest
from layout_files import content, mistake, picture, row, write_lines, write_set

from huecry.data.readers import ReadOptions, read


@pytest.mark.parametrize("name", ["reid_raw.json", "caption_all.json"])
def test_cuhk_pedes(tmp_path, name):
    rows = [
        row("CUHK01/a.png", ["one", "two"], 1),
        row("Market/b.jpg", "only one", 1, "val"),
        row("Market/c.jpg", ["x", "y", "z"], 7, "test"),
    ]
    splits = read(str(write_set(tmp_path, rows, name)))
    assert list(splits) == ["train", "val", "test"]
    assert content(splits) == {
        "train": [("CUHK01/a.png", "1", ("one", "two"))],
        "val": [("Market/b.jpg", "1", ("only one",))],
        "test": [("Market/c.jpg", "7", ("x", "y", "z"))],
    }
    assert splits["train"][0].open().size == (4, 8)


@pytest.mark.parametrize("pattern", ["caption_{}.json", "caption_{}_new.json", "{}_reid.json", "{}.json"])
def test_cuhk_pedes_with_a_file_a_split(tmp_path, pattern):
    for split in ("train", "val"):
        rows = [{"file_path": f"{split}.png", "captions": "a coat", "id": 3}]
        write_set(tmp_path, rows, pattern.format(split))
    expected = {split: [(f"{split}.png", "3", ("a coat",))] for split in ("train", "val")}
    assert content(read(tmp_path)) == expected
    assert content(read(tmp_path / pattern.format("val"))) == {"val": expected["val"]}


def test_rows_of_the_same_photograph_are_merged_within_a_split(tmp_path):
    rows = [
        row("a.png", "one", 5),
        row("b.png", "two", 6),
        row("./a.png", ["three", "one"], 5),
        row("a.png", "four", 5, "test"),
    ]
    assert content(read(write_set(tmp_path, rows))) == {
        "train": [("a.png", "5", ("one", "three", "one")), ("b.png", "6", ("two",))],
        "test": [("a.png", "5", ("four",))],
    }
    lines = [{"file_name": "train/a.png", "caption": c, "person_id": p} for c, p in (("one", None), ("two", 5))]
    expected = {"train": [("train/a.png", "5", ("one", "two"))]}
    assert content(read(write_lines(tmp_path / "lines", lines))) == expected


@pytest.mark.parametrize("name", ["data_captions.json", "data_captions-3000-1.json"])
def test_rstpreid(tmp_path, name):
    rows = [
        {"id": 0, "img_path": "0000_c14.jpg", "captions": ["one"], "split": "train"},
        {"id": 1, "img_path": "0001_c14.jpg", "captions": ["one", "two"], "split": "val"},
    ]
    assert content(read(write_set(tmp_path, rows, name))) == {
        "train": [("0000_c14.jpg", "0", ("one",))],
        "val": [("0001_c14.jpg", "1", ("one", "two"))],
    }


def icfg(folder, persons=40, name="ICFG-PEDES.json"):
    rows = [row(f"train/{p:04}/{k}.jpg", ["a coat"], p) for p in range(persons) for k in range(2)]
    (folder / "imgs").mkdir(parents=True, exist_ok=True)
    for one in rows:
        (folder / "imgs" / one["file_path"]).parent.mkdir(parents=True, exist_ok=True)
        (folder / "imgs" / one["file_path"]).touch()
    rows += [row("test/9999/0.jpg", ["a hat"], 9999, "test")]
    picture(folder / "imgs" / "test/9999/0.jpg")
    (folder / name).write_text(json.dumps(rows))
    return folder


@pytest.mark.parametrize("name", ["ICFG-PEDES.json", "ICFG_PEDES.json"])
def test_icfg_pedes_holds_out_persons_by_seed(tmp_path, name):
    splits = read(icfg(tmp_path, name=name))
    train, val = set(splits["train"].persons), set(splits["val"].persons)
    assert (len(train), len(val), len(train & val), len(splits["val"])) == (38, 2, 0, 4)
    assert splits["test"].persons == ("9999",)
    assert content(read(tmp_path)) == content(splits)
    others = {read(tmp_path, ReadOptions(seed=seed))["val"].persons for seed in range(6)}
    assert len(others) > 1
    assert len(read(tmp_path, ReadOptions(holdout=0.25))["val"].persons) == 10
    assert list(read(tmp_path, ReadOptions(holdout=0.0))) == ["train", "test"]


def test_persons_held_out_do_not_depend_on_the_order_of_rows(tmp_path):
    icfg(tmp_path)
    before = read(tmp_path)["val"].persons
    file = tmp_path / "ICFG-PEDES.json"
    file.write_text(json.dumps(json.loads(file.read_text())[::-1]))
    assert set(read(tmp_path)["val"].persons) == set(before)


def test_no_person_is_held_out_where_that_would_leave_none(tmp_path):
    assert list(read(icfg(tmp_path, persons=1))) == ["train", "test"]


def test_only_a_benchmark_without_val_is_split(tmp_path):
    assert list(read(write_set(tmp_path, [row("a.png", person=1), row("b.png", person=2)]))) == ["train"]


def test_imagefolder(tmp_path):
    rows = [
        {"file_name": "train/a.png", "caption": "one", "person_id": "anna"},
        {"file_name": "validation/b.png", "captions": ["one", "two"], "person_id": 4},
        {"file_name": "elsewhere/c.png", "captions": []},
        {"file_name": "d.png", "caption": None, "person_id": None},
        {"file_name": "train/e.png", "caption": "three", "split": "test"},
        {"file_name": "val/f.png", "caption": "four", "split": "validation"},
    ]
    folder = write_lines(tmp_path, rows)
    text = (folder / "metadata.jsonl").read_text()
    (folder / "metadata.jsonl").write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n\r\n").encode())
    assert content(read(folder)) == {
        "train": [("train/a.png", "anna", ("one",)), ("elsewhere/c.png", None, ()), ("d.png", None, ())],
        "val": [("validation/b.png", "4", ("one", "two")), ("val/f.png", None, ("four",))],
        "test": [("train/e.png", None, ("three",))],
    }


def test_columns_are_renamed_in_any_layout(tmp_path):
    rows = [{"photo": "a.png", "words": "one", "who": 3, "part": "val", "caption": "not this", "id": 9}]
    columns = {"image": "photo", "caption": "words", "person_id": "who", "split": "part"}
    for name in ("reid_raw.json", "metadata.jsonl"):
        folder = tmp_path / name
        picture(folder / "imgs" / "a.png")
        picture(folder / "a.png")
        (folder / name).write_text(json.dumps(rows if name.endswith("json") else rows[0]))
        assert content(read(folder, ReadOptions(columns=columns))) == {"val": [("a.png", "3", ("one",))]}


def test_data_layout_overrides(tmp_path):
    write_set(tmp_path, [row("a.png", person=1)])
    write_lines(tmp_path, [{"file_name": "b.png"}])
    mistake(tmp_path, "several layouts (cuhk_pedes, imagefolder)", "data.layout")
    assert read(tmp_path, ReadOptions(layout="cuhk_pedes"))["train"][0].name == "a.png"
    assert read(tmp_path, ReadOptions(layout="imagefolder"))["train"][0].name == "b.png"
    (tmp_path / "reid_raw.json").rename(tmp_path / "mine.json")
    assert read(tmp_path / "mine.json", ReadOptions(layout="cuhk_pedes"))["train"][0].name == "a.png"
    mistake(tmp_path, "layout cuhk_pedes needs reid_raw.json", str(tmp_path), layout="cuhk_pedes")
    mistake(tmp_path, "data.layout=cuhk", "cuhk_pedes, icfg_pedes, rstpreid, imagefolder, hf, people", layout="cuhk")
    mistake(tmp_path, "data.layout=people", "data.source=people", layout="people")


def test_several_files_of_one_layout_are_told_apart_by_path(tmp_path):
    for count in (1, 2):
        rows = [row(f"{count}.png")]
        write_set(tmp_path, rows, f"data_captions-{count}.json")
    mistake(tmp_path, "data_captions-1.json, data_captions-2.json", "data.source")
    assert read(tmp_path / "data_captions-2.json")["train"][0].name == "2.png"


def test_the_photographs_folder_may_be_a_link(tmp_path):
    write_set(tmp_path / "far", [row("cam/a.png")])
    (tmp_path / "near").mkdir()
    (tmp_path / "near" / "imgs").symlink_to(tmp_path / "far" / "imgs")
    (tmp_path / "near" / "reid_raw.json").symlink_to(tmp_path / "far" / "reid_raw.json")
    (tmp_path / "far" / "imgs" / "cam" / "b.png").symlink_to("a.png")
    rows = [row("cam/a.png"), row("cam/b.png", person=2), row("other/../cam/b.png", person=2)]
    (tmp_path / "far" / "reid_raw.json").write_text(json.dumps(rows))
    assert [record.name for record in read(tmp_path / "near")["train"]] == ["cam/a.png", "cam/b.png"]


def test_the_embedded_people(tmp_path, monkeypatch):
    monkeypatch.setenv("HUECRY_CACHE", str(tmp_path))
    splits = read("people", ReadOptions(persons=4, seed=1, columns={"image": "used by other sources"}))
    assert len(splits["train"].persons) == 4
    assert splits["train"][0].open().mode == "RGB"
    assert read(["people"], ReadOptions(persons=4, seed=1))["train"].captions == splits["train"].captions
