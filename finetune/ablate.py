"""The on/off grid over pretraining tasks and seeds: what does each task add, once the towers are fine-tuned?

`huecry ablate [--config RECIPE] [--finetune RECIPE] --out DIR [--seeds 3] [--labelled 0.1 0.3] [--pretrained DIR]
[key=value ...]`

Rows: `contrastive` alone, `contrastive + <task>` for every other task of the pretraining recipe, and `all`. For each
row and seed: pretrain, fine-tune on all training persons, evaluate; in the first and the last row also fine-tune with
each share of the persons labelled, in as many more epochs, so that every fine-tuning takes the same steps. Where a task
of the recipe learns from clusters, rows without such a task pretrain on pairs. The folder:

    ablation.yaml                     both resolved recipes: another start must have the same
    runs/<row>-<seed>/...             the run folders; snapshots go once a run's result is written
    results/<row>-<share>-<seed>.json a file as each run ends; share zero_shot is the pretrained model itself
    ablation.json, table.md, ablation.png   the summary, renewed after every seed

Started again, the same command goes on where it was: a result that is there is not made again. To repeat a run, remove
its result and its run folder. With `--pretrained` the pretraining runs are those of another grid's folder, so that one
pretraining is compared on several sets.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accelerate import PartialState
from accelerate.utils import parse_flag_from_env
from omegaconf import OmegaConf

from huecry.config import Recipe, find_task, load_recipe, read_yaml
from huecry.data.readers import read
from huecry.data.records import PhotoSet
from huecry.errors import UserError
from huecry.files import write_file
from huecry.finetune.compare import PRIMARY, plot, share_name, summarise, table, without_pairs
from huecry.finetune.compare_models import evaluate_run
from huecry.finetune.run import finetune as run_finetune
from huecry.pretrain.run import pretrain as run_pretrain
from huecry.processes import PATIENCE
from huecry.retrieval.evaluate import check_captions, check_clean, in_words
from huecry.tasks import TASKS
from huecry.training.signals import Stopped
from huecry.training.stage import changed_key, pin_lists, training_photos

BASE = "contrastive"
STAGES = ("pretrain", "finetune")
GIVEN_OTHERWISE = {"run.dir": "--out", "run.seed": "--seeds", "data.labelled": "--labelled"}
SETTINGS = (
    *("model.source", "model.image_size", "data.source", "data.persons", "data.labels", "data.labelled", "optim.lr"),
    *("train.epochs", "train.max_steps", "train.batch_size", "train.accumulate", "tasks"),
)
"""Keys of the run's recipe that its result repeats."""


@dataclass(frozen=True)
class Row:
    """A row of the grid: the pretraining tasks that are on."""

    name: str
    tasks: tuple[str, ...]

    @property
    def stem(self) -> str:
        """The name as part of a file name."""
        return re.sub(r"[^\w.+-]", "-", self.name.replace(" ", ""))


@dataclass(frozen=True)
class Run:
    """A cell of the grid. labelled: share of the persons that fine-tuning sees, 0 for the pretrained model itself."""

    row: Row
    seed: int
    labelled: float

    @property
    def share(self) -> str:
        """The share as part of a file name."""
        return f"{self.labelled:g}" if self.labelled else "zero_shot"

    def __str__(self) -> str:
        return f"{self.row.name}, seed {self.seed}, {share_name(self.labelled)}"


