"""Captions of different persons that say the same.

Two with the same phrases do, in whatever order these stand. Of others Text-IoU tells which have the same words about
clothes, hair and belongings; the words must also go together alike, and what else is said may not differ much.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from huecry.data.captions import find_spans
from huecry.data.lexicon import LEXICON, NOUNS, STOPS
from huecry.data.phrases import content, phrases
from huecry.data.records import PhotoSet
from huecry.data.text_iou import PhraseIndex, similar_pairs
from huecry.finetune.findings import Finding, found

NEAR = 0.8
"""Text-IoU above which captions of two persons are near duplicates."""
BOUND = 0.7
"""Share of things, and of words put to a thing, that two near duplicates have in common."""
CONTENT = 0.6
"""Share of all words with content that they have in common."""
FEWEST = 8
"""Things, counted twice, and words put to them: two garments and their colours are 6, and fit many persons."""
REPEATED = 8
"""Words from which on a caption with the same phrases as another repeats it."""

_SEXES = (
    re.compile(r"\b(?:man|men|male|boy|guy|gentleman|he|his)\b", re.IGNORECASE),
    re.compile(r"\b(?:woman|women|female|girl|lady|she|her)\b", re.IGNORECASE),
)
_GARMENTS, _BELONGINGS = (
    {noun.head.split()[-1] for noun in NOUNS.values() if noun.tag == tag and noun.zone}
    for tag in ("garment", "accessory")
)
_OPPOSITES = (
    {"light", "dark"},
    {"short", "long"},
    {"short-sleeved", "long-sleeved", "sleeveless"},
    {"curly", "straight"},
    {"tight", "loose"},
    {"small", "large"},
    {"striped", "checked", "dotted", "floral", "plain"},
)
"""Words of which one thing takes only one."""
_TOKEN = re.compile(r"\w+|[.,;:!?()]")
_BETWEEN = STOPS.union(".,;:!?()").difference(LEXICON["negations"], LEXICON["links"], ("that", "which", "in", "of"))
"""What stands between phrases: not so "in" and "is", which tell what has a colour."""


class _Said(NamedTuple):
    """What a caption says, with its words in their places.

    bound: each thing it names, and each with one of its words ("short black shirt": shirt, short shirt, black shirt).
    things: those it names. hues: thing -> its hues. words: those with content. sexes: which of both it uses words of.
    """

    bound: frozenset[str]
    things: frozenset[str]
    hues: Mapping[str, set[str]]
    words: frozenset[str]
    sexes: tuple[bool, ...]

    def same(self, other: _Said) -> bool:
        """Whether another caption says the same.

        Words alone do not tell: "black shirt, white trousers" and "white shirt, black trousers" have a Text-IoU of 1.
        """
        return (
            all(len(said.things) + len(said.bound) >= FEWEST for said in (self, other))
            and _share(self.bound, other.bound) >= BOUND
            and _share(self.words, other.words) >= CONTENT
            and not self.differs(other)
            and all(self.hues[one] == other.hues[one] for one in self.hues.keys() & other.hues.keys())
            and {self.sexes, other.sexes} != {(True, False), (False, True)}
        )

    def differs(self, other: _Said) -> bool:
        """Whether one person has a thing that the other has not, or each another garment, or one of another kind."""
        mine, theirs = self.things - other.things, other.things - self.things
        if (mine | theirs) & _BELONGINGS or (mine & _GARMENTS and theirs & _GARMENTS):
            return True
        put = (phrase.split() for phrase in self.bound if " " in phrase)
        return any(
            f"{opposite} {thing}" in other.bound
            for word, thing in put
            for group in _OPPOSITES
            if word in group
            for opposite in group - {word}
        )


def _share(one: frozenset[str], other: frozenset[str]) -> float:
    return len(one & other) / max(len(one | other), 1)


def _said(caption: str) -> _Said:
    bound, things = set(), set()
    for phrase in phrases(caption):
        *described, thing = phrase.split()
        things.add(thing)
        bound |= {thing, *(f"{word} {thing}" for word in described)}
    return _Said(frozenset(bound), frozenset(things), _hues(caption), content(caption), _sexes(caption))


def _hues(caption: str) -> dict[str, set[str]]:
    """Thing -> its hues; what the lexicon does not know goes by the word that follows its colour."""
    hues: dict[str, set[str]] = defaultdict(set)
    for span in find_spans(caption):
        if span.scored and span.hue:
            following = _TOKEN.search(caption, span.end)
            hues[span.noun or (following.group().lower() if following else "")].add(span.hue)
    return hues


def _sexes(caption: str) -> tuple[bool, ...]:
    return tuple(sex.search(caption) is not None for sex in _SEXES)


def near_duplicates(splits: Mapping[str, PhotoSet]) -> Iterator[Finding]:
    """A finding for every caption that repeats one of another person, or whose nearest has a Text-IoU above `NEAR`."""
    sets = list(splits.values())
    captions = [caption for photos in sets for caption in photos.captions]
    person, place = _owners(sets)
    best: dict[int, tuple[float, bool, int]] = {}
    for one, other, iou, repeats in (*_repeated(captions, person), *_similar(captions, person)):
        best[one] = max(best.get(one, (0.0, False, 0)), (iou, repeats, -other))
    for row, (iou, repeats, negated) in sorted(best.items()):
        photos, image, number = place[row]
        others, other, other_number = place[-negated]
        record = others[other]
        how = "the same phrases as" if repeats else f"Text-IoU {iou:.2f} with"
        evidence = f"{how} caption {other_number} of {record.name} (person {record.person}): "
        yield found("near_duplicate_caption", photos, image, evidence + repr(record.captions[other_number]), number)


def _repeated(captions: Sequence[str], person: NDArray[np.int64]) -> Iterator[tuple[int, int, float, bool]]:
    """(row, row of the first caption of another person with the same phrases, 1, True)."""
    rows: dict[Any, list[int]] = defaultdict(list)
    for row, caption in enumerate(captions):
        tokens = _TOKEN.findall(caption.lower())
        words = [token for token in tokens if token[0].isalnum()]
        if person[row] >= 0 and len(words) >= REPEATED:
            runs = [" ".join(run) for stop, run in groupby(tokens, _BETWEEN.__contains__) if not stop]
            rows[tuple(words)].append(row)
            hues = frozenset((noun, *sorted(found)) for noun, found in _hues(caption).items())
            rows[_sexes(caption), hues, tuple(sorted(runs))].append(row)
    for same in rows.values():
        for row in same if len(set(person[same])) > 1 else ():
            yield row, next(other for other in same if person[other] != person[row]), 1.0, True


def _similar(captions: Sequence[str], person: NDArray[np.int64]) -> Iterator[tuple[int, int, float, bool]]:
    """(row, row of a caption of another person that says the same, Text-IoU, False)."""
    said: dict[int, _Said] = {}
    for first, second, iou in similar_pairs(PhraseIndex(captions), NEAR):
        if person[first] != person[second] and min(person[first], person[second]) >= 0:
            for row in (first, second):
                if row not in said:
                    said[row] = _said(captions[row])
            if said[first].same(said[second]):
                yield first, second, iou, False
                yield second, first, iou, False


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
