"""What a run notes of how it came about."""

from __future__ import annotations

import json
import subprocess
from importlib.metadata import version

import pytest

from huecry.training.provenance import PROVENANCE, commit, data_name, origin


def git(folder, *arguments):
    who = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    return subprocess.run(["git", "-C", folder, *who, *arguments], check=True, capture_output=True, text=True).stdout


def test_the_commit_of_a_checkout_and_whether_files_differ(tmp_path):
    assert commit(tmp_path) is None
    git(tmp_path, "init", "-q")
    assert commit(tmp_path) is None  # nothing is committed yet
    (tmp_path / "file").write_text("one")
    git(tmp_path, "add", "file")
    git(tmp_path, "commit", "-q", "-m", "one")
    git(tmp_path, "tag", "v1")
    found = git(tmp_path, "rev-parse", "HEAD").strip()
    assert commit(tmp_path) == found
    (tmp_path / "file").write_text("two")
    assert commit(tmp_path) == f"{found}-dirty"
    (tmp_path / "site-packages").mkdir()
    assert commit(tmp_path / "site-packages") is None  # installed inside somebody's repository


def test_a_run_notes_recipe_data_and_versions(finished_run, photo_folder):
    text = (finished_run / PROVENANCE).read_text()
    found = json.loads(text)
    assert found["recipe"] == "pretrain/people"
    assert found["data"] == [photo_folder.name]
    assert found["sizes"][0] == "train: 8 photographs, 4 persons, 16 captions"
    assert found["origin"] == {"began": "random weights", "base": None}
    assert found["versions"]["huecry"] == version("huecry")
    assert str(photo_folder.parent) not in text


def test_names_for_outside(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    assert [data_name(source) for source in ("people", "hf:group/set", "photos", str(tmp_path / "photos"), ".")] == [
        *("people", "hf:group/set", "photos", "photos"),
        tmp_path.name,
    ]


@pytest.mark.parametrize(
    ("source", "began", "base"),
    [
        ("tiny", "random weights", None),
        ("group/clip", "the weights of [group/clip](https://huggingface.co/group/clip)", "group/clip"),
        ("hf:group/clip", "the weights of [group/clip](https://huggingface.co/group/clip)", "group/clip"),
        ("open_clip:ViT-B-16/laion2b", "the weights of open_clip's `ViT-B-16`, `laion2b`", None),
        ("open_clip:ViT-B-16/deep/down/file.pt", "the weights of open_clip's `ViT-B-16`, `file.pt`", None),
    ],
)
def test_where_a_model_began(source, began, base):
    assert origin(source) == {"began": began, "base": base}


def test_a_folder_is_not_taken_for_a_name_on_the_hub(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "clip").mkdir(parents=True)
    assert origin("runs/clip") == {"began": "the weights in a folder `clip`", "base": None}
