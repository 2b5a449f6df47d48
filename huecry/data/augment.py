"""Random changes of pictures and captions, and the grey and channel-poor pictures that views are made of."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageEnhance, ImageFilter
from torch import Tensor

from huecry.data.colour import luma
from huecry.data.tokens import EOT, MASK, SOT, VOCAB

FILL = (122, 116, 104)  # CLIP's mean colour


@dataclass
class ImageAugmentation:
    """Random changes of an image view.

    flip: probability of the mirror image (taken from `views.rgb` for every view).
    pad: border added before a random crop back to size, as a share of the height.
    erase, erase_area: probability of one erased rectangle, and its largest share of the picture.
    crop: smallest share of the picture that a random crop keeps, enlarged to full size; 1 for none.
    jitter: probability of the next four. brightness, contrast, saturation: largest relative change. hue: largest shift,
    in turns of the colour circle.
    grayscale: probability of losing all colour. blur: probability of a Gaussian blur of 0.1 to 2 pixels.
    """

    flip: float = 0.5
    crop: float = 1.0
    jitter: float = 1.0
    pad: float = 0.03
    erase: float = 0.0
    erase_area: float = 0.2
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    grayscale: float = 0.0
    blur: float = 0.0


def simclr() -> ImageAugmentation:
    """What SimCLR does to a picture (Chen et al., ICML 2020), as TBPS-CLIP's published code has it."""
    colours = {"jitter": 0.8, "brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1, "grayscale": 0.2}
    return ImageAugmentation(pad=0.0, crop=0.2, blur=0.5, **colours)


@dataclass
class TextAugmentation:
    """Random changes of a caption: the share of words masked (80 % mask, 10 % random, 10 % kept) and deleted."""

    mask_p: float = 0.0
    delete_p: float = 0.0


@dataclass(frozen=True)
class Shot:
    """One augmented picture of a sample.

    pixels: [H, W, 3] uint8. plain: the same before brightness and the like. shown: [H, W] bool, False on the border
    that a crop brought in and on the erased rectangle.
    """

    pixels: np.ndarray
    plain: np.ndarray
    shown: np.ndarray


def augmented(
    picture: Image.Image,
    size: tuple[int, int],
    flipped: bool,
    generator: np.random.Generator,
    config: ImageAugmentation,
) -> Shot:
    """A picture at (height, width), mirrored where asked, under random changes."""
    height, width = size
    picture = resized(picture, size)
    shown = np.ones((height, width), dtype=bool)
    if flipped:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if config.crop < 1:
        picture = picture.resize((width, height), Image.Resampling.BICUBIC, box=_part(generator, picture, config.crop))
    border = round(config.pad * height)
    if border:
        left, top = (int(generator.integers(0, 2 * border + 1)) - border for _ in range(2))
        moved = Image.new("RGB", (width, height), FILL)
        moved.paste(picture, (left, top))
        picture = moved
        shown[: max(top, 0)] = shown[height + min(top, 0) :] = False
        shown[:, : max(left, 0)] = shown[:, width + min(left, 0) :] = False
    pixels = np.array(_photometric(picture, generator, config))
    if generator.random() < config.erase:
        rectangle = _rectangle(generator, size, config.erase_area)
        pixels[rectangle], shown[rectangle] = FILL, False
    return Shot(pixels, np.asarray(picture), shown)


def resized(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The picture at (height, width), whatever its aspect: pedestrians are squeezed, never cropped."""
    height, width = size
    if picture.size == (width, height):
        return picture
    return picture.resize((width, height), Image.Resampling.BICUBIC)


def pixels_of(picture: Image.Image, size: tuple[int, int]) -> Tensor:
    """An RGB picture as evaluation sees it: resized and nothing else, [3, H, W] uint8."""
    return torch.from_numpy(np.array(resized(picture, size))).permute(2, 0, 1)


def _photometric(picture: Image.Image, generator: np.random.Generator, config: ImageAugmentation) -> Image.Image:
    if config.jitter < 1 and generator.random() >= config.jitter:
        return _without_colour(picture, generator, config)
    for amount, enhance in (
        (config.brightness, ImageEnhance.Brightness),
        (config.contrast, ImageEnhance.Contrast),
        (config.saturation, ImageEnhance.Color),
    ):
        if amount:
            picture = enhance(picture).enhance(1.0 + generator.uniform(-amount, amount))
    if config.hue:
        shift = round(256 * generator.uniform(-config.hue, config.hue))
        hsv = np.array(picture.convert("HSV"))
        hsv[..., 0] += np.uint8(shift % 256)
        picture = Image.fromarray(hsv, "HSV").convert("RGB")
    return _without_colour(picture, generator, config)


def _without_colour(picture: Image.Image, generator: np.random.Generator, config: ImageAugmentation) -> Image.Image:
    if config.grayscale and generator.random() < config.grayscale:
        picture = picture.convert("L").convert("RGB")
    if config.blur and generator.random() < config.blur:
        picture = picture.filter(ImageFilter.GaussianBlur(generator.uniform(0.1, 2.0)))
    return picture


def _part(generator: np.random.Generator, picture: Image.Image, least: float) -> tuple[float, float, float, float]:
    """A box of a random share of the picture, at least `least`, of about its aspect, at a random place."""
    width, height = picture.size
    share = generator.uniform(least, 1.0)
    ratio = np.exp(generator.uniform(np.log(3 / 4), np.log(4 / 3)) / 2)
    wide, tall = min(share**0.5 * ratio, 1.0) * width, min(share**0.5 / ratio, 1.0) * height
    left, top = generator.uniform(0, width - wide), generator.uniform(0, height - tall)
    return left, top, left + wide, top + tall


def _rectangle(generator: np.random.Generator, size: tuple[int, int], largest: float) -> tuple[slice, slice]:
    """Rows and columns to erase: an area of at most this share of the picture, at a random place."""
    height, width = size
    area = generator.uniform(min(0.02, largest), largest) * height * width
    ratio = np.exp(generator.uniform(np.log(0.3), np.log(1 / 0.3)))
    tall = min(round(np.sqrt(area * ratio)), height)
    wide = min(int(area / max(tall, 1)), width)
    top = int(generator.integers(0, height - tall + 1))
    left = int(generator.integers(0, width - wide + 1))
    return slice(top, top + tall), slice(left, left + wide)


_SIDES = re.compile(r"\b(left|right)\b", re.IGNORECASE)


def swap_sides(caption: str) -> str:
    """The caption of the mirrored picture: "left" and "right" exchanged, their case kept."""

    def other(match: re.Match[str]) -> str:
        word = match.group()
        swapped = "right" if word.lower() == "left" else "left"
        if word.isupper():
            return swapped.upper()
        return swapped.capitalize() if word[0].isupper() else swapped

    return _SIDES.sub(other, caption)


def gray(pixels: np.ndarray) -> np.ndarray:
    """The grey picture [H, W, 3] uint8 of a colour one."""
    return luma(torch.from_numpy(pixels).permute(2, 0, 1)).permute(1, 2, 0).numpy()


def without_channels(pixels: np.ndarray, hidden: np.ndarray) -> np.ndarray:
    """The picture [H, W, 3] uint8 in which hidden channels [3] show the mean of the others."""
    hidden = hidden.astype(bool)
    mean = np.rint(pixels[..., ~hidden].mean(axis=-1, keepdims=True)).astype(np.uint8)
    return np.where(hidden, mean, pixels)


def colour_target(shot: Shot) -> np.ndarray:
    """What colourisation aims at, [H, W, 4] uint8: the plain colours, and 1 where they can be judged."""
    return np.concatenate([shot.plain, shot.shown[..., None].astype(np.uint8)], axis=-1)


def masked_ids(ids: np.ndarray, generator: np.random.Generator, share: float) -> tuple[np.ndarray, np.ndarray]:
    """A copy of token ids [L] with a share of the words masked, and which [L] bool.

    Of those 80 % show the mask, 10 % a random token, 10 % themselves; the first and the end token stay.
    """
    changed, chosen = ids.copy(), np.zeros(len(ids), dtype=bool)
    words = slice(1, int(np.argmax(ids == EOT)))
    chosen[words] = generator.random(words.stop - 1) < share
    fate = generator.random(len(ids))
    changed[chosen & (fate < 0.8)] = MASK
    replaced = chosen & (fate >= 0.8) & (fate < 0.9)
    changed[replaced] = generator.integers(0, VOCAB - 3, int(replaced.sum()))
    return changed, chosen


def augmented_ids(ids: np.ndarray, generator: np.random.Generator, config: TextAugmentation) -> np.ndarray:
    """A copy of token ids [L] with words masked and deleted at random; the first and the end token stay."""
    words = masked_ids(ids, generator, config.mask_p)[0][1 : int(np.argmax(ids == EOT))]
    kept = words[generator.random(len(words)) >= config.delete_p]
    changed = np.zeros_like(ids)
    changed[0], changed[1 : 1 + len(kept)], changed[1 + len(kept)] = SOT, kept, EOT
    return changed
