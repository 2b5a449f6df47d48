"""The loop: resuming is exact, accumulation weighs the same, the selection is stamped."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from small_runs import kill_again_and_again

from huecry.api import finetune
from huecry.config import build_recipe
from huecry.data.order import identity_order
from huecry.errors import UserError
from huecry.tasks import TASKS
from huecry.training.bundle import Bundle
from huecry.training.signals import Stopped
from huecry.training.snapshot import load_snapshot, save_snapshot
from huecry.training.stage import run_stage
from huecry.training.trainer import EpochContext

BASE: dict[str, Any] = {
    "data": {"workers": 0, "sampler": "identity", "instances": 2},
    "tasks": {"contrastive": {}, "identity": {}},
    "optim": {"lr": 1e-3, "muon": 2.0},
    "train": {"batch_size": 8, "epochs": 3, "log_every": 3, "save_every": 2, "cpu_threads": 1, "keep": 2},
    "views": {"rgb": {"erase": 0.5, "brightness": 0.2}},
}


def recipe(photos: Path, folder: Path, *overrides: str) -> Any:
    values = {**BASE, "data": {**BASE["data"], "source": str(photos)}, "run": {"dir": str(folder)}}
    return build_recipe("resume", values, overrides, TASKS)


def outcome(folder: Path) -> tuple[str, dict[str, torch.Tensor], dict[str, torch.Tensor], Any]:
    """Metrics, final weights of bundle and model, results."""
    snapshot = load_snapshot(folder / "checkpoints")
    assert snapshot is not None
    model = load_file(folder / "model" / "model.safetensors")
    return (folder / "metrics.jsonl").read_text(), snapshot[0], model, json.loads((folder / "results.json").read_text())


def assert_equal(first: Any, second: Any) -> None:
    assert first[0] == second[0]
    for one, two in zip(first[1:3], second[1:3], strict=True):
        assert one.keys() == two.keys()
        assert all(torch.equal(one[key], two[key]) for key in one)
    assert first[3] == second[3]


@pytest.fixture(scope="module")
def photos(make_photos: Any) -> Path:
    return make_photos(persons=10, photos=2, captions=2)


@pytest.fixture(scope="module")
def undisturbed(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "undisturbed"
    run_stage(recipe(photos, folder), TASKS)
    return folder


def test_a_run_leaves_what_the_user_expects(undisturbed: Path) -> None:
    lines = [json.loads(line) for line in (undisturbed / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "loss" in line] == [3, 6, 9, 12, 15]
    assert [line["step"] for line in lines if "val" in line] == [5, 10, 15]
    assert {"contrastive", "identity", "grad_norm", "lr", "scale", "epoch"} <= lines[0].keys()
    assert not any("second" in key or "time" in key for line in lines for key in line)
    results = json.loads((undisturbed / "results.json").read_text())
    assert results["test"]["selected_on"] == "val"
    best = max(line["val"]["mAP"] for line in lines if "val" in line)
    assert results["val"]["mAP"] == pytest.approx(best, abs=1e-6)
    assert sorted(path.name for path in (undisturbed / "checkpoints").iterdir()) == ["step-14", "step-15"]


@pytest.mark.parametrize(
    ("number", "moment"),
    [
        (signal.SIGTERM, 5),
        (signal.SIGINT, 11),
        *(
            pytest.param(*one, marks=pytest.mark.slow)
            for one in [(signal.SIGTERM, 2), (signal.SIGTERM, 11), (signal.SIGINT, 2), (signal.SIGINT, 5)]
        ),
    ],
)
def test_stopped_by_a_signal_and_resumed(
    number: int, moment: int, photos: Path, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Bundle.after_step

    def after_step(self: Any, step: int, momentum: float) -> None:
        original(self, step, momentum)
        if step == moment:
            os.kill(os.getpid(), number)

    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(Bundle, "after_step", after_step)
        with pytest.raises(Stopped) as stopped:
            run_stage(recipe(photos, folder), TASKS)
    assert stopped.value.status == 128 + number
    snapshot = load_snapshot(folder / "checkpoints")
    assert snapshot is not None
    assert snapshot[2]["step"] == moment
    run_stage(recipe(photos, folder, "train.resume=true"), TASKS)
    assert_equal(outcome(undisturbed), outcome(folder))


def test_a_snapshot_cut_short_is_passed_over(photos: Path, undisturbed: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(undisturbed, folder)
    (folder / "results.json").unlink()
    weights = folder / "checkpoints" / "step-15" / "bundle.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    (folder / "checkpoints" / ".step-99.part").mkdir()
    with pytest.warns(UserWarning, match="step-15: passed over"):
        run_stage(recipe(photos, folder, "train.resume=true"), TASKS)
    assert_equal(outcome(undisturbed), outcome(folder))


def test_a_damaged_snapshot_does_not_outlive_the_next_one(tiny_bundle: Any, tmp_path: Path) -> None:
    """It has the greatest step; were it counted as the newest, the new one would be removed in its stead."""
    bundle = tiny_bundle({"contrastive": {}})
    for step in (10, 15):
        save_snapshot(tmp_path, step, bundle, {}, {}, keep=1)
    (tmp_path / "step-15" / "optimizer.pt").write_bytes(b"")
    save_snapshot(tmp_path, 12, bundle, {}, {}, keep=1)
    assert [path.name for path in tmp_path.iterdir()] == ["step-12"]
    found = load_snapshot(tmp_path)
    assert found is not None
    assert found[2]["step"] == 12


def test_resume_without_a_snapshot_starts_over(photos: Path, undisturbed: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(undisturbed, folder)
    (folder / "results.json").unlink()
    shutil.rmtree(folder / "checkpoints")
    run_stage(recipe(photos, folder, "train.resume=true"), TASKS)
    assert_equal(outcome(undisturbed), outcome(folder))


def test_a_finished_run_is_left_alone(photos: Path, undisturbed: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in undisturbed.rglob("*") if path.is_file()}
    run_stage(recipe(photos, undisturbed, "train.resume=true"), TASKS)
    assert before == {path: path.stat().st_mtime_ns for path in undisturbed.rglob("*") if path.is_file()}


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_the_number_of_workers_changes_nothing(workers: int, photos: Path, undisturbed: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    run_stage(recipe(photos, folder, f"data.workers={workers}"), TASKS)
    assert_equal(outcome(undisturbed), outcome(folder))


def test_other_data_under_the_same_name_is_refused(make_photos: Any, tmp_path: Path) -> None:
    photos = make_photos(persons=10, photos=2, captions=2)
    folder = tmp_path / "run"
    run_stage(recipe(photos, folder, "train.epochs=1"), TASKS)
    (folder / "results.json").unlink()
    lines = (photos / "metadata.jsonl").read_text().replace("coat", "jacket")
    (photos / "metadata.jsonl").write_text(lines)
    with pytest.raises(UserError, match="other training data"):
        run_stage(recipe(photos, folder, "train.epochs=1", "train.resume=true"), TASKS)


def test_accumulated_micro_batches_weigh_the_same(photos: Path, tmp_path: Path) -> None:
    """For a loss that is a mean over samples, two halves are the whole."""
    weights, norms = [], []
    for name, batch, accumulate in (("whole", 8, 1), ("halves", 4, 2)):
        folder = tmp_path / name
        settings = (f"train.batch_size={batch}", f"train.accumulate={accumulate}", "train.max_steps=2")
        settings += ("optim.clip=null", "train.log_every=1", "optim.lr=1e-4", "optim.muon=null")
        run_stage(recipe(photos, folder, *settings, "tasks.contrastive=null"), TASKS)
        weights.append(outcome(folder)[1])
        lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        norms.append([line["grad_norm"] for line in lines if "grad_norm" in line])
    assert norms[0] == pytest.approx(norms[1], rel=1e-3)
    assert min(norms[0]) > 0
    for key, value in weights[0].items():
        assert torch.allclose(value.float(), weights[1][key].float(), atol=1e-5), key


def test_the_hook_runs_before_each_epoch_and_its_labels_order_the_batches(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def hook(context: EpochContext) -> None:
        features = context.extract()
        assert features.images.shape == (20, 128)
        assert features.texts.shape == (40, 128)
        seen.append((context.epoch, context.step, int(context.generator.integers(1 << 30))))
        context.labels.publish(torch.arange(20) // 4, (torch.arange(40) // 8))

    def forward(self: Any, batch: Any, mode: str = "train") -> Any:
        if mode == "train":
            rows.append(batch.row)
        return original(self, batch, mode)

    rows: list[torch.Tensor] = []
    original = Bundle.forward
    monkeypatch.setattr(Bundle, "forward", forward)
    folder = tmp_path / "run"
    run_stage(recipe(photos, folder), TASKS, before_epoch=hook)
    published = (torch.arange(20) // 4)[torch.arange(40) // 2].numpy()
    expected = [identity_order(published, 2, 0, epoch) for epoch in range(3)]
    assert torch.cat(rows).tolist() == np.concatenate(expected).tolist()
    assert [entry[:2] for entry in seen] == [(0, 0), (1, 5), (2, 10)]
    assert len({entry[2] for entry in seen}) == 3
    snapshot = load_snapshot(folder / "checkpoints")
    assert snapshot is not None
    assert torch.equal(snapshot[0]["labels.image"], torch.arange(20) // 4)


def test_without_a_selection_split_the_last_model_is_kept(make_photos: Any, tmp_path: Path) -> None:
    photos = make_photos(persons=10, photos=2, captions=2)
    kept = [line for line in (photos / "metadata.jsonl").read_text().splitlines() if '"val"' not in line]
    (photos / "metadata.jsonl").write_text("\n".join(kept) + "\n")
    results = run_stage(recipe(photos, tmp_path / "run"), TASKS)
    assert results.keys() == {"test"}
    assert results["test"]["selected_on"] is None


def test_selection_on_test_is_stamped(photos: Path, tmp_path: Path) -> None:
    results = run_stage(recipe(photos, tmp_path / "run", "eval.select_on=test", "train.epochs=1"), TASKS)
    assert {entry["selected_on"] for entry in results.values()} == {"test"}


def test_python_face_returns_the_results(photos: Path, tmp_path: Path) -> None:
    shown = finetune(
        "finetune/people", f"data.source={photos}", "model.source=tiny", f"run.dir={tmp_path / 'run'}",
        "train.batch_size=8", "train.max_steps=1",
    )  # fmt: skip
    assert shown == json.loads((tmp_path / "run" / "results.json").read_text())


@pytest.mark.slow
@pytest.mark.parametrize("delay", [0.0, 0.4, 0.9, 1.5])
def test_killed_at_any_moment_and_resumed(delay: float, photos: Path, undisturbed: Path, tmp_path: Path) -> None:
    """SIGKILL a process at some time after its first snapshot began, again and again, until it finishes."""
    folder = tmp_path / "run"
    code = (
        "import sys, json; from huecry.config import build_recipe; from huecry.tasks import TASKS;"
        "from huecry.training.stage import run_stage;"
        "run_stage(build_recipe('resume', json.loads(sys.argv[1]), sys.argv[2:], TASKS), TASKS)"
    )
    values = {**BASE, "data": {**BASE["data"], "source": str(photos)}, "run": {"dir": str(folder)}}
    command = [sys.executable, "-c", code, json.dumps(values), "train.resume=true"]
    status, kills = kill_again_and_again(command, folder, delay)
    assert status == 0
    assert kills > 0
    assert_equal(outcome(undisturbed), outcome(folder))


@pytest.mark.slow
def test_a_signal_to_the_whole_group_leaves_the_data_worker_alive(photos: Path, tmp_path: Path) -> None:
    """As a terminal, a batch system or a launcher sends it: to the training process and its data workers."""
    folder = tmp_path / "run"
    command = [sys.executable, "-m", "huecry.cli", "finetune", f"data.source={photos}", "model.source=tiny"]
    command += [f"run.dir={folder}", "train.batch_size=8", "train.epochs=1000", "data.workers=1", "train.log_every=1"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True)
    while process.poll() is None and not _newest(folder):
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 143, errors.decode()
    assert load_snapshot(folder / "checkpoints") is not None


@pytest.mark.slow
def test_a_script_that_a_signal_stops_ends_and_its_data_worker_with_it(photos: Path, tmp_path: Path) -> None:
    """The exception that nobody catches keeps the frames of the training loop, and the worker leaves signals alone."""
    folder = tmp_path / "run"
    code = "import sys; from huecry import api; api.finetune('finetune/people', *sys.argv[1:])"
    command = [sys.executable, "-c", code, f"data.source={photos}", "model.source=tiny", f"run.dir={folder}"]
    command += ["train.batch_size=8", "train.epochs=1000", "data.workers=1"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    while process.poll() is None and not _newest(folder):
        time.sleep(0.05)
    process.terminate()
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert errors.decode().splitlines()[-1].endswith("Stopped: SIGTERM")


def _newest(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "checkpoints").glob("*"))
