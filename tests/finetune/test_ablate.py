"""The on/off grid: its rows, what a run leaves, that it goes on where it was, and every mistake in one line."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from small_runs import SMALL, contents, rewrite

from huecry.cli import main
from huecry.errors import UserError
from huecry.finetune import ablate
from huecry.finetune.ablate import grid_rows, split_changes
from huecry.retrieval.evaluate import PARTS
from huecry.training.bundle import Bundle

ONE = (
    *(f"pretrain.{one}" if one.startswith("tasks.") else one for one in SMALL),
    "train.max_steps=1",
    "finetune.train.epochs=2",
)
PAIR = "pretrain.tasks.sdm.weight=1"  # beside contrastive, which the recipe has


def command(data: Path, out: Path, *more: str) -> list[str]:
    """A grid of two rows with one step a run."""
    plain = ["ablate", "--config", "pretrain/people", "--out", str(out), "--seeds", "1"]
    return [*plain, *more, f"data.source={data}", *ONE, PAIR]


@pytest.fixture
def calls(monkeypatch) -> list[str]:
    """The run folders that the stages were called for, in order, as `row-seed/stage`."""
    called: list[str] = []

    def counted(stage: Callable[..., Any]) -> Callable[..., Any]:
        def run(config: str, *overrides: str, **options: Any) -> Any:
            given = dict(override.split("=", 1) for override in overrides)
            called.append("/".join(Path(json.loads(given["run.dir"])).parts[-2:]))
            return stage(config, *overrides, **options)

        return run

    for name in ("run_pretrain", "run_finetune"):
        monkeypatch.setattr(ablate, name, counted(getattr(ablate, name)))
    return called


@pytest.fixture(scope="module")
def grid(photo_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished grid with one smaller share; tests only read it."""
    out = tmp_path_factory.mktemp("grid") / "out"
    assert main(command(photo_folder, out, "--labelled", "0.5")) == 0
    return out


@pytest.fixture
def copy(grid: Path, tmp_path: Path) -> Iterator[Path]:
    """The finished grid, to be spoilt: afterwards it is as it was."""
    saved = tmp_path / "saved"
    shutil.copytree(grid, saved)
    yield grid
    shutil.rmtree(grid)
    shutil.copytree(saved, grid)


# rows and keys


def test_the_rows_of_a_grid():
    three = grid_rows(["sdm", "contrastive", "a.b:Mine"])
    assert [(row.name, row.tasks) for row in three] == [
        ("contrastive", ("contrastive",)),
        ("contrastive + sdm", ("contrastive", "sdm")),
        ("contrastive + a.b:Mine", ("contrastive", "a.b:Mine")),
        ("all", ("contrastive", "sdm", "a.b:Mine")),
    ]
    assert [row.stem for row in three] == ["contrastive", "contrastive+sdm", "contrastive+a.b-Mine", "all"]
    assert [row.name for row in grid_rows(["contrastive", "sdm"])] == ["contrastive", "contrastive + sdm"]
    for tasks, missing in ((["sdm"], "contrastive"), (["contrastive"], "another")):
        with pytest.raises(UserError, match=f"switch on {missing}"):
            grid_rows(tasks)


def test_keys_go_to_their_stage():
    assert split_changes(["pretrain.optim.lr=1", "train.epochs=2", "finetune.data.persons=3", "finetune.x.y=a.b"]) == {
        "pretrain": ["optim.lr=1", "train.epochs=2"],
        "finetune": ["train.epochs=2", "data.persons=3", "x.y=a.b"],
    }


