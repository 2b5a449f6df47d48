"""One stage from recipe to results: read the data, build the bundle, train, evaluate the selected model."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import datasets
import huggingface_hub
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.tracking import get_available_trackers
from accelerate.utils import DistributedDataParallelKwargs, InitProcessGroupKwargs, set_seed
from omegaconf import OmegaConf
from torch import distributed

from huecry.config import Recipe, find_task, read_yaml
from huecry.data.pair_lists import PairLists, read_pair_lists
from huecry.data.readers import describe, keep_labelled, read
from huecry.data.records import PhotoSet
from huecry.data.views import IMAGE_VIEWS, TEXT_VIEWS
from huecry.errors import UserError
from huecry.files import write_file
from huecry.processes import PATIENCE, cores, world
from huecry.retrieval.evaluate import (
    check_captions,
    check_clean,
    entry,
    evaluate_split,
    in_lines,
    split_figures,
)
from huecry.towers import ModelConfig, Towers, load_branches, load_towers
from huecry.training.bundle import Bundle
from huecry.training.continuation import take_up
from huecry.training.labels import LabelTable
from huecry.training.optim import freeze
from huecry.training.provenance import write_provenance
from huecry.training.pushes import Pushes
from huecry.training.task import Facts, Task
from huecry.training.trainer import EpochContext, Trainer

FREE = frozenset(
    {"run.dir", "train.resume", "train.cpu_threads", "train.keep", "train.save_every", "train.track", "data.workers"}
    | {"data.on_bad_image", "data.source", "data.exclude", "data.weights", "train.push_to_hub", "train.push_every"}
)
"""Keys that a resumed run may change: they do not touch what it has computed. Of data and lists the content counts."""
LISTS = {"data.exclude_sha256": "data.exclude", "data.weights_sha256": "data.weights"}

Hook = Callable[[EpochContext], None]


def stage(
    recipe: Recipe, table: Mapping[str, type[Task]], dry_run: bool, before_epoch: Hook | None = None
) -> dict[str, Any] | None:
    """Run a stage by its recipe; see `run_stage`. A dry run only reports, and returns None."""
    if not dry_run:
        return run_stage(recipe, table, before_epoch)
    with _offline():
        report(recipe, table)
    return None


def run_stage(recipe: Recipe, table: Mapping[str, type[Task]], before_epoch: Hook | None = None) -> dict[str, Any]:
    """Train and evaluate into the run folder; returns what `results.json` holds.

    Raises UserError for what the user can mend, Stopped when a signal ended training with a snapshot.
    """
    accelerator = build_accelerator(recipe)
    recipe.train.mixed_precision = accelerator.mixed_precision
    torch.set_num_threads(recipe.train.cpu_threads or cores() // int(os.environ.get("LOCAL_WORLD_SIZE", "1")) or 1)
    splits = read(recipe.data.source, recipe.data)
    accelerator.print("\n".join(describe(recipe.data.source, splits)))
    lists = pin_lists(recipe)
    photos = training_photos(recipe, splits, lists)
    accelerator.print("".join(f"{line}\n" for line in _changes(recipe, photos)), end="")
    for name in ("val", "test"):
        if name in splits:
            check_captions(splits[name])  # now, rather than after training
            check_clean(splits[name], lists.exclude)
    finished = _finished(recipe)
    if finished is not None:
        accelerator.print(f"{recipe.folder}: already finished; its results.json stands")
        return finished
    set_seed(recipe.run.seed)  # the same on every process: nothing would make unequal buffers equal later
    bundle = build_bundle(recipe, table, photos)
    if taken := take_up(bundle, recipe.model.source, photos.fingerprint):
        accelerator.print(taken)
    set_seed(recipe.run.seed, device_specific=True)
    select = splits.get(recipe.eval.select_on)
    push = Pushes(recipe, accelerator)

    options: dict[str, Any] = {"workers": recipe.data.workers, "on_bad_image": recipe.data.on_bad_image}
    options["progress"] = accelerator.is_main_process

    def evaluate(model: Any, photos: PhotoSet) -> dict[str, float]:
        return evaluate_split(model, bundle.towers, photos, recipe.eval, **options).summary()

    trainer = Trainer(
        recipe,
        accelerator,
        bundle,
        photos,
        recipe.folder,
        evaluate=None if select is None else lambda model: evaluate(model, select),
        before_epoch=push.between(before_epoch),
    )
    _write_recipe(recipe, splits, accelerator)
    if recipe.train.track:
        accelerator.init_trackers("huecry", config={"recipe": recipe.name})
    trainer.fit()
    _load_selected(bundle, recipe.folder / "model")
    results: dict[str, Any] = {}
    for name in ("test", "val"):
        if name in splits:
            found = split_figures(trainer.model, bundle.towers, splits[name], recipe.eval, lists.exclude, **options)
            results[name] = entry(name, found, None if select is None else recipe.eval.select_on)
            accelerator.print("\n".join(f"{name}: {line}" for line in in_lines(found)))
    if accelerator.is_main_process:
        write_file(recipe.folder / "results.json", json.dumps(results, indent=1) + "\n")
    accelerator.print(f"model and results: {recipe.folder}")
    push()
    for tracker in accelerator.trackers:
        tracker.finish()
    return results


def training_photos(recipe: Recipe, splits: dict[str, PhotoSet], lists: PairLists) -> PhotoSet:
    """The training split, or the part of it that `data.labelled` asks for, without what `data.exclude` names.

    Raises UserError where there is none, or none of its photographs has a caption, and for lists that cannot be used.
    """
    for one in (lists.exclude, lists.weights):
        if one is not None:
            one.check(splits)
    photos = splits.get("train")
    if photos is not None:
        photos = lists.training(keep_labelled(photos, recipe.data.labelled, recipe.run.seed))
    if photos is None or not len(photos.row_image):
        raise UserError(
            f"data.source={recipe.data.source}: no training photograph has a caption (splits: {', '.join(splits)}); "
            "write captions, or mark photographs that have some as split train"
        )
    return photos


def pin_lists(recipe: Recipe) -> PairLists:
    """The lists that a recipe names; from then on it holds their digests. Raises UserError as `read_pair_lists`."""
    data = recipe.data
    lists = read_pair_lists(data.exclude, data.weights, data.exclude_sha256, data.weights_sha256)
    data.exclude_sha256 = lists.exclude.digest if lists.exclude else None
    data.weights_sha256 = lists.weights.digest if lists.weights else None
    return lists


def _changes(recipe: Recipe, photos: PhotoSet) -> Iterator[str]:
    """Lines about what training sees, where that is not the whole split."""
    data = recipe.data
    if data.labelled < 1:
        yield f"data.labelled={data.labelled:g}: {photos.summary()}"
    if data.exclude is not None:
        digest = str(data.exclude_sha256)[:12]
        yield f"data.exclude={data.exclude} (sha256 {digest}), what is left for training: {photos.summary()}"
    if data.weights is not None:
        digest, lighter = str(data.weights_sha256)[:12], int((photos.row_weight < 1).sum())
        yield f"data.weights={data.weights} (sha256 {digest}): {lighter:,} captions weigh less than 1"


def build_bundle(recipe: Recipe, table: Mapping[str, type[Task]], photos: PhotoSet) -> Bundle:
    """Towers, tasks and labels as the recipe asks. Raises UserError for a source or task that cannot be built."""
    towers = load_towers(recipe.model, recipe.run.seed)
    facts = facts_of(towers, photos, labelled=recipe.data.labels == "given")
    tasks = {name: find_task(name, table)(config, facts) for name, config in recipe.tasks.items()}
    bundle = Bundle(towers, tasks, LabelTable(photos, recipe.data.labels))
    freeze(towers, recipe.optim.freeze)
    return bundle


def facts_of(towers: Towers, photos: PhotoSet, labelled: bool) -> Facts:
    """What the heads are built from. labelled: whether the persons of the training set are known."""
    return Facts(
        embed_dim=towers.embed_dim,
        image_width=towers.image_width,
        text_width=towers.text_width,
        grid=towers.image.grid,
        persons=len(photos.persons) if labelled else 0,
        images=len(photos),
        rows=len(photos.row_image),
        captions=tuple(photos.captions),
    )


def build_accelerator(recipe: Recipe) -> Accelerator:
    """accelerate as the recipe asks.

    Raises UserError for a tracker that is not installed, or a precision that this machine has not.
    """
    for name in recipe.train.track:
        known = [str(tracker) for tracker in get_available_trackers()]
        if name not in known:
            raise UserError(f"train.track: {name} is not installed; there are {', '.join(known) or 'none'}")
    # the name that accelerate knows; what replaces it in torch cannot be given through accelerate yet
    warnings.filterwarnings("ignore", message="`broadcast_buffers` is deprecated", category=FutureWarning)
    AcceleratorState._reset_state()  # else a second run in this process would inherit the precision of the first
    try:
        return Accelerator(
            mixed_precision=recipe.train.mixed_precision,
            log_with=recipe.train.track or None,
            project_dir=str(recipe.folder),
            kwargs_handlers=[
                DistributedDataParallelKwargs(broadcast_buffers=False),
                InitProcessGroupKwargs(timeout=PATIENCE),
            ],
        )
    except ValueError as error:
        raise UserError(f"train.mixed_precision={recipe.train.mixed_precision}: {error}") from error


def _finished(recipe: Recipe) -> dict[str, Any] | None:
    """The results of a run that is already finished, else None.

    Raises UserError for a folder that cannot become this run's, or a recipe other than that of its snapshot.
    """
    folder, saved = recipe.folder, recipe.folder / "config.yaml"
    if saved.exists():
        if not recipe.train.resume:
            raise UserError(f"{folder}: holds a run already; go on with train.resume=true, or choose another run.dir")
        results = folder / "results.json"
        if results.exists() or any((folder / "checkpoints").glob("step-*")):
            before = OmegaConf.to_container(read_yaml(saved))
            _check_same(folder, before, OmegaConf.to_container(OmegaConf.create(recipe.to_yaml())))
        return json.loads(results.read_text()) if results.exists() else None
    if folder.is_dir() and any(folder.iterdir()):
        raise UserError(f"{folder}: not empty, and not a run; choose another run.dir")
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: a file, not a folder; choose another run.dir")
    return None


def _write_recipe(recipe: Recipe, splits: dict[str, PhotoSet], accelerator: Accelerator) -> None:
    """Make the run folder, now that nothing in the recipe stands against the run."""
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        write_file(recipe.folder / "config.yaml", recipe.to_yaml())
        write_provenance(recipe, splits)
    accelerator.wait_for_everyone()


def _check_same(folder: Path, before: Any, now: Any) -> None:
    change = changed_key(before, now)
    if change is not None:
        key, old, new = change
        if key in LISTS:
            digests = " and now ".join(
                "there was none" if one is None else f"had sha256 {one[:12]}" for one in (old, new)
            )
            raise UserError(
                f"{folder}: {LISTS[key]} is not the list that its run began with ({digests}); "
                "give that list back to resume, or choose another run.dir"
            )
        raise UserError(
            f"{folder}: its run had {key}={old}, this recipe has {key}={new}; "
            "give the key its old value to resume, or choose another run.dir"
        )


def changed_key(before: Any, now: Any, key: str = "") -> tuple[str, Any, Any] | None:
    """The first key in which two resolved recipes differ, with both values; those that may change are passed over."""
    if isinstance(before, dict) and isinstance(now, dict):
        changes = (
            changed_key(before.get(name), now.get(name), f"{key}.{name}".removeprefix("."))
            for name in sorted(before.keys() | now.keys())
        )
        return next((change for change in changes if change is not None), None)
    return (key, before, now) if before != now and key not in FREE else None


def _load_selected(bundle: Bundle, folder: Path) -> None:
    """Put the selected model's weights into the towers, and the branches where it has them, of every process."""
    rank, size = world()
    if rank == 0:
        bundle.towers.load_state_dict(load_towers(ModelConfig(source=str(folder))).state_dict())
        branches = load_branches(str(folder))
        if branches is not None and bundle.branches is not None:
            bundle.branches.load_state_dict(branches.state_dict())
    if size > 1:
        for module in (bundle.towers, bundle.branches):
            for tensor in module.state_dict().values() if module is not None else ():
                distributed.broadcast(tensor, src=0)


