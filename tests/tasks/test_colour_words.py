"""Masked colour-word completion: the loss against a slow twin, and every way in which the answer could leak."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from huecry.data.captions import HUES, MODIFIERS, NEIGHBOURS
from huecry.data.readers import read
from huecry.data.records import Record
from huecry.data.tokens import EOT, MASK, encode
from huecry.data.views import Sample
from huecry.tasks.colour_words import SPANS, class_weights, prepare, soft_targets
from huecry.training.encode import Encode, Step

ROWS = 12
FORMS = [{"head": "cross"}, {"head": "irra"}, {"head": "cross", "target": "vocab"}]


def said(caption: str) -> dict[str, np.ndarray]:
    """What the preparer makes of a caption."""
    record = Record(None, (caption,), None, "a.png")  # type: ignore[arg-type]
    return prepare(Sample(0, 0, 0, record, caption, Image.new("RGB", (4, 8))), np.random.default_rng(0))


def states(bundle: Any, batch: Any, image: torch.Tensor | None = None) -> torch.Tensor:
    """The head's states at the first six masks of each row."""
    reader = Encode(Step(bundle, batch), "colour_words", frozenset({"rgb", "text_nocolour"}), False)
    text = reader("text_nocolour")
    image = reader("rgb").projected if image is None else image
    position = batch.inputs["colour_words"]["position"][:, :6]
    return bundle.tasks["colour_words"].states(text.projected, text.valid, image, position)


def test_what_the_preparer_says_of_the_worked_example() -> None:
    found = said("A man in a dark blue-grey t-shirt and black shoes")
    assert found["position"].tolist() == [5, 7, 12] + [-1] * (SPANS - 3)
    assert [HUES[hue] for hue in found["hue"][:3]] == ["navy", "gray", "black"]
    assert [MODIFIERS[modifier] for modifier in found["modifier"][:3]] == ["dark", "none", "none"]
    assert found["word"][:3].tolist() == [encode("dark")[0], encode("grey")[0], encode("black")[0]]


def test_what_cannot_be_told_gives_no_target() -> None:
    found = said("A black man in dark pants, no red bag, a green coat")
    assert (found["position"] >= 0).sum() == 4
    assert found["hue"][:4].tolist() == [-1, -1, -1, HUES.index("green")]
    assert found["modifier"][:4].tolist() == [-1, MODIFIERS.index("dark"), -1, 0]
    assert all((row == -1).all() for row in said("a person with a bag").values())


def test_more_colours_than_are_followed() -> None:
    caption = ", ".join(["a red coat"] * (SPANS + 4))
    assert (said(caption)["hue"] == HUES.index("red")).all()


@pytest.mark.parametrize("neighbours", [True, False])
def test_loss(neighbours: bool, drawn: Any) -> None:
    config = {"neighbours": neighbours, "smoothing": 0.2, "modifier_weight": 0.3}
    bundle, batch = drawn({"colour_words": config})
    loss, logs = bundle(batch)
    task, inputs = bundle.tasks["colour_words"], batch.inputs["colour_words"]
    z = states(bundle, batch)
    hues, modifiers = (layer(z).double().tolist() for layer in (task.hue, task.modifier))
    weights = class_weights(tuple(bundle.photos.captions)).tolist()
    total = mass = tone = tones = right = 0.0
    for row in range(ROWS):
        for m in range(6):
            hue, modifier = int(inputs["hue"][row, m]), int(inputs["modifier"][row, m])
            if hue >= 0:
                logs_of = log_softmax(hues[row][m])
                near = [HUES.index(other) for other in NEIGHBOURS[HUES[hue]]] if neighbours else []
                spread = near or list(range(len(HUES)))
                cost = -0.8 * logs_of[hue] - sum(0.2 / len(spread) * logs_of[other] for other in spread)
                total, mass = total + weights[hue] * cost, mass + weights[hue]
                right += hues[row][m].index(max(hues[row][m])) == hue
            if modifier >= 0:
                tone, tones = tone - log_softmax(modifiers[row][m])[modifier], tones + 1
    assert tones > 12
    assert loss.item() == pytest.approx(total / mass + 0.3 * tone / tones, rel=1e-4)
    assert logs["colour_words/accuracy"].item() == pytest.approx(right / (inputs["hue"] >= 0).sum().item())


def log_softmax(values: list[float]) -> list[float]:
    top = max(values)
    total = math.log(sum(math.exp(value - top) for value in values)) + top
    return [value - total for value in values]


def test_class_weights() -> None:
    weights = class_weights(("a red coat", "red shoes and a red hat", "red, blue", "a bag"))
    red, blue = float(weights[HUES.index("red")]), float(weights[HUES.index("blue")])
    assert red / blue == pytest.approx(0.5)  # four against one
    assert (red + blue) / 2 == pytest.approx(1)
    assert weights[HUES.index("green")] == 1
    assert (class_weights(()) == 1).all()


@pytest.mark.parametrize("neighbours", [True, False])
def test_soft_targets(neighbours: bool) -> None:
    targets = soft_targets(0.1, neighbours)
    assert torch.allclose(targets.sum(dim=1), torch.ones(len(HUES)))
    assert (targets.argmax(dim=1) == torch.arange(len(HUES))).all()
    assert (targets[HUES.index("navy"), HUES.index("yellow")] == 0) == neighbours