@pytest.mark.parametrize(
    ("change", "culprit"),
    [
        ("run.seed=3", "--seeds"),
        ("pretrain.run.dir=x", "--out"),
        ("finetune.data.labelled=0.1", "--labelled"),
        ("finetune.model.source=tiny", "leave it out"),
        ("tasks.sdm.weight=2", "pretrain.tasks.sdm.weight"),
        ("pretrain.train.epoch=1", "pretrain: train.epoch: no such key; did you mean train.epochs?"),
        ("finetune.tasks.sdn.weight=1", "finetune: tasks.sdn"),
        ("data.wrkers=0", "data.wrkers: no such key"),
        ("pretrain.tasks.sdm=null", "--config pretrain/people: "),
        ("finetune.train.batch_size=32", "16 training rows"),
    ],
)
def test_a_key_that_cannot_be(photo_folder, tmp_path, mistake, change, culprit):
    mistake([*command(photo_folder, tmp_path / "out"), change], culprit)
    assert not (tmp_path / "out").exists()


def test_options_that_cannot_be(photo_folder, tmp_path, mistake):
    plain = command(photo_folder, tmp_path / "out")
    mistake([*plain, "--seeds", "0"], "--seeds 0")
    mistake([*plain, "--labelled", "30"], "--labelled 30", "above 0")
    mistake([*plain, "--labelled", "half"], "--labelled", "half")
    mistake([*plain, "--split", "tset"], "--split tset", "train, val, test")
    mistake([*plain, "--finetune", "finetune/peple"], "finetune/peple", "did you mean finetune/people?")
    mistake([*plain, "--labelled", "0.1"], "10 %", "4 training rows", "train.batch_size=8")  # one person of four
    mistake([*plain, "--pretrained", str(tmp_path / "none")], "--pretrained", "not the folder of a grid")
    mistake(["ablate"], "--out")
    assert not (tmp_path / "out").exists()
    (tmp_path / "notes.txt").write_text("mine")
    mistake(command(photo_folder, tmp_path, "--labelled"), tmp_path, "not empty")


# what it leaves


@pytest.mark.slow
def test_pretraining_of_another_grid_is_taken(grid, photo_folder, tmp_path, calls):
    before = contents(grid)
    out = tmp_path / "out"
    assert main(command(photo_folder, out, "--labelled", "--pretrained", str(grid))) == 0
    assert calls == [
        f"{row}-0/{stage}" for row in ("contrastive", "contrastive+sdm") for stage in ("pretrain", "finetune-1")
    ]
    assert contents(grid) == before
    assert not list(out.glob("runs/*/pretrain"))
    for name in ("contrastive-zero_shot-0.json", "contrastive-1-0.json"):
        results = [json.loads((folder / "results" / name).read_text()) for folder in (grid, out)]
        assert results[0]["person_ap"] == results[1]["person_ap"]


@pytest.mark.slow
def test_rows_that_need_no_clusters_pretrain_on_pairs(photo_folder, tmp_path):
    plain = [one for one in command(photo_folder, tmp_path / "out", "--labelled") if one != PAIR]
    pseudo = [f"pretrain.{one}" for one in ("data.labels=pseudo", "relabel.start=0", "relabel.min_samples=2")]
    pseudo += [f"pretrain.tasks.{task}.weight=1" for task in ("sdm", "clustering")]
    assert main([*plain, *pseudo]) == 0
    labels = {"contrastive": "pair", "contrastive+sdm": "pair", "contrastive+clustering": "pseudo", "all": "pseudo"}
    for stem, expected in labels.items():
        run = tmp_path / "out" / "runs" / f"{stem}-0"
        recipes = [yaml.safe_load((run / name / "config.yaml").read_text()) for name in ("pretrain", "finetune-1")]
        assert [recipe["data"]["labels"] for recipe in recipes] == [expected, "given"]


