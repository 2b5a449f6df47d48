"""Features of a split against one-by-one encoding, and who counts as a match."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from huecry.data.readers import read
from huecry.data.records import PhotoSet, Record
from huecry.data.tokens import tokenize
from huecry.errors import UserError
from huecry.retrieval.evaluate import (
    EvalConfig,
    Features,
    average_by_person,
    evaluate_split,
    extract,
    identities,
    retrieval_metrics,
    retrieval_queries,
)


@pytest.fixture(scope="module")
def photos(make_photos: Any) -> PhotoSet:
    return read(make_photos(persons=3, photos=3, captions=2))["train"]


@pytest.fixture
def bundle(tiny_bundle: Any, photos: PhotoSet) -> Any:
    return tiny_bundle({"contrastive": {}}, photos)


def features_of(bundle: Any, photos: PhotoSet, **options: Any) -> Features:
    towers = bundle.towers
    return extract(bundle, photos, size=towers.image_size, context=towers.context, **options)


def one_by_one(bundle: Any, photos: PhotoSet) -> tuple[Tensor, Tensor]:
    towers = bundle.towers
    height, width = towers.image_size
    mean, std = torch.tensor(towers.mean).view(3, 1, 1), torch.tensor(towers.std).view(3, 1, 1)
    images, texts = [], []
    with torch.no_grad():
        for record in photos:
            picture = record.open().resize((width, height), Image.Resampling.BICUBIC)
            pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1).float() / 255
            images.append(towers.encode_image(((pixels - mean) / std)[None]).pooled[0])
            texts += [towers.encode_text(tokenize([caption])).pooled[0] for caption in record.captions]
    return torch.stack(images), torch.stack(texts)


@pytest.mark.parametrize("batch_size", [1, 4, 9, 1000])
def test_features_are_those_of_each_photograph_and_caption_alone_in_order(bundle, photos, batch_size):
    found = features_of(bundle, photos, batch_size=batch_size)
    images, texts = one_by_one(bundle, photos)
    torch.testing.assert_close(found.images, images, rtol=0, atol=1e-5)
    torch.testing.assert_close(found.texts, texts, rtol=0, atol=1e-5)
    assert torch.cdist(images, images).fill_diagonal_(1).min() > 1e-3  # so that an exchange would show
    assert torch.cdist(texts, texts).fill_diagonal_(1).min() > 1e-3
    assert found.readable.tolist() == [True] * 9
    assert not found.images.requires_grad


class Echo(nn.Module):
    """A model whose features are the inputs, and which notes in which mode it was called."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.inner = nn.Dropout()
        self.calls: list[tuple[bool, bool]] = []

    def forward(self, batch: dict[str, Tensor], mode: str) -> dict[str, Tensor]:
        assert mode == "encode"
        self.calls.append((self.training, torch.is_grad_enabled()))
        return {name: tensor.flatten(1)[:, :77] for name, tensor in batch.items()}


@pytest.mark.parametrize("training", [True, False])
def test_the_training_mode_is_restored(photos, training):
    model = Echo().train(training)
    extract(model, photos, size=(16, 8), context=77)
    assert (model.training, model.inner.training) == (training, training)
    assert set(model.calls) == {(False, False)}
    assert len(model.calls) == 2


def test_captions_keep_their_rows(photos):
    found = extract(Echo(), photos, size=(16, 8), context=77, batch_size=4)
    assert torch.equal(found.texts, tokenize(photos.captions).float())


def test_the_global_generators_are_left_alone(photos, global_states):
    before = global_states()
    extract(Echo(), photos, size=(16, 8), context=77)
    assert global_states() == before


# who counts as a match


def record(name: str, person: str | None, *captions: str) -> Record:
    return Record(Path(name), captions, person, name)


FIVE = PhotoSet(
    "test",
    [
        record("a", "anna", "a0", "a1"),
        record("b", None, "b0"),
        record("c", "anna", "c0"),
        record("d", None),
        record("e", "ben", "e0"),
    ],
)
AXES = torch.eye(5)


def test_an_unknown_person_matches_only_the_own_photograph():
    ids = identities(FIVE).tolist()
    assert ids[0] == ids[2]
    assert len({ids[0], ids[1], ids[3], ids[4]}) == 4


def ranked(readable: list[bool], texts: Tensor) -> dict[str, float]:
    return retrieval_metrics(Features(AXES, texts, torch.tensor(readable)), FIVE)


def test_every_caption_asks_and_every_photograph_answers():
    perfect = ranked([True] * 5, AXES[[0, 2, 1, 2, 4]])
    assert (perfect["R1"], perfect["queries"], perfect["gallery"], perfect["persons"]) == (100.0, 5, 5, 3)
    # The caption of b points at d, the other unknown person: its own photograph comes second after all others tie.
    wrong = ranked([True] * 5, AXES[[0, 2, 3, 2, 4]])
    assert wrong["R1"] == pytest.approx(80.0)


