"""What the folder of a run tells of the model in it: how it was trained, and which split chose it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from huecry.config import read_yaml
from huecry.errors import UserError


def run_of(model: str) -> Path | None:
    """The run whose selected model this is, named by the run's folder or by `model/` in it; None for any other."""
    path = Path(model).expanduser()
    runs = (path, path.parent) if path.name == "model" else (path,)
    return next((run for run in runs if (run / "config.yaml").is_file() and (run / "model").is_dir()), None)


def recipes_of(model: str) -> list[dict[str, Any]]:
    """The resolved recipes that made a model, the last stage first: its run's, that of the run it started from, ...

    Empty for a model that is no run's. Raises UserError for a recipe that cannot be read.
    """
    recipes: list[dict[str, Any]] = []
    seen: set[Path] = set()
    run = run_of(model)
    while run is not None and run.resolve() not in seen:
        seen.add(run.resolve())
        recipe: Any = OmegaConf.to_container(read_yaml(run / "config.yaml"))
        if not all(isinstance(recipe.get(section), dict) for section in ("model", "data", "run")):
            raise UserError(f"{run / 'config.yaml'}: not the recipe of a run; mend or remove the file")
        recipes.append(recipe)
        run = run_of(str(recipe["model"]["source"]))
    return recipes


def selected_on(model: str) -> str | None:
    """The split that chose the model of a run; None where none did or none was evaluated, and for any other model.

    Raises UserError for results that cannot be read.
    """
    run = run_of(model)
    results = None if run is None else run / "results.json"
    if results is None or not results.is_file():
        return None
    try:
        return next((entry["selected_on"] for entry in json.loads(results.read_text()).values()), None)
    except (ValueError, AttributeError, KeyError, TypeError) as error:
        raise UserError(f"{results}: not the results of a run; mend or remove the file") from error
