"""Does the head that colours grey pictures read the caption?

Three measures: how near the colours come; by how much they get worse under somebody else's caption; and whether one
swapped colour word changes the colour of that garment. A garment is looked for in a zone of the picture, by height,
in the middle 60 % of the width; of these cells the quarter counts that the swap changed most, since much of a zone is
background, which the caption says nothing of.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from huecry.data.augment import without_channels
from huecry.data.captions import NEIGHBOURS, Span, find_spans, replace_colour
from huecry.data.colour import PROTOTYPES, delta_e76, delta_e2000, lab_to_rgb, luma, nearest_name, rgb_to_lab
from huecry.data.tokens import tokenize
from huecry.pretrain.probe_rows import Rows, derangement, mean_interval, taken
from huecry.tasks.colourise import Colourise
from huecry.towers import Towers
from huecry.training.encode import encode_view

ZONES = {"upper": (0.18, 0.48), "lower": (0.50, 0.85), "feet": (0.88, 1.0), "hair": (0.02, 0.14)}
"""Where something is worn, in fractions of the picture's height."""
MAIN = ("upper", "lower")
"""The zones of the headline: feet are often cut off, and dyed hair is rare."""
NEW_HUES = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown")
"""What a colour word is swapped for: the chromatic ones among the eleven basic colour terms (Berlin and Kay, 1969)."""
SHOWN = 20.0
"""Delta-E 76 by which sRGB may cut a new colour short at the garment's lightness."""
MOVED = 0.25
"""The share of a zone's cells whose colour is judged after a swap."""
HIDDEN = np.array([1, 0, 1])
"""What `hide: channels` sees here: the green channel alone, which is nearest to a grey picture."""
NAMES = tuple(PROTOTYPES)

Paint = Callable[[Sequence[int], Sequence[str]], Tensor]
"""(rows of the batch [n], a caption for each) -> ab [n, 2, h, w], in units of Lab, on the CPU."""


class Painter:
    """The head before the colourless pictures of some rows: it paints them under any caption."""

    def __init__(self, head: Colourise, towers: Towers, rows: Rows) -> None:
        self.head, self.towers = head, towers
        pixels = rows.views["rgb"]
        if head.input == "channels":
            shown = without_channels(pixels.permute(0, 2, 3, 1).cpu().numpy(), HIDDEN)
            pixels = torch.from_numpy(shown).permute(0, 3, 1, 2).to(pixels.device)
        else:
            pixels = luma(pixels)
        with torch.no_grad():
            self.image = encode_view(towers, head.input, pixels)
            self.truth = rgb_to_lab(head.target(rows.views["ab"])[0]).cpu()

    @torch.no_grad()
    def __call__(self, index: Sequence[int], captions: Sequence[str]) -> Tensor:
        device = self.image.tokens.device
        text = encode_view(self.towers, "text", tokenize(captions, self.towers.context).to(device))
        hidden = None
        if self.head.input == "channels":
            hidden = torch.from_numpy(HIDDEN).to(device).expand(len(captions), 3)
        return self.head.predict(taken(self.image, index), text, hidden).float().cpu()


@dataclass(frozen=True)
class Swap:
    """A caption in which the colour of one garment is another.

    row: which of the captions. zone: where the garment is. old: the span as it was. new: the hue instead.
    """

    row: int
    zone: str
    old: Span
    new: str
    caption: str


def zone_of(zone: str, height: int, width: int) -> tuple[slice, slice]:
    """Rows and columns of a zone in a picture, at least one of each."""
    low, high = (round(share * height) for share in ZONES[zone])
    left, right = round(0.2 * width), round(0.8 * width)
    low, left = min(low, height - 1), min(left, width - 1)
    return slice(low, max(high, low + 1)), slice(left, max(right, left + 1))


def moved(before: Tensor, after: Tensor, zone: str) -> Tensor:
    """The cells [h, w] bool of a zone that changed most between two paintings ab [2, h, w]: a quarter of them."""
    rows, columns = zone_of(zone, *before.shape[-2:])
    change = (after - before).norm(dim=0)[rows, columns]
    most = change.flatten().topk(max(round(MOVED * change.numel()), 1)).indices
    cells = torch.zeros(before.shape[-2:], dtype=torch.bool)
    cells[rows, columns] = torch.zeros(change.numel(), dtype=torch.bool).index_fill(0, most, True).view_as(change)
    return cells


def named(lightness: Tensor, ab: Tensor, cells: Tensor) -> str:
    """The name of the mean colour of some cells [h, w] bool; lightness: [h, w], ab: [2, h, w]."""
    return NAMES[int(nearest_name(torch.cat([lightness[None], ab])[:, cells].mean(dim=1)))]


