"""Views: the renderings of one sample that tasks ask for, each one row of `VIEWS`.

The crop and erased rectangle of `rgb` are shared by every view that must show the same pixels (`gray`, `channels`,
`ab`); the mirror flip is shared by all, because the caption's "left" and "right" change with it. Pictures leave as
uint8; the towers normalise them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

from huecry.data.augment import (
    ImageAugmentation,
    Shot,
    TextAugmentation,
    augmented,
    augmented_ids,
    colour_target,
    gray,
    masked_ids,
    simclr,
    swap_sides,
    without_channels,
)
from huecry.data.captions import mask_colours, swap_colours
from huecry.data.records import Record
from huecry.data.tokens import EOT, MASK, pack, tokenize
from huecry.errors import UserError


@dataclass
class ViewsConfig:
    """The augmentation of each view. `strong`: of the two pictures of `simclr`, which no caption is matched with.

    text_masked: share of the words that `mlm` predicts. text_swapped: share of the colours that are wrong for
    `colour_detection`. swap_sides: exchange "left" and "right" in a mirrored sample's caption.
    """

    rgb: ImageAugmentation = field(default_factory=ImageAugmentation)
    rgb2: ImageAugmentation = field(default_factory=ImageAugmentation)
    strong: ImageAugmentation = field(default_factory=simclr)
    text_aug: TextAugmentation = field(default_factory=lambda: TextAugmentation(mask_p=0.15))
    text_masked: float = 0.15
    text_swapped: float = 0.5
    swap_sides: bool = True


SPANS = 16
"""Colours of a caption that tasks ask about, at most."""
LEGAL: dict[str, dict[str, float]] = {
    "retrieval": {},
    "completion": {"hue": 0.0, "saturation": 0.0, "grayscale": 0.0, "erase_area": 0.2},
    "colourise": {"hue": 0.0, "saturation": 0.0, "grayscale": 0.0},
    "grayscale": {"hue": 0.0, "saturation": 0.0, "grayscale": 0.0},
    "pictures": {},
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
        return self.once(
            name, lambda: augmented(self.sample.picture, self.shape.size, self.flipped, self.generator(name), config)
        )

    @property
    def rgb(self) -> Shot:
        """The picture that `rgb` and the views of the same pixels are made of."""
        return self.shot("rgb", self.config.rgb)

    @property
    def masked(self) -> tuple[np.ndarray, np.ndarray]:
        """Token ids [L] with words masked, and which [L] bool: the first word, where none was chosen."""

        def make() -> tuple[np.ndarray, np.ndarray]:
            changed, chosen = masked_ids(self.ids, self.generator("text_masked"), self.config.text_masked)
            if not chosen.any() and self.ids[1] != EOT:
                changed[1], chosen[1] = MASK, True
            return changed, chosen

        return self.once("masked", make)

    @property
    def swapped(self) -> tuple[np.ndarray, np.ndarray]:
        """Token ids [L] with some colours wrong, and of each colour its position and whether it is, [16, 2]; or -1."""

        def make() -> tuple[np.ndarray, np.ndarray]:
            ids, found = swap_colours(self.caption, self.generator("text_swapped"), self.config.text_swapped)
            colours = np.full((SPANS, 2), -1, dtype=np.int64)
            for number, (position, wrong) in enumerate(found[:SPANS]):
                colours[number] = position + 1, wrong  # after the start token
            return pack([ids], self.shape.context)[0].numpy(), colours

        return self.once("swapped", make)

    @property
    def hidden(self) -> np.ndarray:
        """Which channels [3] uint8 the view `channels` hides: one or two, every choice as likely as any other."""
        code = self.once("hidden", lambda: int(self.generator("hidden").integers(1, 7)))
        return np.array([code & 1, code >> 1 & 1, code >> 2], dtype=np.uint8)


VIEWS: dict[str, Callable[[Rendering], np.ndarray]] = {
    "rgb": lambda r: r.rgb.pixels,
    "rgb2": lambda r: r.shot("rgb2", r.config.rgb2).pixels,
    "strong": lambda r: r.shot("strong", r.config.strong).pixels,
    "strong2": lambda r: r.shot("strong2", r.config.strong).pixels,
    "gray": lambda r: gray(r.rgb.pixels),
    "channels": lambda r: without_channels(r.rgb.pixels, r.hidden),
    "hidden": lambda r: r.hidden,
    "ab": lambda r: colour_target(r.rgb),
    "text": lambda r: r.ids,
    "text_aug": lambda r: augmented_ids(r.ids, r.generator("text_aug"), r.config.text_aug),
    "text_other": lambda r: np.asarray(tokenize([r.other_caption], r.shape.context)[0]),
    "text_masked": lambda r: r.masked[0],
    "masked": lambda r: r.masked[1],
    "text_swapped": lambda r: r.swapped[0],
    "swapped": lambda r: r.swapped[1],
    "text_nocolour": lambda r: pack([mask_colours(r.caption)[0]], r.shape.context)[0].numpy(),
}
"""name -> rendering: pictures [H, W, 3] uint8, captions [L] token ids; targets are `ab` [H, W, 4], `hidden` [3],
`masked` [L] bool and `swapped` [16, 2]."""

IMAGE_VIEWS = frozenset({"rgb", "rgb2", "strong", "strong2", "gray", "channels"})
TEXT_VIEWS = frozenset({"text", "text_aug", "text_masked", "text_other", "text_swapped", "text_nocolour"})
PICTURES = IMAGE_VIEWS | {"ab"}
"""Views with a height and a width; they reach a task as [B, C, H, W]."""
OF_RGB = frozenset({"gray", "channels", "ab", "hidden"})
"""Views made of the pixels of `rgb`, under its augmentation."""
SOURCE = {"strong2": "strong"}
"""Views under the augmentation of another."""
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
            source = "rgb" if view in OF_RGB else SOURCE.get(view, view)
            section = getattr(views, source, None)
            for augmentation, limit in LEGAL[use].items():
                value = getattr(section, augmentation, 0.0)
                if value > limit:
                    raise UserError(
                        f"views.{source}.{augmentation}={value:g} makes tasks.{task} learn from false colours; "
                        f"set views.{source}.{augmentation} to {limit:g} or less, or tasks.{task}=null"
                    )