@dataclass(frozen=True)
class Grid:
    """What is to be run, checked.

    pretrained: the folder whose `runs` hold the pretraining. changes: `key=value` by stage. photos: the split that
    every model is evaluated on. fingerprints: of the data read.
    """

    out: Path
    pretrained: Path
    configs: Mapping[str, str]
    changes: Mapping[str, Sequence[str]]
    rows: Sequence[Row]
    seeds: int
    shares: Sequence[float]
    photos: PhotoSet
    recipes: Mapping[str, Recipe]
    fingerprints: Mapping[str, str]

    def runs(self, seed: int, row: Row) -> list[Run]:
        """The cells of a row at a seed: zero-shot, all persons, and in the first and last row the smaller shares."""
        shares = self.shares if row in (self.rows[0], self.rows[-1]) else ()
        return [Run(row, seed, labelled) for labelled in (0.0, 1.0, *shares)]

    def all_runs(self) -> Iterator[Run]:
        """Every cell, in the order in which they are run: a seed is complete before the next."""
        for seed in range(self.seeds):
            for row in self.rows:
                yield from self.runs(seed, row)

    def folder(self, run: Run) -> Path:
        """The run folder of a cell."""
        name = f"finetune-{run.share}" if run.labelled else "pretrain"
        return (self.out if run.labelled else self.pretrained) / "runs" / f"{run.row.stem}-{run.seed}" / name

    def result(self, run: Run) -> Path:
        """The result file of a cell."""
        return self.out / "results" / f"{run.row.stem}-{run.share}-{run.seed}.json"

    def arguments(self, run: Run) -> list[str]:
        """What the stage of a cell is called with: the recipe, the user's changes, then the grid's own."""
        stage = "finetune" if run.labelled else "pretrain"
        own = {"run.dir": self.folder(run), "run.seed": run.seed, "train.resume": True}
        if run.labelled:
            own |= {"model.source": self.folder(Run(run.row, run.seed, 0.0)), "data.labelled": run.labelled}
            recipe = self.recipes[stage]
            lengths = {"train.epochs": recipe.train.epochs, "eval.every": recipe.eval.every}
            own |= {key: round(epochs / run.labelled) for key, epochs in lengths.items()}
        else:
            own |= {f"tasks.{task}": None for task in self.recipes[stage].tasks if task not in run.row.tasks}
            if _needs_clusters(self.recipes[stage].tasks) and not _needs_clusters(run.row.tasks):
                own["data.labels"] = "pair"
        quoted = (f"{key}={json.dumps(str(one) if isinstance(one, Path) else one)}" for key, one in own.items())
        return [self.configs[stage], *self.changes[stage], *quoted]


def ablate(
    config: str = "pretrain/people",
    *overrides: str,
    finetune: str = "finetune/people",
    out: str,
    seeds: int = 3,
    labelled: Sequence[float] = (0.1, 0.3),
    split: str = "val",
    pretrained: str | None = None,
) -> dict[str, Any]:
    """Run the grid of a pretraining recipe, or what is missing of it; returns what `ablation.json` holds.

    overrides: `pretrain.<key>=value` for the pretraining alone, `finetune.<key>=value` for the fine-tuning alone,
    `<key>=value` for both. labelled: smaller shares of the persons for the first and the last row. split: of the
    fine-tuning's data, on which every model is evaluated; the recipes' `eval.select_on` chooses the epoch. pretrained:
    the folder of another grid, whose pretraining runs are taken; what is missing of them is made there.

    Raises UserError for what the user can mend, all that can be known of it before the first run; Stopped when a signal
    ended a run with a snapshot.
    """
    cpu = parse_flag_from_env("ACCELERATE_USE_CPU")
    main = PartialState(cpu=cpu, timeout=PATIENCE).is_main_process  # as the stages will see it
    folders = Path(out), Path(pretrained or out)
    grid = _prepare({"pretrain": config, "finetune": finetune}, overrides, folders, seeds, labelled, split)
    _check_folder(grid, main)
    report: dict[str, Any] = {}
    try:
        for seed in range(grid.seeds):
            for row in grid.rows:
                missing = [run for run in grid.runs(seed, row) if not grid.result(run).exists()]
                if missing:
                    _run_row(grid, missing, main)
            report = _report(grid, seed + 1, main)
    except Stopped:
        if main:
            print(f"{grid.out}: every run that ended is kept; the same command goes on", file=sys.stderr)
        raise
    if main:
        print("\n" + (grid.out / "table.md").read_text() + f"\ntable, figures and plot: {grid.out}")
    return report


def _needs_clusters(tasks: Iterable[str]) -> bool:
    return any(find_task(task, TASKS).remembers for task in tasks)


def grid_rows(tasks: Sequence[str], config: str = "RECIPE") -> list[Row]:
    """The rows for the tasks of a recipe. Raises UserError without `contrastive` or with nothing else."""
    others = [task for task in tasks if task != BASE]
    if BASE not in tasks or not others:
        raise UserError(
            f"--config {config}: the grid compares tasks.{BASE} with tasks beside it, this recipe has "
            f"{', '.join(tasks)}; switch on {'another' if BASE in tasks else BASE}, for example "
            f"pretrain.tasks.{'sdm' if BASE in tasks else BASE}.weight=1"
        )
    rows = [Row(BASE, (BASE,)), *(Row(f"{BASE} + {task}", (BASE, task)) for task in others)]
    return rows if len(others) == 1 else [*rows, Row("all", (BASE, *others))]


