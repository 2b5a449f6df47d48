"""Whether a caption breaks off: after a comma, in brackets, at a word that ends nothing, in a phrase or in a word."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import takewhile

from huecry.data.lexicon import ADJECTIVES, MODIFIERS, NOUNS, SINGLE
from huecry.finetune.audit_spelling import fragment

_BREAKS = re.compile(r"(?<![.!?])[,;:&+/、–—-]['\")\s]*$|\([^)]*$")
_CLOSED = re.compile(r"[.!?…]['\")\s]*$")
_TOKEN = re.compile(r"[^\W_]+(?:['’][^\W\d_]+)?|[^\w\s]")
_ENDS_NOTHING = {
    *("a", "an", "the", "my", "your", "our", "their", "its", "his", "he", "she", "they", "who", "which", "whose"),
    *("and", "or", "but", "nor", "if", "as", "than", "while", "because", "although", "whereas", "whether", "unless"),
    *("into", "onto", "via", "per", "plus", "unlike", "except", "despite", "during", "among", "amongst", "between"),
    *("that", "against", "including", "featuring", "such", "very", "extremely", "be"),
}
"""Last words that no sentence has ..."""
_MAY_FOLLOW = {
    "he": {"as", "than"},
    "she": {"as", "than"},
    "they": {"as", "than"},
    "his": {"of", "is", "are", "was"},
    "that": {"like", "all"},
    "such": {"as"},
    "be": {"can"},
    "or": {"col"},  # CUHK-PEDES has "col or" for color
}
"""... unless one of these stands before."""
_TAKES_MORE = {
    *("is", "are", "was", "were", "has", "have", "had", "wears", "wearing", "wore", "carries", "carrying", "holds"),
    *("holding", "donning", "sporting", "includes", "contains", "features", "seems", "appears", "like", "with"),
    *("without", "of", "from", "for", "at", "to", "toward", "towards"),
}
"""Last words that end a sentence only as in "the coat that she has"."""
_PEOPLE = {key for key, noun in NOUNS.items() if noun.head == "person"}
_BREAKS_AFTER = {
    "in": {"dressed", "clad", "clothed", "attired", "is", "are", "was", "and", "or", "hair", *_PEOPLE},
    "on": {"has", "have", "is", "are", "and", "with"},
    "it": {"and", "but"},
    "not": {"is", "are", "do", "does"},
    "also": {"and", "but", "is", "are", "was", "has", "who", "he", "she", "they"},
    "her": {".", ",", "and", "on", "over", "in", "under", "wearing", "carrying", "holding", "wears", "has", "while"},
    "there": {"and", "but"},
    "pair": {"a", "another"},
    **{text: {"the"} for text in ("word", "words", "letter", "letters", "number", "numbers", "phrase")},
    **{
        count: {"and", "with", "has", "carrying", "holding", "wearing"}
        for count in ("two", "three", "four", "several", "another", "no")
    },
}
"""Last words that break off after some words only."""
_AROUND = {"around", "across"}
"""Last words that break off after a thing worn."""
_ANTECEDENTS = {"that", "which", "what", "whom", "all", "as", "than", "color", "colour"}
_CLAUSE = re.compile(
    rf"(\S+) (?:he|she|they|it|(?:the|this) (?:{'|'.join(sorted(_PEOPLE))})|((?:the|his|her|their) [^\W\d_]+))"
    r"(?:['’]s|['’]re)?(?: [^\W\d_]+){1,4}"
)
"""A word, and after it a clause that may be about it, its subject where that is a thing: "coat | she has"."""
_DETERMINERS = {"a", "an", "the", "his", "her", "their", "its", "two", "three"}
_GOVERNORS = {"with", "wears", "wearing", "has", "have", "carries", "carrying", "holds", "holding", "in"}
_JOINTS = {"and", ",", "-", "&"}
_LINKS = {"is", "are", "was", "were", "like"}
SIZES = {
    *("short", "long", "small", "large", "thick", "thin", "wide", "narrow", "tight", "loose"),
    *("tall", "young", "old", "elderly", "horizontal", "vertical", "diagonal"),
}
"""Adjectives that stand for no thing, as "leather" and "plaid" do."""
_OTHER_SENSES = {
    *("little", "ankle", "open", "high", "low", "round", "square", "style", "straw", "leopard", "zebra", "fur"),
    *("canvas", "running", "jogging", "training", "workout", "hiking", "sport", "sports", "business", "cargo"),
}
"""Adjectives that may also end a sentence as something else: "tilted a little"."""
_MATERIALS = {"leather", "denim", "cotton", "wool", "silk", "plastic", "knit", "checked", "camouflage", "paisley"}
"""Adjectives of the lexicon that are what something is made of, or how: "the denim", but not "a denim"."""
_PREDICATE = re.compile(r"\b(?:is|are|was|were|looks?) (?:(?:very|all|mostly|an?) )?([a-z]+)")


def unfinished(caption: str) -> bool:
    """Whether a caption that has a word breaks off."""
    if _BREAKS.search(caption):
        return True
    tokens = _TOKEN.findall(caption)
    while not tokens[-1][0].isalnum():
        tokens.pop()
    if tokens[-1] == "A":  # a letter, no article
        return False
    tokens = [".", *(token.lower() for token in tokens)]
    if _ends_nothing(tokens):
        return True
    return _without_noun(tokens) or (not _CLOSED.search(caption) and (_hanging(tokens) or _within_word(tokens)))


def _ends_nothing(tokens: Sequence[str]) -> bool:
    """Whether the last of some words asks for another one."""
    before, last = tokens[-2], tokens[-1]
    if last in _ENDS_NOTHING:
        return before not in _MAY_FOLLOW.get(last, ())
    if last in _TAKES_MORE or before in _BREAKS_AFTER.get(last, ()) or (last in _AROUND and worn(before)):
        return not _of_something(tokens)
    return False


def _of_something(tokens: Sequence[str]) -> bool:
    """Whether some words end in a clause about a thing named before it: "the coat that she has"."""
    tails = (" ".join(tokens[first:]) for first in range(max(len(tokens) - 7, 0), len(tokens)))
    return any(
        clause.group(1) in _ANTECEDENTS or (clause.group(2) is None and worn(clause.group(1)))
        for clause in map(_CLAUSE.fullmatch, tails)
        if clause
    )


def _last_adjectives(tokens: Sequence[str]) -> int:
    """Where the adjectives begin that some words, after a full stop, end in, with what joins them to others."""
    first = len(tokens)
    while _describes(tokens[first - 1]) or (first < len(tokens) and tokens[first - 1] in _JOINTS):
        first -= 1
    return first


def _without_noun(tokens: Sequence[str]) -> bool:
    """Whether the last words are an article and adjectives, and said of nothing before: "carrying a black"."""
    first = _last_adjectives(tokens)
    if first == len(tokens) or tokens[first - 1] not in _DETERMINERS:
        return first < len(tokens) and tokens[first - 2 : first] == ["pair", "of"]
    before = tokens[max(first - 3, 0) : first - 1]
    material = tokens[first - 1] not in ("a", "an") and ADJECTIVES.get(tokens[-1]) in _MATERIALS
    return not (material or before[-1] in _LINKS or (before[-1] in ("in", "of") and worn(before[0])))


def _hanging(tokens: Sequence[str]) -> bool:
    """Whether the last words are adjectives of a thing that was still to come: "a tie, and dark"."""
    first = _last_adjectives(tokens)
    joints = list(takewhile(_JOINTS.__contains__, tokens[first:]))
    adjectives = tokens[first + len(joints) :]
    if not adjectives:
        return False
    before, incomplete = tokens[first - 1], adjectives[-1] in MODIFIERS or any(map(_sizes, adjectives))
    if joints:
        predicate = _PREDICATE.search(" ".join(tokens[:first]))
        alone = "and" in joints or len(adjectives) == 1  # not "a beard, tall and slim"
        asks = (incomplete and alone) or ("and" in joints and adjectives[-1] in SINGLE)
        return asks and worn(before) and not (predicate and _describes(predicate.group(1)))
    return (incomplete and before in _GOVERNORS) or (before == "with" and worn(tokens[first - 2]))


def _within_word(tokens: Sequence[str]) -> bool:
    """Whether the last word is only the beginning of one."""
    before, last = tokens[-2:]
    return last not in ("s", "t") and (_describes(before) if len(last) == 1 else fragment(last))


def _describes(word: str) -> bool:
    """Whether a word is a colour or an adjective of clothes, and no thing."""
    if word in _OTHER_SENSES or (word in NOUNS and NOUNS[word].tag != "scene"):
        return False
    return word in SINGLE or word in MODIFIERS or word in ADJECTIVES or word in SIZES


def _sizes(word: str) -> bool:
    return ADJECTIVES.get(word, word) in SIZES


def worn(word: str) -> bool:
    """Whether a word names something worn or carried."""
    noun = NOUNS.get(word)
    return noun is not None and (noun.tag in ("hair", "accessory") or (noun.tag == "garment" and noun.zone != ""))
