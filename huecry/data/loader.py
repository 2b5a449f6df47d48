"""From rows to batches: decoding, rendering and collating in the data workers."""

from __future__ import annotations

import signal
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from huecry.data.augment import pixels_of
from huecry.data.order import BatchOrder
from huecry.data.records import PhotoSet
from huecry.data.tokens import EOT, tokenize
from huecry.data.views import PICTURES, VIEWS, Rendering, Sample, Shape, ViewsConfig
from huecry.errors import UserError


@dataclass
class Batch:
    """One batch on one process.

    row, image, person: [B] int64. views: pictures [B, 3, H, W] uint8 and token ids [B, L] int64, by name.
    inputs: task name -> the stacked arrays of that task's preparer.
    """

    row: Tensor
    image: Tensor
    person: Tensor
    views: dict[str, Tensor]
    inputs: dict[str, dict[str, Tensor]]

    def to(self, device: torch.device) -> Batch:
        """The batch on a device."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> Batch:
        """The batch in page-locked memory; the data loader calls this where a GPU waits."""
        return self._each(Tensor.pin_memory)

    def _each(self, move: Callable[[Tensor], Tensor]) -> Batch:
        def all_of(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
            return {name: move(tensor) for name, tensor in tensors.items()}

        ids = all_of({"row": self.row, "image": self.image, "person": self.person})
        inputs = {task: all_of(arrays) for task, arrays in self.inputs.items()}
        return Batch(**ids, views=all_of(self.views), inputs=inputs)


@dataclass(frozen=True)
class _Unreadable:
    message: str


class TrainingRows(Dataset):
    """Rows of a training set, rendered; indexed by (epoch, row).

    preparers: task name -> its preparer. on_bad_image: `error`, or `skip` to put the next readable row in its place.
    """

    def __init__(
        self,
        photos: PhotoSet,
        views: Sequence[str],
        config: ViewsConfig,
        shape: Shape,
        preparers: dict[str, Any],
        seed: int,
        on_bad_image: str,
    ) -> None:
        self.photos, self.views, self.config, self.shape = photos, sorted(views), config, shape
        self.preparers, self.seed, self.on_bad_image = preparers, seed, on_bad_image

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Any] | _Unreadable:
        epoch, row = key
        for step in range(len(self.photos.row_image)):
            try:
                return self._render(epoch, (row + step) % len(self.photos.row_image))
            except UserError as error:
                if self.on_bad_image != "skip":
                    return _Unreadable(str(error))
                warnings.warn(f"left out: {error}", stacklevel=2)
        return _Unreadable("data.on_bad_image=skip left out every photograph: none can be read")

    def _render(self, epoch: int, row: int) -> dict[str, Any]:
        image = int(self.photos.row_image[row])
        record = self.photos[image]
        person = int(self.photos.row_person[row])
        others = self.photos.other_captions(row) if "text_other" in self.views else ()
        sample = Sample(row, image, person, record, self.photos.caption(row), record.open(), others)
        rendering = Rendering(sample, self.config, self.shape, (self.seed, epoch))
        views = {name: VIEWS[name](rendering) for name in self.views}
        said = replace(sample, caption=rendering.caption)
        inputs = {task: prepare(said, rendering.generator(f"task {task}")) for task, prepare in self.preparers.items()}
        return {"ids": (row, image, person), "views": views, "inputs": inputs}


def collate(samples: list[dict[str, Any] | _Unreadable]) -> Batch | _Unreadable:
    """Stack rendered samples into a batch; the first unreadable one takes its place."""
    good: list[dict[str, Any]] = []
    for sample in samples:
        if isinstance(sample, _Unreadable):
            return sample
        good.append(sample)

    def stack(arrays: list[np.ndarray]) -> Tensor:
        return torch.from_numpy(np.stack(arrays))

    row, image, person = torch.tensor([sample["ids"] for sample in good], dtype=torch.int64).T.contiguous()
    views = {name: stack([sample["views"][name] for sample in good]) for name in good[0]["views"]}
    for name in PICTURES & views.keys():
        views[name] = views[name].permute(0, 3, 1, 2)
    inputs = {
        task: {name: stack([sample["inputs"][task][name] for sample in good]) for name in arrays}
        for task, arrays in good[0]["inputs"].items()
    }
    return Batch(row, image, person, views, inputs)


def leave_signals(_: int) -> None:
    """In a data worker: a signal to the whole process group must not end it before the step that waits for it."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


class TrainingLoader:
    """Batches of one process, an epoch at a time, from workers that live as long as the loader."""

    def __init__(self, rows: TrainingRows, order: BatchOrder, workers: int, pin_memory: bool) -> None:
        self.order = order
        self.loader = DataLoader(
            rows,
            batch_sampler=order,
            num_workers=workers,
            collate_fn=collate,
            persistent_workers=workers > 0,
            pin_memory=pin_memory,
            worker_init_fn=leave_signals,
            generator=torch.Generator(),  # its own: each epoch would draw from the global one
        )

    def epoch(self, order: np.ndarray, epoch: int, start: int, count: int) -> Iterator[Batch]:
        """Batches `start` .. `count - 1` of an order. Raises UserError at an unreadable photograph."""
        self.order.set(order, epoch, start, count)
        for batch in self.loader:
            yield checked(batch)

    def close(self) -> None:
        """End the workers, which leave signals alone: unasked, a process that ends by an exception waits for them."""
        del self.loader


def checked(batch: Any) -> Any:
    """The batch as it is. Raises UserError where a data worker could not read a photograph."""
    if isinstance(batch, _Unreadable):
        raise UserError(batch.message)
    return batch


class GalleryPhotos(Dataset):
    """Photographs as evaluation sees them: resized, nothing else.

    Indexed by position; pixels [3, H, W] uint8 and whether the photograph could be read (`skip` blanks the others).
    """

    def __init__(self, photos: PhotoSet, size: tuple[int, int], on_bad_image: str) -> None:
        self.photos, self.size, self.on_bad_image = photos, size, on_bad_image

    def __len__(self) -> int:
        return len(self.photos)

    def __getitem__(self, index: int) -> tuple[Tensor, bool] | _Unreadable:
        try:
            pixels = pixels_of(self.photos[index].open(), self.size)
        except UserError as error:
            if self.on_bad_image != "skip":
                return _Unreadable(str(error))
            warnings.warn(f"left out: {error}", stacklevel=2)
            return torch.zeros(3, *self.size, dtype=torch.uint8), False
        return pixels, True


def stack_gallery(pictures: list[Any]) -> Any:
    """Pixels [B, 3, H, W] uint8 and readable [B]; the first unreadable photograph takes their place."""
    for picture in pictures:
        if isinstance(picture, _Unreadable):
            return picture
    pixels, readable = zip(*pictures, strict=True)
    return torch.stack(pixels), torch.tensor(readable)


def caption_batches(captions: Sequence[str], context: int, batch_size: int) -> Iterator[tuple[np.ndarray, Tensor]]:
    """Captions shortest first, so that trimming saves most: positions [b] and token ids [b, L]."""
    ids = torch.as_tensor(np.asarray(tokenize(list(captions), context)), dtype=torch.int64)
    lengths = (ids == EOT).int().argmax(dim=1).numpy()
    for positions in np.array_split(np.argsort(lengths, kind="stable"), max(1, -(-len(captions) // batch_size))):
        if len(positions):
            yield positions, ids[torch.from_numpy(positions)]
