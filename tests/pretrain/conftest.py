"""A run that taught colour, and the rows that its probe reads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_runs import stage

from huecry.cli import main
from huecry.data.readers import read

COLOUR = ("tasks.colour_words.weight=1", "tasks.colourise.weight=1", "tasks.grayscale.weight=1")


@pytest.fixture(scope="session")
def colour_run(photo_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of two steps with all colour tasks; tests only read it."""
    run = tmp_path_factory.mktemp("runs") / "colour"
    assert main(stage(photo_folder, run, *COLOUR)) == 0
    return run


@pytest.fixture
def untrained(tiny_bundle: Callable[..., Any]) -> Callable[..., Any]:
    """`untrained(colour_words={...}, colourise={...})`: what a probe asks, with heads as they begin."""

    def make(**tasks: dict[str, Any]) -> Any:
        from huecry.pretrain.probe_model import Probed

        bundle = tiny_bundle(tasks).eval()
        return Probed(bundle.towers, heads=bundle.task_list)

    return make


@pytest.fixture
def val_rows(photo_folder: Path) -> Callable[..., Any]:
    """`val_rows(towers)`: the whole val split of `photo_folder` as one batch."""

    def make(towers: Any) -> Any:
        from huecry.pretrain.probe_rows import read_rows

        (rows,) = read_rows(read(photo_folder)["val"], towers, seed=0, workers=0, on_bad_image="error")
        return rows

    return make
