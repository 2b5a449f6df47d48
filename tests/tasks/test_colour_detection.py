"""Detection of wrong colours against a slow twin, and what its captions give away."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from huecry.data.captions import HUES, NEIGHBOURS, find_spans, swap_colours
from huecry.data.tokens import encode

CAPTION = "A woman in an orange coat, dark blue jeans and a red hat carries a bright yellow bag."


def test_colour_detection(drawn: Any) -> None:
    bundle, batch = drawn({"colour_detection": {"weight": 1.0}})
    loss, logs = bundle(batch)
    task, step = bundle.tasks["colour_detection"], bundle._last
    text, image = step.encoded("text_swapped", False), step.encoded("rgb", False)
    everywhere = torch.arange(text.valid.shape[1]).expand(len(text.valid), -1)
    scores = task.wrong(task.head(text.projected, text.valid, image.projected, everywhere))[..., 0].double()
    losses, hits = [], []
    for i, colours in enumerate(batch.views["swapped"].tolist()):
        for position, wrong in colours:
            if position >= 0:
                chance = 1 / (1 + math.exp(-scores[i, position].item()))
                losses.append(-math.log(chance if wrong else 1 - chance))
                hits.append((chance > 0.5) == bool(wrong))
    assert sum(hits) > 0
    assert loss.item() == pytest.approx(sum(losses) / len(losses), rel=1e-5)
    assert logs["colour_detection/accuracy"].item() == pytest.approx(sum(hits) / len(hits))


def test_swapped_colours_are_wrong_and_the_others_right() -> None:
    spans = [span for span in find_spans(CAPTION) if span.scored]
    names = {encode(hue)[-1]: hue for hue in HUES}
    seen = []
    for seed in range(200):
        ids, found = swap_colours(CAPTION, np.random.default_rng(seed), 0.5)
        assert len(found) == len(spans) == 4
        for span, (position, wrong) in zip(spans, found, strict=True):
            hue = names[ids[position]]
            seen.append((span.hue, hue, wrong))
            assert (hue != span.hue) == wrong
            assert not (wrong and hue in NEIGHBOURS[span.hue])
    assert 0.4 < np.mean([wrong for _, _, wrong in seen]) < 0.6
    own = {span.hue for span in spans}
    assert np.mean([hue in own for _, hue, wrong in seen if wrong]) > 0.5


def test_a_caption_does_not_tell_by_its_words_which_colours_are_wrong() -> None:
    """Kept and swapped colours are single plain names after "a": modifiers and "an" would tell."""
    plain, _ = swap_colours(CAPTION, np.random.default_rng(0), 0.0)
    assert plain == list(encode("A woman in a orange coat, navy jeans and a red hat carries a yellow bag."))
    for share in (0.0, 1.0):
        ids, found = swap_colours(CAPTION, np.random.default_rng(0), share)
        assert len(ids) == len(plain)
        assert [wrong for _, wrong in found] == [bool(share)] * 4


def test_a_caption_without_colours_asks_nothing() -> None:
    assert swap_colours("Somebody walks.", np.random.default_rng(0), 1.0) == (list(encode("Somebody walks.")), [])
