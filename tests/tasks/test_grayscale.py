"""Grayscale and colour branches: losses against a slow twin, edge cases, and what each branch can see."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from huecry.data.colour import luma
from huecry.data.records import Record
from huecry.data.views import Sample
from huecry.processes import world
from huecry.tasks.grayscale import Preparation
from huecry.training.encode import encode_view

ROWS = 12
VIEWS = ("rgb", "gray", "text", "text_nocolour")


def features(bundle: Any, batch: Any) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Image and text features of the three branches, in double precision."""
    task = bundle.tasks["grayscale"]
    with torch.no_grad():
        rgb, gray, text, erased = (encode_view(bundle.towers, view, batch.views[view]).pooled for view in VIEWS)
        images = [rgb, gray, task.branches.image(rgb - gray)]
        texts = [text, erased, task.branches.text(text - erased)]
    return [part.double() for part in images], [part.double() for part in texts]


def ce(teacher: list[float], student: list[float]) -> float:
    return -sum(p * math.log(q) for p, q in zip(teacher, student, strict=True))


def test_loss_without_identities(drawn: Any, twin: Any) -> None:
    bundle, batch = drawn({"grayscale": {"scale": 8.0, "mutual": 0.3, "weight": 1.0}})
    coloured = batch.inputs["grayscale"]["coloured"]
    coloured[[1, 5]] = False
    loss, logs = bundle(batch)
    images, texts = features(bundle, batch)
    labels = bundle.labels.of(batch.row).tolist()
    matching = mutual = 0.0
    for rows, columns in ((images, texts), (texts, images)):
        cosines = [twin.cosines(rows[b], columns[b]) for b in range(3)]
        for i in range(ROWS):
            alike = [j for j in range(ROWS) if twin.match(batch, labels, i, j)]
            every, shown = list(range(ROWS)), [j for j in range(ROWS) if coloured[j]]
            for b, kept, count in ((1, every, ROWS), (2, shown, int(coloured.sum()))):
                if b == 2 and not coloured[i]:
                    continue
                chances = dict(zip(kept, twin.softmax([8 * cosines[b][i][j] for j in kept]), strict=True))
                targets = [j for j in alike if j in kept]
                matching -= sum(math.log(chances[j]) for j in targets) / len(targets) / count / 2
            for teacher in range(3):
                for student in range(3):
                    colour = 2 in (teacher, student)
                    if teacher == student or (colour and not coloured[i]):
                        continue
                    kept = shown if colour else every
                    p, q = (twin.softmax([8 * cosines[b][i][j] for j in kept]) for b in (teacher, student))
                    mutual += ce(p, q) / (int(coloured.sum()) if colour else ROWS) / 12
    assert logs["grayscale/matching"].item() == pytest.approx(matching, rel=1e-4)
    assert logs["grayscale/mutual"].item() == pytest.approx(mutual, rel=1e-4)
    assert loss.item() == pytest.approx(matching + 0.3 * mutual, rel=1e-4)


def test_loss_with_identities(drawn: Any, twin: Any) -> None:
    bundle, batch = drawn({"grayscale": {"identities": True, "identity": 0.7, "mutual": 0.3, "weight": 1.0}})
    task = bundle.tasks["grayscale"]
    coloured, person = batch.inputs["grayscale"]["coloured"], batch.person.tolist()
    coloured[[1, 5]] = False
    for classifier in task.classifiers:
        torch.nn.init.normal_(classifier.weight, std=0.3)
    loss, logs = bundle(batch)
    assert -1 in person
    identity = mutual = 0.0
    for modality in features(bundle, batch):
        chances = []
        for b in range(3):
            weight, bias = (p.detach().double() for p in task.classifiers[b].parameters())
            chances.append([twin.softmax(row) for row in (modality[b] @ weight.T + bias).tolist()])
        known = [[i for i in range(ROWS) if person[i] >= 0 and (b < 2 or coloured[i])] for b in range(3)]
        for b in range(3):
            identity -= sum(math.log(chances[b][i][person[i]]) for i in known[b]) / len(known[b]) / 2
            for teacher in range(3):
                both = [i for i in known[b] if i in known[teacher]]
                if teacher != b:
                    mutual += sum(ce(chances[teacher][i], chances[b][i]) for i in both) / len(both) / 12
    assert logs["grayscale/identity"].item() == pytest.approx(identity, rel=1e-4)
    assert logs["grayscale/mutual"].item() == pytest.approx(mutual, rel=1e-4)
    total = logs["grayscale/matching"].item() + 0.7 * identity + 0.3 * mutual
    assert loss.item() == pytest.approx(total, rel=1e-4)


@pytest.mark.parametrize("identities", [True, False])
def test_a_batch_without_colour_words_has_no_colour_term(identities: bool, drawn: Any) -> None:
    bundle, batch = drawn({"grayscale": {"identities": identities}})
    batch.views["text_nocolour"] = batch.views["text"].clone()
    batch.inputs["grayscale"]["coloured"][:] = False
    loss, logs = bundle(batch)
    loss.backward()
    assert loss.isfinite()
    assert logs["grayscale/coloured"] == 0
    branches = bundle.tasks["grayscale"].branches
    for weight in branches.parameters():
        assert weight.grad is not None
        assert not weight.grad.any()
    for weight in bundle.towers.parameters():
        assert weight.grad is None or weight.grad.isfinite().all()


