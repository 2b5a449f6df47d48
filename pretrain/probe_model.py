"""What a probe asks: towers, and the colour heads that were trained with them.

Heads live in snapshots alone, and fit the towers of the same snapshot. Of any other model the probe asks the towers,
and says which heads it missed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from huecry.config import build_recipe, read_yaml
from huecry.errors import UserError
from huecry.tasks.colour_words import ColourWords
from huecry.tasks.colourise import Colourise
from huecry.towers import Branches, ModelConfig, Towers, load_branches, load_towers
from huecry.training.snapshot import DAMAGE, newest_snapshot, read_state
from huecry.training.task import Facts, Task

HEADS: dict[str, type[Task]] = {"colour_words": ColourWords, "colourise": Colourise}
WEIGHTS, RECIPE = "bundle.safetensors", "config.yaml"


@dataclass
class Probed:
    """A model to ask. step: of its snapshot, None for towers alone. left_out: what cannot be asked, and why."""

    towers: Towers
    branches: Branches | None = None
    step: int | None = None
    heads: dict[str, Task] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    @property
    def colour_words(self) -> ColourWords | None:
        """The head that names masked colours."""
        head = self.heads.get("colour_words")
        return head if isinstance(head, ColourWords) else None

    @property
    def colourise(self) -> Colourise | None:
        """The head that colours grey pictures."""
        head = self.heads.get("colourise")
        return head if isinstance(head, Colourise) else None


def load_probed(config: ModelConfig, seed: int = 0) -> Probed:
    """The towers that `config.source` names, with the heads of the snapshot they lie in.

    A run stands for its newest whole snapshot. Raises UserError for a snapshot that is damaged or does not fit the
    recipe of its run, and for what `load_towers` refuses.
    """
    path = Path(config.source).expanduser()
    snapshot = _snapshot(path)
    source = config.source if snapshot is None else str(snapshot / "model")
    if snapshot is None:
        probed = Probed(load_towers(config, seed), load_branches(source))
        run = next((run for run in (path, path.parent) if (run / RECIPE).is_file()), None)
        why = f"no snapshot in {run.name}/checkpoints" if run == path else "towers alone"
        hint = "; give the run folder" if run is not None and run != path else ""
        probed.left_out = dict.fromkeys(HEADS, f"{why}, so no head that was trained with them{hint}")
        return probed
    try:
        step = int(read_state(snapshot)["step"])
    except DAMAGE as error:
        raise _damaged(snapshot, error) from error
    probed = Probed(load_towers(replace(config, source=source), seed), load_branches(source), step)
    recipe = snapshot.parent.parent / RECIPE
    if not recipe.is_file():
        probed.left_out = dict.fromkeys(HEADS, f"no {RECIPE} two folders up says how the head was built")
        return probed
    _add_heads(probed, snapshot / WEIGHTS, recipe)
    return probed


def _snapshot(path: Path) -> Path | None:
    """The snapshot that a path stands for: itself, or the newest whole one of a run."""
    if path.parent.name == "checkpoints" and path.is_dir():
        return path
    if not (path / RECIPE).is_file():
        return None
    found = newest_snapshot(path / "checkpoints")
    damaged = [] if found is not None else sorted((path / "checkpoints").glob("step-*"))
    if damaged:
        towers = path / "model"
        raise UserError(f"{damaged[0]}: damaged, and no other snapshot is there; give {towers} for the towers alone")
    return found


def _damaged(place: Path, error: Exception) -> UserError:
    reason = " ".join(str(error).split())[:200]
    return UserError(f"{place}: damaged ({reason}); give an older checkpoint, or the run's model/ for the towers alone")


def _add_heads(probed: Probed, weights: Path, recipe: Path) -> None:
    stanzas: Any = OmegaConf.to_container(read_yaml(recipe)).get("tasks") or {}  # type: ignore[union-attr]
    try:
        known = {name: stanza for name, stanza in dict(stanzas).items() if name in HEADS}
        configs: Mapping[str, Any] = build_recipe("probe", {"tasks": known}, (), HEADS).tasks
    except (UserError, TypeError, ValueError) as error:
        raise UserError(f"{recipe}: {error}") from error
    try:
        tensors = load_file(weights)
    except (OSError, SafetensorError) as error:
        raise _damaged(weights, error) from error
    towers = probed.towers
    facts = Facts(
        embed_dim=towers.embed_dim,
        image_width=towers.image_width,
        text_width=towers.text_width,
        grid=towers.image.grid,
        persons=0,
        images=0,
        rows=0,
    )
    for name, head in HEADS.items():
        if name not in configs:
            probed.left_out[name] = "the run did not train it"
            continue
        probed.heads[name] = head(configs[name], facts)
        _fill(probed.heads[name], name, tensors, weights, recipe)


def _fill(head: Task, name: str, tensors: dict[str, Tensor], weights: Path, recipe: Path) -> None:
    prefix = f"tasks.{name}."
    own = {key.removeprefix(prefix): tensor for key, tensor in tensors.items() if key.startswith(prefix)}
    try:
        head.load_state_dict(own)
    except RuntimeError as error:
        reason = " ".join(str(error).split(":", 1)[-1].split())[:160]
        raise UserError(
            f"{weights}: does not fit tasks.{name} in {recipe} ({reason}); give a checkpoint beside the recipe that "
            "made it, or its model/ for the towers alone"
        ) from error
