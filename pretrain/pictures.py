"""The pictures of a probe: a confusion matrix, painted samples, where the head looked, and reliance on colour.

Each is one PNG. Grids of photographs are drawn with Pillow and charts with matplotlib, both in the colours of the
contact sheets of `huecry.retrieval.sheet`, so that they read on a light and on a dark page.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor
from torch.nn import functional as F

from huecry.data.augment import gray
from huecry.data.colour import lab_to_rgb, rgb_to_lab
from huecry.pretrain.probe_colours import Painting
from huecry.pretrain.probe_towers import CONDITIONS
from huecry.pretrain.probe_words import Look
from huecry.retrieval.sheet import FAINT, INK, LINE, MOUNT, PAPER, RIGHT, WRONG, load_font, wrap

CELL = (120, 240)
MARGIN, GAP, TEXT = 28, 12, 280
HEAD, ROW_GAP = 34, 26
SIZE, SMALL = 17, 15
TALLEST = 512
"""Pictures higher than this are made smaller before they are coloured: no cell shows more."""
ACCENT = "#0072B2"


@dataclass(frozen=True)
class Painted:
    """A row of the grid of painted pictures: the photograph as it is stored, and how it was coloured."""

    picture: Image.Image
    painting: Painting


@dataclass(frozen=True)
class Looked:
    """A row of the grid of attention: the photograph, its caption, and the masked words asked for."""

    picture: Image.Image
    caption: str
    looks: Sequence[Look]


class Grid:
    """A sheet of rows: a text on the left, then cells of one size with room for so many lines below each."""

    def __init__(self, rows: int, columns: int, lines: int) -> None:
        self.step = CELL[1] + lines * (SMALL + 4) + 6 + ROW_GAP
        self.first = MARGIN + TEXT + 2 * GAP
        width = self.first + columns * (CELL[0] + GAP) - GAP + MARGIN
        self.sheet = Image.new("RGB", (width, MARGIN + HEAD + rows * self.step - ROW_GAP + MARGIN // 2), PAPER)
        self.draw = ImageDraw.Draw(self.sheet)

    def heading(self, titles: Sequence[str]) -> None:
        """Titles above the columns; the last may run on over those that have none."""
        for column, title in enumerate(titles):
            font, left = load_font(SMALL), self.first + column * (CELL[0] + GAP)
            if font.getlength(title) < CELL[0]:
                left += round((CELL[0] - font.getlength(title)) / 2)
            self.draw.text((left, MARGIN), title, FAINT, font)

    def text(self, row: int, parts: Sequence[tuple[str, str]]) -> None:
        """(text, colour) below each other beside a row; what does not fit ends in an ellipsis."""
        font, pitch = load_font(SIZE), SIZE + 6
        top = MARGIN + HEAD + row * self.step
        if row:
            line = top - ROW_GAP // 2
            self.draw.line([(MARGIN, line), (self.sheet.width - MARGIN, line)], LINE, 1)
        room = CELL[1] // pitch
        for text, colour in parts:
            lines = wrap(text, font, TEXT, max(room, 1))
            for line_text in lines:
                self.draw.text((MARGIN, top), line_text, colour, font)
                top += pitch
            top += pitch // 2
            room -= len(lines) + 1

    def picture(self, row: int, column: int, picture: Image.Image, below: Sequence[tuple[str, str]] = ()) -> None:
        """A picture fitted whole into its cell, with short (text, colour) lines below it."""
        left, top = self.first + column * (CELL[0] + GAP), MARGIN + HEAD + row * self.step
        self.draw.rectangle((left, top, left + CELL[0] - 1, top + CELL[1] - 1), MOUNT)
        scale = min(CELL[0] / picture.width, CELL[1] / picture.height)
        size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
        fitted = picture.resize(size, Image.Resampling.LANCZOS)
        self.sheet.paste(fitted, (left + (CELL[0] - size[0]) // 2, top + (CELL[1] - size[1]) // 2))
        font, bottom = load_font(SMALL), top + CELL[1] + 6
        for text, colour in below:
            for line in wrap(text, font, CELL[0], 2):
                self.draw.text((left + (CELL[0] - font.getlength(line)) / 2, bottom), line, colour, font)
                bottom += SMALL + 4


def draw_painted(rows: Sequence[Painted], path: Path) -> None:
    """Each row: grey | painted | one colour word swapped | no caption | truth."""
    grid = Grid(len(rows), 5, 2)
    grid.heading(["grey", "painted", "swapped", "no caption", "truth"])
    for number, row in enumerate(rows):
        picture, painting, swap = _small(row.picture), row.painting, row.painting.swap
        beside = [(painting.caption, INK)]
        if swap is None or painting.swapped is None:
            beside.append(("No colour word of it can be swapped alone.", FAINT))
        else:
            change = f"{painting.caption[swap.old.start : swap.old.end]} to {swap.new}"
            beside.append((f"swapped: {change} ({swap.zone} body)", ACCENT))
            grid.picture(number, 2, recoloured(picture, painting.swapped), [(change, ACCENT)])
        grid.text(number, beside)
        grid.picture(number, 0, Image.fromarray(gray(np.array(picture))))
        grid.picture(number, 1, recoloured(picture, painting.own))
        grid.picture(number, 3, recoloured(picture, painting.empty))
        grid.picture(number, 4, picture)
    grid.sheet.save(path, format="PNG")


def draw_looked(rows: Sequence[Looked], path: Path) -> None:
    """Each row: the photograph, then for each masked word the heat of where the head looked, with what it said."""
    grid = Grid(len(rows), 1 + max(len(row.looks) for row in rows), 3)
    grid.heading(["photograph", "where the head looked"])
    for number, row in enumerate(rows):
        grid.text(number, [(row.caption, INK)])
        picture = _small(row.picture)
        grid.picture(number, 0, picture)
        for column, look in enumerate(row.looks, 1):
            said = (f"said {look.said}", RIGHT if look.said == look.hue else WRONG)
            grid.picture(number, column, heated(picture, look.heat), [(look.words, INK), said])
    grid.sheet.save(path, format="PNG")


def _small(picture: Image.Image) -> Image.Image:
    if picture.height <= TALLEST:
        return picture
    width = max(1, round(picture.width * TALLEST / picture.height))
    return picture.resize((width, TALLEST), Image.Resampling.LANCZOS)


def recoloured(picture: Image.Image, ab: Tensor) -> Image.Image:
    """The lightness of a picture with other colours, ab [2, h, w] in units of Lab, stretched over it."""
    rgb = torch.from_numpy(np.array(picture)).permute(2, 0, 1) / 255
    wide = F.interpolate(ab[None].float(), size=rgb.shape[1:], mode="bilinear", align_corners=False)[0]
    found = lab_to_rgb(torch.cat([rgb_to_lab(rgb)[:1], wide]))
    return Image.fromarray((255 * found).round().to(torch.uint8).permute(1, 2, 0).numpy())


def heated(picture: Image.Image, heat: NDArray[np.float32]) -> Image.Image:
    """The grey picture under its heat [h, w], the hottest place brightest."""
    scaled = torch.from_numpy(heat / max(float(heat.max()), 1e-12))[None, None]
    wide = F.interpolate(scaled, size=picture.size[::-1], mode="bilinear", align_corners=False)[0, 0].numpy()
    colours = matplotlib.colormaps["inferno"](wide)[..., :3]
    mixed = 0.45 * gray(np.array(picture)) / 255 + 0.55 * colours
    return Image.fromarray(np.rint(255 * mixed).astype(np.uint8))


def draw_confusion(classes: Sequence[str], counts: Sequence[Sequence[int]], path: Path) -> None:
    """Counts [C][C], a row a right class; shaded by the share of the row."""
    table = np.array(counts)
    shares = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    figure = Figure(figsize=(9.2, 8.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    shown = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(classes)), classes, rotation=45, ha="right")
    axes.set_yticks(range(len(classes)), classes)
    axes.set_xlabel("named by the head")
    axes.set_ylabel("in the caption")
    for row, column in zip(*np.nonzero(table), strict=True):
        ink = "white" if shares[row, column] > 0.55 else INK
        axes.text(column, row, f"{table[row, column]:,}", ha="center", va="center", color=ink, fontsize=8)
    axes.set_xticks(np.arange(len(classes) + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(len(classes) + 1) - 0.5, minor=True)
    axes.grid(which="minor", color=LINE, linewidth=0.7)
    axes.tick_params(which="both", length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    figure.colorbar(shown, ax=axes, shrink=0.6, label="share of the row")
    figure.savefig(path, format="png", dpi=110)


def draw_reliance(figures: dict[str, Any], path: Path) -> None:
    """R1 and mAP as they are, without colour words, before a grey gallery, and without either."""
    figure = Figure(figsize=(7.6, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    names = ("as it is", "colour words masked", "grey gallery", "both")
    for number, (key, colour) in enumerate((("R1", ACCENT), ("mAP", "#E69F00"))):
        values = [figures[f"{key}{condition}"] for condition in CONDITIONS]
        bars = axes.bar(np.arange(len(names)) + 0.38 * number, values, 0.36, color=colour, label=key)
        axes.bar_label(bars, fmt="%.1f", padding=2, fontsize=9)
    axes.set_xticks(np.arange(len(names)) + 0.19, names)
    axes.set_ylabel("percent")
    axes.margins(y=0.15)
    axes.tick_params(axis="x", length=0)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.legend(loc="outside upper right", ncols=2, frameon=False)
    figure.savefig(path, format="png", dpi=110)
