"""Photographs and sentences for exported models, their features by hand, and the code in a card."""

from __future__ import annotations

import re

import numpy as np
import torch
from PIL import Image

from huecry.data.tokens import tokenize
from huecry.towers import Towers

SENTENCES = ["a man", "A woman in a long red coat, with blue jeans; she's carrying a small black bag.", "grey " * 90]


def photographs(count: int = 3) -> list[Image.Image]:
    """Coarse noise at a size of its own, so that all must resize."""
    generator = np.random.default_rng(7)
    return [
        Image.fromarray(generator.integers(0, 256, (20, 8, 3), dtype=np.uint8)).resize((70, 190)) for _ in range(count)
    ]


@torch.no_grad()
def ours(towers: Towers, pictures: list[Image.Image]) -> tuple[torch.Tensor, torch.Tensor]:
    """Features of pictures and of `SENTENCES`, by hand: resized, scaled, normalised, encoded."""
    height, width = towers.image_size
    arrays = [np.array(one.resize((width, height), Image.Resampling.BICUBIC)) for one in pictures]
    pixels = torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2) / 255
    mean, std = (torch.tensor(values)[:, None, None] for values in (towers.mean, towers.std))
    ids = tokenize(SENTENCES, towers.context)
    return towers.encode_image((pixels - mean) / std).pooled, towers.encode_text(ids).pooled


def snippets(card: str) -> list[str]:
    """The pieces of Python in a page of Markdown."""
    return re.findall(r"^```python\n(.*?)^```", card, re.MULTILINE | re.DOTALL)