def test_average_precision_by_hand():
    texts = F.normalize(
        torch.tensor([[3.0, 2, 1, 0, 0]] * 2 + [[3.0, 2, 1, 0, 0]] + [[3.0, 2, 1, 0, 0]] + [[0.0, 0, 0, 0, 1]])
    )
    found = ranked([True] * 5, texts)
    anna, b, ben = (1 / 1 + 2 / 3) / 2, 1 / 2, 1.0
    assert found["mAP"] == pytest.approx(100 * (3 * anna + b + ben) / 5)
    trapezoid = retrieval_metrics(Features(AXES, texts, torch.ones(5, dtype=torch.bool)), FIVE, "trapezoid")
    assert trapezoid["mAP"] < found["mAP"]


def test_an_unreadable_photograph_neither_asks_nor_answers():
    found = ranked([False, True, True, True, True], AXES[[0, 2, 1, 2, 4]])
    assert (found["queries"], found["gallery"], found["R1"]) == (3, 4, 100.0)
    blank = AXES.clone()
    blank[0] = blank[1]  # whatever a blanked photograph's features are
    features = Features(blank, AXES[[0, 2, 1, 2, 4]], torch.tensor([False, True, True, True, True]))
    assert retrieval_metrics(features, FIVE) == found


def test_queries_are_dataset_rows_and_persons_have_their_means():
    texts = torch.tensor([[3.0, 2, 1, 0, 0]] * 4 + [[0.0, 0, 0, 0, 1]])
    features = Features(AXES, texts, torch.tensor([True, False, True, True, True]))
    found = retrieval_queries(features, FIVE)
    assert found.query.tolist() == [0, 1, 3, 4]  # the caption of b, whose photograph is unreadable, does not ask
    assert found.summary() == retrieval_metrics(features, FIVE)
    assert average_by_person(found, FIVE) == {"anna": (100.0, 3), "ben": (100.0, 1)}
    every = retrieval_queries(Features(AXES, texts, torch.ones(5, dtype=torch.bool)), FIVE)
    persons = average_by_person(every, FIVE)
    assert persons["anna"] == (pytest.approx(100 * (1 / 1 + 2 / 3) / 2), 3)
    assert persons["photograph b"] == (pytest.approx(50.0), 1)
    assert sum(mean * count for mean, count in persons.values()) / 5 == pytest.approx(every.summary()["mAP"])


def test_skip_leaves_an_unreadable_photograph_out_and_error_names_it(make_photos, tiny_bundle):
    folder = make_photos(persons=2)
    (folder / "test" / "1_0.png").write_bytes(b"not a picture")
    photos = read(folder)["test"]
    bundle = tiny_bundle({"contrastive": {}}, photos)
    with pytest.raises(UserError, match=r"^test/1_0\.png: "):
        evaluate_split(bundle, bundle.towers, photos, EvalConfig())
    with pytest.warns(UserWarning, match=r"test/1_0\.png"):
        found = evaluate_split(bundle, bundle.towers, photos, EvalConfig(), on_bad_image="skip").summary()
    assert (found["queries"], found["gallery"], found["persons"]) == (6, 3, 2)


def test_a_split_without_captions():
    silent = PhotoSet("val", [record("a", "1"), record("b", "2")])
    with pytest.raises(UserError, match=r"^split val: no caption"):
        retrieval_metrics(Features(AXES[:2], AXES[:0], torch.tensor([True, True])), silent)


def test_a_split_without_a_readable_photograph():
    with pytest.raises(UserError) as caught:
        ranked([False] * 5, AXES)
    assert "readable" in str(caught.value)


def test_features_that_are_not_finite():
    with pytest.raises(UserError):
        ranked([True] * 5, torch.full((5, 5), float("nan")))


def test_evaluation_is_of_the_split_and_repeats(bundle, photos):
    first = evaluate_split(bundle, bundle.towers, photos, EvalConfig(batch_size=4)).summary()
    second = evaluate_split(bundle, bundle.towers, photos, EvalConfig(batch_size=4)).summary()
    assert first == second
    assert (first["queries"], first["gallery"], first["persons"]) == (18, 9, 3)
    assert 0 < first["mINP"] <= first["mAP"] <= 100
    images, texts = one_by_one(bundle, photos)
    scores = F.normalize(texts) @ F.normalize(images).T
    best = scores.argmax(dim=1).numpy()
    by_hand = (photos.image_person[best] == photos.row_person).mean()
    assert first["R1"] == pytest.approx(100 * by_hand)