def split_changes(overrides: Sequence[str]) -> dict[str, list[str]]:
    """`key=value` arguments by the stage they go to. Raises UserError for a key that the grid itself sets."""
    changes: dict[str, list[str]] = {stage: [] for stage in STAGES}
    for override in overrides:
        prefix, dot, rest = override.partition(".")
        stage = prefix if dot and prefix in STAGES else None
        change = rest if stage else override
        key = change.partition("=")[0]
        if key in GIVEN_OTHERWISE:
            raise UserError(f"{override}: the grid sets {key} run by run; use {GIVEN_OTHERWISE[key]}")
        if stage == "finetune" and key == "model.source":
            raise UserError(f"{override}: fine-tuning starts from the grid's own pretraining; leave it out")
        if stage is None and key.split(".")[0] == "tasks":
            raise UserError(f"{override}: the stages have different tasks; write pretrain.{key} or finetune.{key}")
        for one in [stage] if stage else STAGES:
            changes[one].append(change)
    return changes


def _prepare(
    configs: dict[str, str],
    overrides: Sequence[str],
    folders: tuple[Path, Path],
    seeds: int,
    labelled: Sequence[float],
    split: str,
) -> Grid:
    """The grid, with every mistake found that can be found without training."""
    if seeds < 1:
        raise UserError(f"--seeds {seeds}: run at least one")
    for share in labelled:
        if not 0 < share <= 1:
            raise UserError(f"--labelled {share:g}: not a share of the persons; give numbers above 0, at most 1")
    changes = split_changes(overrides)
    recipes = {}
    for stage in STAGES:
        try:
            recipes[stage] = load_recipe(configs[stage], changes[stage], TASKS)
        except UserError as error:
            raise UserError(f"{stage}: {error}") from error
    splits = {stage: read(recipe.data.source, recipe.data) for stage, recipe in recipes.items()}
    if split not in splits["finetune"]:
        raise UserError(f"--split {split}: {recipes['finetune'].data.source} has {', '.join(splits['finetune'])}")
    photos = splits["finetune"][split]
    check_captions(photos)
    check_clean(photos, pin_lists(recipes["finetune"]).exclude)
    rows = grid_rows([*recipes["pretrain"].tasks], configs["pretrain"])
    shares = sorted({float(share) for share in labelled} - {1.0}, reverse=True)
    fingerprints = {
        f"{stage}_train": training_photos(recipes[stage], splits[stage], pin_lists(recipes[stage])).fingerprint
        for stage in STAGES
    }
    fingerprints[split] = photos.fingerprint
    out, pretrained = (folder.expanduser() for folder in folders)
    if pretrained != out and not (pretrained / "ablation.yaml").is_file():
        raise UserError(f"--pretrained {pretrained}: not the folder of a grid (it has no ablation.yaml)")
    grid = Grid(out, pretrained, configs, changes, rows, seeds, shares, photos, recipes, fingerprints)
    sizes = set()
    for run in grid.all_runs():
        stage = "finetune" if run.labelled else "pretrain"
        name, *given = grid.arguments(run)
        recipe = load_recipe(name, given, TASKS)
        if (size := (stage, run.seed, run.labelled)) not in sizes:  # the rows do not differ in this
            sizes.add(size)
            _check_size(run, recipe, splits[stage])
    return grid


def _check_size(run: Run, recipe: Recipe, splits: dict[str, PhotoSet]) -> None:
    rows = len(training_photos(recipe, splits, pin_lists(recipe)).row_image)
    if rows < recipe.train.batch_size * recipe.train.accumulate:
        stage = "finetune" if run.labelled else "pretrain"
        raise UserError(
            f"{run}: train.batch_size={recipe.train.batch_size} x train.accumulate={recipe.train.accumulate} is more "
            f"than its {rows} training rows; lower {stage}.train.batch_size, or leave that share out"
        )


