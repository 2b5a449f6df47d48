"""Views: the renderings of one sample that tasks ask for, each one row of `VIEWS`.

The crop and erased rectangle of `rgb` are shared by every view that must show the same pixels (`gray`, `channels`,
`ab`); the mirror flip is shared by all, because the caption's "left" and "right" change with it. Pictures leave as
uint8; the towers normalise them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageEnhance

from huecry.data.captions import mask_colours
from huecry.data.colour import luma
from huecry.data.records import Record
from huecry.data.tokens import EOT, MASK, SOT, VOCAB, pack, tokenize
from huecry.errors import UserError

FILL = (122, 116, 104)  # CLIP's mean colour


@dataclass
class ImageAugmentation:
    """Random changes of an image view.

    flip: probability of the mirror image (taken from `views.rgb` for every view).
    pad: border added before a random crop back to size, as a share of the height.
    erase, erase_area: probability of one erased rectangle, and its largest share of the picture.
    brightness, contrast, saturation: largest relative change. hue: largest shift, in turns of the colour circle.
    grayscale: probability of losing all colour.
    """

    flip: float = 0.5
    pad: float = 0.03
    erase: float = 0.0
    erase_area: float = 0.2
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    grayscale: float = 0.0


@dataclass
class TextAugmentation:
    """Random changes of a caption: the share of words masked (80 % mask, 10 % random, 10 % kept) and deleted."""

    mask_p: float = 0.0
    delete_p: float = 0.0


@dataclass
class ViewsConfig:
    """The augmentation of each view. `swap_sides`: exchange "left" and "right" in a mirrored sample's caption."""

    rgb: ImageAugmentation = field(default_factory=ImageAugmentation)
    rgb2: ImageAugmentation = field(default_factory=ImageAugmentation)
    text_aug: TextAugmentation = field(default_factory=lambda: TextAugmentation(mask_p=0.15))
    swap_sides: bool = True


LEGAL: dict[str, dict[str, float]] = {
    "retrieval": {},
    "completion": {"hue": 0.0, "saturation": 0.0, "grayscale": 0.0, "erase_area": 0.2},
    "colourise": {"hue": 0.0, "saturation": 0.0, "grayscale": 0.0},
    "grayscale": {"hue": 0.0, "saturation": 0.0, "grayscale": 0.0},
    "key": {"hue": 0.0, "saturation": 0.0, "grayscale": 0.0},
}
"""The largest legal value of an augmentation, by what a task uses the pictures for; what is not named is free."""


@dataclass(frozen=True)
class Sample:
    """One row of the training set with its decoded photograph.

    others: captions of other photographs of the person, where a view asks for them.
    """

    row: int
    image: int
    person: int
    record: Record
    caption: str
    picture: Image.Image
    others: Sequence[str] = ()


@dataclass(frozen=True)
class Shape:
    """What the views must fit: picture size (height, width) in pixels and caption length in tokens."""

    size: tuple[int, int]
    context: int


@dataclass(frozen=True)
class Shot:
    """One augmented picture of a sample.

    pixels: [H, W, 3] uint8. plain: the same before brightness and the like. shown: [H, W] bool, False on the border
    that a crop brought in and on the erased rectangle.
    """

    pixels: np.ndarray
    plain: np.ndarray
    shown: np.ndarray


class Rendering:
    """The views of one sample, made on demand; what several views share is made once."""

    def __init__(self, sample: Sample, config: ViewsConfig, shape: Shape, key: tuple[int, int]) -> None:
        self.sample = sample
        self.config = config
        self.shape = shape
        self.key = key
        self._shared: dict[str, Any] = {}

    def generator(self, stream: str) -> np.random.Generator:
        """Random numbers that depend on (seed, epoch, row) and the stream's name alone."""
        return np.random.default_rng([*self.key, self.sample.row, *stream.encode()])

    def once(self, name: str, make: Callable[[], Any]) -> Any:
        """The value shared under a name, made at the first call."""
        if name not in self._shared:
            self._shared[name] = make()
        return self._shared[name]

    @property
    def flipped(self) -> bool:
        """Whether this sample is mirrored."""
        return self.once("flip", lambda: bool(self.generator("flip").random() < self.config.rgb.flip))

    @property
    def caption(self) -> str:
        """The caption, sides exchanged in a mirrored sample."""
        return self._said(self.sample.caption)

    @property
    def other_caption(self) -> str:
        """A caption of another photograph of the person; the own one where there is none."""
        others = self.sample.others
        return self._said(others[int(self.generator("other").integers(len(others)))]) if others else self.caption

    def _said(self, caption: str) -> str:
        return swap_sides(caption) if self.flipped and self.config.swap_sides else caption

    @property
    def ids(self) -> np.ndarray:
        """Token ids [L] of the caption."""
        return self.once("ids", lambda: np.asarray(tokenize([self.caption], self.shape.context)[0]))

    def shot(self, name: str, config: ImageAugmentation) -> Shot:
        """The augmented picture of one stream."""
        return self.once(name, lambda: self._augment(self.generator(name), config))

    @property
    def rgb(self) -> Shot:
        """The picture that `rgb` and the views of the same pixels are made of."""
        return self.shot("rgb", self.config.rgb)

    @property
    def hidden(self) -> np.ndarray:
        """Which channels [3] uint8 the view `channels` hides: one or two, every choice as likely as any other."""
        code = self.once("hidden", lambda: int(self.generator("hidden").integers(1, 7)))
        return np.array([code & 1, code >> 1 & 1, code >> 2], dtype=np.uint8)

    def _augment(self, generator: np.random.Generator, config: ImageAugmentation) -> Shot:
        height, width = self.shape.size
        picture = resized(self.sample.picture, self.shape.size)
        shown = np.ones((height, width), dtype=bool)
        if self.flipped:
            picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
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
            rectangle = _rectangle(generator, self.shape.size, config.erase_area)
            pixels[rectangle], shown[rectangle] = FILL, False
        return Shot(pixels, np.asarray(picture), shown)


