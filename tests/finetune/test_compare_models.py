"""The table of models: its cells against evaluation one by one, who shares a row, and mistakes before the work."""

from __future__ import annotations

import json
import shutil
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from layout_files import row, write_set
from small_runs import rewrite

from huecry import api
from huecry.cli import main
from huecry.config import build_recipe
from huecry.data.readers import read
from huecry.finetune.compare import bootstrap
from huecry.finetune.compare_models import evaluate_run
from huecry.towers import ModelConfig, load_towers


@pytest.fixture
def make_run(finished_run: Path, tmp_path: Path) -> Callable[..., Path]:
    """`make_run(name, seed, **changes)`: a run with tiny towers of that seed; changes: `section__key` of its recipe."""

    def make(name: str, seed: int, **changes: Any) -> Path:
        run = tmp_path / name
        run.mkdir(parents=True)
        recipe = yaml.safe_load((finished_run / "config.yaml").read_text())
        recipe["run"] = {"dir": str(run), "seed": seed}
        for key, value in changes.items():
            section, _, name = key.partition("__")
            recipe[section][name] = value
        (run / "config.yaml").write_text(yaml.safe_dump(recipe))
        shutil.copy(finished_run / "results.json", run / "results.json")
        load_towers(ModelConfig("tiny"), seed).save(run / "model")
        return run

    return make


def compare(*arguments: object) -> dict[str, Any]:
    """What the command writes."""
    assert main(["compare", *map(str, arguments)]) == 0
    return json.loads(Path(arguments[arguments.index("--json") + 1]).read_text())  # type: ignore[arg-type]


@pytest.mark.slow
def test_the_table(make_run, make_photos, photo_folder, tmp_path, capsys):
    other, file = make_photos(persons=2, photos=3), tmp_path / "table.json"
    runs = [make_run("irra-1", 1), make_run("irra-0", 0)]
    alone = make_run("alone", 5, optim__lr=0.5)
    report = compare(*runs, alone, "tiny", "--data", photo_folder, other, "eval.batch_size=5", "--json", file)
    printed = capsys.readouterr().out
    rows = report["rows"]
    assert [one["row"] for one in rows] == [str(tmp_path / "irra-*"), str(alone), "tiny"]
    assert [one["seeds"] for one in rows] == [[0, 1], [5], [None]]
    assert rows[0]["models"] == [str(run) for run in reversed(runs)]
    trained = yaml.safe_load((alone / "config.yaml").read_text())["data"]["source"]
    for one, chosen in zip(rows, (f"val of {trained}", f"val of {trained}", None), strict=True):
        assert one["selected_on"] == chosen
        assert one["trained_on"] == ([trained] if chosen else [])
        for data, cell in zip((photo_folder, other), one["cells"].values(), strict=True):
            figures = [api.evaluate(model, str(data)) for model in one["models"]]
            for key in ("R1", "R10", "mAP"):
                values = [pytest.approx(found[key]) for found in figures]
                assert cell[key]["runs"] == values
                assert cell[key]["mean"] == pytest.approx(statistics.mean(found[key] for found in figures))
            assert cell["interval"]["low"] <= cell["mAP"]["mean"] <= cell["interval"]["high"]
            assert cell["selected_on"] == chosen
            base = rows[0]["cells"][data.name]["mAP"]
            gap = cell["difference"]
            if one is rows[0]:
                assert gap is None
                assert cell["mAP"]["std"] == pytest.approx(np.std(cell["mAP"]["runs"], ddof=1))
            elif one is rows[1]:
                assert gap is None  # no seed in common
            else:
                assert gap["mean"] == pytest.approx(cell["mAP"]["mean"] - base["mean"])
                assert gap["seeds"] == [0, 1]
            assert f"{cell['mAP']['mean']:.2f}" in printed
    assert {name: one["photographs"] for name, one in report["data"].items()} == {photo_folder.name: 4, other.name: 6}
    assert report["notes"] == []


