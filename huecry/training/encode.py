"""One step's encodings: each (view, tower) is run at most once, whatever the number of tasks that read it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from huecry.data.loader import Batch
from huecry.data.views import IMAGE_VIEWS, TEXT_VIEWS
from huecry.processes import gather, gather_with_gradient, world
from huecry.towers import Encoded, Towers

if TYPE_CHECKING:
    from huecry.training.bundle import Bundle
    from huecry.training.labels import LabelTable


def encode_view(towers: Towers, name: str, tensor: Tensor) -> Encoded:
    """Run a view through its tower: pictures [B, 3, H, W] uint8, or token ids [B, L]."""
    if name in IMAGE_VIEWS:
        return towers.encode_image(normalised(tensor, towers))
    if name in TEXT_VIEWS:
        return towers.encode_text(tensor)
    raise KeyError(f"no tower reads the view {name}")


def normalised(pixels: Tensor, towers: Towers) -> Tensor:
    """Pixels [B, 3, H, W] uint8 as the towers want them: scaled to 0..1, then by their mean and deviation."""
    like = towers.logit_scale
    mean, std = (like.new_tensor(values)[:, None, None] for values in (towers.mean, towers.std))
    return (pixels.to(like.dtype) / 255 - mean) / std


class Step:
    """The encodings of one batch, shared by all tasks."""

    def __init__(self, bundle: Bundle, batch: Batch) -> None:
        self.bundle, self.batch = bundle, batch
        self.live: list[Encoded] = []
        self._made: dict[Any, Any] = {}

    def once(self, key: Any, make: Callable[[], Any]) -> Any:
        """The value under a key, made at the first call."""
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]

    def encoded(self, view: str, momentum: bool) -> Encoded:
        """The view through its tower, or through the momentum tower without gradient."""

        def make() -> Encoded:
            tensor = self.batch.views[view]
            if not momentum:
                self.live.append(encode_view(self.bundle.towers, view, tensor))
                return self.live[-1]
            assert self.bundle.momentum is not None
            with torch.no_grad():
                return encode_view(self.bundle.momentum.towers, view, tensor)

        return self.once(("encoded", view, momentum), make)


class Encode:
    """What one task sees of a step: encodings of the views it declared, and labels; reading more is an error."""

    def __init__(self, step: Step, task: str, views: frozenset[str], momentum: bool) -> None:
        self._step, self._task, self._views, self._momentum = step, task, views, momentum
        self.rank, self.world = world()

    def __call__(self, view: str, momentum: bool = False) -> Encoded:
        """The local encodings of a view. Raises KeyError for a view the task did not declare."""
        if view not in self._views:
            raise KeyError(f"task {self._task} reads the view {view} without declaring it")
        if momentum and not self._momentum:
            raise KeyError(f"task {self._task} reads momentum towers without declaring `momentum`")
        return self._step.encoded(view, momentum)

    def gather(self, view: str, momentum: bool = False) -> Tensor:
        """Pooled features [W*B, D] of a view over all processes, with exact gradients; not normalised."""
        pooled = self(view, momentum).pooled
        return self._step.once(("gathered", view, momentum), lambda: gather_with_gradient(pooled))

    @property
    def scale(self) -> Tensor:
        """The towers' learnt logit scale, [] (at most 100)."""
        return self._step.bundle.towers.scale

    @property
    def step(self) -> int:
        """Optimiser steps taken so far."""
        return self._step.bundle.step

    @property
    def labels(self) -> Tensor:
        """Current label [B] of each local row's photograph; -1 where unknown."""
        return self._step.once("labels", lambda: self._step.bundle.labels.of(self._step.batch.row))

    @property
    def table(self) -> LabelTable:
        """The labels of all photographs and captions, to be read."""
        return self._step.bundle.labels

    def labels_of(self, rows: Tensor) -> Tensor:
        """Current labels [N] of the photographs of any dataset rows [N]; -1 where unknown, and for row -1."""
        return torch.where(rows < 0, -1, self._step.bundle.labels.of(rows.clamp(min=0)))

    def images_of(self, rows: Tensor) -> Tensor:
        """The photographs [N] of any dataset rows [N]; -1 for row -1."""
        return torch.where(rows < 0, -1, self._step.bundle.labels.row_image[rows.clamp(min=0)])

    def gather_ids(self, name: str) -> Tensor:
        """`row`, `image`, `person` or `labels` of all processes, [W*B] int64."""
        local = self.labels if name == "labels" else getattr(self._step.batch, name)
        return self._step.once(("ids", name), lambda: gather(local))

    @property
    def own(self) -> Tensor:
        """[B, W*B] bool: the column that is the row's own pair."""

        def make() -> Tensor:
            count = len(self._step.batch.row)
            columns = torch.arange(count * self.world, device=self._step.batch.row.device)
            return columns == columns[self.rank * count : (self.rank + 1) * count, None]

        return self._step.once("own", make)

    @property
    def positives(self) -> Tensor:
        """[B, W*B] bool: columns of the row's own person or photograph. Two unknown labels never match."""

        def make() -> Tensor:
            labels, images = self.labels[:, None], self._step.batch.image[:, None]
            same_person = (labels == self.gather_ids("labels")) & (labels >= 0)
            return same_person | (images == self.gather_ids("image"))

        return self._step.once("positives", make)
