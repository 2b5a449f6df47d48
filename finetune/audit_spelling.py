"""Slips of the pen in captions: words that are no English, words run together, and English that was hardly meant.

What a word may be a slip of are the words of captions: the lexicon and its vocabulary. A dictionary of English excuses
a word, unless captions leave no doubt what was meant, as in "a black jacked and".
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from functools import lru_cache

from spellchecker import SpellChecker

from huecry.data.lexicon import ADJECTIVES, LEXICON, MODIFIERS, NOUNS, PLAIN, STOPS, slips, spelling
from huecry.data.records import PhotoSet
from huecry.finetune.findings import Finding, found

WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?")
_MARKS = ".,:;!?"
_TOKEN = re.compile(rf"{WORD.pattern}|[{_MARKS}]")
SHORTEST = 4
"""Letters of a word below which everything is near everything: such a slip is one of a colour or of a small word."""
RARE = 3
"""A word that stands oftener is a slip only if ten times as many are right."""
FAR_COMMONER = 20
"""How many times oftener the word that was meant must stand where the slip is short, or English."""
COMMON = 1_000
"""Occurrences in the texts of the dictionary from which on an English word is hardly something else by accident."""
RAREST = 200
"""What the rarest English words are taken to have, which the dictionary gives 50 each."""
SAME_PLACE = 300
"""How many times likelier between two words another one must be than an English word that captions lack ..."""
ANY_PLACE = 10_000
"""... or wherever it stands."""
LONG = 7
"""Letters of a word from which on two slips are looked for ..."""
ALIKE = 0.8
"""... in words that share so much of their letters with it."""

_MISSPELT = {
    "sandle": "sandal",
    "bagpack": "backpack",
    "leggin": "legging",
    "snicker": "sneaker",
    "heal": "heel",
    "stripped": "striped",
    "collard": "collared",
    "fuschia": "fuchsia",
}
"""Slips so common that the lexicon reads them -> what is meant."""
_MISSPELT |= {slip + "s": meant + "s" for slip, meant in _MISSPELT.items()}
_MISSPELT |= {word + "s": word + "'s" for word in ("he", "she", "that", "there")}

_PARTS = frozenset(re.findall(r"[a-z]+", str(LEXICON)))
"""Words of the lexicon, those inside its longer forms too: "duffle bag"."""
_INFLECTIONS = [
    (re.compile(ending + "$"), original)
    for ending, original in (
        *((r"(?<=[^sxzy])s", ""), (r"(?<=[aeo]y)s", ""), (r"(?<=[sxzh])es", ""), (r"(?<=[^aeiou])ie[sd]", "y")),
        *((r"(?<=e)d", ""), (r"(?<=[^e])ed", ""), (r"ing", ""), (r"ing", "e"), (r"(?<=[^y])y", "")),
        *((suffix, "") for suffix in ("ish", "ly", "less", "like", "wear", "style", "wise", "proof", "ness")),
    )
]
"""Ending of a word -> that of the word it was made from."""
_POSSESSIVE = re.compile(r"['’]s?$")
_BEGINNINGS = re.compile(r"multi|non|semi|over|under|mid|half|un(?=.*ed$)")
_AMERICAN = (
    (re.compile(r"our(?=s?$|ed$|ing$|ful(?:ly)?$|less$|ites?$|able$|y$|hoods?$)"), "or"),
    (re.compile(r"(?<=[iy])s(?=(?:e|es|ed|ing|er|ers|ation)$)"), "z"),
)
"""British endings -> those of the dictionary."""
_SMALL_WORDS = {
    *("a", "an", "the", "this", "that", "and", "or", "not", "as", "with", "in", "on", "of", "at", "to", "for", "from"),
    *("by", "he", "she", "it", "they", "his", "her", "who", "is", "are", "has", "have", "wears", "wearing"),
}
"""What other words are run together with where a space is forgotten."""
_COLOURS = PLAIN.keys() - {*LEXICON["things"]}
_CORE = (_PARTS | NOUNS.keys() | ADJECTIVES.keys()) - _MISSPELT.keys()


class WordCounts:
    """How often each word stands in a set of captions; which are unknown, and what was meant."""

    def __init__(self, captions: Iterable[str]) -> None:
        captions = list(captions)
        self.count = Counter(word for caption in captions for word in _words(caption))
        self.total = self.count.total()
        self._between = self._places(captions)

    def _places(self, captions: Iterable[str]) -> dict[tuple[str, str], Counter[str]]:
        """What stands how often between each two words that a doubtful one stands between."""
        doubtful = {word for word in self.count if _english_only(word) and self._far_commoner(word)}
        triples = (triple for caption in captions for triple in _triples(caption))
        places: dict[tuple[str, str], Counter[str]] = {
            (before, after): Counter() for before, word, after in triples if word in doubtful
        }
        for caption in captions:
            for before, word, after in _triples(caption):
                if (before, after) in places:
                    places[before, after][word] += 1
        return places

    @property
    def unknown(self) -> dict[str, int]:
        """Words that no list knows, with their counts, the commonest first."""
        return {word: count for word, count in self.count.most_common() if len(word) >= SHORTEST and not known(word)}

    def meant(self, word: str, before: str = ".", after: str = ".") -> str | None:
        """The word that this one is probably a slip of, or None. before, after: the words or marks beside it."""
        word = _POSSESSIVE.sub("", word)
        if word in _listed() or len(word) < SHORTEST - 1:
            return None
        if word in _MISSPELT:
            return _MISSPELT[word]
        near = [one for one in _near(word) if one in _CORE or self.count[one] or _easy(word, one)]
        apart, likeliest = _apart(word), self._likeliest(word, near)
        if apart and (likeliest is None or min(self.count[half] for half in apart) >= self.count[likeliest]):
            return " ".join(apart)
        if known(word):
            return self._misused(word, before, after) if _english_only(word) else None
        if len(word) < SHORTEST:
            near = [one for one in near if one in PLAIN or (one in STOPS and one in self._far_commoner(word))]
            return self._likeliest(word, [one for one in near if _easy(word, one)])
        likeliest = likeliest or _similar(word)
        rare = likeliest and (self.count[word] <= RARE or self.count[word] * 10 <= self.count[likeliest])
        return likeliest if rare else None

    def _misused(self, word: str, before: str, after: str) -> str | None:
        """What was meant by an English word, if far likelier in captions."""
        share = max(_frequency(word), RAREST) / _english_total()
        place = self._between.get((before, after), Counter())

        def likelier(one: str) -> bool:
            here = place[one] > 1 and place[one] >= SAME_PLACE * share * place.total()
            return here or self.count[one] >= ANY_PLACE * share * self.total

        return self._likeliest(word, [one for one in self._far_commoner(word) if likelier(one)])

    def _far_commoner(self, word: str) -> list[str]:
        least = FAR_COMMONER * max(self.count[word], 1)
        return [one for one in _near(word) if self.count[one] >= least]

    def _likeliest(self, slip: str, words: Iterable[str]) -> str | None:
        """The commonest of some words; the first letter is seldom wrong, and some slips come easier than others."""

        def weight(word: str) -> int:
            count = self.count[word] + (10 if word in _CORE else 1)
            return count * (4 if _easy(slip, word) else 1) * (10 if word[0] == slip[0] else 1)

        return max(words, key=weight, default=None)


def _easy(slip: str, word: str) -> bool:
    """Whether letters are missing, doubled or in the wrong order, rather than others or too many."""
    return len(word) > len(slip) or sorted(word) == sorted(slip) or _once(word) == _once(slip)


def _once(word: str) -> str:
    return re.sub(r"(.)\1+", r"\1", word)


def _words(caption: str) -> list[str]:
    return [word.lower() for word in WORD.findall(caption)]


def _triples(caption: str) -> Iterator[tuple[str, str, str]]:
    """Each word of a caption between its neighbours, words or punctuation."""
    tokens = [".", *(token.lower() for token in _TOKEN.findall(caption)), "."]
    return (triple for triple in zip(tokens, tokens[1:], tokens[2:], strict=False) if triple[1] not in _MARKS)


@lru_cache(maxsize=1)
def _english() -> Counter[str]:
    return Counter(SpellChecker().word_frequency.dictionary)


@lru_cache(maxsize=1)
def _english_total() -> int:
    return _english().total()


@lru_cache(maxsize=1)
def _listed() -> frozenset[str]:
    """Words that captions may have: the lexicon's and its vocabulary's, without endings that no colour takes."""
    made = {word + ending for word in (*PLAIN, *MODIFIERS) for ending in ("d", "es", "ed")}
    return frozenset((spelling()[0] - (made - _english().keys())) | _PARTS) - _MISSPELT.keys()


def _frequency(word: str) -> int:
    """How often a word, in British spelling too, stands in the texts of the dictionary."""
    if word not in _english():
        for british, american in _AMERICAN:
            word = british.sub(american, word)
    return _english()[word]


@lru_cache(maxsize=1 << 10)
def fragment(word: str) -> bool:
    """Whether a word, in lower case, is none by itself, but the beginning of one of captions."""
    if word in _listed() or _frequency(word) >= (COMMON if len(word) > 2 else 100 * COMMON):
        return False
    return any(one.startswith(word) and len(one) > len(word) + 1 for one in _listed())


def _english_only(word: str) -> bool:
    """Whether a word is known, but none of captions."""
    return len(word) >= SHORTEST and word not in _listed() and _frequency(word) > 0


@lru_cache(maxsize=1 << 16)
def known(word: str) -> bool:
    """Whether a word, in lower case, is one of captions, an English one, or made from one of these."""
    word = _POSSESSIVE.sub("", word)
    if not word.isascii() or word in _listed() or _frequency(word):
        return word not in _MISSPELT
    stems = [ending.sub(original, word) for ending, original in _INFLECTIONS if ending.search(word)]
    stems.append(_BEGINNINGS.sub("", word, count=1) if _BEGINNINGS.match(word) else "")
    return any(len(stem) >= SHORTEST and stem in _listed() and stem not in STOPS for stem in stems)


@lru_cache(maxsize=1 << 16)
def _near(word: str) -> tuple[str, ...]:
    """The words of captions that a word is one slip away from."""
    return tuple(sorted({slip for slip in slips(word) if len(slip) >= SHORTEST - 1 and slip in _listed()}))


@lru_cache(maxsize=1 << 16)
def _apart(word: str) -> tuple[str, str] | None:
    """The two words that were run together into one: one of them small, or a colour and what has it."""
    if _frequency(word) >= COMMON:
        return None
    for cut in range(1, len(word)):
        first, second = word[:cut], word[cut:]
        small = (first in _SMALL_WORDS and _content(second, cut)) or (
            second in _SMALL_WORDS and _content(first, len(second))
        )
        worn = second in NOUNS and NOUNS[second].tag in ("garment", "hair", "accessory")
        if (small and not known(word)) or (first in _COLOURS and (worn or second in _COLOURS)):
            return first, second
    return None


def _content(word: str, beside: int) -> bool:
    """Whether a word may stand beside a small one of so many letters."""
    return word in _listed() and len(word) >= (SHORTEST if beside == 1 else SHORTEST - 1)


@lru_cache(maxsize=1 << 16)
def _similar(word: str) -> str | None:
    """The word of clothes that a long word, none joined from two, has most letters in common with."""
    halves = ((word[:cut], word[cut:]) for cut in range(3, len(word) - 2))
    if len(word) < LONG or any(first in _listed() and second in _listed() for first, second in halves):
        return None
    alike = sorted(one for one in _CORE if one[0] == word[0] and abs(len(one) - len(word)) < 3)
    return next(iter(get_close_matches(word, alike, n=1, cutoff=ALIKE)), None)


def spelling_findings(photos: PhotoSet, counts: WordCounts) -> Iterator[Finding]:
    """Words that are probably slips of the pen. counts: over the whole data set."""
    for image, record in enumerate(photos):
        for number, caption in enumerate(record.captions):
            matches = list(WORD.finditer(caption))
            for match, (before, word, after) in zip(matches, _triples(caption), strict=True):
                printed = match.group().isupper() and not caption.isupper()
                if not printed and (meant := counts.meant(word, before, after)):
                    evidence = f"{match.group()} ({counts.count[word]} in all): {meant}?"
                    yield found("unknown_word", photos, image, evidence, number, match.span())