def attainable(lightness: float) -> set[str]:
    """The hues of `NEW_HUES` that cloth has in so much light that it is of this lightness.

    The prototype's linear light is scaled, so that ab grow with L + 16. The colour must still have the name, and sRGB
    must show it, to within `SHOWN`: no picture has a yellow in the dark, where red is maroon; in the light it is pink.
    """
    labs = torch.tensor([PROTOTYPES[hue] for hue in NEW_HUES])
    labs = torch.cat([torch.full_like(labs[:, :1], lightness), labs[:, 1:] * (lightness + 16) / (labs[:, :1] + 16)], 1)
    shown = rgb_to_lab(lab_to_rgb(labs.T[..., None])).squeeze(-1).T
    lost = (labs - shown).norm(dim=1).tolist()
    names = [NAMES[index] for index in nearest_name(shown).tolist()]
    return {hue for hue, name, loss in zip(NEW_HUES, names, lost, strict=True) if hue == name and loss <= SHOWN}


def swaps(captions: Sequence[str], lightness: Tensor, generator: np.random.Generator) -> list[Swap]:
    """Every colour word that can be swapped alone, with a new hue by lot.

    lightness: [B, h, w], L of the pictures of B captions. A span counts where it is scored and its garment has a zone
    of which the caption names this one colour; a colour of something that covers the whole body counts for every zone.
    The new hue is neither the old one nor one that annotators confuse with it, and both the lighter and the darker
    cells of the zone must allow it (the quartiles of its lightness).
    """
    found = []
    for row, caption in enumerate(captions):
        spans = find_spans(caption)
        for span in spans:
            zone = span.zone
            if not span.scored or span.hue is None or zone not in ZONES:
                continue
            if sum(other.zone in (zone, "whole") for other in spans) != 1:
                continue
            rows, columns = zone_of(zone, *lightness.shape[-2:])
            quartiles = torch.quantile(lightness[row, rows, columns].flatten(), lightness.new_tensor([0.25, 0.5, 0.75]))
            possible = set.intersection(*(attainable(quartile) for quartile in quartiles.tolist()))
            choices = sorted(possible - {span.hue, *NEIGHBOURS[span.hue]})
            if choices:
                new = str(generator.choice(choices))
                found.append(Swap(row, zone, span, new, replace_colour(caption, span, new)))
    return found


@dataclass(frozen=True)
class Paintings:
    """What came of N rows, by row, and of K swaps, by swap.

    owner [N] int64; mean over a picture of: the distance in ab under its own caption (`e76`), under somebody else's
    (`shuffled`), without any colour (`gray`); CIEDE2000 (`e2000`); pixels within 10 and 20 (0..1). psnr [N]: dB.
    colourful, truly: colourfulness of the painted and the true picture. zone [K]; turned, anyway [K] bool: the cells
    that the swap moved have the new name under the swapped caption, and under the unchanged one.
    """

    owner: NDArray[np.int64]
    e76: NDArray[np.float64]
    shuffled: NDArray[np.float64]
    gray: NDArray[np.float64]
    e2000: NDArray[np.float64]
    within_10: NDArray[np.float64]
    within_20: NDArray[np.float64]
    psnr: NDArray[np.float64]
    colourful: NDArray[np.float64]
    truly: NDArray[np.float64]
    zone: NDArray[np.str_]
    turned: NDArray[np.bool_]
    anyway: NDArray[np.bool_]


def paintings(
    paint: Paint, truth: Tensor, captions: Sequence[str], owners: NDArray[np.int64], generator: np.random.Generator
) -> Paintings:
    """Let `paint` colour B rows whose captions name colours; truth: [B, 3, h, w] Lab.

    Rows that cannot be given somebody else's caption are left out.
    """
    partner, apart = derangement(owners)
    index: list[int] = np.flatnonzero(apart).tolist()
    truth, own = truth[index], [captions[i] for i in index]
    lightness = truth[:, :1]
    others = paint(index, [captions[i] for i in partner[index]])
    ab = paint(index, own)
    painted = torch.cat([lightness, ab], dim=1)
    distance = delta_e76(ab, truth[:, 1:])
    # what a screen shows on both sides: Lab of a picture gives its sRGB back
    rgb, right = lab_to_rgb(painted), lab_to_rgb(truth)
    wrong = (rgb - right).square().mean(dim=(1, 2, 3)).clamp(min=1e-10)
    found = swaps(own, lightness[:, 0], generator)
    changed = paint([index[swap.row] for swap in found], [swap.caption for swap in found]) if found else ab[:0]

    def by_row(values: Tensor) -> NDArray[np.float64]:
        return values.double().flatten(1).mean(dim=1).numpy()

    before = ab[[swap.row for swap in found]]
    cells = [moved(old, new, swap.zone) for old, new, swap in zip(before, changed, found, strict=True)]

    def hits(colours: Tensor) -> NDArray[np.bool_]:
        judged = zip(found, colours, cells, strict=True)
        names = [named(lightness[swap.row, 0], colour, where) for swap, colour, where in judged]
        return np.array([name == swap.new for name, swap in zip(names, found, strict=True)], dtype=bool)

    return Paintings(
        owner=owners[index],
        e76=by_row(distance),
        shuffled=by_row(delta_e76(others, truth[:, 1:])),
        gray=by_row(delta_e76(torch.zeros_like(ab), truth[:, 1:])),
        e2000=by_row(delta_e2000(painted, truth)),
        within_10=by_row(distance < 10),
        within_20=by_row(distance < 20),
        psnr=(-10 * wrong.double().log10()).numpy(),
        colourful=colourfulness(rgb).double().numpy(),
        truly=colourfulness(right).double().numpy(),
        zone=np.array([swap.zone for swap in found], dtype=np.str_),
        turned=hits(changed),
        anyway=hits(before),
    )


