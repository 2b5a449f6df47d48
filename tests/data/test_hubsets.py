"""Hugging Face data sets: saved on disk, and by name from a local cache."""

import json
import os
import subprocess
import sys

import datasets
from layout_files import content, mistake, picture
from PIL import Image

from huecry.data.readers import ReadOptions, read


def hub_set(rows, **columns):
    """A data set with one picture a row, stored as its bytes; `colour` of a row makes the picture."""
    pictures = [Image.new("RGB", (4, 8), one.pop("colour")) for one in rows]
    features = {"image": datasets.Image()}
    data = {"image": pictures} | {key: [one[key] for one in rows] for key in rows[0]}
    made = datasets.Dataset.from_dict(data)
    return made.cast_column("image", features["image"]).rename_columns(columns)


def test_a_saved_dataset_dict(tmp_path):
    train = [
        {"colour": "red", "caption": "one", "person_id": 3},
        {"colour": "blue", "caption": "two", "person_id": None},
        {"colour": "red", "caption": "three", "person_id": 3},
    ]
    val = [{"colour": "red", "caption": "four", "person_id": 3}]
    both = datasets.DatasetDict({"train": hub_set(train), "validation": hub_set(val)})
    both.with_format("numpy").save_to_disk(tmp_path / "saved")
    splits = read(tmp_path / "saved")
    assert content(splits) == {
        "train": [("train/0", "3", ("one", "three")), ("train/1", None, ("two",))],
        "val": [("validation/0", "3", ("four",))],
    }
    assert [one.open().getpixel((0, 0)) for one in splits["train"]] == [(255, 0, 0), (0, 0, 255)]


def test_a_saved_dataset_with_a_split_column_and_other_names(tmp_path):
    rows = [
        {"colour": "red", "words": ["one", "two"], "who": "anna", "split": "test"},
        {"colour": "blue", "words": [], "who": "bob", "split": "train"},
    ]
    hub_set(rows, image="photo").save_to_disk(tmp_path)
    columns = {"caption": "words", "person_id": "who"}
    assert content(read(tmp_path, ReadOptions(columns=columns))) == {
        "train": [("train/1", "bob", ())],
        "test": [("train/0", "anna", ("one", "two"))],
    }
    assert content(read(tmp_path, ReadOptions(columns={**columns, "image": "photo"}, layout="hf")))["train"]
    mistake(tmp_path, "data.columns.image=words", "not a column of pictures", columns={"image": "words"})
    mistake(tmp_path, "data.columns.caption=word", "did you mean words?", columns={"caption": "word"})


def test_a_photograph_saved_from_a_file_keeps_its_own_captions(tmp_path):
    for folder, colour in (("x", "red"), ("y", "blue")):
        picture(tmp_path / folder / "0.png", colour)
    paths = [str(tmp_path / name / "0.png") for name in ("x", "y", "x")]
    made = datasets.Dataset.from_dict({"image": paths, "caption": ["one", "two", "three"]})
    made.cast_column("image", datasets.Image()).save_to_disk(tmp_path / "saved")
    captions = [one.captions for one in read(tmp_path / "saved")["train"]]
    assert captions == [("one", "three"), ("two",)]


def save_one(folder, rows=(), features=None):
    datasets.Dataset.from_dict({key: [one[key] for one in rows] for key in features}, features).save_to_disk(folder)
    return folder


def test_mistakes_in_saved_data_sets(tmp_path):
    words = datasets.Features({"caption": datasets.Value("string")})
    mistake(save_one(tmp_path / "words", [{"caption": "one"}], words), "(caption) holds pictures", "datasets.Image")
    one = datasets.Features({"image": datasets.Image(), "caption": datasets.Value("string")})
    mistake(save_one(tmp_path / "empty", [], one), "cannot be loaded", "without empty splits")
    mistake(save_one(tmp_path / "null", [{"image": None, "caption": "one"}], one), "[train]: row 1", "no picture")
    red = Image.new("RGB", (4, 8), "red")
    mistake(save_one(tmp_path / "blank", [{"image": red, "caption": " "}], one), "row 1: caption 1 is empty")
    two = datasets.Features({"left": datasets.Image(), "right": datasets.Image()})
    folder = save_one(tmp_path / "two", [{"left": red, "right": red}], two)
    mistake(folder, "(left, right)", "data.columns.image")
    assert len(read(folder, ReadOptions(columns={"image": "right"}))["train"]) == 1
    datasets.DatasetDict({"dev": hub_set([{"colour": "red"}])}).save_to_disk(tmp_path / "dev")
    mistake(tmp_path / "dev", "[dev]: row 1: no split 'dev'")


