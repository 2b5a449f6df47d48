"""Metrics against hand-computed values, a slow loop, scikit-learn, and the rules for ties."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from huecry.errors import UserError
from huecry.retrieval import metrics
from huecry.retrieval.metrics import rank_metrics, rank_queries, rank_top, score_metrics, score_queries

NAMES = ("R1", "R5", "R10", "mAP", "mINP", "tie_share")


def slow_metrics(scores: np.ndarray, query_ids, gallery_ids, ap: str) -> dict[str, float]:
    """The definitions, one query and one rank at a time."""
    rows = []
    for line, person in zip(scores.tolist(), query_ids, strict=True):
        order = sorted(range(len(line)), key=lambda g: (-line[g], g))
        hits, precisions, ranks = 0, [], []
        for rank, g in enumerate(order, 1):
            if gallery_ids[g] != person or person < 0:
                continue
            before = hits / (rank - 1) if rank > 1 else 1.0
            hits += 1
            precisions.append(hits / rank if ap == "step" else (before + hits / rank) / 2)
            ranks.append(rank)
        best = max(line[g] for g in range(len(line)) if gallery_ids[g] == person)
        tied = any(line[g] == best for g in range(len(line)) if gallery_ids[g] != person)
        cmc = [100.0 * (ranks[0] <= k) for k in (1, 5, 10)]
        rows.append([*cmc, 100 * sum(precisions) / hits, 100 * hits / ranks[-1], float(tied)])
    return dict(zip(NAMES, np.mean(rows, axis=0).tolist(), strict=True))


TOY_SCORES = torch.tensor(
    [
        [0.9, 0.8, 0.1, 0.7, 0.2],  # person 0 stands in columns 0 and 3: ranks 1 and 3
        [0.5, 0.4, 0.9, 0.8, 0.1],  # person 1 in column 1: rank 4
        [0.1, 0.6, 0.3, 0.2, 0.6],  # person 2 in columns 2 and 4: column 4 ties with column 1, ranks 2 and 3
    ]
)
TOY_QUERIES, TOY_GALLERY = torch.tensor([0, 1, 2]), torch.tensor([0, 1, 2, 0, 2])


def test_toy_by_hand() -> None:
    result = score_metrics([TOY_SCORES], TOY_QUERIES, TOY_GALLERY)
    aps = [(1 / 1 + 2 / 3) / 2, 1 / 4, (1 / 2 + 2 / 3) / 2]
    inps = [2 / 3, 1 / 4, 2 / 3]
    assert result == pytest.approx(
        {
            "R1": 100 / 3, "R5": 100, "R10": 100, "mAP": 100 * np.mean(aps), "mINP": 100 * np.mean(inps),
            "tie_share": 1 / 3, "queries": 3, "gallery": 5, "persons": 3,
        }
    )  # fmt: skip


def test_image_to_text_is_the_transpose() -> None:
    texts, images = torch.randn(8, 6), torch.randn(5, 6)
    text_ids, image_ids = torch.tensor([0, 0, 1, 1, 2, 2, 3, 3]), torch.tensor([0, 1, 1, 2, 3])
    turned = rank_metrics(images, texts, image_ids, text_ids)
    cosine = torch.nn.functional.normalize(texts, dim=1) @ torch.nn.functional.normalize(images, dim=1).T
    assert turned == pytest.approx(score_metrics([cosine.T], image_ids, text_ids))
    by_hand = score_metrics([TOY_SCORES.T], TOY_GALLERY, TOY_QUERIES)
    # Columns rank persons 0, 1, 2; the rows' own person comes first, second, second, second, first.
    assert by_hand["R1"] == pytest.approx(40)
    assert by_hand["mAP"] == pytest.approx(100 * (1 + 1 / 3 + 1 / 2 + 1 / 2 + 1) / 5)


@pytest.mark.parametrize(("ap", "expected"), [("step", 75.0), ("trapezoid", 100 * 17 / 24)])
def test_step_and_trapezoid_for_hits_at_ranks_one_and_four(ap, expected) -> None:
    scores = torch.tensor([[4.0, 3.0, 2.0, 1.0]])
    result = score_metrics([scores], torch.tensor([7]), torch.tensor([7, 1, 2, 7]), ap=ap)
    assert result["mAP"] == pytest.approx(expected)


@pytest.mark.parametrize("count_at_most", [0, metrics.COUNT_AT_MOST])
def test_scikit_learn_agrees_where_nothing_ties(monkeypatch, count_at_most) -> None:
    monkeypatch.setattr(metrics, "COUNT_AT_MOST", count_at_most)
    generator = torch.Generator().manual_seed(0)
    queries, gallery = (torch.randn(n, 16, generator=generator) for n in (40, 300))
    query_ids, gallery_ids = torch.arange(40) % 10, torch.arange(300) % 10
    cosine = torch.nn.functional.normalize(queries, dim=1) @ torch.nn.functional.normalize(gallery, dim=1).T
    oracle = [
        average_precision_score((gallery_ids == person).numpy(), line.numpy())
        for person, line in zip(query_ids, cosine, strict=True)
    ]
    result = rank_metrics(queries, gallery, query_ids, gallery_ids)
    assert result["mAP"] == pytest.approx(100 * np.mean(oracle), abs=1e-4)
    assert result["tie_share"] == 0


@st.composite
def tied_problems(draw):
    persons = draw(st.integers(1, 4))
    gallery = [*range(persons), *draw(st.lists(st.integers(-1, persons - 1), max_size=30))]
    gallery = draw(st.permutations(gallery))
    queries = draw(st.lists(st.integers(0, persons - 1), min_size=1, max_size=6))
    values = st.lists(st.integers(-2, 2), min_size=len(gallery), max_size=len(gallery))
    scores = draw(st.lists(values, min_size=len(queries), max_size=len(queries)))
    return np.array(scores, dtype=np.float32), queries, gallery


@given(tied_problems(), st.sampled_from(["step", "trapezoid"]), st.sampled_from([0, 2, 100]), st.integers(1, 3))
@settings(deadline=None, max_examples=150)
def test_slow_loop_agrees_including_ties(problem, ap, count_at_most, block) -> None:
    scores, query_ids, gallery_ids = problem
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metrics, "COUNT_AT_MOST", count_at_most)
        blocks = torch.from_numpy(scores).split(block)
        result = score_metrics(blocks, torch.tensor(query_ids), torch.tensor(gallery_ids), ap=ap)
    assert {name: result[name] for name in NAMES} == pytest.approx(slow_metrics(scores, query_ids, gallery_ids, ap))


@pytest.mark.parametrize("dim", [1, 3, 512])
@pytest.mark.parametrize("persons", [7, 101])
def test_constant_features_give_chance(dim, persons) -> None:
    """Whatever order the gallery is in, each position is first for one person."""
    ids = torch.randperm(persons, generator=torch.Generator().manual_seed(persons))
    one = torch.randn(1, dim) + 3
    result = rank_metrics(one.expand(persons, dim), one.expand(persons, dim), torch.arange(persons), ids)
    assert result["R1"] == pytest.approx(100 / persons)
    assert result["R5"] == pytest.approx(500 / persons)
    assert result["tie_share"] == 1


@pytest.mark.parametrize("queries", [1, 3, 64])
@pytest.mark.parametrize("copies", [7, 100, 1001])
def test_equal_gallery_vectors_tie_exactly(queries, copies) -> None:
    """A plain product does not promise this: the same column may be rounded in two ways."""
    generator = torch.Generator().manual_seed(copies)
    base, asked = torch.randn(5, 512, generator=generator), torch.randn(queries, 512, generator=generator)
    base[0, 0], which = 0.0, torch.randint(5, (copies,), generator=generator)
    gallery = base[which]
    gallery[which == 0, 0] = torch.where(torch.rand(int((which == 0).sum())) < 0.5, 0.0, -0.0)
    scores, index = rank_top(asked, gallery, copies)
    for line, order in zip(scores, index, strict=True):
        assert len(line.unique()) == len(which.unique())
        for score in line.unique():
            assert order[line == score].diff().gt(0).all()


def test_a_duplicate_of_the_right_photograph_counts_as_a_tie() -> None:
    features = torch.eye(4)
    gallery = features[[1, 0, 2, 0, 3]]
    result = rank_metrics(features[:1], gallery, torch.tensor([5]), torch.tensor([1, 2, 3, 5, 4]))
    assert result["tie_share"] == 1
    assert result["R1"] == 0
    assert result["mAP"] == 50


def test_the_order_of_a_gallery_without_ties_does_not_matter() -> None:
    generator = torch.Generator().manual_seed(1)
    queries, gallery = (torch.randn(n, 32, generator=generator) for n in (60, 200))
    query_ids, gallery_ids = torch.arange(60) % 20, torch.arange(200) % 20
    expected = rank_metrics(queries, gallery, query_ids, gallery_ids)
    order = torch.randperm(200, generator=generator)
    assert rank_metrics(queries, gallery[order], query_ids, gallery_ids[order]) == pytest.approx(expected)
    for block in (1, 7, 1000):
        assert rank_metrics(queries, gallery, query_ids, gallery_ids, block=block) == pytest.approx(expected)


def test_scale_precision_and_autocast_do_not_matter() -> None:
    generator = torch.Generator().manual_seed(2)
    queries, gallery = (torch.randn(n, 64, generator=generator) for n in (30, 200))
    query_ids, gallery_ids = torch.arange(30) % 10, torch.arange(200) % 10
    expected = rank_metrics(queries, gallery, query_ids, gallery_ids)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert rank_metrics(queries * 100, gallery * 0.01, query_ids, gallery_ids) == pytest.approx(expected)
    halves = rank_metrics(queries.bfloat16(), gallery.bfloat16(), query_ids, gallery_ids)
    again = rank_metrics(queries.bfloat16().float(), gallery.bfloat16().float(), query_ids, gallery_ids)
    assert halves == again


PRECISION = """
import torch
from huecry.retrieval.metrics import rank_top
{setting}
def state():
    return torch.backends.cuda.matmul.fp32_precision, torch.backends.mkldnn.matmul.fp32_precision
