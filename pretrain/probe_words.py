"""Does the head that names masked colours look at the photograph?

Every masked colour is named twice: beside its own photograph, and beside that of somebody else in the batch. Who has
only learnt what captions say of clothes does as well the second time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from huecry.data.captions import HUES, LEXICON, Span, find_spans
from huecry.data.tokens import encode
from huecry.pretrain.probe_rows import Rows, derangement, interval, resampled, summed, taken
from huecry.tasks.colour_words import SPANS, ColourWords, inside
from huecry.towers import Towers
from huecry.training.encode import encode_view

LOOKED_AT = 4
"""Masked words of a caption whose attention is drawn."""


@dataclass(frozen=True)
class Answers:
    """What was said of S masked colours of R captions.

    owner, hue, said, blind [S] int64: whose caption it is; the right class of HUES, the one named beside the
    photograph, and the one named beside somebody else's. tag [S]: what is coloured. toned, tone [S]: the right modifier
    (-1: cannot be told) and the one named. captions, coloured: captions asked, and those with a colour that counts.
    """

    owner: NDArray[np.int64]
    hue: NDArray[np.int64]
    said: NDArray[np.int64]
    blind: NDArray[np.int64]
    tag: NDArray[np.str_]
    toned: NDArray[np.int64]
    tone: NDArray[np.int64]
    captions: int
    coloured: int


@torch.no_grad()
def ask(head: ColourWords, towers: Towers, rows: Rows) -> Answers:
    """Let the head name every scored colour of some rows, but for rows that cannot be given another's photograph."""
    partner, apart = derangement(rows.owner)
    text = encode_view(towers, "text_nocolour", rows.views["text_nocolour"])
    image = encode_view(towers, "rgb", rows.views["rgb"])
    inputs = rows.inputs["colour_words"]
    position = inputs["position"]
    scored = (inputs["hue"] >= 0) & inside(position, text.valid)
    asked = scored & torch.from_numpy(apart).to(position.device)[:, None]
    said = [
        head.states(text.projected, text.valid, shown.projected, position)[asked]
        for shown in (image, taken(image, partner))
    ]
    tags = np.array([([span.tag for span in _spans(caption)] + [""] * SPANS)[:SPANS] for caption in rows.captions])
    toned = inputs["modifier"][asked].cpu().numpy()
    tone = (
        head.modifier(said[0]).argmax(dim=1).cpu().numpy() if head.config.target == "hue" else np.full_like(toned, -1)
    )
    return Answers(
        owner=np.repeat(rows.owner[:, None], SPANS, axis=1)[asked.cpu().numpy()],
        hue=inputs["hue"][asked].cpu().numpy(),
        said=hue_scores(head, said[0]).argmax(dim=1).cpu().numpy(),
        blind=hue_scores(head, said[1]).argmax(dim=1).cpu().numpy(),
        tag=tags[asked.cpu().numpy()],
        toned=toned,
        tone=tone,
        captions=len(rows),
        coloured=int(scored.any(dim=1).sum()),
    )


def _spans(caption: str) -> tuple[Span, ...]:
    return find_spans(caption)[:SPANS]


def hue_scores(head: ColourWords, states: Tensor) -> Tensor:
    """Scores [S, 17] of the hue classes, of states [S, d] at masks.

    A head that names words is held to the words that begin the names of one class alone: the best word speaks for it.
    """
    if head.config.target == "hue":
        return head.hue(states)
    scores = head.word(states)
    words = _first_words()
    return torch.stack([scores[:, words[hue]].amax(dim=1) for hue in HUES], dim=1)


def _first_words() -> dict[str, list[int]]:
    starts = {hue: {encode(form)[0] for form in LEXICON["hues"][hue]} for hue in HUES}
    return {
        hue: sorted(own - set().union(*(other for name, other in starts.items() if name != hue)))
        for hue, own in starts.items()
    }


def joined(parts: Sequence[Answers]) -> Answers:
    """The answers of several batches as one."""
    whole: dict[str, Any] = {
        entry.name: np.concatenate([getattr(part, entry.name) for part in parts])
        for entry in fields(Answers)
        if entry.name not in ("captions", "coloured")
    }
    return Answers(
        **whole, captions=sum(part.captions for part in parts), coloured=sum(part.coloured for part in parts)
    )


