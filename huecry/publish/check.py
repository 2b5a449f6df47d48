"""Does another library compute our features from a folder? Random photographs and sentences, end to end.

Each library loads the folder as its users do, with its own tokenizer and its own way from a picture to pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from huecry.data.tokens import tokenize
from huecry.errors import UserError
from huecry.towers import Towers
from huecry.towers.folder import one_line, quiet
from huecry.training.encode import encode_view

TOLERANCE = 1e-5
WORDS = ("a", "person", "in", "with", "and", "coat", "jeans", "backpack", "shoes", "red", "blue", "dark", "white")
DISTRIBUTIONS = {"open_clip": "open_clip_torch"}
"""What is installed by another name than it is imported by."""
Features = tuple[Tensor, Tensor]
"""Of pictures [P, D] and of sentences [S, D], not normalised."""


def difference(found: Features, expected: Features) -> float:
    """The largest difference, in units of the largest value where that is above 1."""
    pairs = zip(found, expected, strict=True)
    return max(float((one.float() - ours).abs().max() / ours.abs().max().clamp(min=1)) for one, ours in pairs)


def random_inputs(size: tuple[int, int], seed: int = 0) -> tuple[list[Image.Image], list[str]]:
    """Four pictures of noise at (height, width), and sentences of 1 to 100 words, the last too long for the context."""
    generator = np.random.default_rng(seed)
    pictures = [Image.fromarray(generator.integers(0, 256, (*size, 3), dtype=np.uint8)) for _ in range(4)]
    return pictures, [" ".join(generator.choice(WORDS, length)) for length in (1, 6, 20, 100)]


@torch.no_grad()
def features(towers: Towers, pictures: Sequence[Image.Image], sentences: Sequence[str]) -> Features:
    """Ours: pictures at the towers' own size."""
    pixels = torch.stack([torch.from_numpy(np.array(picture)) for picture in pictures]).permute(0, 3, 1, 2)
    ids = tokenize(sentences, towers.context)
    return encode_view(towers, "rgb", pixels).pooled, encode_view(towers, "text", ids).pooled


def check(folder: Path, towers: Towers, formats: Sequence[str]) -> dict[str, float | None]:
    """The largest difference from the towers' features, by format; None where that library is not installed.

    Computed in fp32 on the CPU; the global random generator is left alone.
    Raises UserError where a library fails to load the folder, or differs by more than `TOLERANCE`.
    """
    pictures, sentences = random_inputs(towers.image_size)
    training = towers.training
    expected = features(towers.eval(), pictures, sentences)
    towers.train(training)
    found: dict[str, float | None] = {}
    for name in formats:
        if find_spec(name) is None:
            found[name] = None
            continue
        library = f"{name} {version(DISTRIBUTIONS.get(name, name))}"
        try:
            with quiet(), torch.random.fork_rng(devices=[]), torch.no_grad():
                largest = difference(READERS[name](str(folder), pictures, sentences), expected)
        except Exception as error:  # each library fails in its own words
            raise UserError(f"{library} does not read what was exported ({one_line(error)})") from error
        if not largest <= TOLERANCE:  # which NaN is not either
            raise UserError(f"{library} computes other features: they differ by {largest:.1e}, not {TOLERANCE:.0e}")
        found[name] = largest
    return found


def _transformers(folder: str, pictures: list[Image.Image], sentences: list[str]) -> Features:
    from transformers import CLIPModel, CLIPProcessor

    model = CLIPModel.from_pretrained(folder, dtype=torch.float32).eval()
    given: Any = {"padding": True, "truncation": True, "return_tensors": "pt"}
    inputs = CLIPProcessor.from_pretrained(folder)(text=sentences, images=pictures, **given)
    images = model.get_image_features(inputs["pixel_values"], interpolate_pos_encoding=True)
    texts = model.get_text_features(inputs["input_ids"], inputs["attention_mask"])
    return images.pooler_output, texts.pooler_output


def _open_clip(folder: str, pictures: list[Image.Image], sentences: list[str]) -> Features:
    import open_clip

    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    model.eval()
    pixels = torch.stack([preprocess(picture) for picture in pictures])
    return model.encode_image(pixels), model.encode_text(open_clip.get_tokenizer(f"local-dir:{folder}")(sentences))


def _sentence_transformers(folder: str, pictures: list[Image.Image], sentences: list[str]) -> Features:
    from sentence_transformers import SentenceTransformer

    fp32 = {"dtype": torch.float32}
    model = SentenceTransformer(folder, device="cpu", model_kwargs=fp32, local_files_only=True)
    given: Any = {"convert_to_tensor": True, "show_progress_bar": False}
    return model.encode(pictures, interpolate_pos_encoding=True, **given), model.encode(sentences, **given)


READERS: dict[str, Callable[[str, list[Image.Image], list[str]], Features]] = {
    "transformers": _transformers,
    "open_clip": _open_clip,
    "sentence_transformers": _sentence_transformers,
}
