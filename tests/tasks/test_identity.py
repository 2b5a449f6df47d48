"""Identity classification against a slow twin."""

from __future__ import annotations

import math
from typing import Any

import pytest

ROWS = 12


@pytest.mark.parametrize(("scale", "smoothing"), [(None, 0.0), (28.0, 0.0), (1.0, 0.1)])
def test_identity(scale: float | None, smoothing: float, step: Any, twin: Any) -> None:
    bundle, batch, images, texts, _ = step({"identity": {"scale": scale, "smoothing": smoothing}})
    loss, _ = bundle(batch)
    layer = bundle.tasks["identity"].classifier
    weights = layer.weight.detach()
    classes, total, known = len(weights), 0.0, [i for i in range(ROWS) if int(batch.person[i]) >= 0]
    assert 0 < len(known) < ROWS
    for features in (images, texts):
        cosines = twin.cosines(features, weights)
        for i in known:
            if scale is None:
                logits = (weights.double() @ features[i].double() + layer.bias.detach().double()).tolist()
            else:
                logits = [scale * value for value in cosines[i]]
            chances = twin.softmax(logits)
            for k in range(classes):
                target = (1 - smoothing) * (k == int(batch.person[i])) + smoothing / classes
                total -= target * math.log(chances[k]) / len(known) / 2
    assert loss.item() == pytest.approx(total, rel=1e-5)


@pytest.mark.parametrize(("taken", "weight"), [(9, 0.0), (10, 0.5)])
def test_mutual_identity_teaches_each_modality_what_the_other_believes(
    taken: int, weight: float, step: Any, twin: Any
) -> None:
    plain, batch, images, texts, _ = step({"identity": {"scale": 10.0}})
    bundle, *_ = step({"identity": {"scale": 10.0, "mutual": 0.5, "mutual_start": 10}})
    bundle.load_state_dict(plain.state_dict())
    bundle.step = taken
    known = [i for i in range(ROWS) if int(batch.person[i]) >= 0]
    weights = bundle.tasks["identity"].classifier.weight.detach()
    both = [
        [twin.softmax([10 * one for one in row]) for row in twin.cosines(rows, weights)] for rows in (images, texts)
    ]
    extra = 0.0
    for own, other in (both, both[::-1]):
        for i in known:
            extra -= sum(q * math.log(p) for p, q in zip(own[i], other[i], strict=True)) / len(known)
    assert bundle(batch)[0].item() == pytest.approx(plain(batch)[0].item() + weight * extra, rel=1e-5)


def test_identity_without_a_known_person_gives_zero_and_a_gradient_to_the_head(make_batch: Any) -> None:
    bundle, batch = make_batch({"identity": {}}, ROWS, unknown_from=0)
    loss, _ = bundle(batch)
    loss.backward()
    assert loss.item() == 0.0
    assert bundle.tasks["identity"].classifier.weight.grad.abs().sum() == 0
