"""The rows of a probe, its derangement and its bootstrap."""

from __future__ import annotations

import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some

from huecry.data.readers import read
from huecry.data.records import UNKNOWN, PhotoSet, Record
from huecry.errors import UserError
from huecry.pretrain import probe_rows
from huecry.pretrain.probe_rows import (
    derangement,
    interval,
    mean_interval,
    read_rows,
    resampled,
    summed,
    taken,
)
from huecry.towers import ModelConfig, load_towers


@pytest.fixture(scope="module")
def towers():
    return load_towers(ModelConfig())


def all_rows(photos: PhotoSet, towers, **options) -> list:
    return list(read_rows(photos, towers, **{"seed": 0, "workers": 0, "on_bad_image": "error", **options}))


@given(some.lists(some.integers(-3, 6), max_size=40))
def test_a_derangement_keeps_as_few_as_can_be(owners):
    array = np.array(owners, dtype=np.int64)
    partner, apart = derangement(array)
    assert sorted(partner.tolist()) == list(range(len(owners)))
    assert apart.tolist() == [owners[partner[i]] != owners[i] for i in range(len(owners))]
    largest = max(Counter(owners).values(), default=0)
    assert (~apart).sum() == max(0, 2 * largest - len(owners))


def test_every_row_comes_once_in_nearly_equal_batches(photo_folder, towers, monkeypatch):
    monkeypatch.setattr(probe_rows, "BATCH", 7)
    photos = read(photo_folder)["train"]
    batches = all_rows(photos, towers)
    assert [len(rows) for rows in batches] == [6, 6, 4]
    rows = np.concatenate([batch.row for batch in batches])
    assert sorted(rows.tolist()) == list(range(16))
    assert rows.tolist() != list(range(16))
    assert np.array_equal(rows, np.concatenate([batch.row for batch in all_rows(photos, towers)]))
    for batch in batches:
        assert [photos.caption(row) for row in batch.row] == batch.captions
        assert np.array_equal(photos.row_image[batch.row], batch.image)
        assert np.array_equal(photos.row_person[batch.row], batch.owner)


def test_rows_are_shown_as_they_are(photo_folder, towers):
    photos = read(photo_folder)["train"]
    (rows,) = all_rows(photos, towers)
    for place, image in enumerate(rows.image):
        pixels = torch.from_numpy(np.array(photos[int(image)].open())).permute(2, 0, 1)
        assert torch.equal(rows.views["rgb"][place], pixels)
        assert torch.equal(rows.views["ab"][place, :3], pixels)
    assert rows.views["ab"][:, 3].eq(1).all()


def test_rows_are_capped(photo_folder, towers, monkeypatch):
    monkeypatch.setattr(probe_rows, "MOST", 5)
    photos = read(photo_folder)["train"]
    (rows,) = all_rows(photos, towers)
    assert len(rows) == len(set(rows.row.tolist())) == 5


def test_an_unreadable_photograph_is_an_error_or_left_out(make_photos, towers, monkeypatch):
    monkeypatch.setattr(probe_rows, "BATCH", 4)
    folder = make_photos()
    (folder / "train" / "1_0.png").write_bytes(b"no picture")
    photos = read(folder)["train"]
    with pytest.raises(UserError, match=r"1_0\.png"):
        all_rows(photos, towers)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        batches = all_rows(photos, towers, on_bad_image="skip")
    rows = [row for batch in batches for row in batch.row.tolist()]
    bad = [row for row, image in enumerate(photos.row_image) if photos[int(image)].name.endswith("1_0.png")]
    assert sorted(rows) == sorted(set(range(16)) - set(bad))


def test_unknown_persons_are_told_apart_by_photograph(tmp_path, photo_folder, towers):
    photos = read(photo_folder)["val"]
    nobody = PhotoSet("val", [Record(one.image, one.captions, None, one.name) for one in photos])
    assert set(nobody.row_person.tolist()) == {UNKNOWN}
    (rows,) = all_rows(nobody, towers)
    assert derangement(rows.owner)[1].all()
    assert len(set(rows.owner.tolist())) == len(nobody)


def test_some_rows_of_a_batch(photo_folder, towers):
    (rows,) = all_rows(read(photo_folder)["val"], towers)
    part = rows.at([5, 0])
    assert part.captions == [rows.captions[5], rows.captions[0]]
    assert part.row.tolist() == [rows.row[5], rows.row[0]]
    assert torch.equal(part.views["rgb"][1], rows.views["rgb"][0])
    assert torch.equal(part.inputs["colour_words"]["hue"], rows.inputs["colour_words"]["hue"][[5, 0]])


def test_encodings_are_taken_with_their_projections(photo_folder, towers):
    (rows,) = all_rows(read(photo_folder)["val"], towers)
    encoded = towers.encode_text(rows.views["text_nocolour"])
    before = encoded.projected
    part = taken(encoded, [3, 3, 1])
    assert torch.allclose(part.projected, before[[3, 3, 1]], atol=1e-5)
    assert torch.equal(part.valid, encoded.valid[[3, 3, 1]])


def test_sums_by_owner():
    sums = summed(np.array([7, 2, 7]), np.array([[1.0, 0], [2, 5], [3, 1]]))
    assert sums.tolist() == [[2, 5], [4, 1]]


def test_the_interval_of_a_mean_is_that_of_resampled_persons():
    generator = np.random.default_rng(0)
    owners = generator.integers(0, 9, 50)
    values = generator.normal(size=50)
    means = []
    for weights in resampled(len(set(owners.tolist())), 3):
        drawn: list[float] = []
        for number, owner in enumerate(sorted(set(owners.tolist()))):
            drawn += [*values[owners == owner]] * int(weights[number])
        means.append(np.mean(drawn))
    low, high = mean_interval(owners, values, 3)
    means = np.sort(means)
    assert (low, high) == pytest.approx((np.percentile(means, 2.5), np.percentile(means, 97.5)))
    assert low < values.mean() < high
    assert interval(np.array(means)) == pytest.approx((low, high))


def test_resampling_draws_as_many_persons_as_there_are():
    weights = resampled(20, 0)
    assert weights.shape == (probe_rows.DRAWS, 20)
    assert (weights.sum(axis=1) == 20).all()
    assert weights.mean(axis=0) == pytest.approx(np.ones(20), abs=0.15)
    assert np.array_equal(weights, resampled(20, 0))


def test_a_photo_folder_has_what_these_tests_count_on(photo_folder: Path):
    assert len(read(photo_folder)["train"].row_image) == 16
