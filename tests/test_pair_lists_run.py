"""Exclusion and weight lists in a run: what is trained on, what is reported, and that a list cannot change unseen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file
from small_runs import rewrite, stage

from huecry import api
from huecry.cli import main
from huecry.data.loader import TrainingRows

pytestmark = pytest.mark.slow


def write(path: Path, *lines: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def weights_of(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "model" / "model.safetensors")


@pytest.fixture
def seen(monkeypatch) -> list[tuple[int, str]]:
    """(epoch, caption) of every row that training renders in this process."""
    rendered: list[tuple[int, str]] = []
    plain = TrainingRows._render

    def render(self: TrainingRows, epoch: int, row: int) -> dict[str, Any]:
        rendered.append((epoch, self.photos.caption(row)))
        return plain(self, epoch, row)

    monkeypatch.setattr(TrainingRows, "_render", render)
    return rendered


def test_what_is_excluded_is_never_trained_on_and_what_weighs_nothing_neither(photo_folder, tmp_path, seen, capsys):
    exclude = write(tmp_path / "exclude.jsonl", {"file": "train/0_0.png"}, {"file": "train/1_0.png", "caption": 1})
    weights = write(
        tmp_path / "weights.jsonl", {"file": "train/2_0.png", "weight": 0}, {"file": "train/3_0.png", "weight": 0.5}
    )
    lines = (photo_folder / "metadata.jsonl").read_text().splitlines()
    rows = {row["file_name"]: row for row in map(json.loads, lines)}
    said_of = {name: row["captions"] for name, row in rows.items()}
    gone = {*said_of["train/0_0.png"], said_of["train/1_0.png"][1], *said_of["train/2_0.png"]}
    changes = [f"data.exclude={exclude}", f"data.weights={weights}", "train.max_steps=null", "train.epochs=5"]
    assert main(stage(photo_folder, tmp_path / "run", *changes, "train.batch_size=11")) == 0
    said = [caption for _, caption in seen]
    assert len(said) == 5 * 11  # 16 rows less 5: every epoch keeps that length
    every = {caption for row in rows.values() if row["split"] == "train" for caption in row["captions"]}
    assert set(said) == every - gone
    for light in rows["train/3_0.png"]["captions"]:
        epochs = {epoch for epoch, caption in seen if caption == light}
        assert 0 < len(epochs) < 5
    printed = capsys.readouterr().out
    assert f"data.exclude={exclude}" in printed
    assert "train: 6 photographs, 4 persons, 11 captions" in printed
    assert "2 captions weigh less than 1" in printed


def test_workers_do_not_change_what_is_trained_and_weights_do(photo_folder, tmp_path):
    weights = write(tmp_path / "weights.jsonl", *({"file": f"train/{n}_1.png", "weight": 0.4} for n in range(4)))
    changes = [f"data.weights={weights}", "train.max_steps=3", "train.epochs=3"]
    assert main(stage(photo_folder, tmp_path / "a", *changes)) == 0
    assert main(stage(photo_folder, tmp_path / "b", *changes, "data.workers=2")) == 0
    first = weights_of(tmp_path / "a")
    for name, tensor in weights_of(tmp_path / "b").items():
        assert torch.equal(tensor, first[name]), name
    assert main(stage(photo_folder, tmp_path / "plain", *changes[1:])) == 0
    assert any(not torch.equal(tensor, first[name]) for name, tensor in weights_of(tmp_path / "plain").items())


def test_results_report_all_and_clean_as_evaluation_does(photo_folder, tmp_path, capsys):
    exclude = write(tmp_path / "exclude.jsonl", {"file": "test/0_0.png", "caption": 0}, {"file": "train/0_0.png"})
    run = tmp_path / "run"
    assert main(stage(photo_folder, run, f"data.exclude={exclude}")) == 0
    assert "test: clean, without 1 captions and 0 photographs: R1 " in capsys.readouterr().out
    results = json.loads((run / "results.json").read_text())
    assert (results["test"]["queries"], results["test"]["clean"]["queries"]) == (8, 7)
    assert (results["val"]["queries"], results["val"]["clean"]["queries"]) == (8, 8)
    assert api.evaluate(str(run), str(photo_folder), f"data.exclude={exclude}") == results["test"]
    assert "clean, without 1 captions and 0 photographs: R1 " in capsys.readouterr().out
    plain = api.evaluate(str(run), str(photo_folder))
    strata = results["test"].pop("strata")
    assert [strata.pop(name)["queries"] for name in ("flagged", "not_flagged")] == [1, 7]
    assert plain.pop("strata") == strata
    assert plain == {key: value for key, value in results["test"].items() if key != "clean"}


def test_a_run_holds_the_digest_and_does_not_go_on_with_another_list(photo_folder, tmp_path, mistake):
    exclude = write(tmp_path / "exclude.jsonl", {"file": "train/0_0.png"})
    run = tmp_path / "run"
    command = stage(photo_folder, run, f"data.exclude={exclude}", "train.resume=true")
    assert main(command) == 0
    recipe = yaml.safe_load((run / "config.yaml").read_text())["data"]
    digest = recipe["exclude_sha256"]
    assert (len(digest), recipe["weights_sha256"]) == (64, None)
    moved = write(tmp_path / "moved.jsonl", {"file": "train/0_0.png"})
    assert main(stage(photo_folder, run, f"data.exclude={moved}", "train.resume=true")) == 0  # finished, the same list
    before = (run / "config.yaml").read_bytes()
    write(exclude, {"file": "train/0_0.png"}, {"file": "train/1_0.png"})
    mistake(command, run, "data.exclude", digest[:12], "give that list back")
    mistake(stage(photo_folder, run, "train.resume=true"), run, "data.exclude", digest[:12])
    assert (run / "config.yaml").read_bytes() == before
    again = ["pretrain", "--config", str(run / "config.yaml"), f"run.dir={tmp_path / 'other'}", "train.resume=false"]
    mistake(again, "data.exclude_sha256", digest[:12], "give back the list")
    assert not (tmp_path / "other").exists()


def test_mistakes_in_a_list(photo_folder, tmp_path, mistake):
    run = tmp_path / "run"
    wrong = write(tmp_path / "wrong.jsonl", {"file": "train/0_0.png"}, {"file": "train/9_9.png"})
    mistake(stage(photo_folder, run, f"data.exclude={wrong}"), wrong, "line 2", "train/9_9.png")
    mistake(stage(photo_folder, run, f"data.weights={wrong}"), wrong, "line 1", "weight")
    mistake(stage(photo_folder, run, "data.exclude=nowhere"), "data.exclude=nowhere")
    test = write(tmp_path / "test.jsonl", *({"file": f"test/{p}_{n}.png"} for p in range(2) for n in range(2)))
    mistake(stage(photo_folder, run, f"data.exclude={test}"), test, "split test")
    mistake(["evaluate", "tiny", str(photo_folder), f"data.exclude={wrong}"], wrong, "train/9_9.png")
    mistake(["evaluate", "tiny", str(photo_folder), f"data.exclude={test}"], test, "split test")
    everything = write(tmp_path / "all.jsonl", *({"file": f"train/{p}_{n}.png"} for p in range(4) for n in range(2)))
    mistake(stage(photo_folder, run, f"data.exclude={everything}"), "no training photograph has a caption")
    assert not run.exists()


def test_an_undecodable_photograph_may_be_excluded(make_photos, tmp_path):
    data = make_photos()
    (data / "train" / "0_0.png").write_bytes(b"not a picture")
    rewrite(data, lambda rows: rows[0].update(captions=[]))  # it would still be in the gallery of pseudo labels
    exclude = write(tmp_path / "exclude.jsonl", {"file": "train/0_0.png"})
    assert main(stage(data, tmp_path / "run", f"data.exclude={exclude}")) == 0


def test_a_dry_run_says_what_is_left(photo_folder, tmp_path, capsys):
    exclude = write(tmp_path / "exclude.jsonl", {"file": "train/0_0.png"})
    assert main([*stage(photo_folder, tmp_path / "run", f"data.exclude={exclude}"), "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert "left for training: train: 7 photographs, 4 persons, 14 captions" in printed
    assert not (tmp_path / "run").exists()
