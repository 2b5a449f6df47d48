"""Re-ranking against sets and dense arrays, and where it must change nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from huecry.retrieval import rerank
from huecry.retrieval.metrics import rank_metrics, score_metrics
from huecry.retrieval.rerank import RERANKINGS, RVN, KReciprocal, RerankConfig, kreciprocal, rvn


def features(persons: int = 12, photos: int = 4, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Captions, photographs on another side of space, and the person of each."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(persons, 16, generator=generator)
    person = torch.arange(persons).repeat_interleave(photos)
    sides = [torch.randn(16, generator=generator) * 3 for _ in range(2)]
    both = [centres[person] + torch.randn(len(person), 16, generator=generator) + side for side in sides]
    return both[0], both[1], person, person


def test_rvn_is_the_jaccard_index_of_neighbour_sets() -> None:
    texts, images, *_ = features()
    t, v = (F.normalize(side, dim=1).double().numpy() for side in (texts, images))
    asked = [set(np.argsort(-row, kind="stable")[:4]) for row in t @ v.T]
    near = [{j, *[k for k in np.argsort(-row, kind="stable") if k != j][:3]} for j, row in enumerate(v @ v.T)]
    scores = torch.cat(list(rvn(texts, images, RVN(k=4, alpha=0.7)))).numpy()
    for i in range(len(t)):
        for j in range(len(v)):
            expected = t[i] @ v[j] + 0.7 * len(asked[i] & near[j]) / len(asked[i] | near[j])
            assert scores[i, j] == pytest.approx(expected, abs=1e-5)


def test_kreciprocal_is_the_formula_over_sets() -> None:
    texts, images, *_ = features(persons=8, photos=3)
    units = [F.normalize(side, dim=1) for side in (texts, images)]
    stacked = torch.cat([unit - unit.mean(dim=0) for unit in units])
    rows = F.normalize(stacked, dim=1).double().numpy()
    squared = np.maximum(2 - 2 * rows @ rows.T, 0)
    scaled = squared / squared.max(axis=1, keepdims=True)
    order = np.argsort(scaled - 9 * np.eye(len(rows)), axis=1, kind="stable")

    def reciprocal(i: int, k: int) -> set[int]:
        return {int(j) for j in order[i, : k + 1] if i in order[j, : k + 1]}

    k1, k2, keep = 6, 3, 0.4
    weights = np.zeros_like(scaled)
    for i in range(len(rows)):
        members = reciprocal(i, k1)
        for c in sorted(members):
            half = reciprocal(c, round(k1 / 2))
            if len(half & reciprocal(i, k1)) > 2 / 3 * len(half):
                members = members | half
        index = sorted(members)
        weights[i, index] = np.exp(-scaled[i, index])
        weights[i] /= weights[i].sum()
    weights = np.stack([weights[order[i, :k2]].mean(axis=0) for i in range(len(rows))])
    apart = 2 - 2 * (units[0].double() @ units[1].double().T).numpy()
    scores = torch.cat(list(kreciprocal(texts, images, KReciprocal(k1, k2, keep)))).numpy()
    for i in range(len(texts)):
        for j in range(len(images)):
            shared = np.minimum(weights[i], weights[len(texts) + j]).sum()
            distance = (1 - keep) * (1 - shared / (2 - shared)) + keep * apart[i, j] / apart[i].max()
            assert scores[i, j] == pytest.approx(-distance, abs=1e-5)


@pytest.mark.parametrize(
    "config",
    [
        RerankConfig(rvn=RVN(alpha=0.0), kreciprocal=KReciprocal(keep=1.0)),
        RerankConfig(rvn=RVN(k=1, alpha=1e-9), kreciprocal=KReciprocal(k1=1, k2=1, keep=1.0)),
    ],
)
@pytest.mark.parametrize("name", RERANKINGS)
def test_without_weight_the_ranking_is_the_original_one(name: str, config: RerankConfig) -> None:
    texts, images, persons, owners = features()
    found = score_metrics(RERANKINGS[name](texts, images, config), persons, owners)
    assert found == pytest.approx(rank_metrics(texts, images, persons, owners))


@pytest.mark.parametrize("name", RERANKINGS)
def test_neighbours_help_where_photographs_of_a_person_stand_together(name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    persons = owners = torch.arange(40).repeat_interleave(6)
    centres = torch.randn(40, 16, generator=generator)[persons]
    texts, images = (centres + noise * torch.randn(240, 16, generator=generator) for noise in (1.5, 0.7))
    plain = rank_metrics(texts, images, persons, owners)["mAP"]
    config = RerankConfig(rvn=RVN(alpha=1.0), kreciprocal=KReciprocal(k1=8, k2=3))
    assert score_metrics(RERANKINGS[name](texts, images, config), persons, owners)["mAP"] > plain + 2


@pytest.mark.parametrize("name", RERANKINGS)
def test_the_size_of_blocks_changes_nothing_and_duplicates_do_not_raise(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts, images, *_ = features()
    images = torch.cat([images, images[:5], images[:5]])
    whole = torch.cat(list(RERANKINGS[name](texts, images, RerankConfig())))
    monkeypatch.setattr(rerank, "BLOCK", 7)
    blocks = list(RERANKINGS[name](texts, images, RerankConfig()))
    assert len(blocks) == 7
    assert torch.allclose(torch.cat(blocks), whole, atol=1e-6)
    assert torch.isfinite(whole).all()


@pytest.mark.parametrize("name", RERANKINGS)
def test_a_gallery_smaller_than_the_lists(name: str) -> None:
    texts, images, *_ = features(persons=1, photos=3)
    scores = torch.cat(list(RERANKINGS[name](texts, images, RerankConfig())))
    assert scores.shape == (3, 3)
