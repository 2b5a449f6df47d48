"""The metric-learning family against slow twins."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from huecry.config import build_recipe
from huecry.data.phrases import words
from huecry.errors import UserError
from huecry.tasks import TASKS
from huecry.tasks.ranking import RANKINGS, draw_lots

ROWS = 12


def hinge(violation: float, margin: float | None) -> float:
    return math.log1p(math.exp(violation)) if margin is None else max(margin + violation, 0.0)


class Loops:
    """Sums over anchors, written with loops."""

    def __init__(self, batch: Any, labels: list[int], twin: Any, images: Any, texts: Any) -> None:
        self.alike = [[twin.match(batch, labels, i, j) for j in range(ROWS)] for i in range(ROWS)]
        self.labels, self.rows = labels, batch.row
        self.across = [twin.cosines(images, texts), twin.cosines(texts, images)]
        self.within = [twin.cosines(images, images), twin.cosines(texts, texts)]

    def negatives(self, i: int) -> list[int]:
        return [j for j in range(ROWS) if not self.alike[i][j]]

    def positive(self, cosines: list[list[float]], i: int, mining: str) -> float:
        return min(cosines[i][j] for j in range(ROWS) if self.alike[i][j]) if mining == "hard" else cosines[i][i]

    def chosen(self, cosines: list[list[float]], i: int, positive: float, mining: str, margins: Any) -> list[int]:
        if mining == "all":
            return self.negatives(i)
        if mining == "hard":
            return [max(self.negatives(i), key=lambda j: cosines[i][j])]
        inside = [j for j in self.negatives(i) if 0 < cosines[i][j] - positive + margins[i][j] < margins[i][j]]
        lots = draw_lots(self.rows, self.rows)
        return [max(inside, key=lambda j: int(lots[i, j]))] if inside else []

    def ranked(self, cosines: list[list[float]], mining: str, margins: Any) -> list[float]:
        """The losses of the anchors that have a negative."""
        losses = []
        for i in range(ROWS):
            positive = self.positive(cosines, i, mining)
            chosen = self.chosen(cosines, i, positive, mining, margins)
            if chosen:
                each = [hinge(cosines[i][j] - positive, margins and margins[i][j]) for j in chosen]
                losses.append(sum(each) / len(each))
        return losses


@pytest.fixture
def loops(step: Any, twin: Any) -> Any:
    def build(stanza: dict[str, Any]) -> Any:
        bundle, batch, images, texts, labels = step({"triplet": stanza})
        return bundle(batch)[0].item(), Loops(batch, labels, twin, images, texts), bundle, batch

    return build


def flat(margin: float | None) -> Any:
    return None if margin is None else [[margin] * ROWS for _ in range(ROWS)]


@pytest.mark.parametrize(
    ("mining", "margin"), [("hard", 0.2), ("hard", None), ("semi_hard", 0.2), ("all", 0.2), ("all", None)]
)
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_triplets(mining: str, margin: float | None, reduction: str, loops: Any) -> None:
    loss, loop, *_ = loops({"mining": mining, "margin": margin, "reduction": reduction})
    total = 0.0
    for cosines in loop.across:
        losses = loop.ranked(cosines, mining, flat(margin))
        total += sum(losses) / (len(losses) if reduction == "mean" else 1)
    assert total > 0
    assert loss == pytest.approx(total, rel=1e-4)


def test_mirrored_pairs(loops: Any) -> None:
    loss, loop, *_ = loops({"mirror": True, "margin": 0.3})
    total = 0.0
    for cosines in loop.across:
        losses = loop.ranked(cosines, "hard", flat(0.3))
        total += sum(losses) / len(losses)
        for i in range(ROWS):
            (negative,) = loop.chosen(cosines, i, 0.0, "hard", None)
            total += hinge(cosines[negative][i] - cosines[i][i], 0.3) / ROWS
    assert loss == pytest.approx(total, rel=1e-4)


def test_within_each_modality(loops: Any) -> None:
    loss, loop, *_ = loops({"intra": True, "margin": 0.3})
    total = sum(sum(losses) / len(losses) for losses in (loop.ranked(one, "hard", flat(0.3)) for one in loop.across))
    for cosines in loop.within:
        losses = []
        for i in range(ROWS):
            others = [j for j in range(ROWS) if loop.alike[i][j] and j != i]
            if others:
                hardest = max(cosines[i][j] for j in loop.negatives(i))
                losses.append(hinge(hardest - min(cosines[i][j] for j in others), 0.3))
        assert 0 < len(losses) < ROWS
        total += sum(losses) / len(losses)
    assert loss == pytest.approx(total, rel=1e-4)


def test_adaptive_margins_grow_with_what_two_captions_tell_apart(loops: Any) -> None:
    loss, loop, bundle, batch = loops({"adaptive": 2.0, "mining": "all"})
    everyone = [set(words(caption)) for caption in bundle.photos.captions]
    rarity = {word: math.log1p(len(everyone) / sum(word in one for one in everyone)) for word in set().union(*everyone)}

    def apart(i: int, j: int) -> float:
        first, second = (everyone[int(batch.row[k])] for k in (i, j))
        return 1 - sum(rarity[word] for word in first & second) / sum(rarity[word] for word in first | second)

    margins = [[0.2 * (1 + 2.0 * apart(i, j)) for j in range(ROWS)] for i in range(ROWS)]
    total = 0.0
    for cosines in loop.across:
        losses = loop.ranked(cosines, "all", margins)
        total += sum(losses) / len(losses)
    assert loss == pytest.approx(total, rel=1e-4)


def test_pairs(loops: Any) -> None:
    loss, loop, *_ = loops({"form": "pairs", "margin": 0.5})
    total = 0.0
    for cosines in loop.across:
        for i in range(ROWS):
            for j in range(ROWS):
                distance = 1 - cosines[i][j]
                total += (distance**2 if loop.alike[i][j] else max(0.5 - distance, 0) ** 2) / ROWS**2
    assert loss == pytest.approx(total, rel=1e-4)


def test_quadruplets(loops: Any) -> None:
    loss, loop, *_ = loops({"form": "quadruplet", "margin": 1.0, "second_margin": 0.5})
    total = 0.0
    for cosines in loop.across:
        for i in range(ROWS):
            positive = 2 - 2 * loop.positive(cosines, i, "hard")
            (n,) = loop.chosen(cosines, i, 0.0, "hard", None)
            total += max(1.0 + positive - (2 - 2 * cosines[i][n]), 0) / ROWS
            others = [k for k in loop.negatives(i) if loop.labels[k] >= 0 and loop.labels[k] != loop.labels[n]]
            if others:  # of the modality of the anchor, to the negative of the other one
                total += max(0.5 + positive - min(2 - 2 * cosines[k][n] for k in others), 0) / ROWS
    assert loss == pytest.approx(total, rel=1e-4)


@pytest.mark.parametrize(
    "stanza",
    [
        {"form": "pairs", "margin": None},
        {"form": "quadruplet", "margin": None},
        {"adaptive": 1.0, "margin": None},
        {"mining": "semi_hard", "margin": None},
        *({"form": form, key: True} for form in ("pairs", "quadruplet") for key in ("mirror", "intra")),
        {"form": "pairs", "adaptive": 1.0},
    ],
)
def test_what_a_form_cannot_do_is_refused(stanza: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"tasks\.triplet\.(margin|mirror|intra|adaptive|mining)"):
        build_recipe("r", {"tasks": {"triplet": stanza}}, [], TASKS)


@pytest.mark.parametrize("name", RANKINGS)
def test_anchors_without_negatives_take_no_part(name: str) -> None:
    similarity = torch.rand(2, 3, requires_grad=True)
    negatives = torch.tensor([[False, False, False], [False, True, True]])
    losses, there = RANKINGS[name](
        similarity, torch.tensor([0.9, 0.9]), negatives, torch.tensor(2.0), lambda: torch.arange(6).view(2, 3)
    )
    losses.sum().backward()
    assert there.tolist() == [False, True]
    assert losses[0] == 0
    assert losses[1] > 0
    assert similarity.grad is not None
    assert similarity.grad[0].abs().max() == 0


def test_lots_are_even_and_do_not_depend_on_where_a_row_stands() -> None:
    rows, columns = torch.arange(400), torch.arange(1000, 1040)
    lots = draw_lots(rows, columns)
    assert int(lots.min()) >= 0
    assert int(lots.max()) < 2**32
    assert torch.equal(lots[7:9, 3:5], draw_lots(rows[7:9], columns[3:5]))
    won = torch.bincount(lots.argmax(dim=1), minlength=40).double()
    assert float(((won - 10) ** 2 / 10).sum()) < 73  # chi-squared of 39 degrees of freedom at 0.1 %
