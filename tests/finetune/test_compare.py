"""What a grid says: the bootstrap against a slow twin and by hand, the means, the table and the plot."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from PIL import Image

from huecry.errors import UserError
from huecry.finetune.compare import bootstrap, plot, share_name, summarise, table, without_pairs


def slow_bootstrap(differences: list[list[float]], queries: list[int], draws: int) -> tuple[float, float]:
    """Query by query, with another generator: the ends of the interval."""
    pick = random.Random(3)
    found = []
    for _ in range(draws):
        seeds = [pick.randrange(len(differences)) for _ in differences]
        total, count = 0.0, 0
        for _ in queries:
            person = pick.randrange(len(queries))
            for _ in range(queries[person]):
                total += sum(differences[seed][person] for seed in seeds) / len(seeds)
                count += 1
        found.append(total / count)
    found.sort()
    return found[int(0.025 * draws)], found[int(0.975 * draws)]


@pytest.mark.parametrize("seeds", [1, 3])
def test_the_bootstrap_against_a_slow_twin(seeds):
    generator = np.random.default_rng(seeds)
    differences = generator.normal(1.0, 5.0, (seeds, 12)) + generator.normal(0, 1, (seeds, 1))
    queries = generator.integers(1, 9, 12)
    mean, low, high = bootstrap(differences, queries, draws=4000)
    assert mean == pytest.approx(sum(np.average(line, weights=queries) for line in differences) / seeds)
    assert (low, high) == pytest.approx(slow_bootstrap(differences.tolist(), queries.tolist(), 4000), abs=0.2)
    assert low < mean < high
    assert bootstrap(differences, queries, draws=4000) == (mean, low, high)


def test_a_constant_difference_has_no_spread():
    mean, low, high = bootstrap(np.full((3, 5), 2.5), np.array([1, 2, 3, 4, 5]))
    assert (mean, low, high) == pytest.approx((2.5, 2.5, 2.5), abs=1e-12)


def test_seeds_alone_spread_the_interval_too():
    """All persons alike, seeds at -1 and +1: a draw of two seeds gives -1, 0 or +1."""
    differences = np.array([[-1.0] * 4, [1.0] * 4])
    assert bootstrap(differences, np.ones(4, dtype=np.int64)) == pytest.approx((0, -1, 1))
    _, low, high = bootstrap(differences[1:], np.ones(4, dtype=np.int64))
    assert (low, high) == (1, 1)


def test_two_persons_by_hand():
    """The person with three queries weighs three times; a draw holds one person twice or both."""
    mean, low, high = bootstrap(np.array([[0.0, 4.0]]), np.array([3, 1]))
    assert (mean, low, high) == pytest.approx((1.0, 0.0, 4.0))


def result(row: str, seed: int | None, labelled: float, ann: float, ben: float) -> dict[str, Any]:
    """ann has three queries, ben one."""
    mean = (3 * ann + ben) / 4
    figures = {"R1": mean - 5, "R10": mean + 20, "mAP": mean}
    persons = {"person_ap": {"ann": ann, "ben": ben}, "person_queries": {"ann": 3, "ben": 1}}
    return {"row": row, "labelled": labelled, "seed": seed, **figures, **persons}


RESULTS = [
    result("contrastive", 0, 0.3, 10, 10),
    result("contrastive", 0, 0, 2, 2),
    result("contrastive", 0, 1, 20, 20),
    result("contrastive", 1, 1, 24, 20),
    result("all", 0, 0, 3, 3),
    result("all", 0, 1, 22, 22),
    result("all", 1, 1, 26, 22),
    result("all", 2, 1, 90, 90),
]


def test_means_and_differences_by_hand():
    entries = {(entry["labelled"], entry["row"]): entry for entry in summarise(RESULTS, "contrastive")}
    assert list(entries) == [(0, "contrastive"), (0, "all"), (1, "contrastive"), (1, "all"), (0.3, "contrastive")]
    base, row = entries[1, "contrastive"], entries[1, "all"]
    assert base["mAP"] == {"mean": 21.5, "std": pytest.approx(3 / 2**0.5), "runs": [20, 23]}
    assert (base["difference"], base["seeds"], row["seeds"]) == (None, [0, 1], [0, 1, 2])
    # two points at both seeds that the base has: the third seed has no partner
    assert row["difference"] == {"mean": 2, "low": 2, "high": 2, "seeds": [0, 1]}
    assert entries[0, "all"]["R1"] == {"mean": -2, "std": None, "runs": [-2]}
    assert entries[0, "all"]["difference"]["mean"] == 1


def test_every_row_has_an_interval_of_its_own():
    """ann with three queries and ben with one: a draw holds one of them twice, or both."""
    (entry,) = summarise([result("all", 0, 1, 20, 28)], "contrastive")
    assert (entry["mAP"]["mean"], entry["interval"]) == (22, {"low": 20, "high": 28})
    (entry,) = summarise([result("all", seed, 1, 20 + seed, 20 + seed) for seed in range(2)], "contrastive")
    assert entry["interval"] == pytest.approx({"low": 20, "high": 21})


def test_a_model_that_no_run_made_stands_beside_every_seed():
    given = [result("CLIP", None, 1, 20, 20), *RESULTS[2:4]]
    for base, other, sign in (("CLIP", "contrastive", 1), ("contrastive", "CLIP", -1)):
        entries = {entry["row"]: entry for entry in summarise(given, base)}
        gap = entries[other]["difference"]
        assert (gap["mean"], gap["seeds"]) == (sign * 1.5, [0, 1])  # 20 and 23 beside 20
        assert entries["CLIP"]["seeds"] == [None]
    alone = [result("CLIP", None, 1, 20, 20), result("another", None, 1, 21, 21)]
    assert summarise(alone, "CLIP")[1]["difference"] == {"mean": 1, "low": 1, "high": 1, "seeds": [None]}


def test_results_without_the_pairs_of_a_list():
    clean = [
        {**one, "clean": {key: one[key] for key in ("R1", "R10", "mAP", "person_ap")} | {"mAP": 1}} for one in RESULTS
    ]
    found = without_pairs(clean)
    assert [(one["row"], one["seed"], one["mAP"]) for one in found] == [(one["row"], one["seed"], 1) for one in RESULTS]
    assert without_pairs([*clean, RESULTS[0]]) == []


def test_rows_that_were_asked_other_queries():
    other = result("all", 0, 1, 22, 22)
    other["person_queries"] = {"ann": 3, "ben": 2}
    with pytest.raises(UserError, match=r"^all, seed 0: evaluated on other queries"):
        summarise([result("contrastive", 0, 1, 20, 20), other], "contrastive")


def test_a_row_without_a_base_has_no_difference():
    (entry,) = summarise(RESULTS[-1:], "contrastive")
    assert entry["difference"] is None


def test_the_table_says_it_all():
    lines = table(summarise(RESULTS, "contrastive"), "contrastive", "val").splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    assert cells[0] == ["labelled", "row", "seeds", "R1", "R10", "mAP", "mAP minus contrastive"]
    assert cells[2:4] == [
        ["zero-shot", "contrastive", "1", "-3.00", "22.00", "2.00", ""],
        ["zero-shot", "all", "1", "-2.00", "23.00", "3.00", "+1.00 [+1.00, +1.00]"],
    ]
    assert cells[4] == ["100 %", "contrastive", "2", "16.50 ± 2.12", "41.50 ± 2.12", "21.50 ± 2.12", ""]
    assert cells[5][-1] == "+2.00 [+2.00, +2.00]"
    assert len({len(line) for line in lines if line.startswith("|")}) == 1
    assert "val" in lines[-1]
    assert "95 %" in lines[-1]


def test_shares_in_words():
    assert [share_name(share) for share in (0, 1, 0.3, 0.125)] == ["zero-shot", "100 %", "30 %", "12.5 %"]


def test_the_plot_is_a_picture(tmp_path):
    plot(summarise(RESULTS, "contrastive"), "contrastive", "val", tmp_path / "plot.png")
    with Image.open(tmp_path / "plot.png") as picture:
        assert picture.width > picture.height > 200
        assert len(set(picture.convert("L").tobytes())) > 50  # drawn upon
    assert [path.name for path in tmp_path.iterdir()] == ["plot.png"]
    with pytest.raises(UserError, match=r"nowhere/plot\.png: cannot be written"):
        plot(summarise(RESULTS, "contrastive"), "contrastive", "val", tmp_path / "nowhere" / "plot.png")
