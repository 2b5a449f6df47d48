"""The one module that is trained: towers, their momentum pair, tasks and labels behind a single forward."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from huecry.data.colour import luma
from huecry.data.loader import Batch
from huecry.data.views import IMAGE_VIEWS, TEXT_VIEWS
from huecry.towers import Branches, Momentum, Towers
from huecry.training.encode import Encode, Step, encode_view
from huecry.training.labels import LabelTable
from huecry.training.task import Preparer, Task, weight_at


class Bundle(nn.Module):
    """Towers and the tasks that teach them.

    `bundle(batch)` is the total loss of a batch; `bundle(batch, mode="encode")` its features by view. Both go through
    one forward, so that a wrapper such as DistributedDataParallel sees every use of the towers.
    branches: of a model that was exported with them, for evaluation.
    """

    def __init__(
        self, towers: Towers, tasks: dict[str, Task], labels: LabelTable, branches: Branches | None = None
    ) -> None:
        super().__init__()
        self.towers = towers
        self.tasks = nn.ModuleDict({name.replace(".", "/"): task for name, task in tasks.items()})  # torch wants no dot
        self.labels = labels
        self.momentum = Momentum(towers) if any(task.momentum for task in tasks.values()) else None
        self.step = 0
        self._last: Step | None = None
        self._branches = [branches, *(task.exported for task in tasks.values())]  # a list: not registered twice
        if branches is not None:
            self.loaded_branches = branches
        views = self.views
        self.towers.image.requires_grad_(bool(views & IMAGE_VIEWS))
        self.towers.text.requires_grad_(bool(views & TEXT_VIEWS))

    @property
    def views(self) -> frozenset[str]:
        """The views that the tasks read together."""
        return frozenset().union(*(task.reads(task.config) for task in self.task_list.values()))

    @property
    def task_list(self) -> dict[str, Task]:
        """The tasks by name."""
        return dict(self.tasks.items())  # type: ignore[arg-type]

    @property
    def preparers(self) -> dict[str, Preparer]:
        """What each task has made in the data workers, by name of the task."""
        found = {name: task.preparer(task.config) for name, task in self.task_list.items()}
        return {name: prepare for name, prepare in found.items() if prepare is not None}

    @property
    def branches(self) -> Branches | None:
        """The branches that the exported model keeps beside the towers, if any."""
        return next((branches for branches in self._branches if branches is not None), None)

    def forward(self, batch: Batch | dict[str, Tensor], mode: str = "train") -> Any:
        """mode `train`: (weighted loss [], logs) of a Batch.

        mode `encode`: {view: pooled [B, D]} of {view: tensor}. With branches `rgb` and `text` become descriptors
        [B, 3 D]; `text` then needs `text_nocolour` beside it.
        """
        if mode == "encode":
            assert isinstance(batch, dict)
            with torch.autocast(self.towers.logit_scale.device.type, enabled=False):  # rankings are made in fp32
                return self._describe(batch)
        assert isinstance(batch, Batch)
        total = 0.0 * self.towers.logit_scale
        logs: dict[str, Tensor] = {}
        for name, (loss, details) in self.task_losses(batch).items():
            logs[name] = loss.detach()
            logs.update({f"{name}/{key}": value for key, value in details.items()})
            total = total + weight_at(self.task_list[name].config, self.step) * loss
        assert self._last is not None
        for encoded in self._last.live:  # a task may read tokens alone: every trained weight needs its gradient
            total = total + 0.0 * encoded.pooled.sum()
        return total, logs

    def task_losses(self, batch: Batch) -> dict[str, tuple[Tensor, dict[str, Tensor]]]:
        """Every task's unweighted loss [] and logs on a batch, whose encodings they share."""
        self._last = Step(self, batch)
        return {name: task(encode, inputs) for name, task, encode, inputs in self._each_task()}

    def _describe(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        pooled = {name: encode_view(self.towers, name, tensor).pooled for name, tensor in batch.items()}
        if self.branches is not None and "rgb" in batch:
            gray = encode_view(self.towers, "gray", luma(batch["rgb"])).pooled
            pooled["rgb"] = self.branches.descriptor("image", pooled["rgb"], gray)
        if self.branches is not None and "text" in batch:
            pooled["text"] = self.branches.descriptor("text", pooled["text"], pooled["text_nocolour"])
        return pooled

    def save_model(self, folder: Path) -> None:
        """Write what is used after training: the towers, and the branches where they are exported."""
        self.towers.save(folder)
        if self.branches is not None:
            self.branches.save(folder)

    def begin_epoch(self, generator: np.random.Generator) -> None:
        """Let every task prepare for an epoch, with random numbers of its own that all processes share."""
        for task, own in zip(self.task_list.values(), generator.spawn(len(self.task_list)), strict=True):
            task.begin_epoch(own)

    def after_backward(self) -> None:
        """Let every task update its buffers from the batch just seen, then forget that batch's encodings."""
        for _, task, encode, inputs in self._each_task():
            task.after_backward(encode, inputs)
        self.forget()

    def remember(self, images: Tensor, texts: Tensor) -> None:
        """Give every task that remembers the features of the whole training set, [N, D] and [R, D].

        Of descriptors [N, 3 D] and [R, 3 D] it gets the first part, which is the towers' own.
        """
        images, texts = (features[:, : self.towers.embed_dim] for features in (images, texts))
        for task in self.task_list.values():
            if task.remembers:
                task.remember(images, texts)

    def forget(self) -> None:
        """Let go of the last batch's encodings."""
        self._last = None

    def after_step(self, step: int, momentum: float) -> None:
        """After the optimiser step: move the momentum towers, and count."""
        self.step = step
        if self.momentum is not None:
            self.momentum.update(self.towers, momentum)

    def _each_task(self) -> Any:
        assert self._last is not None
        batch = self._last.batch
        for name, task in self.task_list.items():
            views = task.reads(task.config)
            inputs = {"row": batch.row, "image": batch.image, "person": batch.person}
            inputs |= {view: batch.views[view] for view in views}
            inputs |= batch.inputs.get(name, {})
            yield name, task, Encode(self._last, name, views, task.momentum), inputs
