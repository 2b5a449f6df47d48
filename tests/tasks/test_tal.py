"""Triplet alignment against a slow twin."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from huecry.tasks.tal import divide, triplet_alignment

ROWS = 12


@pytest.mark.parametrize("margin", [0.1, 0.6])
def test_tal(margin: float, step: Any, twin: Any) -> None:
    bundle, batch, images, texts, labels = step({"tal": {"margin": margin, "temperature": 0.05}})
    loss, _ = bundle(batch)
    total = 0.0
    for rows, columns in ((images, texts), (texts, images)):
        for i, cosines in enumerate(twin.cosines(rows, columns)):
            alike = [j for j in range(ROWS) if twin.match(batch, labels, i, j)]
            shares = twin.softmax([cosines[j] / 0.05 for j in alike])
            match = sum(share * cosines[j] for share, j in zip(shares, alike, strict=True))
            rest = sum(math.exp(cosines[j] / 0.05) for j in range(ROWS) if j not in alike)
            total += max(margin - match + 0.05 * math.log(rest), 0.0)
    assert total > 0
    assert loss.item() == pytest.approx(total, rel=1e-4)


def test_sharp_temperatures_do_not_overflow_and_the_shares_get_no_gradient() -> None:
    similarity = torch.tensor([[0.9, 0.5, 0.2], [-1.0, 1.0, 0.99]], requires_grad=True)
    positives = torch.tensor([[True, True, False], [True, False, False]])
    losses = triplet_alignment(similarity, positives, 0.001, 0.1)
    assert losses.tolist() == pytest.approx([0.0, 0.1 + 1.0 + 1.0], abs=1e-4)
    warm = triplet_alignment(similarity, positives, 1.0, 1.0).sum()
    (gradient,) = torch.autograd.grad(warm, similarity)
    share = math.exp(0.9) / (math.exp(0.9) + math.exp(0.5))
    assert gradient[0].tolist() == pytest.approx([-share, share - 1, 1.0], rel=1e-5)


def test_an_anchor_without_negatives_loses_nothing_and_stays_finite() -> None:
    similarity = torch.rand(2, 3, requires_grad=True)
    losses = triplet_alignment(similarity, torch.ones(2, 3, dtype=torch.bool), 0.015, 0.1)
    losses.sum().backward()
    assert losses.tolist() == [0.0, 0.0]
    assert similarity.grad is not None
    assert similarity.grad.abs().max() == 0


def test_selected_tokens(drawn: Any, twin: Any) -> None:
    """The loss with selection is that of the pooled features and that of token features made by loops."""
    stanza = {"temperature": 0.05, "margin": 0.6}
    bundle, batch = drawn({"tal": {**stanza, "select": 0.3}})
    plain, _ = drawn({"tal": stanza})
    plain.towers.load_state_dict(bundle.towers.state_dict())
    loss, _ = bundle(batch)
    step, selection = bundle._last, bundle.tasks["tal"].selection
    made = []
    for view, embedding, count in (("rgb", selection.image, int(32 * 0.3)), ("text", selection.text, int(75 * 0.3))):
        encoded, rows = step.encoded(view, False), []
        for i in range(ROWS):
            last = int(encoded.valid[i].sum()) - (1 if view == "text" else 0)
            looked = sorted(range(1, last), key=lambda n, i=i, e=encoded: -e.attention[i, n].item())[:count]
            units = [encoded.projected[i, n] / encoded.projected[i, n].norm() for n in looked]
            each = torch.stack([embedding.linear(one) + embedding.mlp(one) for one in units])
            rows.append(torch.stack([column.max() for column in each.T]))
        made.append(torch.stack(rows).detach())
    labels = bundle.labels.of(batch.row).tolist()
    positives = torch.tensor([[twin.match(batch, labels, i, j) for j in range(ROWS)] for i in range(ROWS)])
    total = plain(batch)[0].item()
    for rows, columns in (made, made[::-1]):
        total += triplet_alignment(torch.tensor(twin.cosines(rows, columns)), positives, 0.05, 0.6).sum().item()
    assert loss.item() == pytest.approx(total, rel=1e-4)


def test_division_leaves_out_what_both_losses_find_odd() -> None:
    generator = np.random.default_rng(0)
    losses = generator.normal(0.2, 0.03, size=(1000, 2))
    losses[:100] += 1.0  # mismatched by both
    losses[100:300, 0] += 1.0  # by one
    kept = divide(losses, np.random.default_rng(1))
    assert not kept[:100].any()
    assert 0.4 < kept[100:300].mean() < 0.6
    assert kept[300:].mean() > 0.97


def test_division_of_equal_losses_keeps_all() -> None:
    assert divide(np.full((50, 2), 0.3), np.random.default_rng(0)).all()


def test_pairs_are_divided_by_the_losses_of_the_epoch_before(drawn: Any) -> None:
    bundle, batch = drawn({"tal": {"division": True, "margin": 0.9}})
    task = bundle.tasks["tal"]
    bundle.begin_epoch(np.random.default_rng(0))
    assert task.keep.min() == 1  # nothing is known yet
    first, logs = bundle(batch)
    assert logs["tal/kept"] == 1
    bundle.after_backward()
    seen = (task.losses >= 0).all(dim=1)
    assert sorted(seen.nonzero().flatten().tolist()) == sorted(batch.row.tolist())
    assert task.losses[batch.row].sum().item() == pytest.approx(first.item(), rel=1e-5)
    task.keep[batch.row[:4]] = 0
    fewer, _ = bundle(batch)
    assert fewer.item() == pytest.approx(task.losses[batch.row[4:]].sum().item(), rel=1e-5)
