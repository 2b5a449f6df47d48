"""The published steps that ours are timed beside: the same losses, and the same gradients for the towers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from huecry.data.readers import read
from huecry.towers import ModelConfig, load_towers
from huecry.training.encode import normalised


@pytest.fixture(autouse=True)
def _benchmarks_are_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))


@pytest.mark.slow
@pytest.mark.parametrize("row", ["irra", "tbps_clip_simple"])
def test_a_published_step_is_ours(row: str, make_photos: Any) -> None:
    from published_steps import build, losses_of, twin_of

    photos = read(make_photos(persons=8, photos=4, captions=2))["train"]
    recipe, bundle, batch = build(row, lambda _: load_towers(ModelConfig()), photos)
    assert len(set(batch.person.tolist())) == 4
    twin = twin_of(recipe, bundle)
    assert set(losses_of(twin, bundle, batch)["losses"]) == set(recipe.tasks)

    bundle(batch)[0].backward()
    pixels = normalised(batch.views["rgb"], bundle.towers)
    losses, _ = twin(pixels, batch, leave_padding=True) if row.startswith("irra") else twin(pixels, batch)
    sum(losses.values()).backward()
    image, text = twin.clip.positions
    for own, theirs in (
        (bundle.towers.image.positions, image),
        (bundle.towers.text.positions, text),
        (bundle.towers.text.words.weight, twin.clip.words.weight),
    ):
        assert (own.grad - theirs.grad).norm() < 1e-4 * theirs.grad.norm()


@pytest.mark.slow
def test_steps_that_differ_are_not_compared(make_photos: Any) -> None:
    from published_steps import build, losses_of, twin_of

    photos = read(make_photos(persons=8, photos=4, captions=2))["train"]
    recipe, bundle, batch = build("tbps_clip_simple", lambda _: load_towers(ModelConfig()), photos)
    twin = twin_of(recipe, bundle)
    with torch.no_grad():
        twin.logit_scale += 0.01
    with pytest.raises(ValueError, match="r_itc"):
        losses_of(twin, bundle, batch)


@pytest.mark.slow
def test_weights_of_both_steps_move(make_photos: Any) -> None:
    from published_steps import build, losses_of, ours, published, twin_of

    photos = read(make_photos(persons=8, photos=4, captions=2))["train"]
    recipe, bundle, batch = build("irra, masked caption matched", lambda _: load_towers(ModelConfig()), photos)
    twin = twin_of(recipe, bundle)
    losses_of(twin, bundle, batch)
    steps = published(recipe, twin, normalised(batch.views["rgb"], bundle.towers), batch), ours(recipe, bundle, batch)
    before = twin.clip.words.weight.detach().clone()
    for step in steps:
        step()
    for after in (twin.clip.words.weight, bundle.towers.text.words.weight):
        assert not torch.equal(before, after)
    assert bundle.step == 1
