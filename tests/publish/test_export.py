"""The exported folder: three libraries give our features, and what cannot be exported leaves nothing behind."""

from __future__ import annotations

from pathlib import Path

import open_clip
import pytest
import torch
from publish_pictures import SENTENCES, ours, photographs
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer
from small_runs import contents
from torch.nn.functional import cosine_similarity
from transformers import CLIPModel, CLIPProcessor

from huecry import api
from huecry.errors import UserError
from huecry.publish import check
from huecry.publish.formats import CARD, FILES
from huecry.towers import Branches, ModelConfig, load_towers
from huecry.towers.branches import BRANCHES_FILE
from huecry.towers.folder import OWN_FILE

CLOSE = {"atol": 1e-5, "rtol": 1e-5}


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A model for photographs of 240x112 with its own statistics, and its export."""
    folder = tmp_path_factory.mktemp("wide")
    statistics = {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.25]}
    load_towers(ModelConfig(image_size=[240, 112], **statistics), seed=3).save(folder / "model")
    api.export(str(folder / "model"), str(folder / "out"))
    return folder / "model", folder / "out"


def test_transformers_open_clip_and_sentence_transformers_give_our_features(wide):
    model, out = wide
    pictures = photographs()
    images, texts = ours(load_towers(ModelConfig(str(model))), pictures)

    theirs = CLIPModel.from_pretrained(out).eval()
    processor = CLIPProcessor.from_pretrained(out, backend="pil")
    inputs = processor(text=SENTENCES, images=pictures, padding=True, truncation=True, return_tensors="pt")
    opened, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{out}")
    opened.eval()
    sentences = SentenceTransformer(str(out), device="cpu")
    with torch.no_grad():
        pixels = inputs.pop("pixel_values")
        found = {
            "transformers": (
                theirs.get_image_features(pixels, interpolate_pos_encoding=True).pooler_output,
                theirs.get_text_features(**inputs).pooler_output,
            ),
            "open_clip": (
                opened.encode_image(torch.stack([preprocess(picture) for picture in pictures])),
                opened.encode_text(open_clip.get_tokenizer(f"local-dir:{out}")(SENTENCES)),
            ),
            "sentence_transformers": (
                torch.from_numpy(sentences.encode(pictures, interpolate_pos_encoding=True)),
                torch.from_numpy(sentences.encode(SENTENCES)),
            ),
        }
    for name, (their_images, their_texts) in found.items():
        torch.testing.assert_close(their_images, images, **CLOSE, msg=name)
        torch.testing.assert_close(their_texts, texts, **CLOSE, msg=name)
    assert opened.logit_scale.exp().item() == pytest.approx(theirs.logit_scale.exp().item())
    assert (sentences.get_embedding_dimension(), sentences.similarity_fn_name) == (128, "cosine")
    assert set(contents(out)) == set(FILES)


def test_our_own_loader_reads_the_export_to_the_bit(wide):
    model, out = wide
    before, after = (load_towers(ModelConfig(str(folder))) for folder in (model, out))
    assert (after.image_size, after.mean, after.std) == (before.image_size, before.mean, before.std)
    for name, weight in before.state_dict().items():
        assert torch.equal(weight, after.state_dict()[name]), name


def test_only_the_formats_asked_for_are_written(tmp_path, capsys):
    result = api.export("tiny", str(tmp_path / "out"), formats=["open_clip"])
    assert set(contents(tmp_path / "out")) == {"open_clip_config.json", "open_clip_model.safetensors", OWN_FILE, CARD}
    assert list(result["differences"]) == ["open_clip"]
    assert 0 < result["differences"]["open_clip"] <= 1e-5
    assert f"open_clip: our features within {result['differences']['open_clip']:.1e}" in capsys.readouterr().out
    card = (tmp_path / "out" / CARD).read_text()
    assert "transformers" not in card
    assert "interpolate_pos_encoding" not in card


@pytest.mark.slow
def test_half_precision_halves_the_matrices_and_tells_the_error(tmp_path, capsys):
    result = api.export("tiny", str(tmp_path / "out"), dtype="bf16")
    weights = load_file(tmp_path / "out" / "model.safetensors")
    halved = {name for name, weight in weights.items() if weight.dtype == torch.bfloat16}
    assert halved == {
        name for name, weight in weights.items() if weight.ndim > 1 and "vision_model.embeddings.pos" not in name
    }
    opened = load_file(tmp_path / "out" / "open_clip_model.safetensors")
    assert {
        str(opened[name].dtype) for name in ("visual.conv1.weight", "visual.positional_embedding", "logit_scale")
    } == {
        "torch.bfloat16",
        "torch.float32",
    }
    assert CLIPModel.from_pretrained(tmp_path / "out").dtype == torch.bfloat16

    inputs = check.random_inputs((128, 64))
    exact, now = (
        check.features(load_towers(ModelConfig(source)).eval(), *inputs) for source in ("tiny", str(tmp_path / "out"))
    )
    least = min(float(cosine_similarity(one, two, dim=1).min()) for one, two in zip(exact, now, strict=True))
    largest = max(
        float((one - two).abs().max() / two.abs().max().clamp(min=1)) for one, two in zip(now, exact, strict=True)
    )
    assert result["rounding"] == {"largest": pytest.approx(largest, rel=0.02), "cosine": pytest.approx(least, abs=1e-6)}
    assert largest > 1e-4
    assert f"half precision: features move by {result['rounding']['largest']:.1e}" in capsys.readouterr().out


@pytest.mark.slow
def test_a_square_needs_no_interpolation(finished_run, tmp_path):
    result = api.export(str(finished_run), str(tmp_path / "out"), square=True, formats=["transformers"])
    assert result["image_size"] == [128, 128]
    towers = load_towers(ModelConfig(str(finished_run), image_size=[128, 128]))
    pixels = torch.randn(2, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        theirs = CLIPModel.from_pretrained(tmp_path / "out").get_image_features(pixels).pooler_output
        torch.testing.assert_close(theirs, towers.encode_image(pixels).pooled, **CLOSE)
    card = (tmp_path / "out" / CARD).read_text()
    assert "**Not of this model**" in card
    assert "model-index" not in card
    assert "interpolate_pos_encoding" not in card


def test_nothing_is_written_over(tmp_path, mistake):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes").write_text("mine")
    (tmp_path / "file").write_text("mine")
    mistake(["export", "tiny", str(tmp_path / "full")], tmp_path / "full", "not empty")
    mistake(["export", "tiny", str(tmp_path / "file")], tmp_path / "file", "not a folder")
    mistake(["export", "tiny", str(tmp_path / "file" / "out")], "cannot be written", "nothing was exported")
    mistake(["export", str(tmp_path / "nowhere"), str(tmp_path / "out")], tmp_path / "nowhere", "no such folder")
    assert contents(tmp_path) == {"full/notes": b"mine", "file": b"mine"}


def test_a_folder_that_fails_the_check_is_not_left(tmp_path, monkeypatch, global_states):
    def other(folder, pictures, sentences):
        assert Path(folder, "open_clip_model.safetensors").is_file()
        torch.rand(1)
        return torch.zeros(len(pictures), 128), torch.zeros(len(sentences), 128)

    def broken(folder, pictures, sentences):
        raise ValueError("no such\nlayer")

    before = global_states()
    for reader, told in (
        (other, "computes other features"),
        (broken, "does not read what was exported (no such layer)"),
    ):
        monkeypatch.setitem(check.READERS, "open_clip", reader)
        with pytest.raises(UserError) as caught:
            api.export("tiny", str(tmp_path / "out"), formats=["open_clip"])
        assert told in str(caught.value)
    assert list(tmp_path.iterdir()) == []
    assert global_states() == before


def test_a_library_that_is_not_installed_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(check, "find_spec", lambda name: None)
    result = api.export("tiny", str(tmp_path / "out"), formats=["open_clip"])
    assert result["differences"] == {"open_clip": None}
    assert "open_clip: not checked, it is not installed here" in capsys.readouterr().out


def test_a_model_of_three_branches_is_refused(tmp_path, mistake):
    load_towers(ModelConfig()).save(tmp_path / "model")
    Branches(128).save(tmp_path / "model")
    mistake(["export", str(tmp_path / "model"), str(tmp_path / "out")], tmp_path / "model", BRANCHES_FILE)
    assert not (tmp_path / "out").exists()


def test_options_that_are_none():
    for options in ({"formats": ["onnx"]}, {"formats": []}, {"dtype": "int8"}):
        with pytest.raises(UserError, match=next(iter(options))):
            api.export("tiny", "out", **options)
