"""What drove a match: falls of the score, against a slow twin and against a model whose answer is known by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

import huecry
from huecry.retrieval.explain import CELLS, Explanation, Word, covered, explain, spotlit


@pytest.fixture(scope="module")
def picture() -> Image.Image:
    noise = np.random.default_rng(3).integers(0, 256, (160, 70, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((64, 128))


class TopAndBottom:
    """Sees how red the upper half of a picture is and how blue the lower one; knows the words red and blue."""

    size = (64, 24)
    context = 77

    def encode_text(self, sentences: list[str]) -> torch.Tensor:
        return torch.tensor([[float("red" in one), float("blue" in one)] for one in sentences])

    def encode_pixels(self, pixels: torch.Tensor) -> torch.Tensor:
        upper, lower = pixels.float().div(255).chunk(2, dim=2)
        return torch.stack([upper[:, 0].mean(dim=(1, 2)), lower[:, 2].mean(dim=(1, 2))], dim=1)


def test_by_hand() -> None:
    """Each word is found in its half, and does what its half says."""
    picture = Image.new("RGB", (24, 64), "red")
    picture.paste("blue", (0, 32, 24, 64))
    told = explain(TopAndBottom(), "a red, blue one", picture)
    assert told.score == pytest.approx(2)
    words = {"a red, blue one"[word.slice]: word for word in told.words}
    assert {name: word.effect for name, word in words.items()} == pytest.approx(
        {"a": 0, "red": 1, "blue": 1, "one": 0}, abs=1e-6
    )
    assert (words["red"].heat[:3] > 0).all()
    assert (words["blue"].heat[5:] > 0).all()
    assert words["red"].heat[5:] == pytest.approx(0, abs=1e-6)
    assert words["blue"].heat[:3] == pytest.approx(0, abs=1e-6)
    assert words["a"].heat == pytest.approx(0, abs=1e-6)
    # a piece of 8 x 8 pixels with a quarter of its neighbours has 12 x 12, all within the upper half of 32 x 24; its
    # colour is the picture's mean, in which red is 128 of 255
    assert words["red"].heat[1, 1] == pytest.approx(12 * 12 / (32 * 24) * (1 - 128 / 255), abs=1e-6)
    assert told.heat == pytest.approx(words["red"].heat + words["blue"].heat, abs=1e-6)
    assert {"a red, blue one"[word.slice] for word in told.strongest(3)} == {"red", "blue"}


@pytest.mark.parametrize("sentence", ["a woman in a navy-blue coat", "coat", "her mother’s coat, 2 bags"])
def test_against_a_slow_twin(sentence, picture) -> None:
    """Every covered picture drawn and encoded on its own, every sentence written out."""
    model = huecry.load("tiny")
    told = explain(model, sentence, picture)
    height, width = model.size
    mean = tuple(int(np.rint(value)) for value in np.array(picture).reshape(-1, 3).mean(axis=0))

    def score(text: str, seen: Image.Image) -> float:
        return float(model.encode_text([text])[0] @ model.encode_images([seen])[0])

    whole = score(sentence, picture)
    assert told.score == pytest.approx(whole, abs=1e-6)
    left_out = [(word, sentence[: word.start] + sentence[word.end :]) for word in told.words]
    for row, column in ((0, 0), (3, 1), (CELLS[0] - 1, CELLS[1] - 1)):
        seen = picture.copy()
        top, bottom = (round((row + part) * height / CELLS[0]) for part in (-0.25, 1.25))
        left, right = (round((column + part) * width / CELLS[1]) for part in (-0.25, 1.25))
        ImageDraw.Draw(seen).rectangle((left, top, right - 1, bottom - 1), mean)
        assert told.heat[row, column] == pytest.approx(whole - score(sentence, seen), abs=1e-5)
        for word, text in left_out:
            adds, still = whole - score(text, picture), score(sentence, seen) - score(text, seen)
            assert word.effect == pytest.approx(adds, abs=1e-5)
            assert word.heat[row, column] == pytest.approx(adds - still, abs=1e-5)


def test_the_words_of_a_sentence() -> None:
    sentence = "A navy-blue coat; it's new — size 42, señora."
    told = explain(TopAndBottom(), sentence, Image.new("RGB", (24, 64)))
    expected = ["A", "navy-blue", "coat", "it's", "new", "size", "42", "señora"]
    assert [sentence[word.slice] for word in told.words] == expected
    assert explain(TopAndBottom(), "?!", Image.new("RGB", (24, 64))).words == ()


def test_words_behind_the_context_are_left_out() -> None:
    """Of three tokens a word, 75 fit."""
    sentence = "navy-blue " * 40
    told = explain(TopAndBottom(), sentence, Image.new("RGB", (24, 64)))
    assert (len(told.words), told.read) == (25, 25 * 10 - 1)
    assert explain(TopAndBottom(), "red " * 75, Image.new("RGB", (24, 64))).read == 300


def test_every_pixel_is_covered() -> None:
    pixels = torch.randint(0, 256, (3, 100, 37), dtype=torch.uint8)
    copies = covered(pixels)
    assert copies.shape == (CELLS[0] * CELLS[1], 3, 100, 37)
    changed = (copies != pixels).any(dim=1)
    assert changed.any(dim=0).float().mean() > 0.99  # a pixel of the mean's own colour does not change
    assert (changed.float().mean(dim=(1, 2)) < 0.15).all()


def test_the_strongest_words() -> None:
    heat = np.zeros(CELLS, dtype=np.float32)
    words = tuple(Word(start, start + 1, effect, heat) for start, effect in enumerate((0.1, -0.5, 0.3, 0.0, 0.2)))
    told = Explanation(0.5, heat, words, 5)
    assert [word.start for word in told.strongest(2)] == [2, 4]
    assert [word.start for word in told.strongest(9)] == [2, 4, 0]


def test_colour_is_left_where_the_heat_is(picture) -> None:
    heat = np.zeros(CELLS, dtype=np.float32)
    heat[0] = 0.3
    lit = np.array(spotlit(picture, heat)).astype(int)
    assert lit.shape == (128, 64, 3)
    assert (lit[:8] == np.array(picture)[:8]).all()
    below = lit[32:]
    assert (below.max(axis=2) == below.min(axis=2)).all()
    assert below.min() >= 200
    cold = np.array(spotlit(picture, -heat)).astype(int)
    assert (cold.max(axis=2) == cold.min(axis=2)).all()
