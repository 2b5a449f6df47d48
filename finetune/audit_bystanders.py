"""Who else a caption describes: "a man passes her", "two women in the background", "her friend"."""

from __future__ import annotations

import re
from collections.abc import Iterator

from huecry.data.captions import Reading
from huecry.data.lexicon import NOUNS, PLAIN

Span = tuple[int, int]


def _any(words: str | list[str]) -> str:
    listed = words.split() if isinstance(words, str) else words
    return f"(?:{'|'.join(sorted(listed, key=len, reverse=True))})"


_HEADS = [key for key, noun in NOUNS.items() if noun.head == "person"]
_KIN = _any(
    "friend companion girlfriend boyfriend wife husband son daughter mother father mom mum dad baby child kid brother "
    "sister toddler infant partner colleague classmate coworker co-worker parent grandmother grandfather"
)
_OTHERS = [
    *("infant", "newborn", "coworker", "colleague", "classmate", "companion", "cyclist", "biker", "guard", "stranger"),
    *("policeman", "policewoman", "officer", "nurse", "vendor", "tourist", "shopper", "passenger", "waiter", "guide"),
    *("driver", "mother", "father", "mom", "mum", "dad", "brother", "sister", "wife", "husband", "girlfriend"),
    *("boyfriend", "bystander", "runner", "jogger"),
]
_PERSON = _any([*(re.escape(head) for head in _HEADS), *_OTHERS])
_MANY = _any(
    [
        *("people", "men", "women", "ladies", "guys", "boys", "girls", "children", "kids", "persons", "pedestrians"),
        *("individuals", "adults", "friends", "others", *(f"{one}s" for one in _OTHERS)),
    ]
)
_SEX = "(?:man|woman|boy|girl|guy|lady|male|female)"
_NO_OWNER = r"(?!['’]s?\b|[-‐])"  # "a man's coat" is a kind of coat, "mother-of-pearl" a kind of button
_OWNER = re.compile(rf"(?:\w+\s+)+?{_PERSON}['’]s?\b", re.IGNORECASE)
_BESIDE = _any(
    [
        *("next to", "beside", "alongside", "behind", "in front of", "followed by", "following", "accompanied by"),
        *("ahead of", "talking to", "talking with", "speaking to", "speaking with", "along with", "together with"),
        *("walking with", "standing with", "near", "close to", "surrounded by", "hidden by", "blocked by"),
        *(
            "covered by",
            "follows",
            "passes",
            "passing",
            "helps",
            "helping",
            "pushing",
            "hugging",
            "between",
            "among",
            "amid",
        ),
    ]
)
_PRINTED = re.compile(
    r"\b(?:print|picture|photo|image|drawing|portrait|face|cartoon|graphic|logo)\s+(?:of|with)\s+$", re.IGNORECASE
)
_ON_IT = re.compile(r"(?:\s+\w+)?\s+on (?:it|them|the (?:front|back|chest))\b", re.IGNORECASE)
_SECOND = re.compile(
    "|".join(
        [
            rf"\b(?:{_any('another other second two three four five several some many few both')}"
            rf"|{_any('group crowd bunch couple pair')} of)"
            rf"(?:\s+(?:of the|{_any('other more young older old small little unknown different')}))*"
            rf"\s+(?:{_PERSON}|{_MANY})\b{_NO_OWNER}",
            rf"\b(?:his|her|their|whose)\s+(?:\w+\s)?{_KIN}(?:ren|s)?\b{_NO_OWNER}",
            rf"\b(?:his|her|their)\s+{_KIN}['’]s?\s+{_any('arm arms hand hands shoulder shoulders lap back neck')}\b",
            r"\b(?:someone|somebody|everyone|anyone) else\b|\bothers\b|\bpassers[ -]?by\b|\bbystanders?\b|\bcrowd\b",
            rf"\b(?:{_MANY}|{_PERSON}|couple|group)\s+(?:is\s+|are\s+)?(?:in|on|at|near|around|behind|beside)\s+the\s+"
            rf"{_any('background back distance edge')}\b",
            rf"\b{_MANY}\s+(?:are\s+)?(?:in|on|at|near|around|behind|beside)\s+the\s+{_any('side front left right')}\b",
            rf"\b{_BESIDE}\s+(?:(?:an?|the|some|his|her|their|other)\s+)?(?:[a-z'-]+\s+){{0,2}}?(?:{_PERSON}|{_MANY})\b"
            rf"{_NO_OWNER}",
            rf"\b{_SEX}\s+(?:and|with)\s+an?\s+(?:[a-z'-]+\s+)?(?:{_SEX}|child|baby|person)\b{_NO_OWNER}",
            rf"\b{_PERSON}\b[^.;]*\b(?:is|are|stands?|sits?|walks?)\s+(?:(?:standing|sitting|walking|right|just)\s+)?"
            rf"(?:{_any(['next to', 'beside', 'behind', 'near', 'in front of', 'close to'])}\s+(?:him|her|them)"
            r"|to\s+(?:his|her|their)\s+side)\b",
            rf"\b{_PERSON}\s+with\s+(?:him|them|her(?=\s*[.,;]|\s+(?:is|has|wears)\b))",
        ]
    ),
    re.IGNORECASE,
)
_INDEFINITE = re.compile(
    rf"\b(?:(?:an?|another|one)\s+((?:[a-z-]+\s+){{0,3}}?)(?:{_PERSON})\b{_NO_OWNER}(?!\s+of\b)|(?:someone|somebody)\b)",
    re.IGNORECASE,
)
_MENTION = re.compile(rf"\b(?:{_PERSON}|he|she|they|him|her|his)\b", re.IGNORECASE)
_LAST_WORD = re.compile(r"(?:(there)\s+)?([a-z']+)\s+$", re.IGNORECASE)
_SAME = {
    *("is", "are", "was", "be", "being", "been", "like", "as", "than", "or", "appears", "seems", "looks", "probably"),
    *("maybe", "perhaps", "possibly", "likely", "either", "just", "also", "resembles", "for", "he's", "she's", "s"),
}
"""Words after which an indefinite person is the first one: "he is an old man"."""
_NO_ADJECTIVES = {
    *("in", "on", "with", "of", "for", "that", "this", "and", "to", "at", "by", "her", "his", "the", "is", "are"),
    *("from", "who", "whose", "while", "wears", "has", "or", "cow"),
}
_FOLLOWING = re.compile(r"\s+([a-z]+)", re.IGNORECASE)
_KINDS = {"carrier", "stroller", "scout", "cut", "sling"}


