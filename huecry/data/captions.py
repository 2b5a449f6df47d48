"""Colour words in captions: where they are, what they mean, and captions without them.

A span is a colour with its modifiers: "dark blue" in "a dark blue t-shirt". The longest match counts, then the
leftmost. Every span is masked. Scored are those that say of which colour something is that the person wears, has or
stands by; the words are those of `huecry.data.lexicon`.

Masked but not scored, because the picture does not answer for them: the colour of a person or of skin ("a black man");
another sense ("orange juice", "gold medal", "a coffee"); a modifier without a hue ("light-colored", "dark pants"); what
is not there ("no red bag", `negated`); what somebody else wears ("next to a man in a red shirt", `bystander`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

import numpy as np

from huecry.data.lexicon import (
    ADJECTIVES,
    FIRST_PARTS,
    LEXICON,
    NOUNS,
    SEVERAL,
    SINGLE,
    STOPS,
    Form,
    Noun,
    joined,
    words,
)
from huecry.data.lexicon import MODIFIERS as MODIFIER_WORDS
from huecry.data.subjects import dressed_in, said_of
from huecry.data.tokens import MASK, encode

MODIFIERS: tuple[str, ...] = ("none", "light", "dark", "bright")
HUES: tuple[str, ...] = tuple(hue for hue in LEXICON["hues"] if hue != "tone")
"""The hue classes that can be scored, in the order of the lexicon."""
NEIGHBOURS: dict[str, tuple[str, ...]] = {
    hue: tuple(b if a == hue else a for a, b in LEXICON["neighbours"] if hue in (a, b)) for hue in HUES
}
"""Hue -> the hues that annotators take it for."""


@dataclass(frozen=True, slots=True)
class Span:
    """A colour in a caption.

    start, end: character offsets in the raw caption. hue: of HUES, None for a modifier without a hue. modifier: of
    MODIFIERS. noun: the head noun by its name in the lexicon (singular; in pairs "shoes", "trousers"), or None. tag:
    garment, hair, accessory, scene, person or unknown. scored: whether it gives a target. negated: the caption says
    that it is not there. bystander: it is somebody else's.
    """

    start: int
    end: int
    hue: str | None
    modifier: str
    noun: str | None
    tag: str
    scored: bool
    negated: bool = False
    bystander: bool = False

    @property
    def zone(self) -> str | None:
        """Where the noun is worn: upper, lower, feet, whole, hair, head, neck, hands or carried; else None."""
        return (NOUNS[joined(self.noun)].zone or None) if self.noun else None


_STARTS = FIRST_PARTS | SINGLE.keys()
_HALVES, _PARTS, _THINGS, _NEGATIONS, _DETERMINERS, _HANDLING = (
    frozenset(LEXICON[name]) for name in ("first_halves", "parts", "things", "negations", "determiners", "handling")
)
_BARE = frozenset(LEXICON["bare"]["words"])
_BASIC = {hue: {hue} for hue in HUES} | {"gray": {"gray", "grey"}}
_SOFT = re.compile(r"\s*[-‐‑‒–]?\s*")
_PAUSE = re.compile(r"[.;:!?()\[\]]")
_TELEGRAM = re.compile(r"\s*[-:(–]?\s*")
_LIST = re.compile(r"[,&+]|(?<!\d)/")
_PERSON = "|".join(sorted((re.escape(key) for key, noun in NOUNS.items() if noun.head == "person"), key=len))
_BYSTANDER = re.compile(
    rf"\b(?:{'|'.join(LEXICON['beside'])})\s+(?:an?|the|another|other|two|some|his|her|their)\s+((?:[a-z]+\s+){{0,2}}?)"
    rf"(?:{_PERSON})\b(?:\s+([a-z]+))?",
    re.IGNORECASE,
)
_SUBJECT = re.compile(rf"\b(?:{_PERSON}|he|she|they)\b", re.IGNORECASE)
# From here on the talk is of the first person again.
_BACK = re.compile(
    r"[.;!?]|(?<!who )(?<!that )\b(?:(?:he|she|they)\s+(?:is|are|has|have|was|wears|carries|holds)"
    r"|(?:and|while)\s+(?:is\s+)?(?:wear|carr|hold|dress|has\b|is\b)|(?:is|are)\s+(?:wearing|carrying|holding|dressed))"
    r"|,\s*(?:and\s+)?(?:is\s+)?(?:wearing|carrying|holding|dressed)\b",
    re.IGNORECASE,
)
T = TypeVar("T")


class Reading:
    """One caption being read.

    words: its words. colours: (first word, last word, form) of each colour. owner: word -> number of its colour.
    """

    def __init__(self, caption: str) -> None:
        self.caption = caption
        self.words = list(words(caption))
        self.colours: list[tuple[int, int, Form]] = []
        self.owner: dict[int, int] = {}
        index = 0
        while index < len(self.words):
            index = self._enter(index)

    def gap(self, index: int) -> str:
        """What stands between a word and the one before it."""
        return self.caption[self.words[index - 1].end : self.words[index].start]

    def pauses(self, index: int) -> bool:
        """Whether a sentence ends before a word, or a bracket stands there."""
        return _PAUSE.search(self.gap(index)) is not None

    def lists(self, index: int) -> bool:
        """Whether a comma or the like stands before a word."""
        return _LIST.search(self.gap(index)) is not None

    def soft(self, index: int) -> bool:
        """Whether a word follows, with no more than space and a hyphen before it."""
        if not 0 < index < len(self.words):
            return False
        gap = self.gap(index)
        return gap == " " or _SOFT.fullmatch(gap) is not None

    def look_up(self, index: int, table: Mapping[str, T]) -> tuple[int, T] | None:
        """The longest run of at most three words from here that a table knows: (last word, entry)."""
        key = self.words[index].text
        found = (index, table[key]) if key in table else None
        for last in (index + 1, index + 2):
            if not self.soft(last):
                break
            key += self.words[last].text
            if key in table:
                found = (last, table[key])
        return found

    def form(self, index: int) -> tuple[int, Form] | None:
        """The colour that begins at a word: (last word, form)."""
        word = self.words[index].text
        found = (index, SINGLE[word]) if word in SINGLE else None
        if word in FIRST_PARTS:
            found = self.look_up(index, SEVERAL) or found
            if found is None and word in MODIFIER_WORDS and self.soft(index + 1):
                inner = self.form(index + 1)
                if inner and inner[1].hue != "tone":
                    last, (hue, modifier) = inner
                    found = last, Form(hue, MODIFIER_WORDS[word] if modifier == "none" else modifier)
        return found

    def _enter(self, index: int) -> int:
        """Enter the colour that begins at a word, if one does; the word to go on with."""
        found = self.form(index) if self.words[index].text in _STARTS else None
        if found is None:
            return index + 1
        last, form = found
        basic = _BASIC.get(form.hue, set())
        # "charcoal grey", "olive green": a fine name before the plain one of its class is one colour.
        if self.soft(last + 1) and self.words[last + 1].text in basic and self.words[last].text not in basic:
            last += 1
        self.owner.update(dict.fromkeys(range(index, last + 1), len(self.colours)))
        self.colours.append((index, last, form))
        return last + 1

    def ahead(self, last: int) -> tuple[Noun | None, bool]:
        """The noun that the colour ending at a word stands before, and whether an "and" or comma lies between."""
        index, skipped, crossed = last + 1, 0, False
        while index < len(self.words) and skipped < 4:
            word = self.words[index].text
            if self.pauses(index):
                break
            if self.lists(index) or word in ("and", "or"):
                crossed = True
                index += word in ("and", "or")
                if skipped or not self.describes(index):
                    break
            if index in self.owner:
                index = self.colours[self.owner[index]][1] + 1
                continue
            noun, adjective = self.look_up(index, NOUNS), self.look_up(index, ADJECTIVES)
            if adjective and (noun is None or adjective[0] > noun[0]):
                index = adjective[0] + 1
            elif word in MODIFIER_WORDS and self.soft(index + 1) and self.look_up(index + 1, NOUNS):
                index += 1  # "a pink light jacket"
            elif noun:
                return self.compound(*noun)[1], crossed
            elif self.purpose(index) or (word == "of" and self.words[index - 1].text == "pair"):
                index += 1
            elif word in STOPS or word.endswith("ing"):
                break
            else:
                index, skipped = index + 1, skipped + 1
        return None, crossed

    def describes(self, index: int) -> bool:
        """Whether a word begins a colour, or an adjective of clothes or hair."""
        return index in self.owner or (index < len(self.words) and self.look_up(index, ADJECTIVES) is not None)

    def purpose(self, index: int) -> bool:
        """Whether a word in -ing describes what follows: "black cycling shorts", but not "in black wearing shorts"."""
        word = self.words[index].text
        if not word.endswith("ing") or word in _HANDLING or not (self.soft(index) and self.soft(index + 1)):
            return False
        before, noun = self.words[index - 1].text, self.look_up(index + 1, NOUNS)
        described = index - 1 in self.owner or before in ADJECTIVES or before in _DETERMINERS
        return described and noun is not None and bool(noun[1].zone) and noun[1].zone != "carried"

    def compound(self, last: int, noun: Noun) -> tuple[int, Noun]:
        """Last word and head of what begins with a noun ending at a word: "dress shoes", "a man's coat"."""
        while True:
            after = last + 1
            if noun.tag == "person" and after < len(self.words) and self.gap(after) in ("'", "’"):
                after += 1
            if not (self.soft(after) and after not in self.owner):
                return last, noun
            found = self.look_up(after, NOUNS)
            if found is None or found[1].tag == "person":
                return last, noun
            possessive = noun.tag == "person" and (after > last + 1 or self.words[last].text.endswith("s"))
            if not (possessive or noun.head in _HALVES or (noun.tag == "garment" and found[1].head in _PARTS)):
                return last, noun
            last, noun = found

    def noun(self, first: int, last: int) -> Noun | None:
        """The noun that the colour from a first to a last word belongs to."""
        if self.words[last].text in NOUNS:
            return NOUNS[self.words[last].text]  # "khakis"
        noun, crossed = self.ahead(last)
        if noun is None or crossed:
            noun = said_of(self, first) or noun
        if noun is None and first and _TELEGRAM.fullmatch(self.gap(first)):
            noun = self.ending(first - 1)  # "hair black", "shirt: red"
            noun = noun if noun and dressed_in(noun) else None
        return noun

    def ending(self, last: int) -> Noun | None:
        """The longest noun that ends at a word."""
        for first in range(max(last - 2, 0), last + 1):
            found = self.look_up(first, NOUNS) if first not in self.owner else None
            if found and found[0] == last:
                return found[1]
        return None

    def negated(self, first: int) -> bool:
        """Whether the caption says that what begins at a word is not there."""
        for index in range(first - 1, max(first - 7, -1), -1):
            word, after = self.words[index].text, self.words[index + 1].text
            if re.search(r"[.,;:!?()]", self.gap(index + 1)):
                return False
            if word in _NEGATIONS:
                return True
            if word in ("and", "or", "nor"):
                # "no black or white bag", "no hat or bag"
                if index - 1 not in self.owner and (word == "and" or self.words[index - 1].text not in NOUNS):
                    return False
            elif word in ("but", "with", "while", "only") or (word in NOUNS and after not in ("or", "nor")):
                return False
        return False

    def other_sense(self, first: int, last: int) -> bool:
        """Whether the word before or after shows that no colour is meant: "ice cream", "orange juice"."""
        word = self.words[last].text
        if first and self.words[first - 1].text in LEXICON["senses_before"].get(word, ()):
            return True
        after = LEXICON["senses"].get(word)
        if after is None:
            return False
        index = last + 1
        while index in self.owner or (index + 1 in self.owner and self.words[index].text == "and"):
            index += 1
        return index < len(self.words) and self.words[index].text in after

    def others(self) -> list[tuple[int, int]]:
        """Character ranges that speak of a second person."""
        found = []
        for match in _BYSTANDER.finditer(self.caption):
            told = [*match.group(1).lower().split(), (match.group(2) or "").lower()]
            if _SUBJECT.search(self.caption, 0, match.start()) and not any(word in NOUNS for word in told):
                end = _BACK.search(self.caption, match.start())
                found.append((match.start(), end.start() if end else len(self.caption)))
        return found


@lru_cache(maxsize=1 << 14)
def find_spans(caption: str) -> tuple[Span, ...]:
    """The colours of a caption in order; they never overlap. Any text will do."""
    reading = Reading(caption)
    others = reading.others() if reading.colours else []
    spans = [_span(reading, *colour, others) for colour in reading.colours]
    for index, word in enumerate(reading.words):
        if word.text in _BARE and index not in reading.owner and not reading.other_sense(index, index):
            noun, _ = reading.ahead(index)
            if noun and noun.zone in LEXICON["bare"]["zones"]:
                spans.append(Span(word.start, word.end, None, MODIFIER_WORDS[word.text], noun.head, noun.tag, False))
    return tuple(sorted(spans, key=lambda span: span.start))


def _span(reading: Reading, first: int, last: int, form: Form, others: list[tuple[int, int]]) -> Span:
    words = reading.words
    noun = reading.noun(first, last)
    if form.hue == "blond" and (noun is None or noun.head == "person"):
        noun = NOUNS["hair"]
    tag = noun.tag if noun else "unknown"
    sense = reading.other_sense(first, last)
    thing = noun is None and first == last and words[last].text in _THINGS
    start, end = words[first].start, words[last].end
    negated = reading.negated(first)
    bystander = any(a <= start < b for a, b in others)
    scored = form.hue != "tone" and tag != "person" and not (sense or thing or negated or bystander)
    hue = None if form.hue == "tone" else form.hue
    return Span(start, end, hue, form.modifier, noun.head if noun else None, tag, scored, negated, bystander)


_SWAPPED = tuple(hue for hue in HUES if hue not in ("multi", "blond"))
_WRITTEN = {"multi": "multicolored"}
_ARTICLE = re.compile(r"\b(an?)(\s+)$", re.IGNORECASE)


def mask_colours(caption: str) -> tuple[list[int], list[int]]:
    """Token ids of a caption without start and end, one MASK in place of each span, and the positions of the masks.

    The pieces between the spans are tokenised apart, and "an" before a span is read as "a" (it would tell orange from
    red), so that the ids tell nothing of a colour, not even its length.
    """
    ids: list[int] = []
    positions: list[int] = []
    done = 0
    for span in find_spans(caption):
        ids += encode(_ARTICLE.sub(r"a\2", caption[done : span.start]))
        positions.append(len(ids))
        ids.append(MASK)
        done = span.end
    return [*ids, *encode(caption[done:])], positions


def swap_colours(
    caption: str, generator: np.random.Generator, share: float
) -> tuple[list[int], list[tuple[int, bool]]]:
    """Token ids of a caption, without start and end, in which a share of the scored colours are wrong.

    Also (position of its last token, whether it was swapped) of each. A wrong colour is one that the caption names for
    something else, half of the time and where there is one, or any; never one that annotators confuse with the right
    one. Right and wrong colours are written alike, as the plain name of the hue after "a", never "an": the words alone
    do not tell them apart.
    """
    spans = [span for span in find_spans(caption) if span.scored and span.hue is not None]
    ids: list[int] = []
    found: list[tuple[int, bool]] = []
    done = 0
    for span in spans:
        right = str(span.hue)
        wrong = [hue for hue in _SWAPPED if hue not in (right, *NEIGHBOURS[right])]
        here = sorted({str(other.hue) for other in spans} & set(wrong))
        swapped, from_here, lot = generator.random() < share, generator.random() < 0.5, generator.random()
        choices = here if here and from_here else wrong
        hue = choices[int(lot * len(choices))] if swapped else right
        ids += encode(_ARTICLE.sub(r"a\2", caption[done : span.start]))
        ids += encode(_WRITTEN.get(hue, hue))
        found.append((len(ids) - 1, bool(swapped)))
        done = span.end
    return [*ids, *encode(caption[done:])], found


def replace_colour(caption: str, span: Span, word: str) -> str:
    """The caption with another colour word in a span's place; "a" or "an" before it is mended, capitals are kept."""
    before, old, after = caption[: span.start], caption[span.start : span.end], caption[span.end :]
    article = _ARTICLE.search(before)
    if article:
        right = "an" if word[:1].lower() in "aeiou" else "a"
        said = article.group(1)
        right = right.upper() if old.isupper() and said.isupper() else right
        right = right.capitalize() if said[0].isupper() and not right.isupper() else right
        before = before[: article.start()] + right + article.group(2)
    if old.isupper():
        word = word.upper()
    elif old[:1].isupper():
        word = word[:1].upper() + word[1:]
    return before + word + after
