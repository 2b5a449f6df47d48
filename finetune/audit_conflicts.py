"""Conflicts between the captions of one photograph: colours of one thing that nobody takes for one another."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import product
from typing import NamedTuple

from huecry.data.captions import NEIGHBOURS, Reading, Span, find_spans
from huecry.data.lexicon import ADJECTIVES, NOUNS
from huecry.data.subjects import definite

_ZONES = {noun.head: noun.zone for noun in NOUNS.values()}
_UPPER = {head for head, zone in _ZONES.items() if zone == "upper"} - {"sleeves", "collar", "hood", "bra"}
_LOWER = {head for head, zone in _ZONES.items() if zone == "lower"}
_WHOLE = {"dress", "suit", "jumpsuit", "uniform", "robe"}
_FEET = {"shoes", "boots", "sandals", "heels", "flats"}
_BAGS = {"bag", "tote bag", "shoulder bag", "handbag", "backpack", "suitcase", "briefcase"}
_CARRIED = _BAGS | {"umbrella"}
_ONCE = (
    _CARRIED
    | {"belt", "mask", "watch", "glasses", "sunglasses"}
    | {head for head, zone in _ZONES.items() if zone in ("head", "neck", "hands")}
)
"""What is no garment, and what a person has one of, or a pair."""


class _Kin(NamedTuple):
    """Names that two writers may give one thing, where each names only one `among` those that it could be."""

    names: set[str]
    among: set[str]


_KIN = (
    _Kin({"shirt", "t-shirt", "top", "blouse", "polo shirt", "tank top"}, _UPPER | _WHOLE),
    _Kin({"hoodie", "sweatshirt", "sweater", "top"}, _UPPER | _WHOLE),
    _Kin({"coat", "jacket", "blazer"}, {"coat", "jacket", "blazer", "vest", "cardigan", "shawl", "robe"}),
    _Kin({"trousers", "jeans", "leggings"}, _LOWER | _WHOLE),
    _Kin(_FEET, _FEET),
    _Kin({"hat", "cap"}, {"hat", "cap", "helmet", "headband", "headscarf"}),
    _Kin({"bag", "tote bag", "shoulder bag", "handbag"}, _BAGS),
    *(_Kin({head}, _BAGS) for head in ("backpack", "suitcase", "briefcase")),
    _Kin({"umbrella"}, {"umbrella"}),
)
_TAKEN_FOR = {
    "pink": {"salmon", "coral", "peach", "nude", "lavender", "lilac", "violet", "periwinkle"},
    "yellow": {"tan", "camel", "sand", "cream", "ivory", "khaki", "lime"},
    "orange": {"tan", "camel", "caramel", "chestnut", "copper", "bronze"},
    "red": {"rust", "chestnut", "copper"},
    "brown": {"rust", "brick", "maroon", "burgundy", "oxblood", "gold", "golden", "mustard", "olive", "army"},
    "beige": {"salmon", "peach", "gold", "golden", "mustard", "olive", "army"},
    "green": {"khaki"},
    "blue": {"lavender", "lilac", "violet", "periwinkle", "slate", "charcoal", "gunmetal", "mint"},
    "navy": {"slate", "charcoal", "gunmetal"},
    "purple": {"indigo"},
    "maroon": {"plum"},
    "gray": {"taupe"},
}
"""Hue -> words for colours that are taken for it, besides those of its neighbours."""
_SHADES = {
    "dark": ("black", {"green", "brown", "purple", "teal"}),
    "light": ("white", {"green", "blue", "purple", "teal", "pink", "yellow"}),
}
"""Modifier -> a hue, and those that with the modifier are taken for it."""
_PATTERNS = {"stripes", "checks", "dots", "flowers", "pattern", "sleeves", "patch"}
_HAS = re.compile(r"[^.;:!?]*\bwith\b[^.;:!?]*", re.IGNORECASE)
_SOLE = re.compile(r"\W+(?:[a-z]+\W+)?(?:bottom|bottoms|underside)\b", re.IGNORECASE)


class _Colour(NamedTuple):
    """A colour that a caption gives a thing, and the hues that it is taken for."""

    hue: str
    like: frozenset[str]

    def agrees(self, other: _Colour) -> bool:
        """Whether two writers may mean the same colour."""
        return self.hue in ("multi", other.hue, *other.like) or other.hue in ("multi", *self.like)


class _Told:
    """What a caption tells of things that a person has one of: noun -> its `colours`, and which it has `named`."""

    def __init__(self, caption: str) -> None:
        self.caption = caption
        self.colours: dict[str, list[_Colour]] = defaultdict(list)
        garment: Span | None = None
        for span in find_spans(caption):
            if not (span.scored and span.hue and span.noun) or _SOLE.match(caption, span.end):
                continue  # as in "black shoes with white bottoms"
            if garment and garment.noun and span.noun in _PATTERNS and _HAS.fullmatch(caption, garment.end, span.start):
                self.colours[garment.noun].append(_colour(span, caption))  # "a white dress with red flowers"
            if (span.tag == "garment" and span.zone) or span.noun in _ONCE:
                self.colours[span.noun].append(_colour(span, caption))
                garment = garment if span.noun in _PATTERNS else span

    @cached_property
    def named(self) -> Counter[str]:
        """How many of each thing there are, not counted again as "the hat" or "his hat"."""
        reading, found, index = Reading(self.caption), Counter[str](), 0
        others = reading.others()
        while index < len(reading.words):
            noun, adjective = reading.look_up(index, NOUNS), reading.look_up(index, ADJECTIVES)
            if noun is None or (adjective and adjective[0] > noun[0]):
                index += 1
                continue
            last, (head, *_) = reading.compound(*noun)
            absent = reading.negated(index) or any(a <= reading.words[index].start < b for a, b in others)
            if not absent and not (found[head] and definite(reading, last)):
                found[head] += 2 if head in _CARRIED and reading.words[last].text.endswith("s") else 1  # "bags"
            index = last + 1
        return found

    def one(self, among: set[str]) -> bool:
        """Whether it names exactly one of some things."""
        return sum(self.named[head] for head in among) == 1


def conflicts(captions: Sequence[str]) -> Iterator[str]:
    """Evidence for each thing that two captions of one photograph give colours that nobody takes for one another."""
    told = [_Told(caption) for caption in captions]
    found: dict[str, str] = {}
    for second, two in enumerate(told):
        for first, one in enumerate(told[:second]):
            for noun, other in product(one.colours, two.colours):
                if found.keys() & {noun, other} or not _same(one, noun, two, other):
                    continue
                left, right = one.colours[noun], two.colours[other]
                if not any(a.agrees(b) for a in left for b in right):
                    called = "" if noun == other else f"{other}: "
                    evidence = f"{noun}: {_hues(left)} in caption {first}, {called}{_hues(right)} in caption {second}"
                    found |= {noun: evidence, other: evidence}
    yield from dict.fromkeys(found[noun] for noun in sorted(found))


def _same(one: _Told, noun: str, two: _Told, other: str) -> bool:
    """Whether two captions speak of one thing, by one name or by two."""
    if noun == other and noun not in _CARRIED:
        return True
    return any({noun, other} <= kin.names and one.one(kin.among) and two.one(kin.among) for kin in _KIN)


def _colour(span: Span, caption: str) -> _Colour:
    hue, words = str(span.hue), re.findall("[a-z]+", caption[span.start : span.end].lower())
    like = {*NEIGHBOURS[hue], *(other for other, names in _TAKEN_FOR.items() if not names.isdisjoint(words))}
    if span.noun == "jeans":
        like.add("gray")  # so denim fades
    other, shaded = _SHADES.get(span.modifier, (hue, set()))
    return _Colour(hue, frozenset({*like, other} if hue in shaded else like))


def _hues(colours: Sequence[_Colour]) -> str:
    return " and ".join(sorted({colour.hue for colour in colours}))