def resized(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The picture at (height, width), whatever its aspect: pedestrians are squeezed, never cropped."""
    height, width = size
    if picture.size == (width, height):
        return picture
    return picture.resize((width, height), Image.Resampling.BICUBIC)


def _photometric(picture: Image.Image, generator: np.random.Generator, config: ImageAugmentation) -> Image.Image:
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
    if config.grayscale and generator.random() < config.grayscale:
        picture = picture.convert("L").convert("RGB")
    return picture


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


def augmented_ids(ids: np.ndarray, generator: np.random.Generator, config: TextAugmentation) -> np.ndarray:
    """A copy of token ids [L] with words masked and deleted at random; the first and the end token stay."""
    end = int(np.argmax(ids == EOT))
    words = ids[1:end].copy()
    chosen = generator.random(len(words)) < config.mask_p
    fate = generator.random(len(words))
    words[chosen & (fate < 0.8)] = MASK
    replaced = chosen & (fate >= 0.8) & (fate < 0.9)
    words[replaced] = generator.integers(0, VOCAB - 3, int(replaced.sum()))
    kept = words[generator.random(len(words)) >= config.delete_p]
    changed = np.zeros_like(ids)
    changed[0], changed[1 : 1 + len(kept)], changed[1 + len(kept)] = SOT, kept, EOT
    return changed


VIEWS: dict[str, Callable[[Rendering], np.ndarray]] = {
    "rgb": lambda r: r.rgb.pixels,
    "rgb2": lambda r: r.shot("rgb2", r.config.rgb2).pixels,
    "gray": lambda r: gray(r.rgb.pixels),
    "channels": lambda r: without_channels(r.rgb.pixels, r.hidden),
    "hidden": lambda r: r.hidden,
    "ab": lambda r: colour_target(r.rgb),
    "text": lambda r: r.ids,
    "text_aug": lambda r: augmented_ids(r.ids, r.generator("text_aug"), r.config.text_aug),
    "text_other": lambda r: np.asarray(tokenize([r.other_caption], r.shape.context)[0]),
    "text_nocolour": lambda r: pack([mask_colours(r.caption)[0]], r.shape.context)[0].numpy(),
}
"""name -> rendering: pictures [H, W, 3] uint8, captions [L] token ids; `ab` [H, W, 4] and `hidden` [3] are targets."""

IMAGE_VIEWS = frozenset({"rgb", "rgb2", "gray", "channels"})
TEXT_VIEWS = frozenset({"text", "text_aug", "text_other", "text_nocolour"})
PICTURES = IMAGE_VIEWS | {"ab"}
"""Views with a height and a width; they reach a task as [B, C, H, W]."""
OF_RGB = frozenset({"gray", "channels", "ab", "hidden"})
"""Views made of the pixels of `rgb`, under its augmentation."""
INSTEAD = {"channels": "gray"}
"""Views that take another's place: both in one recipe would cost an image pass more."""


def check_legal(views: ViewsConfig, active: dict[str, tuple[str, frozenset[str]]]) -> None:
    """Refuse an augmentation that makes an active task's captions or targets false.

    active: task name -> (use, views it reads). Raises UserError naming both keys, also for two views of which one
    takes the other's place.
    """
    readers = {view: task for task, (_, names) in active.items() for view in names}
    for view, other in INSTEAD.items():
        if view in readers and other in readers:
            raise UserError(
                f"tasks.{readers[view]} reads the view {view}, which takes the place of {other} that "
                f"tasks.{readers[other]} reads; set tasks.{readers[view]}.hide=colour or tasks.{readers[other]}=null"
            )
    for task, (use, names) in active.items():
        for view in sorted(names):
            source = "rgb" if view in OF_RGB else view
            section = getattr(views, source, None)
            for augmentation, limit in LEGAL[use].items():
                value = getattr(section, augmentation, 0.0)
                if value > limit:
                    raise UserError(
                        f"views.{source}.{augmentation}={value:g} makes tasks.{task} learn from false colours; "
                        f"set views.{source}.{augmentation} to {limit:g} or less, or tasks.{task}=null"
                    )