@pytest.mark.slow
def test_what_a_grid_leaves(grid, photo_folder):
    names = {"contrastive", "contrastive+sdm"}
    shares = {"zero_shot": 0, "1": 1, "0.5": 0.5}
    files = {path.name: path for path in (grid / "results").iterdir()}
    assert set(files) == {f"{name}-{share}-0.json" for name in names for share in shares}
    for name in names:
        for share, labelled in shares.items():
            result = json.loads(files[f"{name}-{share}-0.json"].read_text())
            assert (result["row"].replace(" ", ""), result["labelled"]) == (name, labelled)
            assert (result["seed"], result["split"], result["selected_on"], result["queries"]) == (0, "val", "val", 8)
            assert result["person_queries"] == {"val-0": 4, "val-1": 4}
            assert sum(result["person_ap"].values()) / 2 == pytest.approx(result["mAP"])
            assert result["seconds"] > 0
            assert result["settings"]["data.source"] == str(photo_folder)
            run = grid / "runs" / f"{name}-0" / (f"finetune-{share}" if labelled else "pretrain")
            figures = json.loads((run / "results.json").read_text())["val"]
            assert {key: result[key] for key in figures if key not in PARTS}.items() <= figures.items()
            assert (run / "model" / "model.safetensors").exists()
            assert not (run / "checkpoints").exists()
            resolved = yaml.safe_load((run / "config.yaml").read_text())
            assert resolved["data"]["labelled"] == (labelled or 1)
            if labelled:
                assert resolved["model"]["source"] == str(run.parent / "pretrain")
                assert list(resolved["tasks"]) == ["contrastive"]
                lengths = (resolved["train"]["epochs"], resolved["eval"]["every"])
                assert lengths == (2 / labelled, 1 / labelled)  # 2 and 1 of all persons, as many steps
            else:
                assert list(resolved["tasks"]) == name.split("+")
    report = json.loads((grid / "ablation.json").read_text())
    assert [(entry["labelled"], entry["row"]) for entry in report["rows"]] == [
        (labelled, row) for labelled in (0, 1, 0.5) for row in ("contrastive", "contrastive + sdm")
    ]
    base, other = report["rows"][:2]
    assert other["difference"]["mean"] == pytest.approx(other["mAP"]["mean"] - base["mAP"]["mean"])
    assert "| 50 % " in (grid / "table.md").read_text()
    assert (grid / "ablation.png").stat().st_size > 10_000


# going on


@pytest.mark.slow
def test_a_grid_with_a_list_reports_clean_figures_too(photo_folder, tmp_path):
    exclude, out = tmp_path / "exclude.jsonl", tmp_path / "out"
    lines = ({"file": "val/0_0.png", "caption": 0}, {"file": "train/0_0.png"})
    exclude.write_text("\n".join(map(json.dumps, lines)))
    assert main([*command(photo_folder, out, "--labelled"), f"data.exclude={exclude}"]) == 0
    report = json.loads((out / "ablation.json").read_text())
    for entry, clean in zip(report["rows"], report["clean"], strict=True):
        name = f"{entry['row'].replace(' ', '')}-{'1' if entry['labelled'] else 'zero_shot'}-0.json"
        result = json.loads((out / "results" / name).read_text())
        assert (result["queries"], result["clean"]["queries"], result["clean"]["excluded"]) == (8, 7, 1)
        assert entry["mAP"]["mean"] == result["mAP"]
        assert clean["mAP"]["mean"] == result["clean"]["mAP"]
        stage = "finetune-1" if entry["labelled"] else "pretrain"
        run = out / "runs" / f"{entry['row'].replace(' ', '')}-0" / stage
        figures = json.loads((run / "results.json").read_text())["val"]["clean"]
        assert figures.items() <= result["clean"].items()
    table = (out / "table.md").read_text()
    assert table.count("| zero-shot ") == 4
    assert "Without what data.exclude names:" in table


