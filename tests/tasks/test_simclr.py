"""Image self-supervision against a slow twin."""

from __future__ import annotations

import math
from typing import Any

import pytest

ROWS = 12


def test_simclr(drawn: Any, twin: Any) -> None:
    bundle, batch = drawn({"simclr": {"temperature": 0.5, "weight": 1.0}})
    loss, _ = bundle(batch)
    pictures = {name: batch.views[name] for name in ("strong", "strong2")}
    first, second = (bundle.tasks["simclr"].mlp(one).detach() for one in bundle(pictures, mode="encode").values())
    total = 0.0
    for a, b in ((first, second), (second, first)):
        across, within = twin.cosines(a, b), twin.cosines(a, a)
        for i in range(ROWS):
            others = [within[i][j] for j in range(ROWS) if j != i]
            rest = sum(math.exp(value / 0.5) for value in [*across[i], *others])
            total -= (across[i][i] / 0.5 - math.log(rest)) / ROWS / 2
    assert loss.item() == pytest.approx(total, rel=1e-5)


def test_the_two_pictures_of_a_photograph_differ(drawn: Any) -> None:
    _, batch = drawn({"simclr": {}})
    first, second = (batch.views[name].float() for name in ("strong", "strong2"))
    assert ((first - second).abs().mean(dim=(1, 2, 3)) > 1).all()
