"""The hybrid memory, Text-IoU matching and mining against slow twins, and what labels may not do."""

from __future__ import annotations

import math
import statistics
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from huecry.data.phrases import words
from huecry.retrieval.evaluate import extract
from huecry.tasks import clustering
from huecry.training.bundle import Bundle

ROWS = 12
ALONE = {"match": 0.0, "mine": 0.0, "weight": 1.0}


def remembering(bundle: Any, seed: int = 4) -> Any:
    """The task with memories filled at random, far from unit length."""
    task = bundle.tasks["clustering"]
    generator = torch.Generator().manual_seed(seed)
    task_features = [3 * torch.randn(memory.shape, generator=generator) for memory in (task.images, task.texts)]
    bundle.remember(*task_features)
    return task


def memory_loss(features: list[list[float]], labels: list[int], own: list[int], tau: float) -> float:
    """features: cosines [B][M] with the memory's unit rows; a label of -1 is a class of its own."""
    kinds = [label if label >= 0 else f"alone {row}" for row, label in enumerate(labels)]
    total = 0.0
    for anchor, cosines in enumerate(features):
        members: dict[Any, list[float]] = {}
        for kind, cosine in zip(kinds, cosines, strict=True):
            members.setdefault(kind, []).append(cosine)
        logits = {kind: sum(values) / len(values) / tau for kind, values in members.items()}
        top = max(logits.values())
        total += top + math.log(sum(math.exp(value - top) for value in logits.values())) - logits[kinds[own[anchor]]]
    return total / len(features)


def test_memory_loss(step: Any, twin: Any) -> None:
    bundle, batch, images, texts, _ = step({"clustering": {**ALONE, "temperature": 0.2}})
    task = remembering(bundle)
    assert torch.allclose(task.images.norm(dim=1), torch.ones(len(task.images)))
    loss, _ = bundle(batch)
    labels = bundle.labels.image.tolist(), bundle.labels.text.tolist()
    assert -1 in labels[0]
    expected = sum(
        memory_loss(twin.cosines(features, memory), known, own.tolist(), 0.2) / 2
        for features, memory, known, own in (
            (images, task.images, labels[0], batch.image),
            (texts, task.texts, labels[1], batch.row),
        )
    )
    assert loss.item() == pytest.approx(expected, rel=1e-4)


def test_contrast_with_the_means_of_the_other_modality(step: Any, twin: Any) -> None:
    alone, across = (step({"clustering": {**ALONE, "temperature": 0.2, "across": one}}) for one in (0.0, 3.0))
    losses = []
    for bundle, batch, *_ in (alone, across):
        remembering(bundle)
        losses.append(bundle(batch)[0].item())
    bundle, batch, images, texts, _ = across
    task = bundle.tasks["clustering"]
    labels = bundle.labels.image.tolist(), bundle.labels.text.tolist()
    expected = sum(
        memory_loss(twin.cosines(features, memory), known, own.tolist(), 0.2) / 2
        for features, memory, known, own in (
            (texts, task.images, labels[0], batch.image),
            (images, task.texts, labels[1], batch.row),
        )
    )
    assert losses[1] - losses[0] == pytest.approx(3 * expected, rel=1e-4)


def test_the_number_of_a_cluster_does_not_matter(drawn: Any) -> None:
    bundle, batch = drawn({"clustering": {"mine": 1.0, "across": 1.0}})
    remembering(bundle)
    before = bundle(batch)[0].item()
    labels = bundle.labels
    count = int(labels.image.max()) + 1
    order = torch.randperm(count, generator=torch.Generator().manual_seed(0))

    def renamed(one: torch.Tensor) -> torch.Tensor:
        return torch.where(one < 0, one, order[one.clamp(min=0)] + 7)

    labels.publish(renamed(labels.image), renamed(labels.text))
    assert bundle(batch)[0].item() == pytest.approx(before, rel=1e-6)


def test_the_memory_is_updated_after_the_backward_pass(make_batch: Any) -> None:
    bundle, batch = make_batch({"clustering": {**ALONE, "momentum": 0.3}}, ROWS, unknown_from=5)
    task = remembering(bundle)
    before = task.images.clone(), task.texts.clone()
    features = bundle({"rgb": batch.views["rgb"], "text": batch.views["text"]}, mode="encode")
    bundle(batch)
    assert torch.equal(task.images, before[0])
    bundle.after_backward()
    for memory, old, view, rows in (
        (task.images, before[0], "rgb", batch.image),
        (task.texts, before[1], "text", batch.row),
    ):
        unit = F.normalize(features[view], dim=1)
        expected = old.clone()
        for row in set(rows.tolist()):
            mean = torch.stack([unit[i] for i in range(ROWS) if rows[i] == row]).mean(dim=0)
            expected[row] = F.normalize(0.3 * old[row] + 0.7 * mean, dim=0)
        assert torch.allclose(memory, expected, atol=1e-5)
    assert len(set(batch.image.tolist())) < ROWS  # a photograph came twice
    assert task.updates == 1


