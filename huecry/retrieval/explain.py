"""Why a picture matched a sentence: how far their cosine falls without each word, and with each part covered.

Both are measured, not read from weights that may mean something else. The picture is covered piece by piece with its
mean colour (occlusion sensitivity: Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", ECCV
2014); each word is left out in turn. What one word has to do with one part is the fall, with that part covered, of what
the word adds to the cosine: f(covered) against f(whole), along g(sentence) - g(sentence without the word).
"""

from __future__ import annotations

import re
from bisect import bisect
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from huecry.data.augment import pixels_of
from huecry.data.colour import luma
from huecry.data.tokens import encode
from huecry.retrieval.encoder import Encoder

CELLS = (8, 3)
"""Rows and columns of the pieces; each is covered with a quarter of its neighbours."""
_MARGIN = 0.25
PALE = 200.0
"""What black becomes where there is no heat."""
_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")


@dataclass(frozen=True)
class Word:
    """A word of a sentence, sentence[start:end].

    effect: how far the cosine falls without it; below 0 where the sentence fits better without.
    heat: [rows, columns], how far what it adds falls with a piece of the picture covered.
    """

    start: int
    end: int
    effect: float
    heat: NDArray[np.float32]

    @property
    def slice(self) -> slice:
        """What to take of the sentence."""
        return slice(self.start, self.end)


@dataclass(frozen=True)
class Explanation:
    """score: the cosine. heat: [rows, columns], how far it falls with a piece covered. words: in their order.

    read: how many characters of the sentence the text tower reads; words behind them are not among `words`.
    """

    score: float
    heat: NDArray[np.float32]
    words: tuple[Word, ...]
    read: int

    def strongest(self, count: int) -> list[Word]:
        """The words that did most for the match, at most so many, the strongest first."""
        return sorted((word for word in self.words if word.effect > 0), key=lambda word: -word.effect)[:count]


def explain(encoder: Encoder, sentence: str, picture: Image.Image) -> Explanation:
    """What drove the match of a sentence and a picture of mode RGB: one picture and its covered copies are encoded."""
    read = _read(sentence, encoder.context)
    sentence = sentence[:read]
    places = [found.span() for found in _WORD.finditer(sentence)]
    texts = encoder.encode_text([sentence, *(sentence[:start] + sentence[end:] for start, end in places)])
    pixels = pixels_of(picture, encoder.size)
    images = encoder.encode_pixels(torch.cat([pixels[None], covered(pixels)]))
    scores = images @ texts.T
    falls = (scores[0] - scores[1:]).T.reshape(-1, *CELLS)
    effects = scores[0, 0] - scores[0, 1:]
    return Explanation(
        float(scores[0, 0]),
        falls[0].numpy(),
        tuple(
            Word(*place, float(effect), (falls[0] - fall).numpy())
            for place, effect, fall in zip(places, effects, falls[1:], strict=True)
        ),
        read,
    )


def _read(sentence: str, context: int) -> int:
    """Characters of a sentence up to the last word that fits a context of so many tokens, start and end among them."""
    if len(encode(sentence)) <= context - 2:
        return len(sentence)
    ends = [found.end() for found in _WORD.finditer(sentence)]
    return ends[bisect(ends, context - 2, key=lambda end: len(encode(sentence[:end]))) - 1] if ends else 0


def covered(pixels: Tensor) -> Tensor:
    """Copies [rows * columns, 3, H, W] of pixels [3, H, W] uint8, in each one piece in their mean colour, by rows."""
    _, height, width = pixels.shape
    rows, columns = CELLS
    copies = pixels.repeat(rows * columns, 1, 1, 1)
    mean = pixels.float().mean(dim=(1, 2), keepdim=True).round().to(torch.uint8)
    for number, copy in enumerate(copies):
        row, column = divmod(number, columns)
        top, bottom = ((row + part) * height / rows for part in (-_MARGIN, 1 + _MARGIN))
        left, right = ((column + part) * width / columns for part in (-_MARGIN, 1 + _MARGIN))
        copy[:, max(0, round(top)) : round(bottom), max(0, round(left)) : round(right)] = mean
    return copies


def spotlit(picture: Image.Image, heat: NDArray[np.float32]) -> Image.Image:
    """A picture of mode RGB in its colours where the heat [h, w] is greatest, pale grey where it is 0 or less."""
    scaled = torch.from_numpy(heat).clamp(min=0)[None, None] / max(float(heat.max()), 1e-12)
    light = F.interpolate(scaled, size=picture.size[::-1], mode="bilinear", align_corners=False)[0]
    rgb = torch.from_numpy(np.array(picture)).permute(2, 0, 1)
    mixed = light * rgb + (1 - light) * (PALE + (1 - PALE / 255) * luma(rgb[None])[0])
    return Image.fromarray(mixed.round().to(torch.uint8).permute(1, 2, 0).numpy())
