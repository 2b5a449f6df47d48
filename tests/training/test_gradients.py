"""The pull of each task at the towers, against gradients taken one by one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_runs import SMALL

from huecry.cli import main
from huecry.data.loader import TrainingLoader, TrainingRows
from huecry.data.order import BatchOrder
from huecry.data.readers import read
from huecry.data.views import Shape, ViewsConfig
from huecry.training.gradients import task_gradients


@pytest.fixture
def bundle_and_batch(photo_folder: Path, tiny_bundle: Any) -> Any:
    bundle = tiny_bundle({"contrastive": {"positives": "instance", "weight": 0.7}, "sdm": {"weight": 0.2}})
    photos = read(photo_folder)["train"]
    shape = Shape(bundle.towers.image_size, bundle.towers.context)
    rows = TrainingRows(photos, sorted(bundle.views), ViewsConfig(), shape, {}, 0, "error")
    (batch,) = TrainingLoader(rows, BatchOrder(8, 0, 1), 0, False).epoch(np.arange(8), 0, 0, 1)
    return bundle, batch


def test_norms_and_cosines(bundle_and_batch: Any) -> None:
    bundle, batch = bundle_and_batch
    found = task_gradients(bundle, batch)
    pulls = []
    for name, weight in (("contrastive", 0.7), ("sdm", 0.2)):
        bundle.zero_grad()
        (weight * bundle.task_losses(batch)[name][0]).backward()
        grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in bundle.towers.parameters()]
        pulls.append(torch.cat([grad.flatten() for grad in grads]))
        assert found[f"norm/{name}"] == pytest.approx(pulls[-1].norm().item(), rel=1e-4)
    cosine = torch.nn.functional.cosine_similarity(*pulls, dim=0).item()
    assert found["cosine/contrastive~sdm"] == pytest.approx(cosine, abs=1e-4)


def test_gradients_in_use_are_left_alone(bundle_and_batch: Any) -> None:
    bundle, batch = bundle_and_batch
    bundle(batch)[0].backward()
    before = [None if weight.grad is None else weight.grad.clone() for weight in bundle.parameters()]
    task_gradients(bundle, batch)
    for weight, grad in zip(bundle.parameters(), before, strict=True):
        assert (weight.grad is None) == (grad is None)
        assert grad is None or torch.equal(weight.grad, grad)


def test_lines_in_the_metrics_change_nothing_else(photo_folder: Path, tmp_path: Path) -> None:
    lines = {}
    for name, extra in (("with", ["train.gradients_every=1"]), ("without", [])):
        command = ["pretrain", f"data.source={photo_folder}", f"run.dir={tmp_path / name}", *SMALL, *extra]
        assert main(command) == 0
        lines[name] = [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
    pulls = [line for line in lines["with"] if "gradients" in line]
    assert pulls
    assert all("norm/contrastive" in line["gradients"] for line in pulls)
    assert [line for line in lines["with"] if "gradients" not in line] == lines["without"]
