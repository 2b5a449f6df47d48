"""What a run notes of how it came about."""

from __future__ import annotations

import json
import subprocess
from importlib.metadata import version

import pytest

from huecry.errors import UserError
from huecry.training.provenance import PROVENANCE, Stage, commit, data_name, origin, stages_of


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


def test_the_stage_that_a_run_is(finished_run, photo_folder):
    known = json.loads((finished_run / PROVENANCE).read_text())
    assert stages_of(finished_run) == [
        Stage(
            recipe="pretrain/people",
            data=[photo_folder.name],
            sizes=known["sizes"],
            objectives={"contrastive": 1.0},
            samples=8,
            steps=2,
            chosen=2,
            commit=known["commit"],
            version=version("huecry"),
        )
    ]


def test_a_run_without_notes_and_one_with_strange_ones(tmp_path):
    (tmp_path / "config.yaml").write_text(
        "data: {source: [people, /some/where/photos]}\ntrain: {batch_size: 4, accumulate: 3}\n"
        "tasks: {sdm: {weight: 0.5}, mlm: null}\neval: {select_on: val, metric: R1}\n"
    )
    lines = [{"step": 5, "val": {"R1": 2.0}}, {"step": 10, "val": {"R1": 3.0}}, {"step": 15, "val": {"R1": 3.0}}]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"step": 2')
    (stage,) = stages_of(tmp_path)
    assert stage == Stage(None, ["people", "photos"], [], {"sdm": 0.5}, 12, 15, 10, None, None)
    (tmp_path / PROVENANCE).write_text('{"before": [{"recipes": 1}]}')
    with pytest.raises(UserError, match=PROVENANCE):
        stages_of(tmp_path)


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
