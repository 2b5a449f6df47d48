"""The whole audit: a set into which every pitfall was planted, what the folder holds, and every mistake in one line."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pages import Checked
from PIL import Image
from small_runs import SMALL, contents, rewrite

from huecry import api
from huecry.cli import main
from huecry.finetune.audit import FILES
from huecry.finetune.findings import MODEL_RULES, RULES

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def planted() -> Iterator[Any]:
    """The module of `benchmarks/` that plants pitfalls and counts what was found."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "benchmarks")
        import planted

        yield planted
        sys.modules.pop("planted")


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "findings.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def audited(planted: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Any, dict[str, Any]]:
    """A planted set, the folder of its audit without a model, what was planted, and what `api.audit` returned."""
    data, out = tmp_path_factory.mktemp("planted") / "set", tmp_path_factory.mktemp("audit") / "out"
    plan = planted.write_planted(data, persons=110, each=4, seed=3)
    return data, out, plan, api.audit(str(data), out=str(out))


def test_what_was_planted_is_found_rule_by_rule(audited, planted):
    _, out, plan, _ = audited
    figures = planted.judge(plan.planted, plan.also, lines(out))
    assert figures.keys() == RULES.keys()
    for rule in figures.keys() - {*MODEL_RULES}:
        assert figures[rule]["recall"] >= 0.9, (rule, figures[rule])
        assert figures[rule]["precision"] >= 0.8, (rule, figures[rule])


def test_the_judge_counts(planted):
    findings = [
        {"rule": "negation", "file": "a", "caption": 0},
        {"rule": "negation", "file": "a", "caption": 0},
        {"rule": "negation", "file": "b", "caption": 1},
        {"rule": "negation", "file": "c", "caption": 0},
        {"rule": "hedge", "file": "b", "caption": 1},
    ]
    wanted = [("negation", "a", 0), ("negation", "a", 1), ("hedge", "b", 1)]
    figures = planted.judge(wanted, [("negation", "c", None)], findings)
    assert figures["negation"] == {"planted": 2, "found": 1, "wrong": 1, "recall": 0.5, "precision": 0.5}
    assert figures["hedge"] == {"planted": 1, "found": 1, "wrong": 0, "recall": 1, "precision": 1}


def test_the_folder_of_an_audit(audited, capsys):
    _, out, _, result = audited
    assert {path.name for path in out.iterdir()} == FILES
    assert json.loads((out / "audit.json").read_text()) == result
    findings = lines(out)
    splits = dict.fromkeys(result["splits"], 0)
    expected = {rule: dict(splits) for rule in RULES}
    for finding in findings:
        expected[finding["rule"]][finding["split"]] += 1
    assert result["counts"] == expected
    assert result["left_out"] == dict.fromkeys(MODEL_RULES, "no --model was given")
    assert [*dict.fromkeys(one["rule"] for one in findings)] == [r for r in RULES if sum(expected[r].values())]
    keys = ["rule", "severity", "split", "file", "image", "person", "caption", "span", "evidence"]
    assert all(list(one) == keys for one in findings)
    page = (out / "index.html").read_text()
    assert Checked(page).images
    assert re.findall(r"(?:src|href)=.(?!data:|#).*?>|url\(.*?\)|@import", page) == []


def test_the_same_again_and_in_the_folder_of_a_former_audit(audited, capsys):
    data, out, _, _ = audited
    before = contents(out)
    assert main(["audit", str(data), "--out", str(out)]) == 0
    assert contents(out) == before
    printed = capsys.readouterr().out
    assert re.search(r"^negation +info +5$", printed, re.MULTILINE)  # four captions, "nothing ... not" in one
    assert f"page: {out / 'index.html'}" in printed


def test_a_list_for_training_from_the_findings_of_some_rules(audited, tmp_path, capsys):
    data, out, _, _ = audited
    list_file = tmp_path / "lists" / "bad.jsonl"
    rules = "undecodable,caption_conflict"
    arguments = ["audit", str(data), "--out", str(tmp_path / "out"), "--rules", rules]
    assert main([*arguments, "--write-exclude", str(list_file)]) == 0
    written = [json.loads(line) for line in list_file.read_text().splitlines()]
    assert written == [one for one in lines(out) if one["rule"] in rules.split(",")]
    assert f"{list_file}: {len(written)} lines for data.exclude" in capsys.readouterr().out
    run = ["pretrain", f"data.source={data}", f"run.dir={tmp_path / 'run'}", *SMALL, "train.max_steps=1"]
    assert main([*run, f"data.exclude={list_file}", "train.batch_size=64"]) == 0  # no undecodable photograph is left


