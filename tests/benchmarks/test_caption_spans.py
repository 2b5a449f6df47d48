"""The benchmark of colour spans: its counting, on invented captions, and that annotations hold no text."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ANNOTATIONS = ROOT / "benchmarks/annotations"
CAPTIONS = ["a red coat and melon colored shoes", "a person in a dark blue shirt", "bleu jeans"]


@pytest.fixture(scope="module")
def benchmark():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "benchmarks")
        spec = importlib.util.spec_from_file_location("caption_spans_benchmark", ROOT / "benchmarks/caption_spans.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return module


def test_precision_and_recall(benchmark):
    gold = [
        [[2, 5, "red", "none", True], [15, 20, "orange", "none", True]],
        [[14, 23, "navy", "none", False]],
        [],
    ]
    figures = benchmark.judge(CAPTIONS, gold)
    assert (figures["captions"], figures["annotated"]) == (3, 3)
    assert (figures["precision"], figures["recall"]) == (1 / 2, 1 / 3)
    assert (figures["precision_scored_only"], figures["recall_scored_only"]) == (1 / 2, 1 / 2)
    assert figures["hue_at_right_place"] == 1
    assert figures["modifier_at_right_place"] == figures["scored_at_right_place"] == 1 / 2
    low, high = figures["recall_range"]
    assert 0 <= low <= figures["recall"] <= high <= 1


def test_coverage_and_words_that_look_like_colours(benchmark):
    figures = benchmark.coverage(CAPTIONS)
    assert figures["with_scored_span"] == 2 / 3
    assert figures["hues"] == {"red": 1, "navy": 1}
    assert dict(benchmark.colour_like(CAPTIONS)) == {"melon": 1, "bleu": 1}
    assert benchmark.captions_of({"captions": "one"}) == ["one"]
    assert benchmark.captions_of({"captions": ["one", "two"]}) == ["one", "two"]


def test_the_whole_run(benchmark, tmp_path, monkeypatch, capsys):
    data = tmp_path / "data"
    (data / "cuhk03_persons").mkdir(parents=True)
    (data / "cuhk01").mkdir()
    rows = [{"captions": CAPTIONS}, {"captions": CAPTIONS[1]}]
    (data / "cuhk03_persons/metadata.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    (data / "cuhk01/reid_raw.json").write_text(json.dumps(rows))
    marks = {
        "source": "cuhk01/reid_raw.json",
        "rows": [{"row": 1, "caption": 0, "spans": [[14, 23, "navy", "dark", True]]}],
    }
    (tmp_path / "spans_mine.json").write_text(json.dumps(marks))
    out = tmp_path / "figures.json"
    arguments = [str(data), "--annotations", str(tmp_path / "spans_mine.json"), "--json", str(out)]
    monkeypatch.setattr(sys, "argv", ["caption_spans.py", *arguments])
    benchmark.main()
    figures = json.loads(out.read_text())["figures"]
    assert figures["annotations"]["spans_mine"]["recall"] == 1.0
    assert figures["coverage"]["cuhk01/reid_raw.json"]["captions"] == 3
    assert "recall 1.000" in capsys.readouterr().out


@pytest.mark.parametrize("path", sorted(ANNOTATIONS.glob("spans_*.json")), ids=lambda path: path.stem)
def test_annotations_hold_no_text(path):
    content = json.loads(path.read_text(encoding="utf-8"))
    assert content.keys() == {"source", "rows"}
    for row in content["rows"]:
        assert row.keys() == {"row", "caption", "spans"}
        for start, end, hue, modifier, scored in row["spans"]:
            assert 0 <= start < end
            assert hue is None or hue.isalpha()
            assert modifier in ("none", "light", "dark", "bright")
            assert isinstance(scored, bool)


@pytest.mark.parametrize("path", sorted(ANNOTATIONS.glob("audit_*.json")), ids=lambda path: path.stem)
def test_judgements_of_an_audit_hold_no_text(path):
    for rows in json.loads(path.read_text(encoding="utf-8")).values():
        for row in rows:
            assert row.keys() == {"row", "caption", "rule", "true"}
            assert re.fullmatch(r"[a-z_]+", row["rule"])
            assert isinstance(row["true"], bool)