def test_vocabulary_targets(drawn: Any) -> None:
    bundle, batch = drawn({"colour_words": {"target": "vocab"}})
    loss, _ = bundle(batch)
    logits = bundle.tasks["colour_words"].word(states(bundle, batch))
    word = batch.inputs["colour_words"]["word"][:, :6]
    expected = torch.nn.functional.cross_entropy(logits.flatten(0, 1), word.flatten(), ignore_index=-1)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("config", FORMS)
def test_masked_captions_do_not_hold_the_answer(config: dict[str, Any], drawn: Any) -> None:
    bundle, batch = drawn({"colour_words": config, "contrastive": {}})
    assert set(bundle.tasks["colour_words"].reads(None)) == {"rgb", "text_nocolour"}
    before = states(bundle, batch)
    batch.views["text"] = batch.views["text"].flip(0)  # another caption, unmasked
    assert torch.equal(before, states(bundle, batch))


@pytest.mark.parametrize("config", FORMS)
def test_rows_do_not_read_each_other(config: dict[str, Any], drawn: Any) -> None:
    bundle, batch = drawn({"colour_words": config})
    order = torch.randperm(ROWS, generator=torch.Generator().manual_seed(1))
    before = states(bundle, batch)
    for views in (batch.views, batch.inputs["colour_words"]):
        views.update({name: tensor[order] for name, tensor in views.items()})
    assert torch.allclose(states(bundle, batch), before[order], atol=1e-5)


@pytest.mark.parametrize("config", FORMS)
def test_padding_is_not_read(config: dict[str, Any], drawn: Any) -> None:
    bundle, batch = drawn({"colour_words": config})
    before = bundle(batch)[0]
    ids = batch.views["text_nocolour"]
    after = torch.cumsum(ids == EOT, dim=1).cumsum(dim=1) > 1
    batch.views["text_nocolour"] = torch.where(after, 320, ids)
    assert after.any()
    assert torch.equal(bundle(batch)[0], before)


@pytest.mark.parametrize("config", FORMS)
def test_without_the_photograph_no_gradient_reaches_its_tower(config: dict[str, Any], drawn: Any) -> None:
    bundle, batch = drawn({"colour_words": config})
    image = torch.zeros(ROWS, 9, bundle.towers.embed_dim)
    states(bundle, batch, image).square().sum().backward()
    assert all(weight.grad is None or not weight.grad.any() for weight in bundle.towers.image.parameters())
    bundle.zero_grad()
    states(bundle, batch).square().sum().backward()
    assert bundle.towers.image.patch.weight.grad.abs().max() > 0


@pytest.mark.parametrize("config", FORMS)
def test_a_batch_without_colours(config: dict[str, Any], drawn: Any) -> None:
    bundle, batch = drawn({"colour_words": config})
    for name in ("position", "hue", "modifier", "word"):
        batch.inputs["colour_words"][name] = torch.full((ROWS, SPANS), -1)
    loss, logs = bundle(batch)
    loss.backward()
    assert loss == 0
    assert logs["colour_words/coverage"] == 0
    for name, weight in bundle.named_parameters():
        if weight.requires_grad and not name.startswith("towers.logit_scale"):
            assert weight.grad is not None, name
            assert not weight.grad.any(), name


def test_a_colour_cut_off_with_its_caption_is_no_target(drawn: Any) -> None:
    bundle, batch = drawn({"colour_words": {}})
    ids = batch.views["text_nocolour"]
    end = int((ids[0] == MASK).int().argmax())  # the first mask is where the caption now ends
    ids[0, end], ids[0, end + 1 :] = EOT, 0
    other = bundle(batch)[0]
    for name in ("position", "hue", "modifier"):
        batch.inputs["colour_words"][name][0] = -1
    assert other.item() == pytest.approx(bundle(batch)[0].item(), rel=1e-6)


def test_attention_is_a_share_of_the_photograph(drawn: Any) -> None:
    for config in FORMS[:2]:
        bundle, batch = drawn({"colour_words": config})
        reader = Encode(Step(bundle, batch), "colour_words", frozenset({"rgb", "text_nocolour"}), False)
        text, image = reader("text_nocolour"), reader("rgb")
        at = batch.inputs["colour_words"]["position"][:, :2]
        seen = bundle.tasks["colour_words"].head.look(text.projected, text.valid, image.projected, at)
        assert seen.shape == (ROWS, 2, image.tokens.shape[1])
        assert torch.allclose(seen.sum(dim=2), torch.ones(ROWS, 2))


@pytest.mark.slow
def test_it_learns_colours_by_looking(make_batch: Any, make_photos: Any) -> None:
    """64 pictures of solid colours, every one with a caption of the same words, learnt by heart."""
    photos = read(make_photos(persons=32, photos=2, captions=1))["train"]
    bundle, batch = make_batch({"colour_words": {}}, 64, 99, photos)
    optimiser = torch.optim.AdamW(bundle.parameters(), lr=1e-3)
    for _ in range(250):
        optimiser.zero_grad()
        loss, logs = bundle(batch)
        loss.backward()
        optimiser.step()
    assert logs["colour_words/accuracy"] > 0.95
    batch.views["rgb"] = batch.views["rgb"].roll(1, dims=0)  # in this order no neighbour wears the same
    top = batch.inputs["colour_words"]["hue"][:, 0]
    logits = bundle.tasks["colour_words"].hue(states(bundle, batch))[:, 0]
    blind = (logits.argmax(dim=1) == top)[top != top.roll(1)].float().mean()
    assert blind < 0.2
