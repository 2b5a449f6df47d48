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

Span = tuple[int, int]


def _any(words: str | list[str]) -> str:
    """A group that matches any of some words, the longest first."""
    listed = words.split() if isinstance(words, str) else words
    return f"(?:{'|'.join(sorted(listed, key=len, reverse=True))})"


def _compiled(*alternatives: str) -> re.Pattern[str]:
    """Whole words that match one of the alternatives, in any case."""
    return re.compile(rf"\b(?:{'|'.join(alternatives)})\b", re.IGNORECASE)


_PERSON = _any([re.escape(key) for key, noun in NOUNS.items() if noun.head == "person"])
_SEX = "(?:man|woman|boy|girl|guy|lady|male|female)"
_MANY = _any(
    "people men women ladies guys boys girls children kids persons pedestrians individuals adults friends others"
)
_KIN = _any(
    "friend companion girlfriend boyfriend wife husband son daughter mother father mom dad baby child kid "
    "toddler infant partner colleague classmate"
)
_NOT_OWNER = r"(?!['’]s?\b)"  # "a man's coat" is a kind of coat

_COLOUR = rf"(?:(?:light|dark|bright|pale|deep)[ -])?{_any(list(PLAIN))}"
_HEDGE = _compiled(
    _any("maybe perhaps possibly probably presumably apparently seemingly supposedly potentially likely might"),
    "may (?:or may not|be|have|also)",
    "could (?:be|have)",
    "must be",
    r"(?:appear|seem)(?:s|ed|ing)? (?:to|as|like|(?!in\b|on\b|at\b|from\b)\w+)",
    "(?:it )?looks? (?:like|as if|as though|to be)",
    "looking like",
    "what looks",
    "guess(?:ing)?",
    "i (?:think|believe|assume)",
    "(?:not|un)[ -]?(?:sure|clear|certain)",
    "(?:hard|difficult) to (?:tell|see|say|make)",
    "(?:can(?:not|['’]?t)|unable to) (?:tell|see|make out|determine|be seen|be determined)",
    "(?:some|a) (?:kind|sort|type) of",
    "(?:sort|kind) of",
    "or (?:something|maybe|possibly|perhaps|some|other)",
    r"either\b[^.;]{1,60}?\bor",
    rf"{_COLOUR}(?: colou?r(?:ed)?)? or (?:an? )?{_COLOUR}",
)
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

_DOING = (
    "walking strolling striding strutting marching jogging running hurrying rushing stepping standing sitting "
    "seated leaning bending crouching kneeling squatting hunching slouching waiting posing crossing climbing "
    "descending ascending entering exiting leaving approaching riding cycling biking driving pedaling skating "
    "skateboarding pushing pulling dragging talking speaking chatting texting calling listening reading "
    "smoking eating drinking smiling laughing waving pointing reaching clapping glancing staring gazing "
    "watching facing turning moving heading traveling travelling playing scratching adjusting checking typing "
    "sipping chewing yawning stretching swinging dancing"
)
_WITH_OBJECT = frozenset(["pushing", "pulling", "dragging", "riding", "swinging", "adjusting"])
_DOES = _any(
    "walks? strolls? strides? jogs? runs? stands? sits? leans? bends? waits? poses? crosses climbs? rides? "
    "pushes pulls? drags? talks? speaks? texts? listens? reads? smokes? eats? drinks? smiles? laughs? waves? "
    "points? faces? turns? moves? heads goes approaches steps"
)
_LOOKED = _any(
    "at away downwards? down upwards? up to towards? forwards? over back straight ahead left right in into "
    "out off behind around through on across sideways directly"
)
_HELD_TO = _any(r"phone cell cellphone umbrella cane crutch\w* laptop tablet")
_ACTION = _compiled(
    _any(_DOING),
    rf"look(?:s|ing)? {_LOOKED}",
    rf"using (?:an?|his|her|their|the) (?:\w+ )?{_HELD_TO}",
    "in motion",
    "mid[ -]?(?:step|stride)",
    "on the (?:phone|move|go)",
    rf"taking (?:a {_any('step picture photo sip stroll walk bite')}|\w+ steps?)",
    "holding (?:hands|up|out|onto|on to)",
    "(?:legs?|arms?) (?:is |are )?(?:crossed|folded|outstretched|extended)",
)
_FINITE = re.compile(rf"(?:\b(?:he|she|they|who|{_PERSON}|and)|,)\s+(?:also )?({_DOES})\b", re.IGNORECASE)
_NOT_DOING = re.compile(r"[ -]*(?:out|sticks?|cane|apart|path)\b", re.IGNORECASE)
_NEXT = re.compile(r"[ -]+([a-z]+)", re.IGNORECASE)

