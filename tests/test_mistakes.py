"""A user's mistakes, each made for real: one line that names the culprit, exit status 2, nothing written is lost."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from small_runs import contents, rewrite, stage
from transformers import BertConfig, CLIPConfig

from huecry.cli import main

# data


def test_a_photograph_that_is_missing(make_photos, tmp_path, mistake):
    folder = make_photos()
    (folder / "train" / "1_0.png").unlink()
    mistake(stage(folder, tmp_path / "run"), folder / "metadata.jsonl", "line 3", "train/1_0.png")
    assert not (tmp_path / "run").exists()


def test_a_photograph_cut_short_is_met_at_its_first_use_and_the_advice_works(make_photos, tmp_path, mistake):
    folder, run = make_photos(), tmp_path / "run"
    noise = np.random.default_rng(0).integers(0, 256, (128, 64, 3), dtype=np.uint8)
    path = folder / "train" / "0_0.jpg"
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    rewrite(folder, lambda rows: rows[0].update(file_name="train/0_0.jpg"))
    line = mistake(stage(folder, run), "train/0_0.jpg", "data.on_bad_image=skip")
    assert "truncated" in line
    mistake(stage(folder, run), "train.resume=true")
    with pytest.warns(UserWarning, match=r"left out: train/0_0\.jpg"):
        assert main(stage(folder, run, "train.resume=true", "data.on_bad_image=skip")) == 0
    assert (run / "results.json").exists()


@pytest.mark.parametrize("caption", ["", "  \t "])
def test_an_empty_caption(make_photos, tmp_path, mistake, caption):
    folder = make_photos()
    table = rewrite(folder, lambda rows: rows[4]["captions"].append(caption))
    mistake(stage(folder, tmp_path / "run"), table, "line 5", "caption 3 is empty")


@pytest.mark.parametrize("name", ["../elsewhere.png", "train/../../elsewhere.png", "{outside}/elsewhere.png"])
def test_an_annotation_that_leads_out_of_the_folder(make_photos, tmp_path, mistake, name):
    folder = make_photos()
    for place in (folder.parent, tmp_path):
        Image.new("RGB", (4, 8)).save(place / "elsewhere.png")
    name = name.format(outside=tmp_path)
    table = rewrite(folder, lambda rows: rows[1].update(file_name=name))
    mistake(stage(folder, tmp_path / "run"), table, "line 2", name, "out of")


def test_annotations_that_are_not_a_list(tmp_path, mistake):
    (tmp_path / "imgs").mkdir()
    (tmp_path / "reid_raw.json").write_text('{"images": []}')
    mistake(stage(tmp_path, tmp_path / "run"), tmp_path / "reid_raw.json", "a list of objects")


def test_annotations_that_are_no_json(make_photos, tmp_path, mistake):
    folder = make_photos()
    with (folder / "metadata.jsonl").open("a") as file:
        file.write("{file_name: train/0_0.png}\n")
    mistake(stage(folder, tmp_path / "run"), folder / "metadata.jsonl", "line 17", "not valid JSON")


@pytest.mark.parametrize("source", ["nowhere", "file.txt"])
def test_data_that_is_no_data_set(tmp_path, monkeypatch, mistake, source):
    monkeypatch.chdir(tmp_path)
    Path("file.txt").write_text("not a folder")
    mistake(stage(Path(source), tmp_path / "run"), source)
    mistake(["evaluate", "tiny", source], source)


def test_a_data_set_on_the_hub_without_a_network(tmp_path, mistake):
    mistake(["evaluate", "tiny", "hf:nobody/nothing"], "hf:nobody/nothing", "HF_HUB_OFFLINE")


def test_no_photograph_to_train_on(make_photos, tmp_path, mistake):
    folder = make_photos()
    rewrite(folder, lambda rows: [row.update(split="test") for row in rows])
    mistake(stage(folder, tmp_path / "run"), f"data.source={folder}", "split train")


def test_no_query_with_a_match(make_photos, finished_run, tmp_path, mistake):
    folder = make_photos()
    rewrite(folder, lambda rows: [row.pop("captions") for row in rows if row["split"] == "test"])
    mistake(["evaluate", str(finished_run), str(folder)], "split test", "no caption")
    mistake(stage(folder, tmp_path / "run"), "split test", "no caption")  # now, not after training
    assert not (tmp_path / "run").exists()


def test_a_split_that_is_not_there(photo_folder, finished_run, mistake):
    mistake(["evaluate", str(finished_run), str(photo_folder), "--split", "tset"], "--split tset", "train, val, test")


def test_fewer_rows_than_a_batch(photo_folder, tmp_path, mistake):
    mistake(stage(photo_folder, tmp_path / "run", "train.batch_size=17"), "train.batch_size=17", "16 training rows")
    mistake(stage(photo_folder, tmp_path / "run", "train.accumulate=3"), "train.accumulate=3", "16 training rows")
    assert main(stage(photo_folder, tmp_path / "run")) == 0  # the folder was not taken by what could not begin


# the recipe


@pytest.mark.parametrize(
    ("changes", "culprits"),
    [
        (["train.epoch=3"], ["train.epoch:", "did you mean train.epochs?"]),
        (["views.rgb.flipp=0"], ["views.rgb.flipp:", "did you mean views.rgb.flip?"]),
        (["tasks.contrastve.weight=1"], ["tasks.contrastve:", "did you mean contrastive?", "identity", "sdm"]),
        (["train.epochs=many"], ["train.epochs:", "many"]),
        (["train.epochs"], ["train.epochs:", "key=value"]),
        (["--config", "pretrain/clip", "tasks.contrastive=null"], ["pretrain/clip", "every task is off"]),
        (["model.image_size=[130,64]"], ["model.image_size=[130, 64]", "patch 16", "[128, 64] or [144, 64]"]),
        (["tasks.contrastive.positives=all"], ["tasks.contrastive.positives=all", "instance, identity"]),
        (["train.track=[carrier_pigeon]"], ["train.track", "carrier_pigeon"]),
        (["--config", "pretrain/peple"], ["--config pretrain/peple", "did you mean pretrain/people?"]),
        (["--confg", "pretrain/people"], ["--confg", "--help"]),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else None,
)
def test_a_recipe_that_cannot_be(photo_folder, tmp_path, mistake, changes, culprits):
    mistake(stage(photo_folder, tmp_path / "run", *changes), *culprits)
    assert not (tmp_path / "run").exists()


def test_a_command_that_is_none(mistake):
    mistake(["retrain"], "retrain", "pretrain")
    mistake(["recipes", "train.epochs=1"], "recipes", "train.epochs=1")
    mistake(["evaluate", "tiny"], "DATA")


# the model


def save_weights(folder: Path, config: Any, file: str) -> Path:
    config.save_pretrained(folder)
    torch.save({"weight": torch.zeros(2)}, folder / file)
    return folder


@pytest.mark.parametrize("command", ["evaluate", "pretrain"])
def test_a_model_that_is_none(photo_folder, tmp_path, monkeypatch, mistake, command):
    monkeypatch.chdir(tmp_path)
    save_weights(Path("bert"), BertConfig(architectures=["BertModel"]), "pytorch_model.bin")
    save_weights(Path("pickled"), CLIPConfig(), "pytorch_model.bin")
    Path("empty").mkdir()
    Path("weights.pt").write_bytes(b"weights")
    for model, culprits in (
        ("bert", ["BertModel", "only CLIP"]),
        ("pickled", ["pytorch_model.bin", "safetensors"]),
        ("empty", ["config.json"]),
        ("weights.pt", ["a file", "folder"]),
        ("no/where/at/all", ["no such folder"]),
        ("nobody/nothing", ["no such folder", "Hub"]),
    ):
        if command == "evaluate":
            mistake(["evaluate", model, str(photo_folder)], model, *culprits)
        else:
            mistake(stage(photo_folder, tmp_path / "run", f"model.source={model}"), model, *culprits)
            assert not (tmp_path / "run").exists()


def test_a_run_that_has_no_model_yet(photo_folder, tmp_path, mistake):
    (tmp_path / "config.yaml").write_text("tasks: {}\n")
    mistake(["evaluate", str(tmp_path), str(photo_folder)], tmp_path, "finished run")


def test_people_where_they_cannot_go(photo_folder, tmp_path, mistake):
    before = contents(photo_folder)
    mistake(["people", str(photo_folder), "--persons", "2"], photo_folder, "not empty")
    assert contents(photo_folder) == before
    (tmp_path / "file").write_text("mine")
    mistake(["people", str(tmp_path / "file" / "set"), "--persons", "2"], tmp_path / "file" / "set")
    mistake(["people", str(tmp_path / "set"), "--persons", "1"], "persons=1")
    mistake(["people", str(tmp_path / "set"), "--persons", "two"], "--persons", "two")
    assert not (tmp_path / "set").exists()


def test_debug_shows_where_a_mistake_was_found(tmp_path, capsys):
    assert main(["evaluate", "tiny", str(tmp_path / "nowhere"), "--debug"]) == 2
    first, *_, last = capsys.readouterr().err.splitlines()
    assert first.startswith("Traceback")
    assert last.startswith("huecry: ")


@pytest.mark.slow
def test_a_process_of_its_own(photo_folder, tmp_path):
    """What the tests above try within this process, once as a user meets it."""
    command = [sys.executable, "-m", "huecry.cli", *stage(photo_folder, tmp_path / "run", "train.epoch=1")]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHONWARNINGS": "default"})
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("huecry: train.epoch: no such key")
    assert "Traceback" not in done.stderr
