"""Mistakes that meet a run: its folder, the disk, photographs met late, losses that break; nothing written is lost."""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_runs import contents, rewrite, stage

from huecry.cli import main
from huecry.config import load_recipe
from huecry.tasks import TASKS
from huecry.training.command import exit_status
from huecry.training.snapshot import load_snapshot, write_folder
from huecry.training.stage import run_stage

# the run folder


def test_a_run_folder_is_not_written_over(photo_folder, finished_run, mistake):
    before = contents(finished_run)
    mistake(stage(photo_folder, finished_run), finished_run, "train.resume=true", "run.dir")
    assert contents(finished_run) == before


def test_a_snapshot_of_another_recipe(photo_folder, finished_run, mistake):
    before = contents(finished_run)
    line = mistake(stage(photo_folder, finished_run, "train.resume=true", "optim.lr=0.5"), finished_run)
    assert "had optim.lr=0.001, this recipe has optim.lr=0.5" in line
    line = mistake(stage(photo_folder, finished_run, "train.resume=true", "tasks.sdm.weight=2"), finished_run)
    assert "tasks.sdm=None" in line
    assert contents(finished_run) == before


def test_a_snapshot_of_other_data(make_photos, photo_folder, tmp_path, mistake):
    folder, run = make_photos(), tmp_path / "run"
    assert main(stage(folder, run)) == 0
    (run / "results.json").unlink()
    rewrite(folder, lambda rows: rows[0]["captions"].reverse())
    before = contents(run)
    mistake(stage(folder, run, "train.resume=true"), run, "data.source")
    assert {**contents(run), "config.yaml": b""} == {**before, "config.yaml": b""}  # there only train.resume differs
    rewrite(folder, lambda rows: rows[0]["captions"].reverse())
    assert main(stage(folder, run, "train.resume=true")) == 0
    assert contents(run)["metrics.jsonl"] == before["metrics.jsonl"]


@pytest.mark.parametrize(
    ("kind", "reason"), [("file", "not a folder"), ("full", "not empty"), ("under a file", "cannot be written")]
)
def test_a_run_folder_that_cannot_be_one(photo_folder, tmp_path, mistake, kind, reason):
    run = tmp_path / "run"
    if kind == "full":
        run.mkdir()
    (run / "notes.txt" if kind == "full" else run).write_text("mine")
    taken = run / "deeper" if kind == "under a file" else run
    mistake(stage(photo_folder, taken), taken, reason)
    assert (run / "notes.txt" if kind == "full" else run).read_text() == "mine"


def test_a_recipe_of_a_run_that_was_spoilt(photo_folder, tmp_path, mistake):
    run = tmp_path / "run"
    (run / "checkpoints" / "step-2").mkdir(parents=True)
    (run / "config.yaml").write_text("train: [\n")
    mistake(stage(photo_folder, run, "train.resume=true"), run / "config.yaml", "not readable as YAML")


# the disk


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Let the system refuse to write files beyond a size, as a full disk or a quota would."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("size", [1_000_000, 40_000_000])
def test_a_disk_that_is_full_at_the_first_save(photo_folder, tmp_path, mistake, size):
    """A limit between the sizes of the weights and of the optimiser's state meets the other library's writer."""
    run = tmp_path / "run"
    with largest_file(size):
        mistake(stage(photo_folder, run), run, "cannot be written", "train.resume=true")
    assert not [path for path in run.rglob("*") if path.name.startswith(".")]
    assert load_snapshot(run / "checkpoints") is None
    assert main(stage(photo_folder, run, "train.resume=true")) == 0


def test_a_disk_that_fills_later_loses_nothing(photo_folder, tmp_path, capsys):
    run = tmp_path / "run"
    changes = [argument for argument in stage(photo_folder, run)[1:] if not argument.startswith("train.max_steps")]
    recipe = load_recipe("pretrain/people", [*changes, "train.epochs=2"], TASKS)
    undisturbed = load_recipe("pretrain/people", [*changes, "train.epochs=2", f"run.dir={tmp_path / 'other'}"], TASKS)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill_the_disk(context: Any) -> None:
        if context.epoch == 1:
            resource.setrlimit(resource.RLIMIT_FSIZE, (40_000_000, hard))

    try:
        assert exit_status(lambda: run_stage(recipe, TASKS, fill_the_disk), False) == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1
    assert str(run / "checkpoints" / "step-4") in error
    snapshot = load_snapshot(run / "checkpoints")
    assert snapshot is not None
    assert snapshot[2]["step"] == 2
    recipe.train.resume = True
    assert run_stage(recipe, TASKS) == run_stage(undisturbed, TASKS)