def test_untrained_towers_are_asked_and_not_believed(make_photos, tmp_path, capsys):
    data = make_photos(persons=12)
    (data / "train" / "1_0.png").write_bytes(b"not a picture")
    result = api.audit(str(data), out=str(tmp_path / "out"), model="tiny")
    assert {rule: sum(result["counts"][rule].values()) for rule in MODEL_RULES} == dict.fromkeys(MODEL_RULES, 0)
    assert result["left_out"].keys() == {*MODEL_RULES} - {"no_person"}  # textures need no training
    assert result["counts"]["undecodable"] == {"train": 1, "val": 0, "test": 0}
    assert "left out: pair_mismatch" in capsys.readouterr().out


def test_a_split_without_captions_and_one_without_persons(make_photos, tmp_path):
    data = make_photos()

    def change(rows: list[dict[str, Any]]) -> None:
        for row in rows:
            row["captions"] = [] if row["split"] == "val" else row["captions"]
            row["person_id"] = None if row["split"] == "test" else row["person_id"]

    rewrite(data, change)
    result = api.audit(str(data), out=str(tmp_path / "out"), model="tiny")
    assert result["splits"]["val"] == {"photographs": 4, "persons": 2, "captions": 0}


@pytest.mark.parametrize(
    ("changes", "culprits"),
    [
        (["--write-exclude", "x.jsonl"], ["--write-exclude", "--rules"]),
        (["--rules", "negation"], ["--write-exclude", "--rules"]),
        (["--write-exclude", "x.jsonl", "--rules", "negations"], ["negations", "caption_conflict"]),
        (["--write-exclude", "x.jsonl", "--rules", "pair_mismatch"], ["pair_mismatch", "--model"]),
        (["--model", "no/such/model"], ["no/such/model"]),
        (["data.columns.image=nothing"], ["data.columns.image=nothing"]),
        (["data.persona=1"], ["data.persona"]),
    ],
)
def test_mistakes(photo_folder, tmp_path, mistake, monkeypatch, changes, culprits):
    monkeypatch.chdir(tmp_path)
    mistake(["audit", str(photo_folder), "--out", str(tmp_path / "out"), *changes], *culprits)
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "x.jsonl").exists()


def test_places_that_are_not_free(photo_folder, tmp_path, mistake):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("all of it")
    mistake(["audit", str(photo_folder), "--out", str(tmp_path / "mine")], tmp_path / "mine", "thesis.txt")
    mistake(["audit", str(photo_folder), "--out", str(tmp_path / "mine" / "thesis.txt")], "thesis.txt", "a file")
    mistake(["audit", str(tmp_path / "nowhere"), "--out", str(tmp_path / "out")], "nowhere")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "all of it"


@pytest.mark.slow
def test_a_trained_model_finds_the_pairs_and_photographs_that_are_wrong(make_photos, tmp_path):
    """Coats of two colours before walls: easy enough to be learnt in two minutes."""
    clean = make_photos(persons=50, photos=3, captions=2)
    run = tmp_path / "run"
    steps = ["train.batch_size=50", "train.epochs=30", "data.workers=0", "train.cpu_threads=1", "views.rgb.flip=0"]
    off = [one for one in SMALL if one.startswith("tasks.")]
    assert main(["pretrain", f"data.source={clean}", f"run.dir={run}", *off, *steps]) == 0
    silent = api.audit(str(clean), out=str(tmp_path / "clean"), model=str(run))
    assert {rule: silent["counts"][rule]["train"] for rule in MODEL_RULES} == dict.fromkeys(MODEL_RULES, 0)
    planted: dict[str, set[str]] = {"pair_mismatch": set(), "wrong_person": set()}

    def change(rows: list[dict[str, Any]]) -> None:
        train = [row for row in rows if row["split"] == "train"]
        for number in range(0, 30, 3):  # a caption of the person after the next
            train[number]["captions"][0] = train[number + 60]["captions"][0]
            planted["pair_mismatch"].add(train[number]["file_name"])
        for number in range(90, 120, 3):
            Image.open(clean / train[number - 30]["file_name"]).save(clean / train[number]["file_name"])
            planted["wrong_person"].add(train[number]["file_name"])

    rewrite(clean, change)
    api.audit(str(clean), out=str(tmp_path / "out"), model=str(run))
    for rule, files in planted.items():
        found = {one["file"] for one in lines(tmp_path / "out") if one["rule"] == rule}
        assert len(found & files) >= 0.9 * len(files), rule
        assert len(found & files) >= 0.8 * len(found), rule
