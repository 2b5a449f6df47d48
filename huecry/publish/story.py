"""What the folders of runs tell of a model: its stages, steps, figures, and where it began."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from huecry.config import read_yaml
from huecry.errors import UserError
from huecry.training.provenance import PROVENANCE, data_name, origin
from huecry.training.runs import run_of

METRICS = ("R1", "R5", "R10", "mAP", "mINP")


@dataclass(frozen=True)
class Stage:
    """One run. config: the resolved recipe. recipe, commit, version: None where they are not known.

    data: names of its sets; sizes: a line a split. origin: what it began from, see `origin`. steps: optimiser steps
    done. chosen: that of the model, None where none was chosen.
    """

    config: dict[str, Any]
    recipe: str | None
    data: list[str]
    sizes: list[str]
    commit: str | None
    version: str | None
    origin: dict[str, str | None]
    steps: int
    chosen: int | None


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
    """Read it from the run of a model, and from the runs before that one, as far as they are here.

    Raises UserError for a file of a run that cannot be read.
    """
    last = run = run_of(model)
    if last is None:
        return Story(origin(model))
    stages: list[Stage] = []
    seen: set[Path] = set()
    while run is not None and run.resolve() not in seen:
        seen.add(run.resolve())
        stages.insert(0, _stage(run))
        run = run_of(str((stages[0].config.get("model") or {}).get("source")))
    finished = (last / "results.json").is_file()
    results = _json(last / "results.json") if finished else _so_far(last, stages[-1])
    return Story(stages[0].origin, stages, results, finished)


def _stage(run: Path) -> Stage:
    config: Any = OmegaConf.to_container(read_yaml(run / "config.yaml"))
    known = _json(run / PROVENANCE) if (run / PROVENANCE).is_file() else {}
    source = (config.get("data") or {}).get("source", "people")
    sources = source if isinstance(source, list) else [source]
    chosen = best(run, config)
    return Stage(
        config=config,
        recipe=known.get("recipe"),
        data=known.get("data") or [data_name(str(one)) for one in sources],
        sizes=known.get("sizes", []),
        commit=known.get("commit"),
        version=known.get("versions", {}).get("huecry"),
        origin=known.get("origin", {"began": "weights that are not known", "base": None}),
        steps=max((line["step"] for line in _lines(run)), default=0),
        chosen=None if chosen is None else chosen["step"],
    )


def best(run: Path, config: dict[str, Any]) -> dict[str, Any] | None:
    """The line of metrics with the evaluation that chose the model; None where there was none."""
    evaluation = config.get("eval") or {}
    split, metric = evaluation.get("select_on", "val"), evaluation.get("metric", "mAP")
    return max((line for line in _lines(run) if split in line), key=lambda line: line[split][metric], default=None)


def _so_far(run: Path, stage: Stage) -> dict[str, dict[str, Any]]:
    """The figures of a run that is not finished: those that chose its model."""
    split = (stage.config.get("eval") or {}).get("select_on", "val")
    line = best(run, stage.config)
    return {} if line is None else {split: {"split": split, **line[split], "selected_on": split}}


def _lines(run: Path) -> Iterator[dict[str, Any]]:
    path = run / "metrics.jsonl"
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        try:
            yield json.loads(line)
        except ValueError:
            return  # a line cut short ends what is known


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path}: not JSON ({error}); mend or remove the file") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: not a JSON object; mend or remove the file")
    return content