@pytest.mark.slow
def test_the_interval_is_the_bootstrap_of_the_persons(make_run, photo_folder, tmp_path):
    runs = [make_run(f"a-{seed}", seed) for seed in range(2)]
    others = [make_run(f"b-{seed}", seed, optim__lr=0.5) for seed in range(2)]
    shutil.rmtree(others[1] / "model")
    load_towers(ModelConfig("tiny"), 7).save(others[1] / "model")
    report = compare(*runs, *others, "--data", photo_folder, "--json", tmp_path / "table.json")
    recipe, photos = build_recipe("compare", {}, (), {}), read(photo_folder)["test"]
    found = [[evaluate_run(run, recipe, photos)["person_ap"] for run in row] for row in (runs, others)]
    first, second = (np.array([[*one.values()] for one in row]) for row in found)
    cell = report["rows"][1]["cells"][photo_folder.name]
    assert [*cell["interval"].values()] == pytest.approx(bootstrap(second, np.array([4, 4]))[1:])
    gap = cell["difference"]
    assert (gap["mean"], gap["low"], gap["high"]) == pytest.approx(bootstrap(second - first, np.array([4, 4])))


@pytest.mark.slow
def test_a_row_is_a_recipe_at_any_seeds(make_run, photo_folder, tmp_path):
    """Also where every run starts from another run of one recipe."""
    for seed in range(2):
        first = make_run(f"first-{seed}", seed)
        make_run(f"second-{seed}", seed, model__source=str(first), data__source="elsewhere", train__keep=seed + 1)
    make_run("third-0", 0, model__source=str(make_run("first-2", 2, optim__lr=0.5)), data__source="elsewhere")
    runs = [tmp_path / name for name in ("second-0", "first-0", "third-0", "second-1/model", "first-1")]
    report = compare(*runs, "--data", photo_folder, "--json", tmp_path / "table.json")
    assert [one["row"] for one in report["rows"]] == [
        f"{runs[0]}, {runs[3]}",
        str(tmp_path / "first-*"),
        str(tmp_path / "third-0"),
    ]
    first = report["rows"][1]["trained_on"]
    assert report["rows"][0]["trained_on"] == [*first, "elsewhere"]
    assert report["rows"][0]["selected_on"] == "val of elsewhere"


def test_notes_say_what_sets_have_in_common(make_run, tmp_path):
    rows = [row(f"{n}.png", (f"a {colour} coat",), n, "test") for n, colour in enumerate(("red", "blue"))]
    icfg = write_set(tmp_path / "icfg", rows, "ICFG-PEDES.json")
    rstp = write_set(
        tmp_path / "rstp", [{**one, "img_path": one.pop("file_path")} for one in rows], "data_captions.json"
    )
    run = make_run("run", 0, data__source=str(icfg))
    (run / "results.json").write_text('{"test": {"selected_on": "test"}}')
    report = compare(run, "--data", rstp, icfg, "--json", tmp_path / "table.json")
    assert report["notes"] == [
        "rstp: photographs of MSMT17",
        f"{icfg} and rstp both have photographs of MSMT17",
        "icfg: photographs of MSMT17",
        f"{run} on icfg: its epoch was chosen on these very photographs",
    ]


def test_mistakes_are_found_before_anything_is_evaluated(
    make_run, make_photos, photo_folder, tmp_path, mistake, capsys
):
    run, again = make_run("run", 0), make_run("again", 0)
    data = ["--data", str(photo_folder)]
    mistake(["compare", str(run), "no/where/at/all", *data], "no/where/at/all", "no such folder")
    assert "R1" not in capsys.readouterr().out
    mistake(["compare", str(run), str(again), *data], again, run, "same recipe and seed (0)")
    mistake(["compare", "tiny", "tiny", *data], "tiny: listed twice")
    mistake(["compare", "tiny", *data, str(photo_folder)], f"{photo_folder} is listed twice")
    mistake(["compare", "tiny", *data, "nowhere"], "nowhere", "no such folder")
    rewrite(bare := make_photos(), lambda rows: [one.update(split="train") for one in rows])
    mistake(["compare", "tiny", *data, str(bare)], "--split test", bare, "train")
    mistake(["compare", "tiny", *data, "data.exclude=x"], "data.exclude", "huecry evaluate")
    mistake(["compare", "tiny", *data, "model.source=x"], "model.source=x", "before --data")
    mistake(["compare", "tiny", *data, "eval.bach_size=1"], "did you mean eval.batch_size?")
    mistake(["compare", "tiny"], "--data")
    mistake(["compare", *data], "MODEL")
