"""What a run's folder tells of its model."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml
from small_runs import SMALL

from huecry.errors import UserError
from huecry.training.runs import recipes_of, run_of, selected_on


@pytest.fixture
def run(finished_run: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(finished_run, tmp_path / "run"))


def test_a_run_by_its_folder_and_by_its_model(run):
    (snapshot,) = (run / "checkpoints").iterdir()
    assert run_of(str(run)) == run_of(str(run / "model")) == run
    assert [run_of(str(other)) for other in (snapshot, snapshot / "model", run.parent, "tiny")] == [None] * 4
    assert (selected_on(str(run)), selected_on(str(run / "model")), selected_on("tiny")) == ("val", "val", None)
    (run / "results.json").write_text("{}")  # of a set with a training split alone
    assert selected_on(str(run)) is None
    (run / "results.json").unlink()
    assert selected_on(str(run)) is None


def test_the_recipes_of_all_stages(run, tmp_path, monkeypatch):
    later = tmp_path / "later"
    shutil.copytree(run, later)
    recipe = yaml.safe_load((later / "config.yaml").read_text())
    recipe["model"]["source"] = "run/model"
    (later / "config.yaml").write_text(yaml.safe_dump(recipe))
    monkeypatch.chdir(tmp_path)
    last, first = recipes_of("later")
    assert (last["model"]["source"], first["model"]["source"]) == ("run/model", "tiny")
    assert first["train"]["max_steps"] == int(SMALL[1].partition("=")[2])
    recipe["model"]["source"] = "later"  # a circle ends
    (later / "config.yaml").write_text(yaml.safe_dump(recipe))
    assert len(recipes_of("later")) == 1
    assert recipes_of("tiny") == []


def test_a_run_that_was_spoilt(run):
    (run / "results.json").write_text("[]")
    with pytest.raises(UserError, match=r"results\.json: not the results"):
        selected_on(str(run))
    (run / "config.yaml").write_text("model: tiny\n")
    with pytest.raises(UserError, match=r"config\.yaml: not the recipe"):
        recipes_of(str(run))
