"""The histogram baseline: its features, and what it can and cannot rank."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

from huecry.data import people
from huecry.data.people import dress_people, take_photo, write_people
from huecry.data.readers import read
from huecry.data.records import PhotoSet

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "histogram.py"


@pytest.fixture(scope="module")
def histogram():
    spec = importlib.util.spec_from_file_location("histogram_benchmark", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("people") / "set"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(people, "FIXED", {"test": 2, "val": 30})
        write_people(out, persons=100)
    return out


@pytest.fixture(scope="module")
def splits(folder) -> tuple[PhotoSet, PhotoSet]:
    found = read(str(folder))
    return found["train"], found["val"]


def test_each_stripe_sums_to_one(histogram):
    picture, _ = take_photo(dress_people(2)["test"][0], "test", 0, 0, 0)
    features = histogram.describe_picture(picture)
    assert features.shape == (8 * 180,)
    np.testing.assert_allclose((features**2).reshape(8, 180).sum(axis=1), 1, rtol=1e-5)


def test_rare_terms_are_dropped(histogram):
    bag = histogram.BagOfWords(["red coat"] * 4 + ["blue hat"] * 3)
    assert set(bag.number) == {"red", "coat", "red coat"}
    assert not bag(["blue hat"]).any()


@pytest.mark.slow
def test_learns_from_true_captions_and_nothing_from_shuffled_ones(histogram, splits, monkeypatch):
    monkeypatch.setattr(histogram, "EPOCHS", 8)
    state = torch.random.get_rng_state()
    learnt = histogram.histogram_baseline(*splits)
    shuffled = histogram.histogram_baseline(*splits, shuffle=True)
    assert torch.equal(state, torch.random.get_rng_state())
    chance = 100 / len(splits[1].persons)
    assert learnt["R10"] > 2 * shuffled["R10"]
    assert learnt["R1"] > 3 * chance
    assert shuffled["R1"] < 3 * chance
    assert set(learnt) == {"R1", "R5", "R10", "mAP"}


def test_a_missing_split_is_named(histogram, folder, monkeypatch, capsys):
    only_val = {"val": read(str(folder))["val"]}
    monkeypatch.setattr(histogram, "read", lambda _: only_val)
    monkeypatch.setattr("sys.argv", ["histogram.py", str(folder)])
    with pytest.raises(SystemExit) as stop:
        histogram.main()
    assert stop.value.code == 2
    assert "no split train" in capsys.readouterr().err


@pytest.mark.slow
def test_colour_histograms_do_not_solve_the_people(histogram, tmp_path):
    write_people(tmp_path / "set")
    splits = read(str(tmp_path / "set"))
    assert 8 <= histogram.histogram_baseline(splits["train"], splits["test"])["R1"] <= 25
    assert histogram.histogram_baseline(splits["train"], splits["test"], shuffle=True)["R1"] < 4
