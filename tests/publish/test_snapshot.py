"""A run's snapshot, put together to be pushed: what it holds, and what it does not tell."""

from __future__ import annotations

import shutil

import pytest
import yaml
from huggingface_hub import ModelCard
from small_runs import contents

from huecry.publish.formats import CARD
from huecry.publish.snapshot import public_recipe, write_snapshot


def test_a_folder_like_that_of_a_run(finished_run, photo_folder, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(finished_run, run)
    shutil.copytree(run / "checkpoints" / "step-2", run / "checkpoints" / "step-1")
    write_snapshot(run, run / "out", "group/name")
    before, after = contents(finished_run), contents(run / "out")
    assert after.keys() == before.keys() - {"timing.jsonl"} | {CARD}
    assert {name: after[name] for name in before if name in after and name != "config.yaml"} == {
        name: content for name, content in before.items() if name not in ("config.yaml", "timing.jsonl")
    }
    config = yaml.safe_load(after["config.yaml"])
    assert (config["data"]["source"], config["run"]["dir"]) == (photo_folder.name, None)
    text = after[CARD].decode()
    assert "as it stood after 2 optimiser steps" in " ".join(text.split())
    assert "huecry pretrain --config pretrain/people model.source=hf:group/name data.source=PATH/TO/DATA" in text
    assert "hf download group/name --local-dir runs/resumed" in text
    assert ModelCard(text).data.tags[-1] == "training-snapshot"
    with (run / "metrics.jsonl").open("a") as file:  # the run goes on: what was put together stays as it was
        file.write("{}\n")
    assert contents(run / "out") == after


@pytest.mark.parametrize(
    ("source", "public"),
    [
        ("tiny", "tiny"),
        ("group/clip", "group/clip"),
        ("open_clip:ViT-B-16/laion2b", "open_clip:ViT-B-16/laion2b"),
        ("here/clip", "hf:group/name"),
        ("open_clip:ViT-B-16/here/clip", "hf:group/name"),
    ],
)
def test_a_recipe_without_paths(source, public, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("here/clip", "tiny"):
        (tmp_path / name).mkdir(parents=True)
    data = {"source": [str(tmp_path / "here"), "hf:group/set"], "exclude": str(tmp_path / "list.jsonl"), "workers": 2}
    recipe = {"model": {"source": source, "mean": None}, "data": data, "run": {"dir": "runs/x", "seed": 3}}
    assert public_recipe(recipe, "group/name") == {
        "model": {"source": public, "mean": None},
        "data": {"source": ["here", "hf:group/set"], "exclude": "list.jsonl", "workers": 2},
        "run": {"dir": None, "seed": 3},
    }
