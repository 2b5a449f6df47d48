"""`huecry probe` and the probe at the end of a pretraining, from a run to its page."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from pages import Checked
from PIL import Image
from safetensors.torch import load_file, save_file
from small_runs import contents, rewrite, stage
from torch import distributed

from huecry import api
from huecry.cli import main
from huecry.config import load_recipe
from huecry.pretrain import probes
from huecry.pretrain.page import FILES, SECTIONS
from huecry.pretrain.probe_model import load_probed
from huecry.processes import alone, world
from huecry.tasks import TASKS
from huecry.towers import ModelConfig

NESTED = {"confusion", "left_out"}
KNOWN = {line.key for section in SECTIONS for line in section.lines}
PLAIN = "data.workers=0"


@pytest.fixture
def copied(colour_run, tmp_path) -> Path:
    """A copy of the run that a test may spoil."""
    return Path(shutil.copytree(colour_run, tmp_path / "copy"))


def checked_folder(folder: Path) -> dict:
    """The figures in a folder, after a look at everything that stands beside them."""
    found = json.loads((folder / "probe.json").read_text())
    parsed = Checked((folder / "index.html").read_text())
    pictures = {path.name for path in folder.glob("*.png")}
    assert {image["src"] for image in parsed.images} == pictures
    assert {path.name for path in folder.iterdir()} == pictures | {"probe.json", "index.html"}
    for name in pictures:
        with Image.open(folder / name) as picture:
            picture.load()
    for key, value in found.items():
        assert key in KNOWN | NESTED | {"split", "step", "rows"}, key
        assert isinstance(value, (dict, int, float, str, type(None)))
    assert str(folder.parent) not in (folder / "probe.json").read_text() + (folder / "index.html").read_text()
    return found


def test_a_pretraining_that_taught_colour_ends_with_a_probe(colour_run, photo_folder, tmp_path):
    found = checked_folder(colour_run / "probe")
    assert {path.name for path in (colour_run / "probe").iterdir()} == FILES
    assert (found["split"], found["step"], found["rows"], found["left_out"]) == ("val", 2, 8, {})
    assert found["queries"] == found["painted"] == found["swaps"] == 8
    assert 0 <= found["counterfactual_accuracy"] <= 1
    assert found["visual_gain"] == pytest.approx(found["macro_accuracy"] - found["blind_macro_accuracy"])
    assert found["text_gain"] == pytest.approx(found["delta_e76_shuffled"] - found["delta_e76"])
    assert sum(map(sum, found["confusion"]["counts"])) == found["spans"]
    for number, model in enumerate((colour_run, colour_run / "checkpoints" / "step-2")):
        again = api.probe(str(model), str(photo_folder), PLAIN, out=str(tmp_path / str(number)))
        assert again == checked_folder(tmp_path / str(number))
        assert again.keys() == found.keys()
        for key in found.keys() - NESTED - {"split"}:
            assert again[key] == pytest.approx(found[key], abs=1e-3), key


def test_towers_alone_are_asked_what_they_can_answer(photo_folder, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["probe", "tiny", str(photo_folder), "--out", str(out), "--split", "test", PLAIN]) == 0
    printed = capsys.readouterr().out
    found = checked_folder(out)
    assert (found["split"], found["step"], found["rows"]) == ("test", None, 0)
    assert found["left_out"].keys() == {"colour_words", "colourise"}
    for name, why in found["left_out"].items():
        assert f"left out: {name}: {why}" in printed.splitlines()
        assert f"{name}: {why}" in Checked((out / "index.html").read_text()).text
    assert "accuracy" not in found
    assert "swap_preferred" in found
    assert f"page: {out / 'index.html'}" in printed
    assert f"{found['R1']:.2f} %" in printed
    assert len(printed.splitlines()) < 20


def test_the_selected_model_of_a_run_has_no_heads(colour_run, photo_folder, tmp_path):
    found = api.probe(str(colour_run / "model"), str(photo_folder), PLAIN, out=str(tmp_path / "out"))
    assert "give the run folder" in found["left_out"]["colourise"]


def test_a_run_without_colour_is_not_probed(finished_run, photo_folder, tmp_path):
    assert not (finished_run / "probe").exists()
    found = api.probe(str(finished_run), str(photo_folder), PLAIN, out=str(tmp_path / "out"))
    assert found["step"] == 2
    assert set(found["left_out"].values()) == {"the run did not train it"}


def test_a_former_probe_is_replaced(colour_run, photo_folder, tmp_path):
    first = api.probe(str(colour_run), str(photo_folder), PLAIN, out=str(tmp_path))
    assert first["step"] == 2
    api.probe("tiny", str(photo_folder), PLAIN, out=str(tmp_path))
    assert checked_folder(tmp_path)["step"] is None
    assert [path.name for path in tmp_path.parent.iterdir() if tmp_path.name in path.name] == [tmp_path.name]


def test_captions_without_colour_are_said(make_photos, colour_run, tmp_path):
    folder = make_photos()
    rewrite(folder, lambda rows: [row.update(captions=["Somebody stands before a wall."]) for row in rows])
    found = api.probe(str(colour_run), str(folder), PLAIN, out=str(tmp_path / "out"))
    assert found["left_out"].keys() == {"colour_words", "colourise", "colour swap"}
    assert found["R1"] == found["R1_colourless_queries"]
    checked_folder(tmp_path / "out")


# the end of a pretraining


def test_a_probe_is_made_once(copied, photo_folder, tmp_path):
    (copied / "probe" / "probe.json").write_text("{}")
    before = contents(copied)
    recipe = load_recipe(str(copied / "config.yaml"), [f"run.dir={copied}"], TASKS)
    probes.probe_run(recipe)
    assert contents(copied) == before


def test_only_the_main_process_probes(copied, monkeypatch):
    shutil.rmtree(copied / "probe")
    monkeypatch.setattr(probes, "PartialState", lambda: SimpleNamespace(is_main_process=False))
    probes.probe_run(load_recipe(str(copied / "config.yaml"), [f"run.dir={copied}"], TASKS))
    assert not (copied / "probe").exists()


def test_the_main_process_waits_for_nobody(monkeypatch):
    monkeypatch.setattr(distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(distributed, "get_rank", lambda: 1)
    monkeypatch.setattr(distributed, "get_world_size", lambda: 2)
    assert world() == (1, 2)
    with alone(), alone():
        assert world() == (0, 1)
    assert world() == (1, 2)


def test_a_run_stands_without_its_probe(copied, capsys):
    shutil.rmtree(copied / "probe")
    (copied / "probe").write_text("a file")
    probes.probe_run(load_recipe(str(copied / "config.yaml"), [f"run.dir={copied}"], TASKS))
    assert "no probe: " in capsys.readouterr().out


@pytest.mark.parametrize("split", ["val", "test"])
def test_a_set_without_val_is_not_probed(split, make_photos, tmp_path):
    folder = make_photos()
    rewrite(folder, lambda rows: [row.update(split="train") for row in rows if row["split"] == split])
    changes = ("tasks.colour_words.weight=1", "tasks.contrastive=null")
    assert main(stage(folder, tmp_path / "run", *changes)) == 0
    assert (tmp_path / "run" / "probe").exists() == (split != "val")


# mistakes


def test_mistakes_of_the_command_line(photo_folder, tmp_path, mistake):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "index.html").write_text("my own page")
    (tmp_path / "file").write_text("")
    command = ["probe", "tiny", str(photo_folder), "--out"]
    mistake([*command, str(tmp_path / "out"), "--split", "dev"], "--split dev", "train, val, test")
    mistake([*command, str(tmp_path / "mine")], tmp_path / "mine", "not empty")
    mistake([*command, str(tmp_path / "file")], tmp_path / "file", "not a folder")
    mistake([*command, str(tmp_path / "out"), "tasks.colourise.weight=1"], "tasks.colourise")
    mistake(["probe", "tiny", str(tmp_path / "no"), "--out", str(tmp_path / "out")], "no")
    mistake(["probe", str(tmp_path / "no"), str(photo_folder), "--out", str(tmp_path / "out")], "no")
    mistake(command[:-1], "--out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "mine"]
    assert (tmp_path / "mine" / "index.html").read_text() == "my own page"


def cut(run: Path) -> None:
    weights = run / "checkpoints" / "step-2" / "bundle.safetensors"
    weights.write_bytes(weights.read_bytes()[:-7])


def spoil(run: Path) -> None:
    weights = run / "checkpoints" / "step-2" / "bundle.safetensors"
    weights.write_bytes(b"\xff" * weights.stat().st_size)


def refit(run: Path) -> None:
    path = run / "config.yaml"
    path.write_text(path.read_text().replace("blocks: 2", "blocks: 1"))


def rename(run: Path) -> None:
    weights = run / "checkpoints" / "step-2" / "bundle.safetensors"
    tensors = load_file(weights)
    tensors["tasks.colourise.decoder.head.steps.xweight"] = tensors.pop("tasks.colourise.decoder.head.steps.6.weight")
    save_file(tensors, weights)
    state = weights.parent / "state.json"
    content = json.loads(state.read_text())
    content["files"]["bundle.safetensors"] = weights.stat().st_size
    state.write_text(json.dumps(content))


def misspell(run: Path) -> None:
    path = run / "config.yaml"
    path.write_text(path.read_text().replace("neighbours:", "neigbours:"))


@pytest.mark.parametrize(
    ("damage", "culprit"),
    [
        (cut, "step-2"),
        (spoil, "bundle.safetensors"),
        (refit, "bundle.safetensors"),
        (rename, "bundle.safetensors"),
        (misspell, "config.yaml"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*passed over")
def test_a_snapshot_that_cannot_be_asked(damage, culprit, copied, photo_folder, tmp_path, mistake):
    damage(copied)
    for model in (copied, copied / "checkpoints" / "step-2"):
        mistake(["probe", str(model), str(photo_folder), "--out", str(tmp_path / "out")], copied, culprit)
    assert not (tmp_path / "out").exists()


def test_optimiser_states_are_never_opened(copied, monkeypatch):
    state = copied / "checkpoints" / "step-2" / "optimizer.pt"
    state.write_bytes(b"\xff" * state.stat().st_size)
    monkeypatch.setattr(torch, "load", None)
    assert load_probed(ModelConfig(str(copied))).heads.keys() == {"colour_words", "colourise"}


def test_a_failure_leaves_no_half_page(photo_folder, tmp_path, monkeypatch):
    def fail(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr(probes, "page", fail)
    assert main(["probe", "tiny", str(photo_folder), "--out", str(tmp_path / "out"), PLAIN]) == 2
    assert list(tmp_path.iterdir()) == []


def test_a_snapshot_away_from_its_run(copied, photo_folder, tmp_path):
    moved = tmp_path / "elsewhere" / "checkpoints"
    shutil.copytree(copied / "checkpoints", moved)
    found = load_probed(ModelConfig(str(moved / "step-2")))
    assert found.step == 2
    assert not found.heads
    assert "config.yaml" in found.left_out["colour_words"]
