"""The loader: the same batches whatever makes them, preparers, unreadable photographs, untouched generators."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from huecry.data.augment import ImageAugmentation, TextAugmentation
from huecry.data.loader import (
    Batch,
    GalleryPhotos,
    TrainingLoader,
    TrainingRows,
    caption_batches,
    checked,
    collate,
    stack_gallery,
)
from huecry.data.order import BatchOrder, random_order
from huecry.data.readers import read
from huecry.data.records import PhotoSet, Record
from huecry.data.tokens import tokenize
from huecry.data.views import VIEWS, Sample, Shape, ViewsConfig
from huecry.errors import UserError

SHAPE = Shape((64, 32), 77)
LIVELY = ViewsConfig(
    rgb=ImageAugmentation(erase=0.5, brightness=0.3),
    rgb2=ImageAugmentation(pad=0.1, contrast=0.3),
    text_aug=TextAugmentation(mask_p=0.3, delete_p=0.1),
)


def letters(sample: Sample, generator: np.random.Generator) -> dict[str, np.ndarray]:
    """A preparer: the length of the caption, two random numbers, and what the sample is."""
    drawn = generator.integers(0, 2**62, size=2)
    return {"length": np.array(len(sample.caption)), "drawn": drawn, "ids": np.array([sample.row, sample.person])}


def twice(sample: Sample, generator: np.random.Generator) -> dict[str, np.ndarray]:
    return {"length": np.array(2 * len(sample.caption)), "drawn": generator.integers(0, 2**62, size=2)}


PREPARERS = {"letters": letters, "twice": twice}


@pytest.fixture(scope="module")
def photos(photo_folder: Path) -> PhotoSet:
    return read(photo_folder)["train"]


def rows_of(photos: PhotoSet, on_bad_image: str = "error", views: Any = VIEWS, **options: Any) -> TrainingRows:
    config = options.pop("config", LIVELY)
    return TrainingRows(photos, sorted(views), config, SHAPE, options.pop("preparers", PREPARERS), 11, on_bad_image)


def batches(rows: TrainingRows, workers: int, epoch: int = 2, order: np.ndarray | None = None) -> list[Batch]:
    count = len(rows.photos.row_image)
    order = random_order(count, 0, epoch) if order is None else order
    return list(TrainingLoader(rows, BatchOrder(4, 0, 1), workers, False).epoch(order, epoch, 0, count // 4))


def flat(made: list[Batch]) -> dict[int, dict[str, torch.Tensor]]:
    """Everything a batch says of a row, by row."""
    rows: dict[int, dict[str, torch.Tensor]] = {}
    for batch in made:
        inputs = {f"{task}.{name}": array for task, arrays in batch.inputs.items() for name, array in arrays.items()}
        named = {"image": batch.image, "person": batch.person, **batch.views, **inputs}
        for place, row in enumerate(batch.row.tolist()):
            rows[row] = {name: tensor[place] for name, tensor in named.items()}
    return rows


def test_the_same_rows_whatever_the_workers_and_the_order(photos):
    alone = flat(batches(rows_of(photos), 0))
    backwards = flat(batches(rows_of(photos), 0, order=np.arange(len(photos.row_image))[::-1].copy()))
    shared = flat(batches(rows_of(photos), 2))
    assert alone.keys() == set(range(16))
    for other in (backwards, shared):
        assert other.keys() == alone.keys()
        for row, named in alone.items():
            assert named.keys() == other[row].keys()
            assert all(torch.equal(tensor, other[row][name]) for name, tensor in named.items())


def test_another_epoch_looks_otherwise(photos):
    first, second = flat(batches(rows_of(photos), 0)), flat(batches(rows_of(photos), 0, epoch=3))
    for name in ("rgb", "rgb2", "text_aug", "letters.drawn"):
        assert any(not torch.equal(first[row][name], second[row][name]) for row in first)
    for row in first:
        assert torch.equal(first[row]["image"], second[row]["image"])


def test_workers_that_stay_make_the_next_epoch_as_new_ones_would(photos):
    rows, count = rows_of(photos), len(photos.row_image) // 4
    loader = TrainingLoader(rows, BatchOrder(4, 0, 1), 2, False)
    stopped = loader.epoch(random_order(16, 0, 0), 0, 0, count)
    next(stopped)  # an epoch left in the middle
    del stopped
    again = flat(list(loader.epoch(random_order(16, 0, 2), 2, 0, count)))
    fresh = flat(batches(rows, 0))
    assert all(torch.equal(again[row]["rgb"], fresh[row]["rgb"]) for row in fresh)


def test_shapes_ids_and_devices(photos):
    (batch, *_) = batches(rows_of(photos), 0)
    assert {name: tuple(view.shape) for name, view in batch.views.items()} == {
        "rgb": (4, 3, 64, 32),
        "rgb2": (4, 3, 64, 32),
        "gray": (4, 3, 64, 32),
        "text": (4, 77),
        "text_aug": (4, 77),
        "text_nocolour": (4, 77),
        "text_masked": (4, 77),
        "text_other": (4, 77),
        "text_swapped": (4, 77),
        "masked": (4, 77),
        "swapped": (4, 16, 2),
        "strong": (4, 3, 64, 32),
        "strong2": (4, 3, 64, 32),
        "channels": (4, 3, 64, 32),
        "ab": (4, 4, 64, 32),
        "hidden": (4, 3),
    }
    assert batch.views["rgb"].dtype == torch.uint8
    assert batch.views["text"].dtype == batch.row.dtype == batch.image.dtype == batch.person.dtype == torch.int64
    for row, image, person in zip(batch.row.tolist(), batch.image.tolist(), batch.person.tolist(), strict=True):
        assert (image, person) == (photos.row_image[row], photos.row_person[row])
    moved = batch.to(torch.device("meta"))
    assert moved.views["rgb"].device.type == moved.inputs["letters"]["drawn"].device.type == "meta"
    assert moved.row.shape == batch.row.shape


def test_only_the_views_asked_for_are_made(photos):
    assert all(batch.views.keys() == {"gray"} for batch in batches(rows_of(photos, views={"gray"}), 0))


def test_arrays_of_preparers_arrive_under_their_task_and_are_drawn_apart(photos):
    config = ViewsConfig(rgb=ImageAugmentation(flip=0.0))
    for batch in batches(rows_of(photos, config=config), 0):
        assert batch.inputs.keys() == {"letters", "twice"}
        lengths = torch.tensor([len(photos.caption(row)) for row in batch.row.tolist()])
        assert torch.equal(batch.inputs["letters"]["length"], lengths)
        assert torch.equal(batch.inputs["twice"]["length"], 2 * lengths)
        assert torch.equal(batch.inputs["letters"]["ids"], torch.stack([batch.row, batch.person], dim=1))
        drawn = torch.cat([batch.inputs["letters"]["drawn"], batch.inputs["twice"]["drawn"]])
        assert len(set(drawn.flatten().tolist())) == 16


def caption_ids(sample: Sample, generator: np.random.Generator) -> dict[str, np.ndarray]:
    return {"ids": tokenize([sample.caption])[0].numpy()}


def test_a_preparer_reads_the_caption_of_the_mirrored_picture(make_photos):
    sided = read(make_photos(persons=2, captions=4))["train"]
    assert "left" in sided.caption(3)
    config = ViewsConfig(rgb=ImageAugmentation(flip=1.0))
    for batch in batches(rows_of(sided, config=config, preparers={"task": caption_ids}), 0):
        assert torch.equal(batch.inputs["task"]["ids"], batch.views["text"])


# photographs that cannot be read


@pytest.fixture
def spoilt(make_photos: Callable[..., Path]) -> PhotoSet:
    """A set whose second photograph is cut short."""
    folder = make_photos()
    path = folder / "train" / "0_1.png"
    path.write_bytes(path.read_bytes()[:200])
    return read(folder)["train"]


@pytest.mark.parametrize("workers", [0, 2])
def test_an_unreadable_photograph_is_named(spoilt, workers):
    with pytest.raises(UserError, match=r"^train/0_1\.png: the picture cannot be read .*data\.on_bad_image=skip"):
        batches(rows_of(spoilt), workers)


def test_batches_before_the_unreadable_one_are_made(spoilt):
    order = np.array([*range(4, 16), 0, 1, 2, 3])
    loader = TrainingLoader(rows_of(spoilt), BatchOrder(4, 0, 1), 0, False)
    made: Iterator[Batch] = loader.epoch(order, 0, 0, 4)
    seen = [next(made).row.tolist() for _ in range(3)]
    assert seen == order[:12].reshape(3, 4).tolist()
    with pytest.raises(UserError):
        next(made)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.filterwarnings("ignore:left out")
def test_skip_puts_the_next_readable_row_in_its_place(spoilt, workers):
    order = np.arange(16)
    made = batches(rows_of(spoilt, "skip"), workers, order=order)
    assert [batch.row.tolist() for batch in made] == [[0, 1, 4, 4], [4, 5, 6, 7], [8, 9, 10, 11], [12, 13, 14, 15]]
    assert made[0].image.tolist() == [0, 0, 2, 2]
    whole = flat(batches(rows_of(spoilt, "skip"), 0, order=np.roll(order, -4)))
    assert all(torch.equal(row["rgb"], whole[number]["rgb"]) for number, row in flat(made).items())


def test_skip_says_what_it_left_out(spoilt):
    with pytest.warns(UserWarning, match=r"left out: train/0_1\.png"):
        batches(rows_of(spoilt, "skip"), 0)


@pytest.mark.filterwarnings("ignore:left out")
def test_skip_ends_where_nothing_can_be_read(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no picture")
    photos = PhotoSet("train", [Record(tmp_path / "a.png", ("a coat", "a hat"), "1", "a.png")])
    with pytest.raises(UserError, match="every photograph"):
        checked(collate([rows_of(photos, "skip")[0, 1]]))


# what evaluation reads


def test_gallery_photographs_are_resized_and_nothing_else(photos):
    for index in range(len(photos)):
        pixels, readable = checked(GalleryPhotos(photos, (128, 64), "error")[index])
        assert readable
        np.testing.assert_array_equal(pixels.permute(1, 2, 0).numpy(), np.asarray(photos[index].open()))
    pixels, _ = checked(GalleryPhotos(photos, (64, 32), "error")[0])
    expected = photos[0].open().resize((32, 64), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(pixels.permute(1, 2, 0).numpy(), np.asarray(expected))


def test_an_unreadable_gallery_photograph(spoilt):
    gallery = GalleryPhotos(spoilt, (64, 32), "error")
    with pytest.raises(UserError, match=r"^train/0_1\.png: "):
        checked(stack_gallery([gallery[0], gallery[1]]))
    lenient = GalleryPhotos(spoilt, (64, 32), "skip")
    with pytest.warns(UserWarning, match="left out"):
        pixels, readable = stack_gallery([lenient[0], lenient[1]])
    assert readable.tolist() == [True, False]
    assert pixels[0].any()
    assert not pixels[1].any()


@pytest.mark.parametrize("size", [1, 3, 5, 100])
def test_caption_batches_hold_each_caption_once_shortest_first(size):
    captions = ["a coat " * count + "end" for count in (9, 1, 4, 4, 0, 7, 2)]
    made = list(caption_batches(captions, 77, size))
    positions = np.concatenate([positions for positions, _ in made])
    assert sorted(positions) == list(range(7))
    ids = torch.cat([ids for _, ids in made])
    assert torch.equal(ids, tokenize([captions[position] for position in positions]))
    lengths = [len(captions[position]) for position in positions]
    assert lengths == sorted(lengths)
    assert all(len(ids) <= size for _, ids in made)


def test_no_captions_make_no_batch():
    assert list(caption_batches([], 77, 4)) == []


# the global generators


@pytest.mark.parametrize("workers", [0, 2])
def test_the_global_generators_are_left_alone(photos, workers, global_states):
    before = global_states()
    batches(rows_of(photos), workers)
    assert global_states() == before


def test_the_global_generators_do_not_matter(photos):
    first = flat(batches(rows_of(photos), 0))
    random.seed(1)
    with torch.random.fork_rng():
        torch.manual_seed(99)
        second = flat(batches(rows_of(photos), 0))
    for row, named in first.items():
        assert all(torch.equal(tensor, second[row][name]) for name, tensor in named.items())


def test_nothing_warns(photos):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(batches(rows_of(photos), 0)) == 4
