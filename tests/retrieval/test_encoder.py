"""Sentences and pictures through a loaded model, against evaluation's own features and one-by-one encoding."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch.nn.functional import normalize

import huecry
from huecry.data.readers import read
from huecry.data.records import PhotoSet
from huecry.data.tokens import tokenize
from huecry.errors import UserError
from huecry.retrieval.encoder import Encoder
from huecry.retrieval.evaluate import extract
from huecry.towers import Branches, ModelConfig, load_towers


@pytest.fixture(scope="module")
def photos(photo_folder: Path) -> PhotoSet:
    return read(photo_folder)["train"]


@pytest.fixture(scope="module")
def model() -> Encoder:
    return huecry.load("tiny")


def test_importing_the_library_loads_nothing() -> None:
    code = "import sys, huecry; sys.exit(bool({'torch', 'transformers', 'PIL'} & {*sys.modules}))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert huecry.Index.__name__ == "Index"
    with pytest.raises(AttributeError, match="Indes"):
        huecry.Indes  # noqa: B018


@pytest.mark.parametrize("branched", [False, True])
def test_features_are_those_of_evaluation(photos, tmp_path, branched) -> None:
    load_towers(ModelConfig("tiny"), seed=3).save(tmp_path)
    if branched:
        torch.manual_seed(0)
        Branches(128).save(tmp_path)
    model = huecry.load(str(tmp_path))
    expected = extract(model.bundle, photos, size=model.size, context=model.context)
    images = model.encode_images([record.image for record in photos])
    texts = model.encode_text(photos.captions)
    assert images.shape == (8, model.dim)
    assert model.dim == (384 if branched else 128)
    for found, features in ((images, expected.images), (texts, expected.texts)):
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, normalize(features, dim=1), rtol=0, atol=1e-6)
        assert torch.cdist(found, found).fill_diagonal_(1).min() > 1e-3  # so that an exchange would show


def test_a_sentence_is_encoded_alone_as_among_others(model) -> None:
    sentences = ["red", "A man in a very long blue coat with a backpack and white shoes.", "", "red"]
    found = model.encode_text(sentences)
    with torch.no_grad():
        alone = [normalize(model.bundle.towers.encode_text(tokenize([one])).pooled, dim=1)[0] for one in sentences]
    torch.testing.assert_close(found, torch.stack(alone), rtol=0, atol=1e-6)
    assert model.encode_text([]).shape == (0, 128)
    assert torch.allclose(model.encode_text(["word " * 200]).norm(), torch.tensor(1.0))


def test_pictures_of_any_kind(model, photos, tmp_path) -> None:
    """Opened or as a file, in any mode; upright as the camera noted."""
    picture = photos[0].open()
    turned, note = picture.transpose(Image.Transpose.ROTATE_90), Image.Exif()
    note[0x0112] = 6
    turned.save(tmp_path / "turned.png", exif=note)
    with Image.open(tmp_path / "turned.png") as opened:
        found = model.encode_images(
            [picture, str(photos[0].image), tmp_path / "turned.png", opened, picture.convert("P")]
        )
    torch.testing.assert_close(found[:4], found[:1].expand(4, -1), rtol=0, atol=1e-6)
    assert torch.dist(found[4], found[0]) < 0.5
    assert model.encode_images([]).shape == (0, 128)


@pytest.mark.parametrize("method", ["encode_text", "encode_images"])
def test_one_where_a_list_belongs(model, method) -> None:
    with pytest.raises(UserError, match=rf"{method}: .*list"):
        getattr(model, method)("a woman in a red coat")


def test_a_picture_that_is_none(model, tmp_path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"\xff")
    for name in ("broken.jpg", "nowhere.jpg"):
        with pytest.raises(UserError, match=rf"{name}: the picture cannot be read .*; give another$"):
            model.encode_images([tmp_path / name])


def test_the_digest_names_the_weights_and_what_pictures_go_through(tmp_path) -> None:
    towers = load_towers(ModelConfig("tiny"))
    towers.save(tmp_path / "same")
    settings: list[dict[str, Any]] = [{}, {"image_size": [64, 64]}, {"mean": [0.5, 0.5, 0.5]}]
    digests = [Encoder(ModelConfig("tiny", **one)).digest for one in settings]
    with torch.no_grad():
        towers.text.projection.weight[3, 5] += 1e-3
    towers.save(tmp_path / "trained")
    assert len({*digests, huecry.load(str(tmp_path / "trained")).digest}) == 4
    assert huecry.load(str(tmp_path / "same")).digest == digests[0]
