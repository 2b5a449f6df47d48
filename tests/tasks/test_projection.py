"""Cross-modal projection against slow twins."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

ROWS = 12


@pytest.mark.parametrize("compat", [None, "l2"])
def test_cmpm(compat: str | None, step: Any, twin: Any) -> None:
    bundle, batch, images, texts, labels = step({"cmpm": {"compat": compat}})
    loss, _ = bundle(batch)
    total = 0.0
    for rows, columns in ((images.double(), texts.double()), (texts.double(), images.double())):
        for i in range(ROWS):
            projected = [float(rows[i] @ columns[j] / columns[j].norm()) for j in range(ROWS)]
            matches = [float(twin.match(batch, labels, i, j)) for j in range(ROWS)]
            size = math.sqrt(sum(matches)) if compat == "l2" else sum(matches)
            for chance, match in zip(twin.softmax(projected), matches, strict=True):
                total += chance * (math.log(chance) - math.log(match / size + 1e-8)) / ROWS
    assert loss.item() == pytest.approx(total, rel=1e-4)


def test_cmpm_is_least_where_the_projections_follow_the_matches_and_the_port_below_zero(step: Any) -> None:
    """Two photographs a person, features far apart: KL 0 by row sums, log 2 / 2 less for each direction by lengths."""
    bundle, batch, *_ = step({"cmpm": {}})
    persons = torch.nn.functional.one_hot(torch.arange(ROWS) // 2, 128).float() * 60
    losses = {}
    for compat in (None, "l2"):
        task = bundle.tasks["cmpm"]
        task.config.compat = compat
        bundle(batch)
        _, _, encode, inputs = next(iter(bundle._each_task()))
        for view in ("rgb", "text"):
            encode(view).pooled = persons
            bundle._last._made.pop(("gathered", view, False))
        bundle._last._made["positives"] = persons @ persons.T > 0
        inputs["image"] = torch.arange(ROWS)
        bundle._last._made[("ids", "image")] = inputs["image"]
        losses[compat] = task(encode, inputs)[0].item()
    assert losses[None] == pytest.approx(0.0, abs=1e-5)
    assert losses["l2"] == pytest.approx(-math.log(2), abs=1e-5)


def test_cmpc(step: Any, twin: Any) -> None:
    bundle, batch, images, texts, _ = step({"cmpc": {}})
    loss, _ = bundle(batch)
    classes = bundle.tasks["cmpc"].classes.detach().double()
    known = [i for i in range(ROWS) if int(batch.person[i]) >= 0]
    assert 0 < len(known) < ROWS
    total = 0.0
    for rows, others in ((images.double(), texts.double()), (texts.double(), images.double())):
        for i in known:
            towards = others[i] / others[i].norm()
            projected = (rows[i] @ towards) * towards
            logits = [float(projected @ column / column.norm()) for column in classes.T]
            total -= math.log(twin.softmax(logits)[int(batch.person[i])]) / len(known)
    assert loss.item() == pytest.approx(total, rel=1e-5)