@pytest.mark.slow
def test_only_what_is_missing_is_made(copy, photo_folder, calls, capsys):
    before = contents(copy)
    again = command(photo_folder, copy, "--labelled", "0.5", "data.on_bad_image=skip")
    assert main(again) == 0
    assert calls == []
    assert contents(copy)["ablation.json"] == before["ablation.json"]
    assert (copy / "table.md").read_text() in capsys.readouterr().out
    (copy / "results" / "contrastive+sdm-1-0.json").unlink()
    shutil.rmtree(copy / "runs" / "contrastive+sdm-0" / "finetune-1")
    assert main(again) == 0
    assert calls == ["contrastive+sdm-0/pretrain", "contrastive+sdm-0/finetune-1"]  # the first only stands there
    after = contents(copy)
    assert after["ablation.json"] == before["ablation.json"]
    kept = [name for name in before if name.startswith("results/") and name != "results/contrastive+sdm-1-0.json"]
    assert {name: after[name] for name in kept} == {name: before[name] for name in kept}


@pytest.mark.slow
def test_another_recipe_in_the_same_folder_is_refused(copy, make_photos, photo_folder, mistake):
    plain = command(photo_folder, copy, "--labelled", "0.5")
    before = contents(copy)
    mistake([*plain, "finetune.optim.lr=0.5"], copy, "begun with finetune.optim.lr=0.0003", "finetune.optim.lr=0.5")
    mistake([*plain, "pretrain.tasks.sdm.weight=2"], "begun with pretrain.tasks.sdm.weight=1.0")
    mistake([*plain, "pretrain.tasks.identity.weight=1", "pretrain.data.labels=given"], "pretrain.data.labels=pair")
    mistake([*plain, "--split", "test"], "evaluation.split=val")
    mistake([*plain, f"data.source={make_photos(persons=8)}"], "data.source")
    rewrite(again := make_photos(), lambda rows: rows[0]["captions"].reverse())
    saved = yaml.safe_load((copy / "ablation.yaml").read_text())
    for stage in ("pretrain", "finetune"):
        saved[stage]["data"]["source"] = str(again)
    (copy / "ablation.yaml").write_text(yaml.safe_dump(saved))
    mistake([*plain, f"data.source={again}"], "photographs.finetune_train=")
    (copy / "ablation.yaml").write_bytes(before["ablation.yaml"])
    assert contents(copy) == before
    (copy / "results" / "contrastive-1-0.json").write_text("{")
    mistake(plain, copy / "results" / "contrastive-1-0.json", "not JSON", "remove it")


@pytest.mark.slow
def test_a_grid_that_is_stopped_goes_on(photo_folder, tmp_path, monkeypatch, capsys, calls):
    out = tmp_path / "out"
    steps = [*command(photo_folder, out, "--labelled"), "train.max_steps=2"]
    original = Bundle.after_step
    done = 0

    def after_step(self: Bundle, step: int, momentum: float) -> None:
        nonlocal done
        original(self, step, momentum)
        done += 1
        if done == 3:  # the first step of the first fine-tuning
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Bundle, "after_step", after_step)
    assert main(steps) == 143
    assert "the same command goes on" in capsys.readouterr().err
    assert [path.name for path in (out / "results").iterdir()] == ["contrastive-zero_shot-0.json"]
    calls.clear()
    assert main(steps) == 0
    assert done == 8  # four runs of two steps, none of them twice
    assert calls[:2] == ["contrastive-0/pretrain", "contrastive-0/finetune-1"]
    stopped = json.loads((out / "results" / "contrastive-1-0.json").read_text())
    assert stopped["seconds"] is None
    assert json.loads((out / "results" / "contrastive+sdm-1-0.json").read_text())["seconds"] > 0


def test_a_folder_in_which_nothing_ran_may_be_begun_anew(photo_folder, tmp_path, mistake):
    out = tmp_path / "out"
    mistake([*command(photo_folder, out, "--labelled"), "pretrain.model.source=no/where"], "no/where")
    folder = tmp_path / "photos"
    shutil.copytree(photo_folder, folder)
    rewrite(folder, lambda rows: [row.update(split="val") for row in rows if row["split"] == "train"])
    mistake(command(folder, out, "--labelled"), f"data.source={folder}", "split train")