def colourfulness(rgb: Tensor) -> Tensor:
    """M [...] of sRGB pictures [..., 3, h, w] in 0..1, on the scale of 0..255.

    Source: Hasler and Suesstrunk, "Measuring colourfulness in natural images", Human Vision and Electronic Imaging
    2003: sqrt(var rg + var yb) + 0.3 sqrt(mean rg ^2 + mean yb ^2) of rg = R - G and yb = (R + G) / 2 - B.
    """
    red, green, blue = (255 * rgb).unbind(-3)
    opponent = torch.stack([red - green, (red + green) / 2 - blue], dim=-3).flatten(-2)
    mean = opponent.mean(dim=-1)
    spread = (opponent - mean[..., None]).square().mean(dim=-1).sum(dim=-1).sqrt()
    return spread + 0.3 * mean.square().sum(dim=-1).sqrt()


def joined(parts: Sequence[Paintings]) -> Paintings:
    """The paintings of several batches as one."""
    return Paintings(
        **{field.name: np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Paintings)}
    )


def colour_figures(found: Paintings, seed: int = 0) -> dict[str, Any]:
    """Flat figures: Delta-E, dB, percent, and `counterfactual_*` in 0..1."""
    low, high = mean_interval(found.owner, found.shuffled - found.e76, seed)
    figures: dict[str, Any] = {
        "delta_e76": float(found.e76.mean()),
        "delta_e76_shuffled": float(found.shuffled.mean()),
        "delta_e76_gray": float(found.gray.mean()),
        "text_gain": float((found.shuffled - found.e76).mean()),
        "text_gain_low": low,
        "text_gain_high": high,
        "delta_e2000": float(found.e2000.mean()),
        "psnr": float(found.psnr.mean()),
        "within_10": 100 * float(found.within_10.mean()),
        "within_20": 100 * float(found.within_20.mean()),
        "painted": len(found.owner),
    }
    if found.truly.mean() > 0:
        figures["colourfulness_ratio"] = float(found.colourful.mean() / found.truly.mean())
    figures |= _counterfactual(found, np.isin(found.zone, MAIN), "")
    for zone in ZONES:
        figures |= _counterfactual(found, found.zone == zone, f"_{zone}")
    return figures


def _counterfactual(found: Paintings, chosen: NDArray[np.bool_], suffix: str) -> dict[str, Any]:
    if not chosen.any():
        return {}
    return {
        f"counterfactual_accuracy{suffix}": float(found.turned[chosen].mean()),
        f"counterfactual_chance{suffix}": float(found.anyway[chosen].mean()),
        f"counterfactuals{suffix}": int(chosen.sum()),
    }


@dataclass(frozen=True)
class Painting:
    """One row painted in several ways, ab [2, h, w] each. swap: None where no colour word of it can be swapped."""

    caption: str
    own: Tensor
    empty: Tensor
    swap: Swap | None
    swapped: Tensor | None


def examples(paint: Paint, truth: Tensor, captions: Sequence[str], generator: np.random.Generator) -> list[Painting]:
    """Every row painted under its caption, under one with a swapped colour word, and under none; truth: as above."""
    everyone = range(len(captions))
    own, empty = paint(everyone, captions), paint(everyone, [""] * len(captions))
    found = [swap for swap in swaps(captions, truth[:, 0], generator) if swap.zone in MAIN]
    first = {swap.row: swap for swap in reversed(found)}
    changed = paint([*first], [swap.caption for swap in first.values()]) if first else own[:0]
    by_row = dict(zip(first, changed, strict=True))
    return [Painting(captions[i], own[i], empty[i], first.get(i), by_row.get(i)) for i in everyone]