def test_a_saved_data_set_does_not_lead_out_of_its_folder(tmp_path):
    hub_set([{"colour": "red"}]).save_to_disk(tmp_path / "other")
    hub_set([{"colour": "blue"}]).save_to_disk(tmp_path / "saved")
    state = json.loads((tmp_path / "saved" / "state.json").read_text())
    file = state["_data_files"][0]["filename"]
    state["_data_files"][0]["filename"] = f"../other/{file}"
    (tmp_path / "saved" / "state.json").write_text(json.dumps(state))
    mistake(tmp_path / "saved", "lies outside it")

    picture(tmp_path / "secret.png")
    encoded = datasets.Features({"image": {"bytes": datasets.Value("binary"), "path": datasets.Value("string")}})
    rows = [{"image": {"bytes": None, "path": str(tmp_path / "secret.png")}}]
    save_one(tmp_path / "paths", rows, encoded)
    info = json.loads((tmp_path / "paths" / "dataset_info.json").read_text())
    info["features"] = {"image": {"_type": "Image"}}
    (tmp_path / "paths" / "dataset_info.json").write_text(json.dumps(info))
    mistake(tmp_path / "paths", "row 1", "secret.png", "not stored in the data set")


def test_a_damaged_saved_data_set(tmp_path):
    hub_set([{"colour": "red"}]).save_to_disk(tmp_path)
    next(tmp_path.glob("*.arrow")).write_bytes(b"nothing")
    mistake(tmp_path, str(tmp_path), "cannot be loaded", "save_to_disk")


def test_names_on_the_hub(tmp_path, monkeypatch):
    for name in ("hf:", "hf:people", "hf:org/name:", "hf:org/name:a:b", "hf:../../etc/passwd", "hf:https://x.y/z"):
        mistake(name, name, "write hf:org/name")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "org" / "name").mkdir(parents=True)
    mistake("hf:org/name", "a folder org/name lies here")


def cached_from_hub(home):
    """What `datasets` leaves behind after it has downloaded org/people, written without a network."""
    made = hub_set([{"colour": c, "caption": c, "person_id": i} for i, c in ((1, "red"), (2, "blue"), (2, "blue"))])
    cache = home / "datasets" / "org___people" / "default" / "0.0.0" / ("a" * 40)
    made.save_to_disk(home / "saved")
    cache.mkdir(parents=True)
    next((home / "saved").glob("*.arrow")).rename(cache / "people-train.arrow")
    made.info.splits = datasets.SplitDict({"train": datasets.SplitInfo("train", num_examples=3)})
    made.info.builder_name, made.info.dataset_name, made.info.version = "parquet", "people", "0.0.0"
    made.info.config_name = "default"
    made.info.write_to_directory(str(cache))


def test_the_hub_offline(tmp_path):
    cached_from_hub(tmp_path)
    code = (
        "from huecry.data.readers import read\n"
        "from huecry.errors import UserError\n"
        "for record in read('hf:org/people:default')['train']:\n"
        "    print(record.name, record.person, record.captions, record.open().getpixel((0, 0)))\n"
        "try:\n"
        "    read('hf:nobody/nothing')\n"
        "except UserError as error:\n"
        "    print(error)"
    )
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    environment.pop("HF_DATASETS_CACHE", None)
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    first, second, line = done.stdout.splitlines()
    assert first == "train/0 1 ('red',) (255, 0, 0)"
    assert second == "train/1 2 ('blue', 'blue') (0, 0, 255)"
    assert line.startswith("hf:nobody/nothing: cannot be loaded (")
    assert "with HF_HUB_OFFLINE unset" in line
    assert "without --dry-run" in line