before, features = state(), torch.randn(300, 64)
exact = torch.nn.functional.normalize(features.double(), dim=1)
scores, index = rank_top(features, features, 300)
assert (scores - (exact @ exact.T).gather(1, index)).abs().max() < 1e-6
assert state() == before, state()
"""


@pytest.mark.parametrize(
    "setting",
    [
        "torch.set_float32_matmul_precision('medium')",
        "torch.backends.cuda.matmul.allow_tf32 = True",
        "torch.backends.fp32_precision = 'tf32'",
        "torch.backends.cuda.matmul.fp32_precision = 'tf32'",
    ],
)
@pytest.mark.slow
def test_any_way_to_ask_for_less_precision_is_put_aside_and_restored(setting) -> None:
    """In processes of their own: torch refuses to read these settings once they were set in two ways."""
    subprocess.run([sys.executable, "-c", PRECISION.format(setting=setting)], check=True)


def test_unknown_persons_match_nobody() -> None:
    queries, gallery = torch.eye(3), torch.eye(3)
    query_ids, gallery_ids = torch.tensor([0, -1, 4]), torch.tensor([0, -1, 4])
    with pytest.raises(UserError, match=r"1 of 3 queries .* row 1 \(person -1\)"):
        rank_metrics(queries, gallery, query_ids, gallery_ids)
    result = rank_metrics(queries, gallery, query_ids, gallery_ids, on_no_match="skip")
    assert result["queries"] == 2
    assert result["skipped"] == 1
    assert result["persons"] == 2
    assert result["R1"] == 100


def test_mistakes_are_told() -> None:
    features, ids = torch.eye(3), torch.arange(3)
    with pytest.raises(UserError, match=r"2 of 3 queries .* row 1"):
        rank_metrics(features, features, torch.tensor([0, 8, 9]), ids)
    with pytest.raises(UserError, match="3 of 3 queries"):
        rank_metrics(features, features, ids + 10, ids, on_no_match="skip")
    with pytest.raises(UserError, match="gallery: 1 of 3 features are not finite, the first in row 2"):
        rank_metrics(features, torch.tensor([[1.0], [1.0], [torch.nan]]).expand(3, 3), ids, ids)
    with pytest.raises(UserError, match="not a number"):
        score_metrics([torch.full((3, 3), torch.nan)], ids, ids)
    with pytest.raises(UserError, match="0 queries"):
        rank_metrics(features[:0], features, ids[:0], ids)
    with pytest.raises(UserError, match="choose step or trapezoid"):
        rank_metrics(features, features, ids, ids, ap="median")
    with pytest.raises(UserError, match="choose error or skip"):
        rank_metrics(features, features, ids, ids, on_no_match="drop")
    with pytest.raises(ValueError, match="3 queries with 2 ids"):
        rank_metrics(features, features, ids[:2], ids)
    with pytest.raises(ValueError, match="2 rows of scores for 3"):
        score_metrics([torch.zeros(2, 3)], ids, ids)
    with pytest.raises(UserError, match="k=0"):
        rank_top(features, features, 0)


@pytest.mark.parametrize("ap", ["step", "trapezoid"])
def test_query_by_query_each_has_the_figures_of_being_asked_alone(ap) -> None:
    generator = torch.Generator().manual_seed(5)
    queries, gallery = (torch.randint(-1, 2, (n, 3), generator=generator).float() + 0.1 for n in (9, 14))
    query_ids = torch.tensor([0, 1, 2, 0, 7, 1, 0, 2, 2])
    gallery_ids = torch.arange(14) % 3
    found = rank_queries(queries, gallery, query_ids, gallery_ids, ap=ap, on_no_match="skip")
    assert found.query.tolist() == [0, 1, 2, 3, 5, 6, 7, 8]  # nobody is person 7
    assert found.person.tolist() == query_ids[found.query].tolist()
    for place, row in enumerate(found.query.tolist()):
        alone = rank_metrics(queries[row : row + 1], gallery, query_ids[row : row + 1], gallery_ids, ap=ap)
        figures = (found.precision[place], found.penalty[place], found.tied[place], found.first[place] <= 5)
        assert figures == pytest.approx(
            (alone["mAP"] / 100, alone["mINP"] / 100, alone["tie_share"], alone["R5"] / 100)
        )
    whole = rank_metrics(queries, gallery, query_ids, gallery_ids, ap=ap, on_no_match="skip")
    assert found.summary() == whole
    assert (whole["skipped"], whole["persons"], whole["mAP"]) == (1, 3, pytest.approx(100 * found.precision.mean()))


def test_query_by_query_of_scores_by_hand() -> None:
    scores = torch.tensor([[0.9, 0.5, 0.7], [0.9, 0.9, 0.1]])
    found = score_queries([scores], torch.tensor([2, 1]), torch.tensor([1, 2, 2]))
    assert (found.first.tolist(), found.tied.tolist(), found.gallery) == ([2, 1], [False, True], 3)
    assert found.precision == pytest.approx([(1 / 2 + 2 / 3) / 2, 1])
    assert found.penalty == pytest.approx([2 / 3, 1])
    assert found.skipped is None


@given(st.integers(1, 12), st.integers(1, 5), st.integers(0, 1000))
@settings(deadline=None, max_examples=60)
def test_top_k_is_the_beginning_of_the_stable_order(k, block, seed) -> None:
    generator = torch.Generator().manual_seed(seed)
    queries = torch.eye(4)[torch.randint(4, (6,), generator=generator)]
    gallery = torch.eye(4)[torch.randint(4, (9,), generator=generator)]
    scores, index = rank_top(queries, gallery, k, block)
    full = queries @ gallery.T
    expected = full.argsort(dim=1, descending=True, stable=True)[:, :k]
    assert index.dtype == torch.int64
    assert torch.equal(index, expected)
    assert torch.equal(scores, full.gather(1, expected))


MEASURE = """
import resource, torch
from huecry.retrieval.metrics import rank_metrics, rank_top
generator = torch.Generator().manual_seed(0)
queries, gallery = (torch.randn(n, 512, generator=generator) for n in (6156, 100_000))
gallery[1] = gallery[0]  # duplicates take the longer way
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
rank_metrics(queries, gallery, torch.arange(6156) // 7, torch.arange(100_000) % 1000)
rank_top(queries, gallery, 10)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is counted in kilobytes on Linux")
def test_memory_of_a_large_gallery() -> None:
    done = subprocess.run([sys.executable, "-c", MEASURE], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 2e9
