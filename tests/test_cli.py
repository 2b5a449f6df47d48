"""The command line as a user meets it: what it prints, what it writes, and that `huecry.api` does the same."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from small_runs import SMALL

from huecry import api
from huecry.cli import build_parser, main
from huecry.config import CONFIGS, recipe_names
from huecry.data.people import FIXED, PHOTOS
from huecry.data.readers import read
from huecry.errors import UserError
from huecry.pretrain.run import pretrain
from huecry.retrieval.rerank import RERANKINGS
from huecry.training.command import stage_main

KEYS = ["split", "R1", "R5", "R10", "mAP", "mINP", "tie_share", "queries", "gallery", "persons", "selected_on"]
KEYS += ["image_to_text", "strata", "colour_erased"]


@pytest.fixture(scope="module")
def run(photo_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pretraining, then fine-tuning from it; the folder of the latter."""
    runs = tmp_path_factory.mktemp("runs")
    assert main(["pretrain", f"data.source={photo_folder}", f"run.dir={runs / 'first'}", *SMALL]) == 0
    second = ["finetune", f"data.source={photo_folder}", f"run.dir={runs / 'second'}", *SMALL]
    assert main([*second, f"model.source={runs / 'first'}"]) == 0
    return runs / "second"


def commands() -> list[str]:
    (action,) = (action for action in build_parser()._actions if action.dest == "command")
    return list(action.choices or ())


@pytest.mark.parametrize("command", [[], *([name] for name in commands())])
def test_help_of_each_command(command, capsys):
    with pytest.raises(SystemExit) as end:
        main([*command, "--help"])
    assert end.value.code == 0
    text = capsys.readouterr().out
    assert text.startswith(" ".join(["usage: huecry", *command]))
    assert all(name in text for name in (commands() if not command else ["--debug"]))


def test_each_command_is_a_function_of_the_api():
    assert all(callable(getattr(api, name)) for name in commands())


def test_recipes_lists_every_recipe_with_its_text(capsys):
    assert main(["recipes"]) == 0
    printed = capsys.readouterr().out
    lines = printed.splitlines()
    files = sorted(path for stage in ("pretrain", "finetune") for path in (CONFIGS / stage).rglob("*.yaml"))
    assert [line for line in lines if not line.startswith(" ")] == sorted(
        str(path.relative_to(CONFIGS).with_suffix("")) for path in files
    )
    words = " ".join(printed.split())
    for path in files:
        comment = []
        for line in path.read_text().splitlines():
            if not line.startswith("#"):
                break
            comment.append(line.lstrip("# "))
        assert comment[0].startswith("accelerate launch "), path
        text = " ".join(" ".join(comment[1:]).split())
        assert len(text) > 20, path
        assert text in words, path
        assert comment[0] not in words, path
        assert yaml.safe_load(path.read_text())["tasks"], path


def test_people_writes_what_is_read(tmp_path, capsys):
    assert main(["people", str(tmp_path / "set"), "--persons", "3", "--seed", "5"]) == 0
    assert capsys.readouterr().err == ""
    splits = read(tmp_path / "set")
    counts = {split: (len(photos.persons), len(photos), len(photos.row_image)) for split, photos in splits.items()}
    persons = {"train": 3, **FIXED}
    assert counts == {split: (persons[split], PHOTOS * persons[split], 2 * PHOTOS * persons[split]) for split in counts}
    assert list(splits) == ["train", "val", "test"]
    assert splits["train"][0].open().size == (64, 128)


# evaluate


def test_evaluate_writes_the_documented_keys(run, photo_folder, tmp_path, capsys):
    file = tmp_path / "new" / "figures.json"
    assert main(["evaluate", str(run), str(photo_folder), "--json", str(file)]) == 0
    output = capsys.readouterr()
    assert output.err == ""
    result = json.loads(file.read_text())
    assert list(result) == KEYS
    assert (result["split"], result["selected_on"]) == ("test", "val")
    assert (result["queries"], result["gallery"], result["persons"]) == (8, 4, 2)
    assert f"R1 {result['R1']:.2f}" in output.out
    assert f"mAP {result['mAP']:.2f}" in output.out
    assert sorted(path.name for path in file.parent.iterdir()) == ["figures.json"]


