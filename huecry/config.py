"""The recipe: typed sections read from YAML and `key=value` arguments.

A task's stanza is checked against the `Config` of its class; the table of tasks is passed in by the stage, so that this
module knows none of them.
"""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from importlib import resources
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from huecry.data.readers import ReadOptions
from huecry.data.views import VIEWS, ViewsConfig, check_legal
from huecry.errors import UserError
from huecry.publish.repo import check_repo
from huecry.retrieval.evaluate import EvalConfig
from huecry.retrieval.kreciprocal import CONVENTIONS
from huecry.towers import ModelConfig
from huecry.training.labels import RelabelConfig
from huecry.training.optim import OptimConfig
from huecry.training.task import Task, TaskConfig

CONFIGS = Path(str(resources.files("huecry.configs")))


@dataclass
class DataConfig(ReadOptions):
    """Where samples come from and in which order; the reading options are those of `ReadOptions`.

    source: a folder, `hf:org/name`, `people`, or a list of them.
    sampler: `random`, or `identity` with `instances` rows of a person side by side.
    labels: `given` person ids; `pair`, which treats every photograph as a person of its own; or `pseudo`, clusters
    that are made anew before an epoch, see `RelabelConfig`.
    labelled: share of the training persons kept for training, chosen by `run.seed`; the others are left out.
    exclude: a list of photographs and captions that training leaves out, and evaluation reports without too; weights:
    one of how likely they take part in an epoch; see `huecry.data.pair_lists`. exclude_sha256, weights_sha256: what the
    lists must be; filled in by a run.
    on_bad_image: `error`, or `skip` to go on without a photograph that cannot be decoded.
    workers: data-loading processes of each training process.
    """

    source: Any = "people"
    sampler: str = "random"
    instances: int = 4
    labels: str = "given"
    labelled: float = 1.0
    exclude: str | None = None
    exclude_sha256: str | None = None
    weights: str | None = None
    weights_sha256: str | None = None
    on_bad_image: str = "error"
    workers: int = 1


@dataclass
class TrainConfig:
    """The loop.

    max_steps: an end before that of the epochs, in optimiser steps.
    batch_size: samples a forward over all processes, which is also how many pairs a contrastive loss compares.
    accumulate: forwards an optimiser step; they weigh the same and do not widen the comparison.
    save_every: optimiser steps between snapshots within an epoch; one is always taken at its end.
    keep: how many snapshots stay.
    log_every: optimiser steps a line of metrics.
    gradients_every: optimiser steps between lines with each task's pull at the towers, null for none.
    mixed_precision: no | bf16 | fp16, null for the launcher's.
    compile: torch.compile of the tower blocks.
    cpu_threads: null shares the cores among the local processes.
    resume: go on from the newest snapshot.
    track: trackers by accelerate's names, for example [tensorboard].
    push_to_hub: `org/name` on the Hub that the model is pushed to in the end, as `huecry push` does, and every
    `push_every` epochs, if val has chosen one by then. The run goes on where that fails.
    """

    epochs: int = 1
    max_steps: int | None = None
    batch_size: int = 64
    accumulate: int = 1
    save_every: int | None = None
    keep: int = 1
    log_every: int = 10
    gradients_every: int | None = None
    mixed_precision: str | None = None
    compile: bool = False
    cpu_threads: int | None = None
    resume: bool = False
    track: list[str] = field(default_factory=list)
    push_to_hub: str | None = None
    push_every: int | None = None


@dataclass
class RunConfig:
    """dir: the run folder, null for runs/<recipe>. seed: of weights, order and augmentation."""

    dir: str | None = None
    seed: int = 0


@dataclass
class Recipe:
    """Everything a run depends on. tasks: name -> that task's own Config."""

    name: str
    model: ModelConfig
    data: DataConfig
    views: ViewsConfig
    relabel: RelabelConfig
    optim: OptimConfig
    train: TrainConfig
    eval: EvalConfig
    run: RunConfig
    tasks: dict[str, TaskConfig]

    @property
    def folder(self) -> Path:
        """The run folder."""
        return Path(self.run.dir or f"runs/{self.name}").expanduser()

    def to_yaml(self) -> str:
        """The resolved recipe; reading it again gives an equal one."""
        sections = {section.name: getattr(self, section.name) for section in dataclasses.fields(self)}
        del sections["name"]
        tasks = {name: OmegaConf.structured(config) for name, config in sections.pop("tasks").items()}
        return OmegaConf.to_yaml(OmegaConf.create({**sections, "tasks": tasks}))