def test_a_file_in_the_place_of_the_snapshots(photo_folder, tmp_path, mistake):
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.yaml").write_text("")
    (run / "checkpoints").write_text("mine")
    mistake(stage(photo_folder, run, "train.resume=true"), run / "checkpoints", "cannot be written")
    assert (run / "checkpoints").read_text() == "mine"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_figures_for_a_disk_that_is_full(photo_folder, finished_run, tmp_path, mistake):
    (tmp_path / "figures.json").symlink_to("/dev/full")
    arguments = ["evaluate", str(finished_run), str(photo_folder), "--json", str(tmp_path / "figures.json")]
    mistake(arguments, tmp_path / "figures.json", "No space left on device")
    assert Path("/dev/full").is_char_device()


@pytest.mark.parametrize("split", ["val", "test"])
def test_a_photograph_that_evaluation_cannot_read(make_photos, finished_run, tmp_path, mistake, split):
    """It costs no training: what was trained is saved, and the run goes on once the photograph is mended."""
    folder, run = make_photos(), tmp_path / "run"
    path = folder / split / "1_1.png"
    content = path.read_bytes()
    path.write_bytes(content[:100])
    mistake(stage(folder, run), f"{split}/1_1.png")
    snapshot = load_snapshot(run / "checkpoints")
    assert snapshot is not None
    assert snapshot[2]["step"] == 2
    path.write_bytes(content)
    assert main(stage(folder, run, "train.resume=true")) == 0
    for file in ("metrics.jsonl", "results.json", "model/model.safetensors"):
        assert (run / file).read_bytes() == (finished_run / file).read_bytes()


# while training


def test_a_loss_that_is_not_finite(photo_folder, tmp_path, mistake):
    run = tmp_path / "run"
    changes = ("optim.lr=1e30", "train.max_steps=6", "train.log_every=1", "optim.warmup=0.0")
    mistake(stage(photo_folder, run, *changes), run, "not finite by step ", "optim.lr=1e+30", "mixed_precision")
    assert not (run / "model").exists()
    assert load_snapshot(run / "checkpoints") is None
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert all(np.isfinite(line["loss"]) for line in lines)


POISON = """
import torch
from huecry.training.task import Task


class Poison(Task):
    views = frozenset({"rgb"})

    def __init__(self, config, facts):
        super().__init__(config, facts)
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, encode, batch):
        self.seen += 1
        loss = encode("rgb").pooled.float().square().mean()
        return torch.where(self.seen == LAST, float("nan"), 1.0) * loss, {}


class Fault(Poison):
    def forward(self, encode, batch):
        return 1 / 0, {}
"""


@pytest.fixture
def poison(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "poisonous.py").write_text(POISON)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "poisonous", raising=False)
    return "poisonous:Poison"


@pytest.mark.parametrize("step", [3, 4])
def test_a_snapshot_from_before_the_loss_broke_stays(photo_folder, tmp_path, mistake, poison, step):
    """In the middle and at the end of an epoch. No line is due at that step but a snapshot: it must not be written."""
    run = tmp_path / "run"
    (tmp_path / "poisonous.py").write_text(POISON.replace("LAST", str(step)))
    changes = ("train.save_every=1", "train.epochs=4", "train.max_steps=7", "train.log_every=100", "train.keep=9")
    tasks = ("tasks.contrastive=null", f"tasks.{poison}.weight=0.5")
    mistake(stage(photo_folder, run, *changes, *tasks), run, f"loss is not finite by step {step}")
    snapshot = load_snapshot(run / "checkpoints")
    assert snapshot is not None
    assert snapshot[2]["step"] == step - 1
    assert all(tensor.isfinite().all() for tensor in snapshot[0].values())


def test_a_fault_of_the_program_keeps_its_traceback(photo_folder, tmp_path, poison):
    fault = poison.replace("Poison", "Fault")
    with pytest.raises(ZeroDivisionError) as caught:
        main(stage(photo_folder, tmp_path / "run", "tasks.contrastive=null", f"tasks.{fault}.weight=1"))
    assert Path(caught.traceback[-1].path).name == "poisonous.py"


def test_a_fault_while_writing_is_not_taken_for_a_full_disk(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights").write_text("mine")

    def fill(folder: Path) -> None:
        (folder / "weights").write_text("half")
        raise RuntimeError("a fault")

    with pytest.raises(RuntimeError, match="a fault"):
        write_folder(tmp_path / "model", fill)
    assert contents(tmp_path) == {"model/weights": b"mine"}
