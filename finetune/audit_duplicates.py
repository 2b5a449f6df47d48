"""Captions of different persons that say the same: Text-IoU finds them, and that the words go together alike."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from huecry.data.phrases import phrases
from huecry.data.records import PhotoSet
from huecry.data.text_iou import NONE, PhraseIndex, similar_pairs
from huecry.finetune.audit_text import garment_hues
from huecry.finetune.findings import Finding, found

NEAR = 0.8
"""Text-IoU above which captions of two persons are near duplicates."""
BOUND = 0.7
"""Share of things, and of words put to a thing, that two near duplicates have in common."""
FEWEST = 3
"""Captions with fewer words about clothes, hair and belongings are not compared."""

_SEXES = (
    re.compile(r"\b(?:man|men|male|boy|guy|gentleman|he|his)\b", re.IGNORECASE),
    re.compile(r"\b(?:woman|women|female|girl|lady|she|her)\b", re.IGNORECASE),
)


class _Said(NamedTuple):
    """What a caption says, with its words in their places.

    bound: each thing it names, and each with one of its words ("short black shirt": shirt, short shirt, black shirt).
    hues: garment -> its hues. sexes: which of the two it uses words of.
    """

    bound: frozenset[str]
    hues: Mapping[str, frozenset[str]]
    sexes: tuple[bool, bool]

    def same(self, other: _Said) -> bool:
        """Whether another caption says the same.

        Words alone do not tell: "black shirt, white trousers" and "white shirt, black trousers" have a Text-IoU of 1.
        """
        return (
            len(self.bound & other.bound) >= BOUND * len(self.bound | other.bound)
            and all(self.hues[noun] == other.hues[noun] for noun in self.hues.keys() & other.hues.keys())
            and {self.sexes, other.sexes} != {(True, False), (False, True)}
        )


def _said(caption: str) -> _Said:
    bound = set()
    for phrase in phrases(caption):
        *described, thing = phrase.split()
        bound |= {thing, *(f"{word} {thing}" for word in described)}
    male, female = (sex.search(caption) is not None for sex in _SEXES)
    return _Said(frozenset(bound), garment_hues(caption), (male, female))


def near_duplicates(splits: Mapping[str, PhotoSet]) -> Iterator[Finding]:
    """A finding for every caption whose nearest caption of another person has a Text-IoU above `NEAR`."""
    sets = list(splits.values())
    captions = [caption for photos in sets for caption in photos.captions]
    index = PhraseIndex(captions)
    person, place = _owners(sets)
    enough = (index.rows != NONE).sum(axis=1) >= FEWEST
    best: dict[int, tuple[float, int]] = {}
    said: dict[int, _Said] = {}
    for first, second, iou in similar_pairs(index, NEAR):
        two = person[first] != person[second] and min(person[first], person[second]) >= 0
        if not (two and enough[first] and enough[second]):
            continue
        for row in (first, second):
            if row not in said:
                said[row] = _said(captions[row])
        if said[first].same(said[second]):
            for one, other in ((first, second), (second, first)):
                best[one] = max(best.get(one, (0.0, 0)), (iou, -other))
    for row, (iou, negated) in sorted(best.items()):
        photos, image, number = place[row]
        others, other, other_number = place[-negated]
        record = others[other]
        evidence = f"Text-IoU {iou:.2f} with caption {other_number} of {record.name} (person {record.person}): "
        yield found("near_duplicate_caption", photos, image, evidence + repr(record.captions[other_number]), number)


def _owners(sets: Sequence[PhotoSet]) -> tuple[NDArray[np.int64], list[tuple[PhotoSet, int, int]]]:
    """For every caption of several splits in a row: a number for its person (-1 unknown), and where it stands."""
    number: dict[str, int] = {}
    person, place = [], []
    for photos in sets:
        for image, record in enumerate(photos):
            own = -1 if record.person is None else number.setdefault(record.person, len(number))
            person += [own] * len(record.captions)
            place += [(photos, image, caption) for caption in range(len(record.captions))]
    return np.array(person, dtype=np.int64), place