def _check_folder(grid: Grid, main: bool) -> None:
    """Begin the folder, or see that it was begun by the same recipes. Raises UserError naming the key that changed."""
    saved = grid.out / "ablation.yaml"
    now: dict[str, Any] = {
        **{stage: OmegaConf.to_container(OmegaConf.create(grid.recipes[stage].to_yaml())) for stage in STAGES},
        "evaluation": {"split": grid.photos.split},
        "photographs": dict(grid.fingerprints),
    }
    begun = any(any(grid.out.glob(pattern)) for pattern in ("results/*.json", "runs/*/*/config.yaml"))
    if saved.exists() and begun:
        before: Any = OmegaConf.to_container(read_yaml(saved))
        for section, values in now.items():
            change = changed_key(before.get(section) or {}, values)
            if change is not None:
                key, old, new = change
                remedy = "give data.source the old data" if section == "photographs" else "give the key its old value"
                raise UserError(
                    f"{grid.out}: was begun with {section}.{key}={old}, this command has {section}.{key}={new}; "
                    f"{remedy} to go on, or choose another --out"
                )
    elif not saved.exists() and grid.out.exists() and (not grid.out.is_dir() or any(grid.out.iterdir())):
        raise UserError(f"{grid.out}: not empty, and not the folder of a grid; choose another --out")
    PartialState().wait_for_everyone()
    if main:
        write_file(saved, OmegaConf.to_yaml(OmegaConf.create(now)))
    PartialState().wait_for_everyone()


def _run_row(grid: Grid, missing: Sequence[Run], main: bool) -> None:
    """Pretrain one row at one seed, then make the results that are missing."""
    pretraining = Run(missing[0].row, missing[0].seed, 0.0)
    for run in dict.fromkeys([pretraining, *missing]):
        if main:
            there = [grid.result(one).exists() for one in grid.all_runs()]
            print(f"\n[{sum(there)} of {len(there)} results are there] {run}", flush=True)
        folder = grid.folder(run)
        fresh, start = not (folder / "config.yaml").exists(), time.monotonic()
        arguments = grid.arguments(run)
        results = (run_finetune(*arguments) if run.labelled else run_pretrain(*arguments, probe=False)) or {}
        seconds = time.monotonic() - start if fresh else None  # how long an interrupted run took before is not known
        if run in missing:
            result = {
                "row": run.row.name,
                "labelled": run.labelled,
                "seed": run.seed,
                "split": grid.photos.split,
                **evaluate_run(folder, grid.recipes["finetune"], grid.photos),
                "selected_on": next((entry["selected_on"] for entry in results.values()), None),
                "seconds": seconds,
                "settings": _settings(folder),
            }
            if main:
                print(f"{run}: {in_words(result)}")
                write_file(grid.result(run), json.dumps(result, indent=1) + "\n")
        if main:
            shutil.rmtree(folder / "checkpoints", ignore_errors=True)  # the run is finished: model and results stay
        PartialState().wait_for_everyone()


def _settings(folder: Path) -> dict[str, Any]:
    """The keys of a run's resolved recipe that its result repeats."""
    recipe = read_yaml(folder / "config.yaml")
    values = {key: OmegaConf.select(recipe, key) for key in SETTINGS}
    return {key: OmegaConf.to_container(one) if OmegaConf.is_config(one) else one for key, one in values.items()}


def _report(grid: Grid, seeds: int, main: bool) -> dict[str, Any]:
    """The summary of the first seeds, also written to the folder."""
    results = []
    for run in grid.all_runs():
        if run.seed < seeds:
            path = grid.result(run)
            try:
                results.append(json.loads(path.read_text()))
            except ValueError as error:
                raise UserError(f"{path}: not JSON ({error}); remove it and run the same command again") from None
    split = grid.photos.split
    entries, clean = summarise(results, BASE), without_pairs(results)
    report: dict[str, Any] = {"split": split, "primary": PRIMARY, "base": BASE, "rows": entries}
    text = table(entries, BASE, split)
    if clean:
        report["clean"] = summarise(clean, BASE)
        text += f"\n\nWithout what data.exclude names:\n\n{table(report['clean'], BASE, split)}"
    if main:
        write_file(grid.out / "table.md", text + "\n")
        write_file(grid.out / "ablation.json", json.dumps(report, indent=1) + "\n")
        plot(entries, BASE, split, grid.out / "ablation.png")
    PartialState().wait_for_everyone()
    return report
