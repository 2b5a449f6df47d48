"""Which noun a colour is said of that stands behind it: "his hair is black", "the shirt he wears is red"."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from huecry.data.lexicon import ADJECTIVES, LEXICON, NOUNS, STOPS, Noun

if TYPE_CHECKING:
    from huecry.data.captions import Reading

_LINKS, _HEDGES, _MATERIALS, _AMOUNTS = (
    frozenset(LEXICON[name]) for name in ("links", "hedges", "materials", "amounts")
)
_BEFORE_LINKS = _HEDGES | {"that", "which", "color", "to", "appear", "appears", "seem", "seems", "look", "looks"}
_KNOWN = frozenset(LEXICON["determiners"]) - {"a", "an", "no"} | {"s"}
_KINDS = {
    "P": "of on in at with by from to up down around over across under underneath beneath below inside along behind",
    "D": "the a an this his her their its both",
    "R": "that which",
    "S": "he she they",
    "V": "wears wear wearing wore carries carry carrying holds hold holding has have had is was are were got",
    "W": "worn carried held tied wrapped slung draped hanging tucked",
    "N": " ".join(key for key, noun in NOUNS.items() if noun.head == "person"),
}
_KIND = {word: kind for kind, words in _KINDS.items() for word in words.split()}
_BETWEEN = re.compile(r"(?:W?PD?[CN]{1,4}|(?:S|D[CN]{1,2})C?[VW]{1,3}P?|R[^x]{1,8})+")
"""What stands between a noun and its verb, a letter for a word: "of the student", "worn by him", "that she has on"."""
_FARTHEST = 10
"""Words that may stand there."""


def said_of(reading: Reading, first: int) -> Noun | None:
    """The noun that the colour beginning at a word is said of: "his hair is black", "a shirt in blue"."""
    words, index = reading.words, first - 1
    while index > 0 and not reading.pauses(index + 1):
        word = words[index].text
        if word in _LINKS:
            return _subject(reading, index)
        if word in ("in", "of") and words[index - 1].text not in _AMOUNTS:
            return _clothed(reading, index, first)
        if not (index in reading.owner or word in _HEDGES or word in ADJECTIVES or word in ("and", "or")):
            break
        index -= 1
    return None


def _clothed(reading: Reading, joint: int, first: int) -> Noun | None:
    """The noun before "in" or "of": "a shirt in blue", "a bag made of black leather", "the cap is in red"."""
    words = reading.words
    last = joint - (2 if words[joint - 1].text == "made" else 1)
    if last > 0 and words[last].text in _LINKS:
        noun = _subject(reading, last)
        return noun if noun and noun.tag not in ("person", "scene") else None
    noun = reading.ending(last)
    if noun is None or [word.text for word in words[joint : joint + 2]] in (["of", "a"], ["of", "an"]):
        return None  # "the picture of a white bird"
    after = reading.colours[reading.owner[first]][1] + 1
    article = words[joint + 1].text in ("a", "an")
    if article and after + 1 in reading.owner and words[after].text in ("and", "or"):
        return None  # "hair in a bun in a blue and green shirt"
    of_leather = after < len(words) and words[after].text in _MATERIALS
    return noun if dressed_in(noun) or (noun.tag == "accessory" and of_leather) else None


def dressed_in(noun: Noun) -> bool:
    """Whether a noun is hair or something worn, of which a colour behind it is said: "a hat in red", "hair black"."""
    return noun.tag in ("garment", "hair") or noun.zone in ("head", "neck", "hands")


def _subject(reading: Reading, verb: int) -> Noun | None:
    """The noun that a verb is said of; a clause that begins with "which" is about the nearest thing."""
    words, last = reading.words, verb - 1
    while last >= 0 and words[last].text in _BEFORE_LINKS:
        last -= 1 + (words[last].text == "color" and words[last - 1].text == "s")  # "the coat's color is"
    found, between = reading.ending(last), ""
    if words[verb].text == "s":
        return found if found and found.tag != "person" else None  # "the man's black and white shirt"
    if last > 0 and reading.lists(verb):
        return _before_aside(reading, last)
    nearest = words[verb - 1].text in ("that", "which")
    for index in range(last, max(last - _FARTHEST, 0), -1):
        if reading.pauses(index) or reading.lists(index) or (nearest and found and found.tag != "person"):
            break
        between = _kind(words[index].text) + between
        if _BETWEEN.fullmatch(between) and (nearest or definite(reading, index - 1)):
            found = reading.ending(index - 1) or (None if _part(reading, index) else found)
    return found


def _before_aside(reading: Reading, last: int) -> Noun | None:
    """The noun before what stands between two commas and ends in a word: "her blouse, tucked in, is white"."""
    for index in range(last, max(last - _FARTHEST, 0), -1):
        if reading.pauses(index) or reading.lists(index):
            return reading.ending(index - 1) if definite(reading, index - 1) else None
    return None


def _part(reading: Reading, index: int) -> bool:
    """Whether the words before and at a place make what follows a whole: "the brim of the hat", "the inside of"."""
    word = reading.words[index - 1].text
    thing = _kind(word) == "C" or word in ("inside", "outside")
    return thing and word not in _AMOUNTS and reading.words[index].text == "of"


def definite(reading: Reading, last: int) -> bool:
    """Whether the phrase that ends at a word is about something known: "the hat", "his hat", not "a hat"."""
    for index in range(last, 0, -1):
        if reading.pauses(index) or reading.lists(index):
            break
        before = reading.words[index - 1].text
        if before in STOPS or before == "s":
            return before in _KNOWN
    return True


def _kind(word: str) -> str:
    return _KIND.get(word) or ("x" if word in STOPS else "C")