SECTIONS: dict[str, type] = {
    "model": ModelConfig,
    "data": DataConfig,
    "views": ViewsConfig,
    "relabel": RelabelConfig,
    "optim": OptimConfig,
    "train": TrainConfig,
    "eval": EvalConfig,
    "run": RunConfig,
}
CHOICES: dict[str, tuple[Any, ...]] = {
    "data.sampler": ("random", "identity"),
    "data.labels": ("given", "pair", "pseudo"),
    "relabel.source": ("image", "text", "both"),
    "relabel.convention": CONVENTIONS,
    "data.on_bad_image": ("error", "skip"),
    "optim.schedule": ("cosine", "trapezoid", "steps", "constant"),
    "optim.momentum_schedule": ("constant", "cosine"),
    "train.mixed_precision": (None, "no", "bf16", "fp16"),
    "eval.select_on": ("val", "test"),
    "eval.metric": ("R1", "R5", "R10", "mAP", "mINP"),
    "eval.ap": ("step", "trapezoid"),
}
_COUNTS: tuple[str, ...] = (
    "data.instances",
    "train.epochs",
    "train.max_steps",
    "train.batch_size",
    "train.accumulate",
    "train.keep",
)
_COUNTS += (
    "train.save_every",
    "train.log_every",
    "train.gradients_every",
    "train.cpu_threads",
    "train.push_every",
    "eval.every",
    "eval.batch_size",
    *("eval.rerank.rvn.k", "eval.rerank.kreciprocal.k1", "eval.rerank.kreciprocal.k2"),
    *(f"relabel.{name}" for name in ("every", "min_samples", "k1", "k2")),
)
_POSITIVE = ("data.workers", "optim.lr", "optim.head_lr_scale", "optim.muon", "optim.weight_decay", "optim.eps")
_SHARES = (
    *("optim.warmup", "optim.final", "optim.momentum", "optim.freeze.image", "optim.freeze.text"),
    *("views.text_aug.mask_p", "views.text_aug.delete_p", "views.text_masked", "views.text_swapped"),
)
_PICTURES = ("rgb", "rgb2", "strong")
_PICTURE_SHARES = (
    *("flip", "crop", "erase", "erase_area", "jitter", "brightness", "contrast", "saturation", "grayscale", "blur"),
)
RANGES: dict[str, tuple[float, float]] = {
    **dict.fromkeys(_COUNTS, (1, math.inf)),
    **dict.fromkeys(_POSITIVE, (0, math.inf)),
    **dict.fromkeys((*_SHARES, *(f"views.{view}.{name}" for view in _PICTURES for name in _PICTURE_SHARES)), (0, 1)),
    **dict.fromkeys((f"views.{view}.{name}" for view in _PICTURES for name in ("pad", "hue")), (0, 0.5)),
    "eval.rerank.rvn.alpha": (0, math.inf),
    "eval.rerank.kreciprocal.keep": (0, 1),
    "optim.clip": (1e-9, math.inf),
    "optim.layer_decay": (1e-9, 1),
    "data.labelled": (1e-9, 1),
    "relabel.start": (0, math.inf),
    "relabel.eps": (0.02, 0.97),
    "run.seed": (0, 2**32 - 1),
}
"""Least and greatest value of a number; null, where a key takes it, is always in range."""


def recipe_names() -> list[str]:
    """Names of the recipes that come with the library: paths under configs/ without the ending."""
    return sorted(
        str(path.relative_to(CONFIGS).with_suffix(""))
        for stage in ("pretrain", "finetune")
        for path in (CONFIGS / stage).rglob("*.yaml")
    )


