"""Every recipe in configs/ says how to run it, builds, and trains a step."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from huecry.config import CONFIGS, load_recipe, recipe_names
from huecry.pretrain.relabel import relabelling
from huecry.tasks import TASKS
from huecry.training.stage import run_stage

DEFAULTS = ("pretrain/people", "finetune/people")
EVERY = [name if name in DEFAULTS else pytest.param(name, marks=pytest.mark.slow) for name in recipe_names()]


@pytest.mark.parametrize("name", EVERY)
def test_it_trains_a_step(name: str, photo_folder: Path, tmp_path: Path) -> None:
    """On drawn photographs, with the tiny towers, without mixed precision; labels are made before it, where asked."""
    recipe = load_recipe(
        name,
        [
            f"data.source={photo_folder}",
            "data.workers=0",
            "model.source=tiny",
            "model.image_size=null",
            "train.mixed_precision=no",
            "train.batch_size=8",
            "train.max_steps=1",
            *("relabel.start=0", "relabel.k1=4", "relabel.k2=2", "relabel.min_samples=2"),
            f"run.dir={tmp_path / 'run'}",
        ],
        TASKS,
    )
    assert recipe.tasks
    results = run_stage(recipe, TASKS, relabelling(recipe))
    assert results.keys() == {"test", "val"}
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert any(recipe.tasks.keys() <= line.keys() for line in lines)
    assert any("labels" in line for line in lines) == (recipe.data.labels == "pseudo")


@pytest.mark.parametrize("path", sorted(CONFIGS.rglob("*.yaml")), ids=lambda path: path.stem)
def test_its_first_comment_is_its_command(path: Path) -> None:
    first = path.read_text().splitlines()[0]
    assert first.startswith("# accelerate launch ")
    if path.parent.name == "accelerate":
        assert f"configs/accelerate/{path.name}" in first
        return
    stage = path.parent.name
    assert first.startswith(f"# accelerate launch {stage}/run.py --config {stage}/{path.stem}")


@pytest.mark.parametrize("path", sorted((CONFIGS / "accelerate").glob("*.yaml")), ids=lambda path: path.stem)
def test_launcher_settings_are_accepted_by_accelerate(path: Path) -> None:
    from accelerate.commands.config.config_args import load_config_from_file

    settings: Any = load_config_from_file(str(path))
    assert settings.mixed_precision == yaml.safe_load(path.read_text())["mixed_precision"]