def test_until_it_is_filled_the_memory_says_nothing(drawn: Any) -> None:
    bundle, batch = drawn({"clustering": ALONE})
    loss, _ = bundle(batch)
    loss.backward()
    assert loss.item() == 0
    assert all(parameter.grad is not None for parameter in bundle.towers.image.parameters())
    bundle.after_backward()
    task = bundle.tasks["clustering"]
    assert task.updates == -1
    remembering(bundle)
    filled = task.images.clone()
    remembering(bundle, seed=9)
    assert torch.equal(task.images, filled)  # once


def test_beside_exported_branches_it_remembers_the_features_of_the_towers(drawn: Any) -> None:
    bundle, _ = drawn({"clustering": ALONE, "grayscale": {"export": "concat"}})
    found = extract(bundle, bundle.photos, size=bundle.towers.image_size, context=bundle.towers.context)
    assert found.images.shape[1] == 3 * bundle.towers.embed_dim
    bundle.remember(found.images, found.texts)
    plain = Bundle(bundle.towers, {}, bundle.labels)
    expected = extract(plain, bundle.photos, size=bundle.towers.image_size, context=bundle.towers.context)
    assert torch.allclose(bundle.tasks["clustering"].images, F.normalize(expected.images, dim=1), atol=1e-5)
    assert torch.allclose(bundle.tasks["clustering"].texts, F.normalize(expected.texts, dim=1), atol=1e-5)


def iou_table(bundle: Any, batch: Any, idf: bool = True) -> list[list[float]]:
    held = [words(caption) for caption in bundle.photos.captions]
    weight = {
        one: math.log(1 + len(held) / sum(one in other for other in held)) if idf else 1.0 for one in set().union(*held)
    }
    chosen = [held[row] for row in batch.row.tolist()]
    return [
        [sum(weight[w] for w in a & b) / sum(weight[w] for w in a | b) if a | b else 0.0 for b in chosen]
        for a in chosen
    ]


@pytest.mark.parametrize("floor", [0.0, 0.3])
def test_matching_by_text_iou(floor: float, step: Any, twin: Any) -> None:
    bundle, batch, images, texts, labels = step({"clustering": {"match": 1.0, "floor": floor, "weight": 1.0}})
    loss, logs = bundle(batch)
    iou = iou_table(bundle, batch)
    total = 0.0
    for rows, columns in ((images, texts), (texts, images)):
        cosines = twin.cosines(rows, columns)
        for i in range(ROWS):
            soft = [iou[i][j] if iou[i][j] >= floor else 0.0 for j in range(ROWS)]
            weights = [1.0 if twin.match(batch, labels, i, j) else soft[j] for j in range(ROWS)]
            length = rows[i].double().norm().item()
            p = twin.softmax([length * value for value in cosines[i]])
            q = [weight / sum(weights) for weight in weights]
            total += sum(a * (math.log(a) - math.log(b + 1e-8)) for a, b in zip(p, q, strict=True)) / ROWS
    assert logs["clustering/match"].item() == pytest.approx(total, rel=1e-4)
    assert loss.item() == pytest.approx(total, rel=1e-4)


def test_mining(step: Any, twin: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    stanza = {"match": 0.0, "mine": 1.0, "nearest": 7, "margin": 0.5, "weight": 1.0}
    bundle, batch, images, _, _ = step({"clustering": stanza})
    iou, cosines = iou_table(bundle, batch), twin.cosines(images, images)
    pairs = []
    for i in range(ROWS):
        others = [j for j in range(ROWS) if batch.image[j] != batch.image[i]]
        near = sorted(others, key=lambda j, i=i: -cosines[i][j])[:7]
        best, worst = max(near, key=lambda j, i=i: iou[i][j]), min(near, key=lambda j, i=i: iou[i][j])
        pairs.append((iou[i][best], iou[i][worst], cosines[i][worst] - cosines[i][best]))
    least, most = (statistics.mean(pair[k] for pair in pairs) for k in (0, 1))  # between the values that there are
    monkeypatch.setattr(clustering, "LEAST_ALIKE", least - 1e-6)
    monkeypatch.setattr(clustering, "MOST_APART", most + 1e-6)
    losses = [max(0.0, 0.5 + gap) for best, worst, gap in pairs if best > least - 1e-6 and worst < most + 1e-6]
    assert 0 < len(losses) < ROWS, pairs
    loss, logs = bundle(batch)
    assert logs["clustering/mined"].item() == pytest.approx(len(losses) / ROWS)
    assert loss.item() == pytest.approx(sum(losses) / len(losses), rel=1e-4)
