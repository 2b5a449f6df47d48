"""Centres of two modalities against a slow twin."""

from __future__ import annotations

from typing import Any

import pytest
import torch

ROWS = 12


def test_hetero_centre(step: Any) -> None:
    bundle, batch, images, texts, labels = step({"hetero_centre": {"weight": 1.0}})
    loss, _ = bundle(batch)
    persons = sorted({label for label in labels if label >= 0})
    assert len(persons) < ROWS
    total = 0.0
    for person in persons:
        members = [i for i in range(ROWS) if labels[i] == person]
        centres = [
            sum(features[i] / features[i].norm() for i in members) / len(members)
            for features in (images.double(), texts.double())
        ]
        total += float(((centres[0] - centres[1]) ** 2).sum()) / len(persons)
    assert loss.item() == pytest.approx(total, rel=1e-5)


def test_no_known_person_gives_zero_and_finite_gradients(make_batch: Any) -> None:
    bundle, batch = make_batch({"hetero_centre": {}}, ROWS, unknown_from=0)
    loss, _ = bundle(batch)
    loss.backward()
    assert loss.item() == 0.0
    gradients = [parameter.grad for parameter in bundle.parameters() if parameter.grad is not None]
    assert gradients
    assert all(torch.isfinite(gradient).all() for gradient in gradients)