def test_the_teacher_is_not_taught(drawn: Any) -> None:
    """With mutual learning alone between two branches made equal, no gradient is left."""
    bundle, batch = drawn({"grayscale": {"mutual": 1.0}})
    batch.inputs["grayscale"]["coloured"][:] = False
    batch.views["gray"], batch.views["text_nocolour"] = batch.views["rgb"], batch.views["text"]
    task = bundle.tasks["grayscale"]
    parts = [bundle(batch)[1]["grayscale/mutual"].item()]
    logits = [torch.randn(4, 6, requires_grad=True) for _ in range(3)]
    everyone, nobody = torch.ones(4, dtype=torch.bool), torch.zeros(4, dtype=torch.bool)
    same = [logits[0], logits[0].detach().clone().requires_grad_(), logits[2]]
    task._mutual([same], [everyone, everyone, nobody]).backward()
    assert logits[0].grad.abs().max() < 1e-6
    assert same[1].grad.abs().max() < 1e-6
    assert not logits[2].grad.any()
    assert parts[0] > 0


def test_the_grey_branch_sees_no_colour_and_the_colour_branch_does(drawn: Any) -> None:
    bundle, batch = drawn({"grayscale": {}})
    images, texts = features(bundle, batch)
    batch.views["rgb"] = batch.views["rgb"].flip(1)  # red for blue; what is grey stays
    repainted, _ = features(bundle, batch)
    assert torch.equal(repainted[1], images[1])
    assert not torch.allclose(repainted[0], images[0])
    assert not torch.allclose(repainted[2], images[2])
    from huecry.data.captions import find_spans, mask_colours, replace_colour
    from huecry.data.tokens import pack, tokenize

    captions = [bundle.photos.caption(int(row)) for row in batch.row]
    swapped = [replace_colour(caption, find_spans(caption)[0], "teal") for caption in captions]
    batch.views["text"] = tokenize(swapped)
    batch.views["text_nocolour"] = pack([mask_colours(caption)[0] for caption in swapped])
    _, other = features(bundle, batch)

    def scores(image: list[torch.Tensor], text: list[torch.Tensor], b: int) -> torch.Tensor:
        return torch.nn.functional.cosine_similarity(image[b], text[b], dim=1)

    assert torch.allclose(scores(images, other, 1), scores(images, texts, 1))
    for b in (0, 2):
        assert not torch.allclose(scores(images, other, b), scores(images, texts, b))


def test_which_samples_have_a_colour_feature() -> None:
    prepare, rng = Preparation(), np.random.default_rng(0)
    pictures = [Image.new("RGB", (30, 60), colour) for colour in ("red", (90, 90, 90), (90, 90, 91))]

    def coloured(image: int, caption: str) -> bool:
        record = Record(None, (caption,), None, "a.png")  # type: ignore[arg-type]
        return bool(prepare(Sample(0, image, 0, record, caption, pictures[image]), rng)["coloured"])

    for _ in range(2):
        assert not coloured(0, "a long coat")
        assert coloured(0, "a red coat")
        assert not coloured(1, "a red coat")
        assert not coloured(2, "a red coat")


def test_half_precision_keeps_the_small_difference(drawn: Any) -> None:
    bundle, batch = drawn({"grayscale": {}})
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half, _ = bundle(batch)
    assert half.dtype == torch.float32
    assert half.isfinite()
    assert half.item() == pytest.approx(bundle(batch)[0].item(), rel=0.1)


def test_the_joined_descriptor_is_the_sum_of_three_cosines(drawn: Any) -> None:
    bundle, batch = drawn({"grayscale": {"export": "concat"}})
    assert world() == (0, 1)
    assert torch.equal(batch.views["gray"], luma(batch.views["rgb"]))
    images, texts = features(bundle, batch)
    sent = {"text": batch.views["text"], "text_nocolour": batch.views["text_nocolour"]}
    with torch.no_grad():
        image = bundle({"rgb": batch.views["rgb"]}, mode="encode")["rgb"].double()
        text = bundle(sent, mode="encode")["text"].double()
    assert image.shape == (ROWS, 3 * bundle.towers.embed_dim)
    cosines = sum(torch.nn.functional.cosine_similarity(a, b, dim=1) for a, b in zip(images, texts, strict=True))
    assert torch.allclose((image * text).sum(dim=1), cosines, atol=1e-5)


def test_a_query_without_colour_has_no_colour_part(drawn: Any) -> None:
    bundle, batch = drawn({"grayscale": {"export": "concat"}})
    sent = {"text": batch.views["text_nocolour"], "text_nocolour": batch.views["text_nocolour"]}
    width = bundle.towers.embed_dim
    with torch.no_grad():
        found = bundle(sent, mode="encode")["text"]
    assert not found[:, 2 * width :].any()
    assert torch.allclose(found[:, :width].norm(dim=1), torch.ones(ROWS))