_OWNER = re.compile(rf"(?:\w+\s+)+?{_PERSON}['’]s?\b", re.IGNORECASE)
_BESIDE = _any(
    [
        *("next to", "beside", "alongside", "behind", "in front of", "followed by", "following", "accompanied by"),
        *("ahead of", "talking to", "talking with", "speaking to", "speaking with", "along with", "together with"),
        *("walking with", "standing with", "near"),
    ]
)
_SECOND = re.compile(
    "|".join(
        [
            rf"\b(?:{_any('another other second two three four five several some many few both')}"
            rf"|{_any('group crowd bunch couple pair')} of)"
            rf"(?:\s+(?:of the|{_any('other more young older old small little unknown different')}))*"
            rf"\s+(?:{_PERSON}|{_MANY})\b{_NOT_OWNER}",
            rf"\b(?:his|her|their|a)\s+(?:\w+\s)?{_KIN}(?:ren|s)?\b"
            r"(?!['’]s?\b|[ -](?:pink|blue|colou?r|carrier|bag|stroller))",
            r"\b(?:someone|somebody|everyone|anyone) else\b|\bothers\b|\bpassers[ -]?by\b|\bbystanders?\b|\bcrowd\b",
            rf"\b{_MANY}\s+(?:are\s+)?(?:in|on|at|near|around|behind|beside)\s+the\s+"
            rf"{_any('background back side distance front left right')}\b",
            rf"\b{_BESIDE}\s+(?:an?|the|some|his|her|their)\s+(?:[a-z'-]+\s+){{0,2}}?{_PERSON}\b{_NOT_OWNER}",
            rf"\b{_SEX}\s+(?:and|with)\s+an?\s+(?:[a-z'-]+\s+)?(?:{_SEX}|child|baby|person)\b{_NOT_OWNER}",
        ]
    ),
    re.IGNORECASE,
)


def tags(caption: str) -> Iterator[tuple[str, Span]]:
    """(rule, characters) of every tag of a caption, rule by rule, from left to right; one rule's never overlap."""
    for rule, spans in (
        ("negation", negations(caption)),
        ("hedge", _hedges(caption)),
        ("bystander", _bystanders(caption)),
        ("left_right", _sides(caption)),
        ("action", _actions(caption)),
    ):
        end = -1
        for span in sorted(spans):
            if span[0] >= end:
                yield rule, span
                end = span[1]


def _within(place: int, spans: list[Span]) -> bool:
    return any(first <= place < last for first, last in spans)


def _hedges(caption: str) -> Iterator[Span]:
    yield from (match.span() for match in _HEDGE.finditer(caption))
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


def _actions(caption: str) -> Iterator[Span]:
    for match in _ACTION.finditer(caption):
        after = _NEXT.match(caption, match.end())
        noun = NOUNS.get(after.group(1).lower()) if after else None
        verb = match.group().lower()
        kind_of = noun is not None and noun.tag in ("garment", "accessory") and verb in _DOING.split()
        if not _NOT_DOING.match(caption, match.end()) and not (kind_of and verb not in _WITH_OBJECT):  # "running shoes"
            yield match.span()
    for match in _FINITE.finditer(caption):
        if not _NOT_DOING.match(caption, match.end()):
            yield match.span(1)


def _bystanders(caption: str) -> Iterator[Span]:
    yield from (match.span() for match in _SECOND.finditer(caption))
    for first, last in Reading(caption).others():
        if not _OWNER.match(caption, first):
            yield first, last
