"""The words of captions: colours, nouns and adjectives, and slips of the pen, from `lexicon.yaml` and `vocabulary.txt`.

Keys of the tables are lower case with the parts of compounds joined: "tshirt", "offwhite".
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from importlib.resources import files
from typing import Any, NamedTuple

import yaml


def _read(name: str) -> str:
    return (files("huecry.data") / name).read_text(encoding="utf-8")


LEXICON: dict[str, Any] = yaml.load(_read("lexicon.yaml"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


class Noun(NamedTuple):
    """What is known of a noun: its head form, tag and zone ("" for none)."""

    head: str
    tag: str
    zone: str


class Form(NamedTuple):
    """What a surface form of a colour means: hue class (or "tone") and modifier."""

    hue: str
    modifier: str


class Word(NamedTuple):
    """A word of a caption in lower case, its spelling mended, and its character offsets."""

    text: str
    start: int
    end: int


def joined(form: str) -> str:
    """A form with its parts joined: "t-shirt" -> "tshirt"."""
    return re.sub(r"[\s-]", "", form)


def plural(word: str) -> str:
    """The regular plural of a word."""
    if word.endswith(("s", "x", "ch", "sh")):
        return word + "es"
    return word[:-1] + "ies" if re.search(r"[^aeiou]y$", word) else word + "s"


def _nouns() -> dict[str, Noun]:
    found: dict[str, Noun] = {}
    for tag, zones in LEXICON["nouns"].items():
        for zone, heads in zones.items():
            for head, others in heads.items():
                for form in (head, *others):
                    for key in (form, plural(form)):
                        found.setdefault(joined(key), Noun(head, tag, zone))
    return found


NOUNS: dict[str, Noun] = _nouns()
"""Every noun in singular and plural -> what is known of it."""
ADJECTIVES: dict[str, str] = {
    joined(form): name for name, others in LEXICON["adjectives"].items() for form in (name, *others)
}
"""Every adjective of clothes and hair -> its name in the lexicon."""
STOPS = frozenset(LEXICON["stops"])
"""Words that no phrase runs across."""
MODIFIERS: dict[str, str] = LEXICON["modifiers"]
"""Modifier words -> light, dark or bright."""
PLAIN: dict[str, str] = {form: hue for hue, forms in LEXICON["hues"].items() for form in forms if " " not in form}
"""Surface forms of one word -> hue class."""

_TONES = MODIFIERS | LEXICON["adverbs"]


def _forms() -> tuple[dict[str, Form], dict[str, Form]]:
    single = {form: Form(hue, "none") for form, hue in PLAIN.items()}
    several = {word + "colored": Form("tone", modifier) for word, modifier in _TONES.items()}
    for hue, forms in LEXICON["hues"].items():
        for form in forms:
            if " " in form:
                several[joined(form)] = Form(hue, MODIFIERS.get(form.split()[0], "none"))
    things = LEXICON["things"]
    single |= {form + "s": entry for form, entry in single.items() if form not in things and not form.endswith("ish")}
    single |= several
    for form, entry in list(single.items()):
        if entry.modifier == "none":
            for word, modifier in MODIFIERS.items():
                single.setdefault(word + form, Form(entry.hue, modifier))
    return single, several


SINGLE, SEVERAL = _forms()
"""Surface forms that stand as one word, and those that may be written as several -> their meaning."""
FIRST_PARTS = frozenset(
    {*_TONES, *(form.split()[0] for forms in LEXICON["hues"].values() for form in forms if " " in form)}
)
"""Words that a form of several words begins with."""

_WORD = re.compile(r"[^\W\d_]+")
_SECOND = [key for key, noun in NOUNS.items() if noun.tag not in ("scene", "person")]
_RUN = re.compile(rf"({'|'.join(sorted(PLAIN, key=len, reverse=True))})({'|'.join((*_SECOND, *PLAIN, 'colored'))})")


def slips(word: str) -> Iterator[str]:
    """Everything at Damerau-Levenshtein distance 1 from a word."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    for at in range(len(word) + 1):
        head, tail = word[:at], word[at:]
        yield from (head + letter + tail for letter in letters)
        if tail:
            yield head + tail[1:]
            yield from (head + letter + tail[1:] for letter in letters if letter != tail[0])
        if tail[1:] and tail[0] != tail[1]:
            yield head + tail[1] + tail[0] + tail[2:]


@lru_cache(maxsize=1)
def spelling() -> tuple[frozenset[str], dict[str, str]]:
    """The words that are right as they stand, and slips of the pen -> the colour word that was meant."""
    known = {*_read("vocabulary.txt").split(), *SINGLE, *_TONES, *STOPS, *NOUNS, *ADJECTIVES}
    known |= {word + ending for word in (*PLAIN, *MODIFIERS) for ending in ("s", "es", "y", "d", "ed", "er", "est")}
    mended: dict[str, str] = {}
    # Words of four letters have too many neighbours, on either side: "tan", "red", "gold", "lime".
    for word in (*PLAIN, *MODIFIERS, "colored"):
        if len(word) >= 5:
            mended |= {
                slip: word for slip in slips(word) if len(slip) >= 5 and slip not in known and slip not in mended
            }
    return frozenset(known), mended


@lru_cache(maxsize=1 << 10)
def _meant(slip: str) -> str:
    """The colour word that a slip of the pen stands for, or the slip where a word of clothes is as near ("paded")."""
    near = any(word in NOUNS or word in ADJECTIVES for word in slips(slip))
    return slip if near else spelling()[1][slip]


def words(caption: str) -> Iterator[Word]:
    """The words of a caption. One that a hue was run together with ("bluejeans") comes as two."""
    known, mended = spelling()
    for match in _WORD.finditer(caption):
        start, end = match.span()
        text = match.group().lower()
        if "colour" in text:
            text = text.replace("colour", "color")
        if len(text) >= 5 and text not in known:
            text = _meant(text) if text in mended else text
            run = _RUN.fullmatch(text) if len(text) >= 7 else None
            if run and run.end() == end - start:
                middle = start + run.end(1)
                yield Word(run.group(1), start, middle)
                start, text = middle, run.group(2)
        yield Word(text, start, end)
