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


def test_identity_without_a_known_person_gives_zero_and_a_gradient_to_the_head(make_batch: Any) -> None:
    bundle, batch = make_batch({"identity": {}}, ROWS, unknown_from=0)
    loss, _ = bundle(batch)
    loss.backward()
    assert loss.item() == 0.0
    assert bundle.tasks["identity"].classifier.weight.grad.abs().sum() == 0
