"""The contrasts of TBPS-CLIP against slow twins."""

from __future__ import annotations

import math
from typing import Any

import pytest

ROWS = 12


def targets(batch: Any, labels: list[int], twin: Any) -> list[list[float]]:
    matches = [[float(twin.match(batch, labels, i, j)) for j in range(ROWS)] for i in range(ROWS)]
    return [[match / sum(row) for match in row] for row in matches]


@pytest.mark.parametrize(("steps", "taken", "share"), [(0, 0, 0.5), (8, 2, 0.125), (8, 20, 0.5)])
def test_n_itc(steps: int, taken: int, share: float, step: Any, twin: Any) -> None:
    bundle, batch, images, texts, labels = step({"n_itc": {"scale": 20.0, "distil_steps": steps}})
    bundle.step = taken
    loss, _ = bundle(batch)
    hard, total = targets(batch, labels, twin), 0.0
    for rows, columns in ((images, texts), (texts, images)):
        for i, cosines in enumerate(twin.cosines(rows, columns)):
            chances = twin.softmax([20.0 * value for value in cosines])
            for j, chance in enumerate(chances):
                total -= (share * chance + (1 - share) * hard[i][j]) * math.log(chance) / ROWS / 2
    assert loss.item() == pytest.approx(total, rel=1e-5)


def test_n_itc_of_two_views_is_the_mean_of_both(step: Any) -> None:
    bundle, batch, *_ = step({"n_itc": {"multi_view": True}})
    both = bundle(batch)[0].item()
    alone = []
    for view in ("rgb", "rgb2"):
        other, *_ = step({"n_itc": {}})
        other.load_state_dict(bundle.state_dict())
        alone.append(other(batch_with(batch, view))[0].item())
    assert alone[0] != pytest.approx(alone[1], rel=1e-6)
    assert both == pytest.approx(sum(alone) / 2, rel=1e-5)


def batch_with(batch: Any, view: str) -> Any:
    return type(batch)(batch.row, batch.image, batch.person, {**batch.views, "rgb": batch.views[view]}, {})


def test_r_itc(step: Any, twin: Any) -> None:
    bundle, batch, images, texts, labels = step({"r_itc": {"scale": 20.0}})
    loss, _ = bundle(batch)
    hard, total = targets(batch, labels, twin), 0.0
    for rows, columns in ((images, texts), (texts, images)):
        for i, cosines in enumerate(twin.cosines(rows, columns)):
            for j, chance in enumerate(twin.softmax([20.0 * value for value in cosines])):
                total += chance * (math.log(chance) - math.log(hard[i][j] + 1e-2)) / ROWS / 2
    assert loss.item() == pytest.approx(total, rel=1e-5)


def test_c_itc(step: Any, twin: Any) -> None:
    bundle, batch, images, texts, _ = step({"c_itc": {"weight": 1.0}})
    loss, _ = bundle(batch)
    ii, tt, it = (twin.cosines(*pair) for pair in ((images, images), (texts, texts), (images, texts)))
    total = 0.0
    for i in range(ROWS):
        for j in range(ROWS):
            total += 0.25 * ((ii[i][j] - tt[i][j]) ** 2 + (it[i][j] - it[j][i]) ** 2) / ROWS**2
    assert loss.item() == pytest.approx(total, rel=1e-4)
