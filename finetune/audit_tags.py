"""Tags of a caption: negation, hedge, bystander, left and right, action; each with the characters that show it.

Words alone decide, on raw text: no tagger, no model. A tag says what makes a caption hard for retrieval, not that it is
wrong.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from huecry.data.captions import Reading
from huecry.data.lexicon import NOUNS, PLAIN
from huecry.data.negation import negations
from huecry.finetune.audit_actions import actions
from huecry.finetune.audit_bystanders import bystanders

Span = tuple[int, int]


def _any(words: str | list[str]) -> str:
    """A group that matches any of some words, the longest first."""
    listed = words.split() if isinstance(words, str) else words
    return f"(?:{'|'.join(sorted(listed, key=len, reverse=True))})"


def _compiled(*alternatives: str) -> re.Pattern[str]:
    """Whole words that match one of the alternatives, in any case."""
    return re.compile(rf"\b(?:{'|'.join(alternatives)})\b", re.IGNORECASE)


_COLOUR = rf"(?:(?:light|dark|bright|pale|deep)[ -])?{_any(list(PLAIN))}"
_HEDGE = _compiled(
    _any("maybe perhaps possibly probably presumably apparently seemingly supposedly potentially likely might"),
    "may (?:or may not|be|have|also)",
    "could (?:be|have)",
    "must be",
    r"(?:appear|seem)(?:s|ed|ing)? (?:to|as|like|(?!(?:in|on|at|from|over|above|under|below|behind|next)\b)\w+)",
    "(?:it )?looks? (?:like|as if|as though|to be)",
    "looking like",
    "what looks",
    "guess(?:ing)?",
    "i (?:think|believe|assume)",
    "(?:not|un)[ -]?(?:sure|clear|certain)",
    "(?:hard|difficult) to (?:tell|see|say|make)",
    "(?:can(?:not|['’]?t)|unable to) (?:tell|make out|determine|be determined)",
    "as far as (?:i|one) can",
    "(?:some|a) (?:kind|sort|type) of",
    "(?:sort|kind) of",
    "something (?:like|resembling)",
    "resembl(?:es?|ing)",
    "or (?:something|maybe|possibly|perhaps|some)",
    r"either\b[^.;]{1,60}?\bor",
    rf"{_COLOUR}(?: colou?r(?:ed)?)? or (?:an? )?{_COLOUR}",
)
_DOUBT = re.compile(r"\(\?+\)")
_CHOICE = re.compile(r"\b([a-z-]+) or (?:an? |his |her |the )?(?:[a-z-]+ )?([a-z-]+)\b", re.IGNORECASE)

_SIDE = _compiled("(?:left|right)(?:[ -]?(?:hand(?:ed)?|most|wards?))?")
_OTHER_LEFT = re.compile(
    r"\bleft\s+(?:open|loose|alone|hanging|un\w+)\b"
    r"|\b(?:is|are|was|were|has|have|had|being|been|hair)\s+left\s+(?:out|over|down|long|in)\b",
    re.IGNORECASE,
)
_PLACES = _any(
    "behind next after before now above below beneath under underneath away there here at up down off out past through "
    "across around beside near by where size colou?r amount about"
)
_OTHER_RIGHT = re.compile(
    rf"\bright\s+(?:in front|on top|{_PLACES})\b"
    r"|\b(?:just|all|angles?)\s+right\b",
    re.IGNORECASE,
)


def tags(caption: str) -> Iterator[tuple[str, Span]]:
    """(rule, characters) of every tag of a caption, rule by rule, from left to right; one rule's never overlap."""
    for rule, spans in (
        ("negation", negations(caption)),
        ("hedge", _hedges(caption)),
        ("bystander", bystanders(caption)),
        ("left_right", _sides(caption)),
        ("action", actions(caption)),
    ):
        end = -1
        for span in sorted(spans):
            if span[0] >= end:
                yield rule, span
                end = span[1]


def _within(place: int, spans: list[Span]) -> bool:
    return any(first <= place < last for first, last in spans)


def _hedges(caption: str) -> Iterator[Span]:
    yield from (match.span() for pattern in (_HEDGE, _DOUBT) for match in pattern.finditer(caption))
    for match in _CHOICE.finditer(caption):
        if match.group(1).lower() in NOUNS and match.group(2).lower() in NOUNS:
            reading = Reading(caption)
            number = next((n for n, word in enumerate(reading.words) if word.start >= match.start()), 0)
            if not reading.negated(number):  # "no hat or bag" leaves no choice
                yield match.span()


def _sides(caption: str) -> Iterator[Span]:
    others = [match.span() for pattern in (_OTHER_LEFT, _OTHER_RIGHT) for match in pattern.finditer(caption)]
    for match in _SIDE.finditer(caption):
        if not _within(match.start(), others):
            yield match.span()