def word_figures(answers: Answers, seed: int = 0) -> dict[str, Any]:
    """Flat figures in percent and points, and `confusion`: {classes, counts [17][17], a row a right class}."""
    hit, blind = answers.said == answers.hue, answers.blind == answers.hue
    classes = np.eye(len(HUES))[answers.hue]
    counts = summed(answers.owner, classes)
    hits, blinds = (summed(answers.owner, classes * right[:, None]) for right in (hit, blind))
    weights = resampled(len(counts), seed)
    gains = macro(weights @ hits, weights @ counts) - macro(weights @ blinds, weights @ counts)
    seeing, unseeing = (float(macro(right.sum(axis=0), counts.sum(axis=0))) for right in (hits, blinds))
    low, high = interval(gains)
    figures: dict[str, Any] = {
        "accuracy": 100 * float(hit.mean()),
        "macro_accuracy": seeing,
        "blind_accuracy": 100 * float(blind.mean()),
        "blind_macro_accuracy": unseeing,
        "visual_gain": seeing - unseeing,
        "visual_gain_low": low,
        "visual_gain_high": high,
    }
    for tag in np.unique(answers.tag):
        figures[f"accuracy_{tag}"] = 100 * float(hit[answers.tag == tag].mean())
    known = (answers.toned >= 0) & (answers.tone >= 0)
    if known.any():
        figures["modifier_accuracy"] = 100 * float((answers.tone == answers.toned)[known].mean())
    figures |= {"spans": len(hit), "coverage": 100 * answers.coloured / answers.captions}
    confusion = np.zeros((len(HUES), len(HUES)), dtype=int)
    np.add.at(confusion, (answers.hue, answers.said), 1)
    return {**figures, "confusion": {"classes": list(HUES), "counts": confusion.tolist()}}


def macro(hits: NDArray[np.float64], counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean [...] in percent, over the classes that occur, of hits [..., C] / counts [..., C]."""
    there = counts > 0
    shares = np.divide(hits, counts, out=np.zeros_like(hits), where=there)
    return 100 * shares.sum(axis=-1) / there.sum(axis=-1)


@dataclass(frozen=True)
class Look:
    """Where the head looked for one masked colour: heat [h, w] over the patches, sums to one."""

    words: str
    hue: str
    said: str
    heat: NDArray[np.float32]


@torch.no_grad()
def looks(head: ColourWords, towers: Towers, rows: Rows) -> list[list[Look]]:
    """For each row, where the head looks for its first scored colours; the share of the class token is left out."""
    text = encode_view(towers, "text_nocolour", rows.views["text_nocolour"])
    image = encode_view(towers, "rgb", rows.views["rgb"])
    inputs = rows.inputs["colour_words"]
    position = inputs["position"]
    at = position.clamp(min=0, max=text.valid.shape[1] - 1)
    heat = head.head.look(text.projected, text.valid, image.projected, at)[:, :, 1:]
    heat = (heat / heat.sum(dim=2, keepdim=True)).unflatten(2, towers.image.grid).float().cpu()
    said = hue_scores(head, head.states(text.projected, text.valid, image.projected, position).flatten(0, 1))
    names = said.argmax(dim=1).unflatten(0, position.shape).tolist()
    scored = ((inputs["hue"] >= 0) & inside(position, text.valid)).tolist()
    found: list[list[Look]] = []
    for row, caption in enumerate(rows.captions):
        spans = [(number, span) for number, span in enumerate(_spans(caption)) if scored[row][number]]
        found.append(
            [
                Look(_named(caption, span), str(span.hue), HUES[names[row][number]], heat[row, number].numpy())
                for number, span in spans[:LOOKED_AT]
            ]
        )
    return found


def _named(caption: str, span: Span) -> str:
    """`dark blue t-shirt`, or the colour alone where nobody knows of what."""
    words = caption[span.start : span.end]
    return f"{words} {span.noun}" if span.noun else words
