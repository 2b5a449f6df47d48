"""What is known of a model: its stages, its figures, and where it began."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from huecry.config import read_yaml
from huecry.training.provenance import Stage, best, origin, origin_of, read_object, stages_of
from huecry.training.runs import run_of

METRICS = ("R1", "R5", "R10", "mAP", "mINP")


@dataclass(frozen=True)
class Story:
    """How a model came about.

    origin: of the first stage, or of the model itself, see `origin`. stages: runs, the first one first; none for a
    model that no run made. results: {split: figures}, with `selected_on`. finished: whether the last run ended.
    """

    origin: dict[str, str | None]
    stages: list[Stage] = field(default_factory=list)
    results: dict[str, dict[str, Any]] = field(default_factory=dict)
    finished: bool = True


def story_of(model: str) -> Story:
    """Read it from the run of a model. Raises UserError for a file of the run that cannot be read."""
    run = run_of(model)
    if run is None:
        return Story(origin(model))
    finished = (run / "results.json").is_file()
    results = read_object(run / "results.json") if finished else _so_far(run)
    return Story(origin_of(run), stages_of(run), results, finished)


def _so_far(run: Path) -> dict[str, dict[str, Any]]:
    """The figures of a run that is not finished: those that chose its model."""
    config: Any = OmegaConf.to_container(read_yaml(run / "config.yaml"))
    evaluation = config.get("eval") or {}
    split, line = evaluation.get("select_on", "val"), best(run, evaluation)
    return {} if line is None else {split: {"split": split, **line[split], "selected_on": split}}
