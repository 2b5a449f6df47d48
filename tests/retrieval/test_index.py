"""An open index: what is found from sentences and pictures, against evaluation's own ranking."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import huecry
from huecry import api
from huecry.data.readers import read
from huecry.errors import UserError
from huecry.retrieval.evaluate import extract
from huecry.retrieval.index import Found, Index
from huecry.retrieval.metrics import rank_top
from huecry.towers import ModelConfig, load_towers


@pytest.fixture(scope="module")
def place(photo_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of the drawn set by a model in a folder beside it; tests only read it."""
    folder = tmp_path_factory.mktemp("index")
    load_towers(ModelConfig("tiny"), seed=5).save(folder / "model")
    small = ("data.workers=0", "train.cpu_threads=1", "model.image_size=[96,48]")
    api.index(str(folder / "model"), str(photo_folder), *small, out=str(folder / "photos.safetensors"))
    return folder / "photos.safetensors"


@pytest.fixture(scope="module")
def index(place: Path) -> Index:
    return huecry.Index.open(place)


def test_sentences_rank_as_in_evaluation(index, photo_folder) -> None:
    """The model is found again with the settings that the index was made with."""
    photos = read(photo_folder)["train"]
    model = index.encoder
    assert model.size == (96, 48)
    features = extract(model.bundle, photos, size=model.size, context=model.context)
    scores, rows = rank_top(features.texts, features.images, 5)
    part = Index(
        replace(index.file, paths=index.paths[:8], features=index.file.features[:8], hashes=index.file.hashes[:8]),
        index.place,
    )
    found = part.nearest(index.queries(photos.captions), 5)
    assert [[one.path for one in line] for line in found] == [
        [photos[row].name for row in line] for line in rows.tolist()
    ]
    assert torch.allclose(torch.tensor([[one.score for one in line] for line in found]), scores, atol=1e-6)
    assert found[0][0].captions == photos[int(rows[0, 0])].captions


def test_a_picture_finds_itself(index, photo_folder) -> None:
    found = index.search(image=photo_folder / "val" / "1_0.png", k=3)
    assert found[0] == Found("val/1_0.png", pytest.approx(1.0, abs=1e-6), read(photo_folder)["val"][2].captions)
    assert len(found) == 3
    assert index.search(image=index.picture("test/0_1.png"), k=1)[0].path == "test/0_1.png"


@pytest.mark.parametrize("weight", [1.0, 2.5])
def test_a_picture_and_a_sentence_together(index, photo_folder, weight) -> None:
    sentence, picture = "a person in a green coat", photo_folder / "train" / "2_0.png"
    text, image = index.encoder.encode_text([sentence])[0], index.encoder.encode_images([picture])[0]
    scores = (weight * index.file.features @ text + index.file.features @ image) / (weight * text + image).norm()
    found = index.search(sentence, image=picture, weight=weight, k=100)
    assert len(found) == len(index) == 16
    assert torch.allclose(torch.tensor([one.score for one in found]), scores.sort(descending=True).values, atol=1e-6)


@pytest.mark.parametrize(
    ("ask", "reason"),
    [
        (lambda index: index.search(), "nothing to search with"),
        (lambda index: index.search(" \t"), "an empty sentence"),
        (lambda index: index.search("a coat", k=0), "k=0: ask for at least one"),
        (lambda index: index.search(["a coat"]), "not a list of sentences"),
        (lambda index: index.search("a coat", image="a.png", weight=0), "weight=0: .* above 0"),
        (lambda index: index.search(image="nowhere.png"), "nowhere.png: the picture cannot be read"),
        (lambda index: index.nearest(torch.ones(1, 3)), "features of 128, queries of 3"),
        (lambda index: index.picture("../photos.safetensors"), "not a picture of"),
        (lambda index: index.picture("metadata.jsonl"), "not a picture of"),
    ],
)
def test_what_cannot_be_asked(index, ask, reason) -> None:
    with pytest.raises(UserError, match=reason):
        ask(index)


def test_a_model_that_has_moved_or_changed(place, tmp_path) -> None:
    shutil.copytree(place.parent, tmp_path / "all")
    copy = Index.open(tmp_path / "all" / place.name).file
    gone = replace(copy, about=replace(copy.about, model={**copy.about.model, "source": str(tmp_path / "gone")}))
    gone.write(tmp_path / "index")
    with pytest.raises(UserError, match=r"gone: no such folder; if the model has moved, say where it is with --model"):
        Index.open(tmp_path / "index").search("a coat")
    found = Index.open(tmp_path / "index", str(tmp_path / "all" / "model")).search("a coat")
    there = Index.open(place).search("a coat")
    assert [one.path for one in found] == [one.path for one in there]
    assert [one.score for one in found] == pytest.approx([one.score for one in there], abs=1e-6)
    with pytest.raises(UserError, match=r"made with .*gone \(sha256 .*\), and tiny is another model now"):
        Index.open(tmp_path / "index", "tiny").search("a coat")


def test_no_path_leads_out_of_the_folder(index, photo_folder, tmp_path) -> None:
    """Whatever a file that came from elsewhere says."""
    shutil.copytree(photo_folder, tmp_path / "photos")
    shutil.copy(photo_folder / "val" / "0_0.png", tmp_path / "secret.png")
    (tmp_path / "photos" / "val" / "0_0.png").unlink()
    (tmp_path / "photos" / "val" / "0_0.png").symlink_to(tmp_path / "secret.png")
    (tmp_path / "photos" / "val" / "0_1.png").unlink()
    paths = ["../secret.png", str(tmp_path / "secret.png"), *index.paths[2:]]
    about = replace(index.file.about, root=str(tmp_path / "photos"))
    crafted = Index(replace(index.file, paths=paths, about=about), index.place)
    for path in (*paths[:2], "val/0_0.png"):
        with pytest.raises(UserError, match="leads out of"):
            crafted.picture(path)
    with pytest.raises(UserError, match=r"no longer in .*; bring the index up to date"):
        crafted.picture("val/0_1.png")
    assert crafted.picture("val/1_0.png").size == (64, 128)


def test_a_picture_that_is_another_now(photo_folder, tmp_path) -> None:
    """A file that was only touched is still the one that was indexed; one of other content or a link outside is not."""
    shutil.copytree(photo_folder / "train", tmp_path / "plain")
    api.index("tiny", str(tmp_path / "plain"), "data.workers=0", "train.cpu_threads=1", out=str(tmp_path / "photos"))
    opened = Index.open(tmp_path / "photos")
    touched, changed, linked = (tmp_path / "plain" / name for name in opened.paths[:3])
    before = opened.picture(touched.name)
    touched.touch()
    assert opened.picture(touched.name) == before
    changed.write_bytes(touched.read_bytes())
    with pytest.raises(UserError, match="has changed since it was indexed; bring the index up to date"):
        opened.picture(changed.name)
    outside = linked.rename(tmp_path / "outside.png")
    linked.symlink_to(outside)
    with pytest.raises(UserError, match="leads out of"):
        opened.picture(linked.name)
