"""The one training loop: pretraining and fine-tuning differ in their tasks and hooks, not here.

Every random choice is a function of (seed, epoch, row), and a snapshot holds all that the next step depends on. So a
run that is killed and resumed writes the same metrics and weights, bit for bit, as one left alone (on CPU, with the
same number of threads and processes).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor
from tqdm import tqdm

from huecry.config import Recipe
from huecry.data.loader import Batch, TrainingLoader, TrainingRows
from huecry.data.order import BatchOrder, identity_order, random_order, taking_part
from huecry.data.records import PhotoSet
from huecry.data.views import Shape
from huecry.errors import UserError
from huecry.files import write_folder
from huecry.processes import world
from huecry.retrieval.evaluate import Features, extract
from huecry.training.bundle import Bundle
from huecry.training.gradients import task_gradients
from huecry.training.labels import LabelTable
from huecry.training.optim import build_optimizer, learning_rate, momentum_at
from huecry.training.runlog import RunLog
from huecry.training.signals import Stopped, StopSignals
from huecry.training.snapshot import load_snapshot, save_snapshot


@dataclass
class Progress:
    """Where training stands: what a snapshot holds besides tensors.

    step: optimiser steps done. epoch, batch: the epoch under way and the micro-batches of it that are done.
    best: metrics of the selected model, with its step.
    """

    step: int = 0
    epoch: int = 0
    batch: int = 0
    best: dict[str, Any] | None = None


@dataclass(frozen=True)
class EpochContext:
    """What a `before_epoch` hook may use: the training set, its features by row, and the table to publish labels in.

    log: writes a line of metrics, on the main process. remember: gives features to the tasks that hold them.
    """

    epoch: int
    step: int
    generator: np.random.Generator
    photos: PhotoSet
    labels: LabelTable
    extract: Callable[[], Features]
    log: Callable[[dict[str, Any]], None]
    remember: Callable[[Tensor, Tensor], None]


class Trainer:
    """Trains a bundle on a set of photographs into a run folder.

    evaluate: metrics of the selection split for the bundle as it stands, or None where there is no such split.
    before_epoch: a stage's hook, see `EpochContext`.
    """

    def __init__(
        self,
        recipe: Recipe,
        accelerator: Accelerator,
        bundle: Bundle,
        photos: PhotoSet,
        folder: Path,
        evaluate: Callable[[Any], dict[str, float]] | None = None,
        before_epoch: Callable[[EpochContext], None] | None = None,
    ) -> None:
        self.recipe, self.accelerator, self.bundle, self.photos = recipe, accelerator, bundle, photos
        self.folder, self.evaluate, self.before_epoch = folder, evaluate, before_epoch
        self.progress = Progress()
        self.rank, self.world = world()
        train = recipe.train
        self.batches = len(photos.row_image) // train.batch_size // train.accumulate * train.accumulate
        self.steps = train.epochs * self.batches // train.accumulate
        if train.max_steps is not None:
            self.steps = min(self.steps, train.max_steps)
        self.samples = train.batch_size * train.accumulate
        self._check_sizes()
        if train.compile:
            bundle.towers.compile_blocks()
        self.model, self.optimizer = accelerator.prepare(bundle, build_optimizer(bundle, recipe.optim))
        self.loader = self._loader()
        self.log = RunLog(folder, accelerator)
        self.signals = StopSignals(accelerator.device)

    def _check_sizes(self) -> None:
        train, rows = self.recipe.train, len(self.photos.row_image)
        if train.batch_size % self.world:
            raise UserError(
                f"train.batch_size={train.batch_size} cannot be shared by {self.world} processes; make it a multiple"
            )
        if not self.batches:
            raise UserError(
                f"train.batch_size={train.batch_size} x train.accumulate={train.accumulate} is more than the "
                f"{rows} training rows; lower one of them"
            )

    def _loader(self) -> TrainingLoader:
        data = self.recipe.data
        rows = TrainingRows(
            self.photos,
            sorted(self.bundle.views),
            self.recipe.views,
            Shape(self.bundle.towers.image_size, self.bundle.towers.context),
            self.bundle.preparers,
            self.recipe.run.seed,
            data.on_bad_image,
        )
        order = BatchOrder(self.recipe.train.batch_size, self.rank, self.world)
        return TrainingLoader(rows, order, data.workers, self.accelerator.device.type == "cuda")

    def fit(self) -> None:
        """Train to the end, from the newest whole snapshot where the recipe resumes.

        Raises Stopped after a snapshot on SIGINT or SIGTERM, UserError on what the user can mend.
        """
        if self.recipe.train.resume:
            self._restore()
        progress = self.progress
        bar = tqdm(
            total=self.steps * self.samples,
            initial=progress.step * self.samples,
            unit=" samples",
            desc=self.folder.name,
            disable=None if self.accelerator.is_main_process else True,
        )
        self.log.restart_clock()
        with bar, self.signals, closing(self.loader):
            while progress.step < self.steps or progress.batch:  # an epoch may be trained and not yet evaluated
                if progress.batch == 0:
                    if self.before_epoch is not None:
                        self.before_epoch(self._context())
                    self.bundle.begin_epoch(np.random.default_rng([self.recipe.run.seed, progress.epoch, 2]))
                self._train_epoch(bar)
                self._end_epoch()
        if progress.best is None:
            self._write_model()

    def _train_epoch(self, bar: tqdm) -> None:
        progress, train = self.progress, self.recipe.train
        last = min(self.batches, progress.batch + (self.steps - progress.step) * train.accumulate)
        for batch in self.loader.epoch(self._order(), progress.epoch, progress.batch, last):
            progress.batch += 1
            update = progress.batch % train.accumulate == 0
            batch = batch.to(self.accelerator.device)
            self._micro_batch(batch, update)
            if not update:
                continue
            if train.gradients_every and progress.step % train.gradients_every == 0:
                pulls = task_gradients(self.bundle, batch)
                self.log.write({"step": progress.step, "epoch": progress.epoch, "gradients": pulls})
            bar.update(self.samples)
            if progress.step % train.log_every == 0 or progress.step == self.steps:
                bar.set_postfix(loss=f"{self._log():.3f}")
            if progress.batch < last:
                stopping = self.signals.noted()
                if stopping or (train.save_every and progress.step % train.save_every == 0):
                    self._check_finite()
                    self._save()
                if stopping:
                    raise Stopped(stopping)

    def _micro_batch(self, batch: Batch, update: bool) -> None:
        train, optim, accelerator = self.recipe.train, self.recipe.optim, self.accelerator
        with nullcontext() if update else accelerator.no_sync(self.model):
            loss, logs = self.model(batch)
            accelerator.backward(loss / train.accumulate)
        self.bundle.after_backward()
        self.log.add({"loss": loss, **logs}, 1 / train.accumulate)
        if not update:
            return
        rate = learning_rate(optim, self.progress.step, self.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["scale"]
        norm = accelerator.clip_grad_norm_(self.model.parameters(), optim.clip or float("inf"))
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.progress.step += 1
        self.log.count += 1
        self.bundle.after_step(self.progress.step, momentum_at(optim, self.progress.step - 1, self.steps))
        norm = torch.as_tensor(norm, device=accelerator.device)
        if accelerator.scaler is not None:  # a step whose gradient overflowed was skipped, and has no norm
            norm = torch.nan_to_num(norm, nan=0.0, posinf=0.0)
        self.log.add({"grad_norm": norm})

    def _end_epoch(self) -> None:
        self._check_finite()
        progress, config = self.progress, self.recipe.eval
        ended = progress.step == self.steps
        if self.evaluate is not None and ((progress.epoch + 1) % config.every == 0 or ended):
            try:
                metrics = self.evaluate(self.model)
            except UserError:
                if self.world == 1:  # several processes would wait for the one that failed
                    self._save()
                raise
            self.log.write({"step": progress.step, "epoch": progress.epoch, config.select_on: metrics})
            if progress.best is None or metrics[config.metric] > progress.best[config.metric]:
                progress.best = {**metrics, "step": progress.step}
                self._write_model()
            self.log.restart_clock()
        progress.epoch, progress.batch = progress.epoch + 1, 0
        self._save()
        if (stopping := self.signals.noted()) and not ended:
            raise Stopped(stopping)

    def _order(self) -> np.ndarray:
        data, seed, epoch = self.recipe.data, self.recipe.run.seed, self.progress.epoch
        rows = taking_part(self.photos.row_weight, seed, epoch)
        if data.sampler == "identity":
            return rows[identity_order(self.bundle.labels.by_row.cpu().numpy()[rows], data.instances, seed, epoch)]
        return rows[random_order(len(rows), seed, epoch)]

    def _context(self) -> EpochContext:
        towers = self.bundle.towers
        return EpochContext(
            epoch=self.progress.epoch,
            step=self.progress.step,
            generator=np.random.default_rng([self.recipe.run.seed, self.progress.epoch, 1]),
            photos=self.photos,
            labels=self.bundle.labels,
            remember=self.bundle.remember,
            extract=lambda: extract(
                self.model,
                self.photos,
                size=towers.image_size,
                context=towers.context,
                batch_size=self.recipe.eval.batch_size,
                workers=self.recipe.data.workers,
                on_bad_image=self.recipe.data.on_bad_image,
                progress=self.accelerator.is_main_process,
            ),
            log=lambda values: self.log.write({"step": self.progress.step, "epoch": self.progress.epoch, **values}),
        )

    def _check_finite(self) -> None:
        """Stop before a loss that is not finite reaches a line of metrics or a snapshot. Raises UserError."""
        scaled = self.accelerator.scaler is not None  # then a gradient that overflows is skipped, and no harm
        broken = self.log.not_finite(("loss",) if scaled else ("loss", "grad_norm"))
        if broken is not None:
            raise UserError(
                f"{self.folder}: {broken} is not finite by step {self.progress.step}; what was saved before stays; "
                f"lower optim.lr={self.recipe.optim.lr:g} or set train.mixed_precision=no, in another run.dir"
            )

    def _log(self) -> float:
        """Write a line of metrics; returns the mean loss."""
        self._check_finite()
        progress, count = self.progress, self.log.count
        values = self.log.means()
        line = {"step": progress.step, "epoch": progress.epoch, "loss": values.pop("loss"), **values}
        line["lr"] = learning_rate(self.recipe.optim, progress.step - 1, self.steps)
        line["scale"] = float(self.bundle.towers.scale.detach())
        self.log.write(line)
        self.log.write_timing(progress.step, count * self.samples)
        return line["loss"]

    def _write_model(self) -> None:
        if self.accelerator.is_main_process:
            write_folder(self.folder / "model", self.bundle.save_model)
        self.accelerator.wait_for_everyone()

    def _save(self) -> None:
        """Write a snapshot of everything that the next step depends on."""
        device = self.accelerator.device
        each = gather_object([{"generator": _generator_states(device), "log": self.log.state()}])
        if self.accelerator.is_main_process:
            scaler = self.accelerator.scaler
            save_snapshot(
                self.folder / "checkpoints",
                self.progress.step,
                self.bundle,
                {
                    "optimizer": self.optimizer.state_dict(),
                    "processes": each,
                    "scaler": scaler.state_dict() if scaler is not None else {},
                },
                {"progress": asdict(self.progress), "data": self.photos.fingerprint},
                self.recipe.train.keep,
            )
        self.accelerator.wait_for_everyone()

    def _restore(self) -> None:
        snapshot = load_snapshot(self.folder / "checkpoints")
        if snapshot is None:
            self.log.restore(None, 0, 0)
            return
        tensors, optimizer, state = snapshot
        if state["data"] != self.photos.fingerprint:
            raise UserError(
                f"{self.folder}: its snapshot was made on other training data; "
                "give data.source what it was, or start in another run.dir"
            )
        self.bundle.load_state_dict(tensors)
        self.optimizer.load_state_dict(optimizer["optimizer"])
        if self.accelerator.scaler is not None and optimizer["scaler"]:
            self.accelerator.scaler.load_state_dict(optimizer["scaler"])
        self.progress = Progress(**state["progress"])
        self.bundle.step = self.progress.step
        not_begun = self.progress.epoch + (self.progress.batch > 0)
        if self.world == len(optimizer["processes"]):
            own = optimizer["processes"][self.rank]
            _set_generators(own["generator"])
            self.log.restore(own["log"], self.progress.step, not_begun)
        else:
            self.log.restore(None, self.progress.step, not_begun)


def _generator_states(device: torch.device) -> dict[str, Tensor]:
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def _set_generators(states: dict[str, Tensor]) -> None:
    torch.set_rng_state(states["cpu"])
    if "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"])
