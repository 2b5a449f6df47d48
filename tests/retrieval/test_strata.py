"""Strata against retrieval in which only their captions ask."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from huecry.data.pair_lists import read_pair_list
from huecry.data.records import PhotoSet, Record
from huecry.retrieval.evaluate import Features, retrieval_queries
from huecry.retrieval.strata import STRATA, strata, strata_figures

CAPTIONS = (
    ("a red coat", "no hat, walks fast"),
    ("a man without a bag", "a green bag, not on his back"),
    ("blue jeans and a hat",),
)
PHOTOS = PhotoSet("test", [Record(Path(n), said, n, n) for n, said in zip("abc", CAPTIONS, strict=True)])


@pytest.fixture
def flagged(tmp_path):
    path = tmp_path / "findings.jsonl"
    lines = ({"file": "a", "rule": "flat_picture"}, {"file": "b", "caption": 1}, {"file": "c", "split": "val"})
    path.write_text("\n".join(map(json.dumps, lines)))
    return read_pair_list(str(path), weighted=False)


def test_who_is_in_which_stratum(flagged):
    rows = {name: chosen.tolist() for name, chosen in strata(PHOTOS, flagged).items()}
    assert rows["colour"] == [True, False, False, True, True]
    assert rows["negation"] == [False, True, True, True, False]
    assert rows["flagged"] == [True, True, False, True, False]
    for name, other in (("colour", "no_colour"), ("negation", "no_negation"), ("flagged", "not_flagged")):
        assert rows[other] == [not one for one in rows[name]]
    assert list(rows) == list(STRATA)
    assert list(strata(PHOTOS, None)) == list(STRATA)[:4]


def test_the_gallery_stays_whole(flagged):
    generator = torch.Generator().manual_seed(0)
    readable = torch.tensor([True, True, False])  # c neither asks nor answers
    features = Features(torch.randn(3, 4, generator=generator), torch.randn(5, 4, generator=generator), readable)
    found = retrieval_queries(features, PHOTOS)
    figures = strata_figures(found, PHOTOS, flagged)
    for name, rows in strata(PHOTOS, flagged).items():
        assert figures[name] == retrieval_queries(features, PHOTOS, rows=rows).summary(), name
        assert figures[name]["gallery"] == 2
    for one, other in (("colour", "no_colour"), ("negation", "no_negation"), ("flagged", "not_flagged")):
        parts = figures[one], figures[other]
        assert sum(part["queries"] for part in parts) == 4
        for key in ("R1", "mAP"):
            assert sum(part[key] * part["queries"] for part in parts) / 4 == pytest.approx(found.summary()[key])


def test_a_stratum_of_which_nobody_asks():
    plain = PhotoSet("test", [Record(Path(n), ("a red coat",), n, n) for n in "ab"])
    features = Features(torch.eye(2), torch.eye(2), torch.tensor([True, True]))
    figures = strata_figures(retrieval_queries(features, plain), plain, None)
    assert figures["no_colour"] == figures["negation"] == {"queries": 0}
    assert figures["colour"]["R1"] == figures["no_negation"]["R1"] == 100