def bystanders(caption: str) -> Iterator[Span]:
    """The characters that name somebody else than the person whom a caption describes."""
    for match in _SECOND.finditer(caption):
        printed = _PRINTED.search(caption, 0, match.start()) or _ON_IT.match(caption, match.end())
        if not printed and not _is_kind(caption, match.end()):
            yield match.span()
    for match in _INDEFINITE.finditer(caption):
        if _is_second(caption, match):
            yield match.span()
    for first, last in Reading(caption).others():
        who = _MENTION.search(caption, first, last)
        if not _OWNER.match(caption, first) and not (who and _is_kind(caption, who.end())):
            yield first, last


def _is_second(caption: str, match: re.Match[str]) -> bool:
    """Whether an indefinite person, "a man" or "someone", is not the first one of the caption."""
    if not _MENTION.search(caption, 0, match.start()) or _is_kind(caption, match.end()):
        return False
    between = (match.group(1) or "").lower().split()
    if any(word in NOUNS or word in _NO_ADJECTIVES for word in between) or _ON_IT.match(caption, match.end()):
        return False
    before = _LAST_WORD.search(caption, 0, match.start())
    if before is None or _PRINTED.search(caption, 0, match.start()):
        return False
    return before.group(1) is not None or before.group(2).lower() not in _SAME


def _is_kind(caption: str, end: int) -> bool:
    """Whether a person's name only tells the kind of what follows: "baby pink", "dad cap", "boyfriend jeans"."""
    if caption[end : end + 1] in ("-", "‐"):
        return True
    after = _FOLLOWING.match(caption, end)
    word = after.group(1).lower() if after else ""
    return word in PLAIN or word in _KINDS or (word in NOUNS and NOUNS[word].head != "person")
