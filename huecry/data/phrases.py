"""Noun phrases of captions, normalised so that two captions of one person share them: the units of Text-IoU.

Source: Zhao et al., "Weakly Supervised Text-based Person Re-Identification" (CMMT), ICCV 2021, Text-IoU.
A phrase is (determiner) adjectives nouns, found with the lexicon alone: no tagger, no download. Normalised: lower case,
the lexicon's classes of colours (grey = gray, dark blue = navy), adjectives (plaid = checked) and nouns (pants =
trousers, tee = t-shirt, sneakers = shoes; singular, pairs in the plural), no determiners. "no hat" becomes "not_hat",
which never meets "hat". Phrases about persons, hands, the camera or the background are left out, and so are words of
age, origin and skin.

Deviations: a colour told by a verb counts too ("his hair is black": "black hair"). Inside a phrase unknown words are
kept ("a paisley scarf"), for they tell persons apart best.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Iterator

from huecry.data.captions import Reading
from huecry.data.lexicon import ADJECTIVES, LEXICON, MODIFIERS, NOUNS, STOPS, Form
from huecry.errors import UserError

Chunker = Callable[[str], Iterable[str]]

_DETERMINERS, _FILLERS, _HEADLESS, _NEVER, _NEGATIONS = (
    frozenset(LEXICON[name]) for name in ("determiners", "fillers", "phrase_stops", "never", "negations")
)
_STRANGERS = 3  # unknown words that a phrase may hold in a row


def phrases(caption: str, chunker: Chunker | None = None) -> frozenset[str]:
    """The normalised noun phrases of a caption: "A short black shirt, no hat" -> {"short black shirt", "not_hat"}.

    chunker: finds the raw phrases of a caption; by default the lexicon does.
    """
    reading = Reading(caption)
    found = set()
    place = 0
    for raw in lexicon_chunker(caption) if chunker is None else chunker(caption):
        at = caption.find(raw, place)
        first = next((index for index, word in enumerate(reading.words) if word.start >= at >= 0), 0)
        found.add(normalised(raw, reading.negated(first)))
        place = at + len(raw) if at >= 0 else place
    if chunker is None:
        found.update(_said_by_verbs(reading))
    return frozenset(found - {""})


def words(caption: str, chunker: Chunker | None = None) -> frozenset[str]:
    """The words inside the normalised noun phrases of a caption."""
    return frozenset(word for phrase in phrases(caption, chunker) for word in phrase.split())


def lexicon_chunker(caption: str) -> Iterator[str]:
    """The raw noun phrases of a caption: what ends in a noun of the lexicon, with what describes it."""
    reading = Reading(caption)
    first, strangers, index = None, 0, 0
    while index < len(reading.words):
        start, word = index, reading.words[index].text
        joint = word in ("and", "or")
        listed = joint or reading.lists(index)
        if reading.pauses(index) or (listed and (strangers or not reading.describes(index + joint))):
            first = None
        kind, index, _ = _item(reading, index)
        strangers = strangers + 1 if kind == "stranger" else 0
        if word in _DETERMINERS or (first is None and kind in ("noun", "described")):
            first = start
        elif (kind == "stop" and not joint) or strangers > _STRANGERS:
            first = None
        if kind == "noun" and first is not None:
            noun = reading.look_up(start, NOUNS)
            index = reading.compound(*noun)[0] + 1 if noun else index
            yield caption[reading.words[first].start : reading.words[index - 1].end]
            first = None


def _item(reading: Reading, index: int) -> tuple[str, int, str]:
    """What begins at a word (noun, described, stop or stranger), the word after it, and what the lexicon calls it."""
    word = reading.words[index].text
    if index in reading.owner:
        _, last, form = reading.colours[reading.owner[index]]
        itself = NOUNS.get(reading.words[last].text)  # "khakis"
        if itself:
            return "noun", last + 1, f"{_colour(form)} {itself.head}"
        return "described", last + 1, _colour(form)
    noun, adjective = reading.look_up(index, NOUNS), reading.look_up(index, ADJECTIVES)
    if adjective and (noun is None or adjective[0] > noun[0]):
        return "described", adjective[0] + 1, adjective[1].replace(" ", "-")
    if word in MODIFIERS:
        return "described", index + 1, MODIFIERS[word]
    if noun:
        said_alone = noun[0] == index and word in _HEADLESS  # "a picture", not "a back pack"
        return "noun", noun[0] + 1, "" if noun[1].tag == "person" or said_alone else noun[1].head
    if word == "of" and index and reading.words[index - 1].text == "pair":
        return "described", index + 1, ""
    if reading.purpose(index):
        return "described", index + 1, word
    if word in STOPS or word.endswith("ing"):
        return "stop", index + 1, ""
    return "stranger", index + 1, ""


def normalised(raw: str, negated: bool = False) -> str:
    """A raw noun phrase in the words of the lexicon, or "" where it says nothing of clothes, hair or belongings."""
    reading = Reading(raw)
    kept: list[str] = []
    index, head = 0, ""
    while index < len(reading.words):
        word = reading.words[index].text
        kind, index, called = _item(reading, index)
        negated = negated or word in _NEGATIONS
        if kind in ("stranger", "stop"):
            called = _stranger(word)
            if not called:
                continue
        head = "" if called in _HEADLESS else called
        kept.append(head)
    unique = dict.fromkeys(word for part in kept for word in part.split()) if head else {}
    return " ".join(f"not_{word}" if negated else word for word in unique)


def content(caption: str) -> frozenset[str]:
    """The words of a caption, in phrases or not, that are no words of grammar, in the words of the lexicon."""
    reading = Reading(caption)
    found: set[str] = set()
    index = 0
    while index < len(reading.words):
        word = reading.words[index].text
        kind, index, called = _item(reading, index)
        found.update((_stranger(word) if kind in ("stranger", "stop") else called).split())
    return frozenset(found)


def _stranger(word: str) -> str:
    """A word that the lexicon does not know, in the singular, or "" where it has no content."""
    if word in STOPS or word in _FILLERS or word in _NEGATIONS or word in _NEVER or len(word) < 3:
        return ""
    return word[:-1] if word.endswith("s") and not word.endswith("ss") else word


def _colour(form: Form) -> str:
    """What a colour is called: the modifier is told ("light blue") unless the class has it ("dark blue" is navy)."""
    if form.hue == "tone":
        return form.modifier
    inherent = form.modifier == "dark" and form.hue in ("navy", "maroon")
    return form.hue if form.modifier == "none" or inherent else f"{form.modifier} {form.hue}"


def _said_by_verbs(reading: Reading) -> Iterator[str]:
    for first, last, form in reading.colours:
        noun = reading.noun(first, last)
        if noun and noun != reading.ahead(last)[0] and noun.tag != "person":
            yield normalised(f"{_colour(form)} {noun.head}", reading.negated(first))


def spacy_chunker(name: str = "en_core_web_sm") -> Chunker:
    """The noun chunks of a spaCy pipeline, for `phrases` and `words`.

    Raises UserError where spaCy or the pipeline is not installed.
    """
    try:
        spacy = importlib.import_module("spacy")
    except ImportError as error:
        raise UserError("noun phrases by spaCy need spaCy: pip install spacy, or leave the chunker out") from error
    try:
        pipeline = spacy.load(name)
    except OSError as error:
        raise UserError(f"spaCy's pipeline {name} is not installed: python -m spacy download {name}") from error
    return lambda caption: [chunk.text for chunk in pipeline(caption).noun_chunks]