def test_a_run_evaluates_to_its_own_results(run, photo_folder):
    results = json.loads((run / "results.json").read_text())
    assert list(results) == ["test", "val"]
    for split in results:
        again = api.evaluate(str(run), str(photo_folder), split=split)
        assert again == results[split]


@pytest.mark.slow
def test_two_processes_evaluate_together(run, photo_folder, tmp_path):
    """Each encodes its part, one prints and writes."""
    file = tmp_path / "figures.json"
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2"]
    launch += ["--rdzv_backend", "c10d", "--rdzv_endpoint", "localhost:0"]
    arguments = ["evaluate", str(run), str(photo_folder), "--json", str(file), "data.workers=0"]
    command = [*launch, "-m", "huecry.cli", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("image to text: ") == 1
    assert done.stdout.count("test: ") == 1
    alone = api.evaluate(str(run), str(photo_folder))
    assert json.loads(file.read_text()) == alone


def test_reranked_figures_stand_apart(run, photo_folder, capsys):
    assert main(["evaluate", str(run), str(photo_folder), "--rerank", "rvn", "--rerank", "kreciprocal"]) == 0
    told = capsys.readouterr().out
    result = api.evaluate(str(run), str(photo_folder), "eval.rerank.rvn.alpha=0", rerank=["rvn"])
    plain = api.evaluate(str(run), str(photo_folder))
    assert {key: result[key] for key in plain} == plain
    assert result["reranked"] == {"rvn": pytest.approx({key: plain[key] for key in result["reranked"]["rvn"]})}
    assert all(f"{name}: R1 " in told for name in RERANKINGS)
    with pytest.raises(UserError, match="rerank=x: choose among rvn, kreciprocal"):
        api.evaluate(str(run), str(photo_folder), rerank=["x"])


def test_strata_are_printed_when_asked_for(run, photo_folder, capsys):
    plain = ["evaluate", str(run), str(photo_folder)]
    assert main(plain) == 0
    short = capsys.readouterr().out
    assert main([*plain, "--strata"]) == 0
    more = capsys.readouterr().out.removeprefix(short)
    figures = api.evaluate(*plain[1:])
    assert f"with a colour word, 8 queries: R1 {figures['strata']['colour']['R1']:.2f}" in more
    assert f"colour words erased: R1 {figures['colour_erased']['R1']:.2f}" in more
    assert f"lost: R1 {figures['R1'] - figures['colour_erased']['R1']:.2f}" in more


def test_keys_may_stand_before_and_behind_options(run, photo_folder, tmp_path, capsys):
    plain = [str(run), str(photo_folder)]
    file = tmp_path / "figures.json"
    assert main(["evaluate", *plain, "eval.ap=trapezoid", "--split", "val", "--json", str(file)]) == 0
    first = json.loads(file.read_text())
    assert (
        main(["evaluate", *plain, "--split", "val", "--json", str(file), "eval.ap=trapezoid", "eval.batch_size=3"]) == 0
    )
    assert json.loads(file.read_text()) == first
    step = api.evaluate(*plain, split="val")
    assert step["mAP"] > first["mAP"]
    for key in step.keys() - {"mAP", "image_to_text", "strata", "colour_erased"}:
        assert step[key] == first[key], key
    assert step["colour_erased"]["mAP"] > first["colour_erased"]["mAP"]


def test_a_model_that_no_run_chose_has_no_selection(photo_folder):
    assert api.evaluate("tiny", str(photo_folder))["selected_on"] is None


def test_figures_are_written_through_a_link(run, photo_folder, tmp_path):
    """`--json /dev/stdout` is such a link: it must lead where it did before."""
    (tmp_path / "link.json").symlink_to(tmp_path / "figures.json")
    (tmp_path / "figures.json").write_text("")
    assert main(["evaluate", str(run), str(photo_folder), "--json", str(tmp_path / "link.json")]) == 0
    assert (tmp_path / "link.json").is_symlink()
    assert list(json.loads((tmp_path / "figures.json").read_text())) == KEYS


# what a run leaves and what a dry run says


def test_a_run_folder_holds_what_is_promised(run):
    assert sorted(path.name for path in run.iterdir()) == [
        "checkpoints",
        "config.yaml",
        "metrics.jsonl",
        "model",
        "provenance.json",
        "results.json",
        "timing.jsonl",
    ]
    resolved = yaml.safe_load((run / "config.yaml").read_text())
    assert resolved["train"]["max_steps"] == 2
    assert resolved["tasks"]["contrastive"]["positives"] == "identity"
    assert [path.name for path in (run / "checkpoints").iterdir()] == ["step-2"]


def test_a_finished_run_is_left_as_it_is(run, photo_folder, capsys):
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    arguments = ["finetune", f"data.source={photo_folder}", f"run.dir={run}", *SMALL, "train.resume=true"]
    assert main([*arguments, f"model.source={run.parent / 'first'}"]) == 0
    assert "already finished" in capsys.readouterr().out
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("name", recipe_names())
def test_a_dry_run_without_data_weights_or_network(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    absent = ["data.source=not/here", "model.source=not/there"]
    assert main([name.split("/")[0], "--config", name, "--dry-run", *absent, "train.epochs=7"]) == 0
    output = capsys.readouterr()
    assert output.err == ""
    assert re.search(r"^data: .*not/here", output.out, re.MULTILINE)
    assert re.search(r"^towers: .*not/there", output.out, re.MULTILINE)
    assert re.search(r"^views: .*\d image and \d text passes", output.out, re.MULTILINE)
    assert f"runs/{name}" in output.out
    resolved = yaml.safe_load(output.out.split("run folder:")[0])
    assert (resolved["train"]["epochs"], resolved["data"]["source"]) == (7, "not/here")
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_reports_what_is_there_and_begins_nothing(photo_folder, tmp_path, capsys):
    run = tmp_path / "run"
    arguments = ["pretrain", "--dry-run", f"data.source={photo_folder}", f"run.dir={run}", "train.batch_size=8"]
    assert main([*arguments, "train.epochs=3"]) == 0
    text = capsys.readouterr().out
    assert "train: 8 photographs, 4 persons, 16 captions" in text
    assert "steps: 6 of 8 samples" in text
    assert "pictures 128x64, features of 128" in text
    assert "2 image and 2 text passes" in text
    assert not run.exists()


def test_a_dry_run_counts_the_labelled_part(photo_folder, capsys):
    arguments = ["finetune", "--dry-run", f"data.source={photo_folder}", "model.source=tiny", "train.batch_size=4"]
    assert main([*arguments, "train.epochs=3", "data.labelled=0.5"]) == 0
    text = capsys.readouterr().out
    assert "data.labelled=0.5: train: 4 photographs, 2 persons, 8 captions" in text
    assert "steps: 6 of 4 samples" in text
    assert main([*arguments, "data.labelled=0"]) == 2
    assert capsys.readouterr().err.startswith("huecry: data.labelled=0.0: must be ")


def test_training_on_a_labelled_part(photo_folder, tmp_path, capsys):
    run = ["finetune", f"data.source={photo_folder}", f"run.dir={tmp_path / 'run'}", "model.source=tiny", *SMALL]
    assert main([*run, "data.labelled=0.5"]) == 0
    assert "data.labelled=0.5: train: 4 photographs, 2 persons, 8 captions" in capsys.readouterr().out
    assert main([*run, "data.labelled=0.25", "train.resume=true"]) == 2
    assert "had data.labelled=0.5" in capsys.readouterr().err


def test_a_dry_run_still_refuses_a_recipe_that_cannot_be(capsys):
    assert main(["pretrain", "--dry-run", "train.epoch=3"]) == 2
    assert capsys.readouterr().err == "huecry: train.epoch: no such key; did you mean train.epochs?\n"


def test_the_script_of_a_stage_takes_the_same_arguments(photo_folder, capsys):
    changes = [f"data.source={photo_folder}", "--dry-run", "train.batch_size=8"]
    assert stage_main(pretrain, "pretrain/people", changes) == 0
    script = capsys.readouterr().out
    assert main(["pretrain", *changes]) == 0
    assert capsys.readouterr().out == script
    assert stage_main(pretrain, "pretrain/people", ["tasks=null"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.slow
def test_a_reader_that_has_seen_enough_is_no_mistake() -> None:
    command = f"{sys.executable} -m huecry.cli recipes | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode in (0, 141)  # 0 where the pipe still held everything
    assert done.stderr == ""