def recipe_path(name: str) -> Path:
    """The file of a recipe given by name or path. Raises UserError for one that does not exist."""
    for path in (CONFIGS / f"{name}.yaml", Path(name)):
        if path.is_file():
            return path
    known = recipe_names()
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
    raise UserError(f"--config {name}: neither a recipe nor a file; {hint}")


def load_recipe(config: str, overrides: Sequence[str], table: Mapping[str, type[Task]]) -> Recipe:
    """Read a recipe by name or path, apply `key=value` arguments and check the whole.

    Raises UserError, naming the key, for one that is unknown, of a wrong type, out of range or at odds with another.
    """
    path = recipe_path(config).resolve()
    name = str(path.relative_to(CONFIGS).with_suffix("")) if path.is_relative_to(CONFIGS) else path.stem
    recipe = build_recipe(name, read_yaml(path), overrides, table)
    if not recipe.tasks:
        raise UserError(f"--config {config}: every task is off; switch one on, for example tasks.contrastive.weight=1")
    return recipe


def read_yaml(path: Path) -> DictConfig:
    """The sections of a YAML file. Raises UserError where it holds anything else."""
    try:
        loaded = OmegaConf.load(path)
    except (YAMLError, OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not readable as YAML ({' '.join(str(error).split())}); correct it") from None
    if not isinstance(loaded, DictConfig):
        raise UserError(f"{path}: not a mapping of sections; see {CONFIGS / 'pretrain' / 'people.yaml'}")
    return loaded


def build_recipe(
    name: str, values: Mapping[str, Any], overrides: Sequence[str], table: Mapping[str, type[Task]]
) -> Recipe:
    """The checked recipe of nested values and `key=value` arguments. Raises UserError as `load_recipe` does."""
    try:
        merged = OmegaConf.merge(OmegaConf.create(dict(values)), *map(_change, overrides))
        plain: Any = OmegaConf.to_container(merged, resolve=True)
    except (OmegaConfBaseException, TypeError) as error:
        raise UserError(f"{name} {' '.join(overrides)}: {_first_line(error)}") from None
    stanzas = plain.pop("tasks", None)
    stanzas = {} if stanzas is None else stanzas
    if not isinstance(stanzas, dict):
        raise UserError(f"tasks={stanzas}: expected names and stanzas, for example tasks.contrastive.weight=1")
    _known("", plain, [*SECTIONS, "tasks"])
    if isinstance(train := plain.get("train"), dict) and train.get("mixed_precision") is False:
        train["mixed_precision"] = "no"  # what YAML makes of a bare no
    given = {key: {} if plain.get(key) is None else plain[key] for key in SECTIONS}
    sections = {key: _section(key, schema, given[key]) for key, schema in SECTIONS.items()}
    classes = {task: find_task(task, table) for task, stanza in stanzas.items() if stanza is not None}
    tasks = {task: _section(f"tasks.{task}", cls.Config, stanzas[task]) for task, cls in classes.items()}
    recipe = Recipe(name=name, tasks=tasks, **sections)
    _check_values(recipe)
    for task, cls in classes.items():
        cls.check(task, tasks[task])
        for view in cls.reads(tasks[task]) - VIEWS.keys():
            raise UserError(f"tasks.{task}: no view is called {view}; known: {', '.join(VIEWS)}")
    check_legal(recipe.views, {task: (cls.use, cls.reads(tasks[task])) for task, cls in classes.items()})
    return recipe


_OUTSIDE = re.compile(r"[^\W\d]\w*(\.\w+)*:\w+")
"""The name of a task from outside: package.module:Class."""


def find_task(name: str, table: Mapping[str, type[Task]]) -> type[Task]:
    """The class of a task: from the table, or from outside as `package.module:Class`.

    Raises UserError listing the known tasks.
    """
    if name in table:
        return table[name]
    if _OUTSIDE.fullmatch(name):
        module, _, attribute = name.partition(":")
        try:
            found = getattr(importlib.import_module(module), attribute, None)
        except ImportError as error:
            raise UserError(f"tasks.{name}: cannot be imported ({_first_line(error)})") from None
        if isinstance(found, type) and issubclass(found, Task):
            return found
        raise UserError(f"tasks.{name}: not a subclass of huecry.training.task.Task")
    near = difflib.get_close_matches(name, table, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    raise UserError(f"tasks.{name}: no such task; {hint}known: {', '.join(sorted(table))}, or package.module:Class")


def _change(argument: str) -> DictConfig:
    """One `key=value` argument as nested values; the dots in the name of a task from outside do not nest."""
    key, equals, value = argument.partition("=")
    if not equals or not key:
        raise UserError(f"{argument}: not of the form key=value, for example train.epochs=3")
    outside = _OUTSIDE.match(key, len("tasks.")) if key.startswith("tasks.") else None
    if outside:
        key = f"tasks[{outside.group()}]{key[outside.end() :]}"
    try:
        return OmegaConf.from_dotlist([f"{key}={value}"])
    except (OmegaConfBaseException, YAMLError, ValueError, IndexError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{argument}: not readable as key=value ({reason}); quote what YAML would misread") from None


def _section(key: str, schema: type, values: Any) -> Any:
    _check_keys(key, schema, values)
    try:
        return OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(schema), values))
    except OmegaConfBaseException as error:
        place = getattr(error, "full_key", None)
        raise UserError(f"{key}.{place}: {_first_line(error)}" if place else f"{key}: {_first_line(error)}") from None


def _names(schema: type) -> list[str]:
    return [entry.name for entry in dataclasses.fields(schema)]


def _check_keys(key: str, schema: type, values: Any) -> None:
    if not isinstance(values, dict):
        raise UserError(f"{key}={values}: expected keys and values, for example {key}.{_names(schema)[0]}=...")
    _known(f"{key}.", values, _names(schema))
    for entry in dataclasses.fields(schema):
        default = entry.default_factory() if callable(entry.default_factory) else None
        if entry.name in values and dataclasses.is_dataclass(default):
            _check_keys(f"{key}.{entry.name}", type(default), values[entry.name])


def _known(prefix: str, values: dict[str, Any], names: Sequence[str]) -> None:
    for name in values:
        if name not in names:
            near = difflib.get_close_matches(str(name), names, n=1)
            hint = f"did you mean {prefix}{near[0]}?" if near else f"known: {', '.join(names)}"
            raise UserError(f"{prefix}{name}: no such key; {hint}")


def _check_values(recipe: Recipe) -> None:
    for key, value in _values(recipe, CHOICES):
        if value not in CHOICES[key]:
            names = ", ".join("null" if choice is None else str(choice) for choice in CHOICES[key])
            raise UserError(f"{key}={value}: choose one of {names}")
    for key, value in _values(recipe, RANGES):
        low, high = RANGES[key]
        if value is not None and not low <= value <= high:
            raise UserError(
                f"{key}={value}: must be " + (f"at least {low}" if high == math.inf else f"{low} to {high}")
            )
    betas, milestones, source = recipe.optim.betas, recipe.optim.milestones, recipe.data.source
    if len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
        raise UserError(f"optim.betas={betas}: give two numbers from 0 to below 1, as in [0.9, 0.98]")
    if not all(0 <= share <= 1 for share in milestones):
        raise UserError(f"optim.milestones={milestones}: give shares of all steps, 0 to 1, as in [0.5, 0.875]")
    if recipe.optim.freeze.image == recipe.optim.freeze.text == 1:
        raise UserError("optim.freeze: both towers whole, so that nothing is left to learn; lower image or text")
    if not all(isinstance(one, (str, Path)) for one in (source if isinstance(source, list) else [source])):
        raise UserError(f"data.source={source}: give a folder, hf:org/name, people, or a list of them")
    if recipe.train.push_to_hub is not None:
        check_repo(recipe.train.push_to_hub, "train.push_to_hub")
    elif recipe.train.push_every is not None:
        raise UserError(f"train.push_every={recipe.train.push_every}: name the repository, train.push_to_hub=org/name")
    if recipe.data.sampler == "identity" and recipe.data.labels == "pair":
        raise UserError("data.sampler=identity: needs persons, but data.labels=pair has none; set data.sampler=random")


def _values(recipe: Recipe, keys: Iterable[str]) -> Iterator[tuple[str, Any]]:
    for key in keys:
        yield key, reduce(getattr, key.split("."), recipe)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
