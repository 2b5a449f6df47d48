"""Evidence of the rules that ask a model, against loops; and that a photograph is seen four times."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from huecry.data.records import PhotoSet, Record
from huecry.finetune.audit_evidence import BOTH, CAPTION, NOBODY, NONE, PHOTO, PRESENCE, SIBLING, Evidence, observable
from huecry.finetune.audit_glances import Glances
from huecry.finetune.audit_presence import Backdrops
from huecry.finetune.mixture import posteriors
from huecry.retrieval.evaluate import Features

SCALE = 5.0
MADE = [0, 2, 3, 6]
"""Photographs of which there are backdrops."""
# person -> captions of each photograph
SET = {"a": (2, 2, 1), "b": (2, 0), "c": (1,), "d": (2, 2, 2, 2)}


def photo_set() -> PhotoSet:
    named = [(person, place, count) for person, counts in SET.items() for place, count in enumerate(counts)]
    return PhotoSet("train", [Record(Path(f"{p}{n}"), ("x",) * count, p, f"{p}{n}") for p, n, count in named])


def evidence_of(captions: bool = True) -> tuple[PhotoSet, Features, tuple[np.ndarray, np.ndarray], Evidence]:
    photos, generator = photo_set(), torch.Generator().manual_seed(0)
    rows = len(photos.row_image)
    images, texts = (torch.randn(count, 8, generator=generator) for count in (len(photos), rows))
    features = Features(images, texts, torch.ones(len(photos), dtype=torch.bool))
    made = torch.randn(2, len(MADE), 8, generator=generator)
    presence = np.arange(len(photos) + 2 * len(MADE)) / 3
    backdrops = Backdrops(np.array(MADE), made, presence[len(photos) :].reshape(2, -1), presence[: len(photos)])
    sums = np.arange(rows) / 10, np.arange(len(presence)) / 7
    return photos, features, sums, Evidence(photos, features, SCALE, sums, captions, backdrops)


def better_half(values: list[float]) -> float:
    return float(np.mean(sorted(values, reverse=True)[: (len(values) + 1) // 2])) if values else np.nan


def test_rows_against_loops():
    photos, features, (row_sum, image_sum), evidence = evidence_of()
    unit = [F.normalize(one, dim=1).double().numpy() for one in (features.texts, features.images)]
    centred = [F.normalize(one - one.mean(dim=0), dim=1).double().numpy() for one in (features.texts, features.images)]

    def fit(row: int, image: int) -> float:
        return SCALE * float(unit[0][row] @ unit[1][image]) - (row_sum[row] + image_sum[image]) / 2

    rows = evidence.rows(evidence.real)
    assert len(rows) == len(photos.row_image) + 1  # and the photograph without a caption
    for caption, image, place, found in zip(
        evidence.real.caption, evidence.real.image, evidence.real.place, rows, strict=True
    ):
        near = [
            one for one in range(len(photos)) if photos.image_person[one] == photos.image_person[place] and one != place
        ]
        said = [row for row, owner in enumerate(photos.row_image) if owner in near]
        beside = [row for row, owner in enumerate(photos.row_image) if owner == place and row != caption]
        heard = caption != NONE
        expected = [
            fit(caption, image) if heard else np.nan,
            np.mean([fit(row, image) for row in beside]) if beside and heard else np.nan,
            np.mean([centred[0][caption] @ centred[0][row] for row in beside]) if beside and heard else np.nan,
            better_half([centred[0][caption] @ centred[0][row] for row in said] if heard else []),
            better_half([fit(caption, one) for one in near] if heard else []),
            better_half([centred[1][image] @ centred[1][one] for one in near]),
            better_half([fit(row, image) for row in said]),
            image / 3,
        ]
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_faults_on_purpose_take_from_other_persons():
    photos, _, _, evidence = evidence_of()
    real = {*zip(evidence.real.caption, evidence.real.place, strict=True)}
    claims = evidence.on_purpose(seed=0)
    nobody = claims.pop(NOBODY)
    assert {*zip(nobody.caption, nobody.place, strict=True)} == {(one, where) for one, where in real if where in MADE}
    assert {(image - len(photos)) % len(MADE) for image in nobody.image} == {*range(len(MADE))}
    assert all(MADE[(i - len(photos)) % len(MADE)] == at for i, at in zip(nobody.image, nobody.place, strict=True))
    assert claims.keys() == {CAPTION, PHOTO, BOTH, SIBLING}
    for kind, claim in claims.items():
        assert len(claim.place)
        person = photos.image_person[claim.place]
        if kind in (CAPTION, BOTH):
            assert (photos.row_person[claim.caption] != person).all()
        else:
            assert {*zip(claim.caption, claim.place, strict=True)} <= real
        if kind in (PHOTO, BOTH):
            assert (photos.image_person[claim.image] != person).all()
        else:
            assert (claim.image == claim.place).all()
        if kind == SIBLING:
            assert (photos.row_person[claim.siblings[:, 0]] != person).all()


def test_photographs_alone():
    _, _, _, evidence = evidence_of(captions=False)
    rows = evidence.rows(evidence.real)
    assert np.isnan(rows[:, [0, 1, 2, 3, 4, 6]]).all()
    assert not np.isnan(rows[:, PRESENCE]).any()
    assert evidence.on_purpose(0)[CAPTION].place.size == 0


@pytest.mark.parametrize(
    ("there", "kinds"),
    [
        ([0, 1, 2, 3, 4, 5, 6], [CAPTION, PHOTO, BOTH, SIBLING]),
        ([0, 3, 4, 5, 6], [CAPTION, PHOTO, BOTH]),
        ([0, 1, 2], [CAPTION, PHOTO, SIBLING]),
        ([0], [CAPTION]),
        ([5, 6], [PHOTO]),
        ([7], [NOBODY]),
        ([], []),
    ],
)
def test_what_can_be_seen(there, kinds):
    known = np.zeros(8, dtype=bool)
    known[there] = True
    assert observable(known) == kinds


@pytest.mark.parametrize("share", [0.0, 0.02, 0.2])
def test_posteriors_add_up_to_the_share_that_is_wrong(share):
    generator = np.random.default_rng(0)
    right, wrong = generator.normal(0, 1, (2000, 2)), generator.normal(3, 1, (2000, 2))
    count = round(share * len(right))
    rows = np.concatenate([generator.normal(3, 1, (count, 2)), right[count:]])
    found = posteriors(rows, {3: wrong}, seed=0)
    assert found.shape == (2000, 4)
    np.testing.assert_allclose(found.sum(axis=1), 1)
    assert found[:, 3].mean() == pytest.approx(share, abs=0.02)
    assert ((found[:, 3] > 0.5) != (np.arange(len(rows)) < count)).mean() <= 0.02


class Tower(nn.Module):
    """Its feature of a photograph is the photograph; its tokens are the rows of pixels."""

    mean = std = (0.5, 0.5, 0.5)

    def __init__(self) -> None:
        super().__init__()
        self.logit_scale = nn.Parameter(torch.zeros(()))

    def encode_image(self, pixels: Tensor) -> SimpleNamespace:
        return SimpleNamespace(tokens=pixels.transpose(1, 2).flatten(2))


class Plain(nn.Module):
    """Encodes as a bundle; of a caption, what it is given."""

    towers = Tower()

    def forward(self, views: dict[str, Tensor], mode: str) -> dict[str, Tensor]:
        assert mode == "encode"
        return {view: value.float().flatten(1) if view == "rgb" else value for view, value in views.items()}


def test_a_photograph_is_seen_four_times():
    pixels = torch.randint(0, 256, (2, 3, 50, 25), dtype=torch.uint8)
    glances, size = Glances(Plain()), pixels[0].numel()
    found = glances({"rgb": pixels}, mode="encode")["rgb"]
    torch.testing.assert_close(glances({"rgb": pixels.flip(3)}, mode="encode")["rgb"], found, atol=1e-3, rtol=0)
    level = torch.full_like(pixels, 90)
    plain = F.normalize(level.float().flatten(1), dim=1)
    torch.testing.assert_close(glances({"rgb": level}, mode="encode")["rgb"][:, :size], plain)
    words = torch.ones(2, 4)
    assert glances({"text": words}, mode="encode")["text"] is words


def test_the_texture_does_not_ask_where_a_thing_is():
    pixels = torch.randint(0, 256, (2, 3, 6, 4), dtype=torch.uint8)
    size = pixels[0].numel()

    def texture(shown: Tensor) -> Tensor:
        return Glances(Plain())({"rgb": shown}, mode="encode")["rgb"][:, size:]

    rows = (pixels.double() / 255 - 0.5) / 0.5
    rows = (rows + rows.flip(3)) / 2  # the mean of both looks is the mean of their means
    expected = rows.mean(dim=2).flatten(1)
    torch.testing.assert_close(texture(pixels)[:, : expected.shape[1]].double(), expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(texture(pixels[:, :, torch.randperm(6)]), texture(pixels))
    assert (texture(pixels) - texture(pixels[:, :, :, [1, 0, 2, 3]])).abs().max() > 0.05
