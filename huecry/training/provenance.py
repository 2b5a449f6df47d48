"""How a run came about, beside its recipe: `provenance.json`, for the card of the model it makes.

It holds no path of this machine, and tells of the runs before this one, which need not be there any more.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from huecry.config import Recipe, read_yaml
from huecry.data.records import PhotoSet
from huecry.errors import UserError
from huecry.files import write_file
from huecry.training.runs import run_of

PROVENANCE = "provenance.json"
LIBRARIES = ("huecry", "torch", "transformers")


@dataclass(frozen=True)
class Stage:
    """One run. recipe, commit, version (of huecry): None where they are not known.

    data: names of its sets; sizes: a line a split. objectives: {name: weight}. samples: of an optimiser step. steps:
    done so far. chosen: that of the selected model, None where none was selected.
    """

    recipe: str | None
    data: list[str]
    sizes: list[str]
    objectives: dict[str, float]
    samples: int
    steps: int
    chosen: int | None
    commit: str | None
    version: str | None


def write_provenance(recipe: Recipe, splits: dict[str, PhotoSet]) -> None:
    """Write into the run folder: the recipe's name, data and their sizes, versions, commit, origin and runs before.

    Raises UserError when the disk refuses, or where the run that this one begins from cannot be read.
    """
    source = recipe.data.source
    run = run_of(recipe.model.source)
    content = {
        "recipe": recipe.name,
        "data": data_names(source),
        "sizes": [photos.summary() for photos in splits.values()],
        "versions": {name: version(name) for name in LIBRARIES},
        "commit": commit(Path(__file__).parents[2]),
        "origin": origin(recipe.model.source) if run is None else origin_of(run),
        "before": [] if run is None else [asdict(stage) for stage in stages_of(run)],
    }
    write_file(recipe.folder / PROVENANCE, json.dumps(content, indent=1) + "\n")


def stages_of(run: Path) -> list[Stage]:
    """The runs that made a run's model, the first one first. Raises UserError for a file that cannot be read."""
    known = _known(run)
    config: Any = OmegaConf.to_container(read_yaml(run / "config.yaml"))
    train, data, tasks = (config.get(section) or {} for section in ("train", "data", "tasks"))
    source = data.get("source", "people")
    chosen = best(run, config.get("eval") or {})
    stage = Stage(
        recipe=known.get("recipe"),
        data=known.get("data") or data_names(source),
        sizes=known.get("sizes", []),
        objectives={name: float(task.get("weight", 1.0)) for name, task in tasks.items() if task},
        samples=int(train.get("batch_size", 1)) * int(train.get("accumulate", 1)),
        steps=max((line["step"] for line in _lines(run)), default=0),
        chosen=None if chosen is None else chosen["step"],
        commit=known.get("commit"),
        version=known.get("versions", {}).get("huecry"),
    )
    try:
        return [*(Stage(**one) for one in known.get("before", [])), stage]
    except TypeError as error:
        raise UserError(f"{run / PROVENANCE}: of another version of huecry ({error}); remove the file") from error


def origin_of(run: Path) -> dict[str, str | None]:
    """What the first of the runs that made a run's model began from, see `origin`."""
    return _known(run).get("origin", {"began": "weights that are not known", "base": None})


def origin(source: str) -> dict[str, str | None]:
    """What a model that no run made is. began: as a card says it; base: its name on the Hub, if it is there."""
    if source == "tiny":
        return {"began": "random weights", "base": None}
    if source.startswith("open_clip:"):
        arch, _, rest = source.removeprefix("open_clip:").partition("/")
        return {"began": f"the weights of open_clip's `{arch}`, `{Path(rest).name}`", "base": None}
    if Path(source).expanduser().exists():
        return {"began": f"the weights in a folder `{data_name(source)}`", "base": None}
    name = source.removeprefix("hf:")
    return {"began": f"the weights of [{name}](https://huggingface.co/{name})", "base": name}


def best(run: Path, evaluation: dict[str, Any]) -> dict[str, Any] | None:
    """The line of a run's metrics with the evaluation that chose its model; None where there was none.

    evaluation: the section `eval` of its recipe.
    """
    split, metric = evaluation.get("select_on", "val"), evaluation.get("metric", "mAP")
    return max((line for line in _lines(run) if split in line), key=lambda line: line[split][metric], default=None)


def commit(root: Path) -> str | None:
    """The commit that a checkout stands at, with `-dirty` where files differ from it; None outside a checkout."""
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None


def data_names(source: Any) -> list[str]:
    """The names outside this machine of what `data.source` lists."""
    return [data_name(str(one)) for one in (source if isinstance(source, list) else [source])]


def data_name(source: str) -> str:
    """What a data set may be called outside this machine: of a path its last part."""
    named = source == "people" or source.startswith("hf:")
    return source if named else os.path.basename(os.path.realpath(os.path.expanduser(source)))


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a run's file. Raises UserError where it is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path}: not JSON ({error}); mend or remove the file") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: not a JSON object; mend or remove the file")
    return content


def _known(run: Path) -> dict[str, Any]:
    return read_object(run / PROVENANCE) if (run / PROVENANCE).is_file() else {}


def _lines(run: Path) -> Iterator[dict[str, Any]]:
    path = run / "metrics.jsonl"
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        try:
            yield json.loads(line)
        except ValueError:
            return  # a line cut short ends what is known