@contextmanager
def _offline() -> Iterator[None]:
    """Keep the Hugging Face libraries to what is on this machine."""
    before = huggingface_hub.constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE
    huggingface_hub.constants.HF_HUB_OFFLINE = datasets.config.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        huggingface_hub.constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE = before


def report(recipe: Recipe, table: Mapping[str, type[Task]]) -> None:
    """Print the resolved recipe and what a run would find; what is not there is said, not an error."""
    print(recipe.to_yaml())
    print(f"run folder: {recipe.folder}{' (exists)' if recipe.folder.exists() else ''}")
    try:
        splits = read(recipe.data.source, recipe.data)
        print("\n".join(describe(recipe.data.source, splits)))
        photos = training_photos(recipe, splits, pin_lists(recipe))
        print("".join(f"{line}\n" for line in _changes(recipe, photos)), end="")
        rows = len(photos.row_image)
        samples = recipe.train.batch_size * recipe.train.accumulate
        steps = rows // samples * recipe.train.epochs
        print(f"steps: {min(steps, recipe.train.max_steps or steps)} of {samples} samples")
    except UserError as error:
        print(f"data: {error}")
    try:
        towers = load_towers(recipe.model, recipe.run.seed)
        freeze(towers, recipe.optim.freeze)
        sizes = [(parameter.numel() / 1e6, parameter.requires_grad) for parameter in towers.parameters()]
        whole, frozen = sum(size for size, _ in sizes), sum(size for size, learns in sizes if not learns)
        height, width = towers.image_size
        print(
            f"towers: {whole:.1f} M parameters{f', {frozen:.1f} M of them frozen' if frozen else ''}, "
            f"pictures {height}x{width}, features of {towers.embed_dim}"
        )
    except UserError as error:
        print(f"towers: {error}")
    views = sorted({view for name, entry in recipe.tasks.items() for view in find_task(name, table).reads(entry)})
    images, texts = len(IMAGE_VIEWS & set(views)), len(TEXT_VIEWS & set(views))
    print(f"views: {', '.join(views)}; at most {images} image and {texts} text passes with gradient a step")
