"""A run's newest snapshot as a folder to push: whoever downloads it has a run to resume, or to begin another from.

The layout is that of a run: `config.yaml`, `checkpoints/step-<n>/`, `model/` where one is chosen, and its records.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from huecry.config import read_yaml
from huecry.errors import UserError
from huecry.files import write_folder
from huecry.publish.card import write_snapshot_card
from huecry.publish.formats import CARD
from huecry.publish.story import story_of
from huecry.training.provenance import PROVENANCE, data_name
from huecry.training.snapshot import newest_snapshot

SNAPSHOT = "export-checkpoint"
"""The folder in a run with its snapshot as it is pushed."""
RECORDS = ("metrics.jsonl", "results.json", PROVENANCE)


def write_snapshot(run: Path, target: Path, repo: str) -> None:
    """Put the newest whole snapshot of a run together, for a repository; what lies at `target` is replaced.

    Weights are linked, not copied, where the disk can do that. Raises UserError for a run without a whole snapshot.
    """
    snapshot = newest_snapshot(run / "checkpoints")
    if snapshot is None:
        raise UserError(f"{run}: no whole snapshot in its checkpoints/; wait for one, or push its model")
    recipe = public_recipe(OmegaConf.to_container(read_yaml(run / "config.yaml")), repo)

    def fill(folder: Path) -> None:
        _link(snapshot, folder / "checkpoints" / snapshot.name)
        if (run / "model").is_dir():
            _link(run / "model", folder / "model")
        for name in RECORDS:
            if (run / name).is_file():
                shutil.copy(run / name, folder / name)
        (folder / "config.yaml").write_text(OmegaConf.to_yaml(OmegaConf.create(recipe)), encoding="utf-8")
        step = int(snapshot.name.removeprefix("step-"))
        (folder / CARD).write_text(write_snapshot_card(repo, story_of(str(run)), step), encoding="utf-8")

    write_folder(target, fill, "nothing was put together")


def public_recipe(recipe: Any, repo: str) -> dict[str, Any]:
    """A resolved recipe without the paths of this machine: data by their names, a local model by the repository."""
    model, data = dict(recipe.get("model") or {}), dict(recipe.get("data") or {})
    source = str(model.get("source", "tiny"))
    file = source.partition("/")[2] if source.startswith("open_clip:") else source
    if source != "tiny" and Path(file).expanduser().exists():
        model["source"] = f"hf:{repo}"
    sources = data.get("source", "people")
    data["source"] = [data_name(str(one)) for one in sources] if isinstance(sources, list) else data_name(str(sources))
    for name in ("exclude", "weights"):
        if data.get(name):
            data[name] = Path(data[name]).name
    return {**recipe, "model": model, "data": data, "run": {**(recipe.get("run") or {}), "dir": None}}


def _link(source: Path, target: Path) -> None:
    shutil.copytree(source, target, copy_function=_hard_link)


def _hard_link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another disk, or one that knows no links
        shutil.copy(source, target)
