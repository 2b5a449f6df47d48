"""The model card: its figures are the run's, its code runs as it stands, and it reads as a page."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard
from publish_pictures import photographs, snippets
from small_runs import SMALL

from huecry import api
from huecry.cli import main
from huecry.data.tokens import tokenize
from huecry.publish import FORMATS
from huecry.publish.card import NAMES, address, write_card
from huecry.publish.formats import CARD
from huecry.publish.story import story_of
from huecry.towers import ModelConfig, load_towers
from huecry.training.provenance import PROVENANCE


def card_of(model: str, **options) -> str:
    given = {"formats": FORMATS, "dtype": None, "squared": None, **options}
    return write_card("mine", story_of(model), load_towers(ModelConfig(model)), **given)


def test_the_metadata_are_the_figures_of_the_run(finished_run, exported):
    card = ModelCard.load(exported / CARD)
    results = json.loads((finished_run / "results.json").read_text())
    found = {(one.dataset_split, one.metric_type): one for one in card.data.eval_results}
    assert len(found) == 2 * len(NAMES)
    for split, figures in results.items():
        for key, (metric, _) in NAMES.items():
            one = found[split, metric]
            assert one.metric_value == round(figures[key], 2)
            assert one.dataset_args == {"selected_on": "val"}
            assert one.dataset_name == story_of(str(finished_run)).stages[-1].data[0]
    assert card.data.model_name == exported.name
    assert (card.data.library_name, card.data.language) == ("transformers", "en")
    rows = re.findall(r"^\| (test|val) \| ([\d.]+) .* (\w+) \|$", card.text, re.MULTILINE)
    assert rows == [(split, f"{results[split]['R1']:.1f}", "val") for split in ("test", "val")]


def test_the_code_runs_as_it_stands_and_gives_our_features(finished_run, exported, tmp_path, monkeypatch, capsys):
    here = tmp_path / "here"
    shutil.copytree(exported, here)
    photographs(1)[0].save(here / "photo.jpg", quality=95)
    monkeypatch.chdir(here)
    codes = snippets((here / CARD).read_text())
    assert len(codes) == 3
    towers = load_towers(ModelConfig(str(finished_run)))
    for code in codes:
        names: dict = {}
        exec(code, names)
        (picture,), sentences = names["photographs"], names["sentences"]
        pixels = torch.frombuffer(bytearray(picture.resize((64, 128), 3).tobytes()), dtype=torch.uint8)
        pixels = pixels.view(128, 64, 3).permute(2, 0, 1)[None] / 255
        mean, std = (torch.tensor(values)[:, None, None] for values in (towers.mean, towers.std))
        with torch.no_grad():
            images = towers.encode_image((pixels - mean) / std).pooled
            texts = towers.encode_text(tokenize(sentences)).pooled
        for theirs, expected in ((names["images"], images), (names["texts"], texts)):
            torch.testing.assert_close(torch.as_tensor(theirs), expected, atol=1e-5, rtol=1e-5)
        assert "tensor([[" in capsys.readouterr().out


def test_the_page_has_its_parts_and_no_path_of_this_machine(finished_run, exported):
    text = (exported / CARD).read_text()
    heads = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL), re.MULTILINE)
    assert heads == [exported.name, "Results", "Training", "Use", "Limits", "Responsible use", "Licence"]
    for word in (
        "surveillance",
        "Consent",
        "Bias",
        "not an identification",
        "`pretrain/people`",
        "2 steps of 8 samples",
    ):
        assert word in text
    assert str(finished_run.parent) not in text
    assert not re.search(r"\n{3}|[ \t]$", text, re.MULTILINE)
    assert max(len(line) for line in text.splitlines() if not line.startswith(("|", "print"))) <= 110


def test_a_model_that_was_not_trained_here_claims_nothing():
    card = ModelCard(card_of("tiny"))
    assert card.data.eval_results is None
    assert "None were measured." in card.text
    assert "which did not train it" in card.text
    assert "Not trained by huecry: these are random weights." in card.text


@pytest.mark.slow
def test_every_stage_is_told_though_the_first_run_be_gone(finished_run, photo_folder, tmp_path):
    run = tmp_path / "second"
    shutil.copytree(finished_run, tmp_path / "first")
    changes = [f"model.source={tmp_path / 'first'}", f"data.source={photo_folder}", f"run.dir={run}", *SMALL]
    assert main(["finetune", *changes, "eval.select_on=test"]) == 0
    shutil.rmtree(tmp_path / "first")
    assert str(tmp_path) not in (run / PROVENANCE).read_text()
    text = card_of(str(run))
    first, second = re.findall(r"^\d\. (.*?)(?=^\d\. |^## )", text, re.MULTILINE | re.DOTALL)
    assert "From random weights:" in text
    assert "`pretrain/people`" in first
    assert "`finetune/people`" in second
    assert photo_folder.name in first
    assert "train: 8 photographs, 4 persons, 16 captions" in " ".join(second.split())
    assert json.loads((run / PROVENANCE).read_text())["versions"]["huecry"] in second
    assert "Where a split chose the model, its own figures flatter it." in text
    assert ModelCard(text).data.eval_results[0].dataset_args == {"selected_on": "test"}


def test_a_run_that_is_not_finished_has_the_figures_that_chose_its_model(finished_run, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(finished_run, run)
    (run / "results.json").unlink()
    text = card_of(str(run))
    (line,) = [one for one in map(json.loads, (run / "metrics.jsonl").read_text().splitlines()) if "val" in one]
    found = {one.metric_type: one.metric_value for one in ModelCard(text).data.eval_results}
    assert found["mean_average_precision"] == round(line["val"]["mAP"], 2)
    assert "Training was not at its end" in text


def test_results_that_are_damaged(finished_run, tmp_path, mistake):
    run = tmp_path / "run"
    shutil.copytree(finished_run, run)
    (run / "results.json").write_text("{")
    mistake(["export", str(run), str(tmp_path / "out")], run / "results.json", "not JSON")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("repo", ["group/name", "other/model.v2"])
def test_a_repository_changes_the_title_and_the_names_in_the_code_alone(exported, repo):
    before = (exported / CARD).read_text().replace("## Limits", 'My own "words".\n\n# name = "."\n\n## Limits')
    after = address(address(before, "group/name"), repo)
    changed = [(old, new) for old, new in zip(before.splitlines(), after.splitlines(), strict=True) if old != new]
    assert changed == [
        (f"# {exported.name}", f"# {repo.partition('/')[2]}"),
        ('name = "."  # this folder', f'name = "{repo}"'),
        ('name = "local-dir:."  # this folder', f'name = "hf-hub:{repo}"'),
        ('name = "."  # this folder', f'name = "{repo}"'),
    ]
    assert len(snippets(after)) == 3


def test_a_model_of_the_hub_is_named_as_the_base(tmp_path):
    load_towers(ModelConfig()).save(tmp_path / "run" / "model")
    (tmp_path / "run" / "config.yaml").write_text("model: {source: group/clip}\ndata: {source: 'hf:group/photos'}\n")
    (tmp_path / "run" / PROVENANCE).write_text(
        json.dumps(
            {"origin": {"began": "the weights of group/clip", "base": "group/clip"}, "data": ["hf:group/photos"]}
        )
    )
    data = ModelCard(card_of(str(tmp_path / "run"))).data
    assert (data.base_model, data.datasets) == ("group/clip", ["group/photos"])


@pytest.mark.slow
def test_half_precision_and_formats_are_told(tmp_path):
    api.export("tiny", str(tmp_path / "out"), formats=["open_clip"], dtype="fp16")
    text = (tmp_path / "out" / CARD).read_text()
    assert "stored in fp16" in text
    assert ModelCard(text).data.library_name == "open_clip"
    assert len(snippets(text)) == 1
    assert Path(tmp_path / "out" / "open_clip_model.safetensors").stat().st_size < 20e6
