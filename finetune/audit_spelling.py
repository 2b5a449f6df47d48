"""Slips of the pen in captions: words that no list knows, and what was probably meant."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import lru_cache

from huecry.data.lexicon import LEXICON, NOUNS, PLAIN, slips, spelling
from huecry.data.records import PhotoSet
from huecry.data.tokens import encode
from huecry.finetune.findings import Finding, found

WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?")
SHORTEST = 4
"""Letters of a word below which everything is near everything."""
RARE = 3
"""A word that stands oftener is a slip only if ten times as many are right."""
RARE_TOKEN = 20_000
"""CLIP's tokens are numbered from the commonest on; from here on they are names, abbreviations and slips themselves."""
FAR_COMMONER = 20
"""How many times oftener the word that was meant must stand where the tokenizer knows both."""

_PARTS = frozenset(re.findall(r"[a-z]+", str(LEXICON)))
"""Words of the lexicon, those inside its longer forms too: "duffle bag"."""
_ENDINGS = ("s", "es", "d", "ed", "ing", "er", "ers", "ly", "y", "ish", "less")
_BEGINNINGS = ("un", "non", "multi", "semi", "over", "under", "out", "mid")
_SECOND_HALVES = ("like", "style", "wear", "wise", "proof", "ness", "less", "ful")
"""What makes a word of its own with the word before it."""


class WordCounts:
    """How often each word stands in a set of captions; which are unknown, and what was meant."""

    def __init__(self, captions: Iterable[str]) -> None:
        self.count = Counter(match.group().lower() for caption in captions for match in WORD.finditer(caption))

    @property
    def unknown(self) -> dict[str, int]:
        """Words that no list knows, with their counts, the commonest first."""
        return {word: count for word, count in self.count.most_common() if len(word) >= SHORTEST and not known(word)}

    def meant(self, word: str) -> str | None:
        """The word that this one is probably a slip of, or None.

        A word that only the tokenizer knows, as a rare one, is a slip if a word of the lexicon is near and commoner.
        """
        if known(word):
            rare = word not in spelling()[0] and len(encode(word)) == 1 and encode(word)[0] >= RARE_TOKEN
            near = {slip for slip in slips(word) if slip in PLAIN or slip in NOUNS} if rare else set()
            likeliest = max(sorted(near), key=lambda one: self.count[one], default="")
            return likeliest if self.count[likeliest] >= FAR_COMMONER * self.count[word] > 0 else None
        near = {slip for slip in slips(word) if len(slip) >= SHORTEST and (slip in spelling()[0] or slip in _PARTS)}
        if near:
            likeliest = max(sorted(near), key=lambda one: (one[0] == word[0], self.count[one]))
            rare = self.count[word] <= RARE or self.count[word] * 10 <= self.count[likeliest]
            return likeliest if rare else None
        for cut in range(3, len(word) - 2):
            if word[cut:] not in _SECOND_HALVES and word[:cut] in spelling()[0] and word[cut:] in spelling()[0]:
                return f"{word[:cut]} {word[cut:]}"
        return None


@lru_cache(maxsize=1 << 16)
def known(word: str) -> bool:
    """Whether a word, in lower case, stands in the lexicon or its vocabulary, or is one piece for CLIP's tokenizer."""
    listed, word = spelling()[0], word.replace("colour", "color")
    stems = [word, word.partition("'")[0].partition("’")[0]]
    stems += [word.removesuffix(ending) for ending in _ENDINGS]
    stems += [word.removesuffix(ending) + "e" for ending in ("ing", "ed", "y") if word.endswith(ending)]
    stems += [word.removesuffix(ending) + "y" for ending in ("ies", "ied", "ier") if word.endswith(ending)]
    stems += [word.removeprefix(start) for start in _BEGINNINGS]
    if not word.isascii() or len(encode(word)) == 1 or any(len(stem) > 2 and stem in listed for stem in stems):
        return True
    return any(stem in _PARTS or (len(stem) > 4 and len(encode(stem)) == 1) for stem in stems)


def spelling_findings(photos: PhotoSet, counts: WordCounts) -> Iterator[Finding]:
    """Words that are probably slips of the pen. counts: over the whole data set."""
    for image, record in enumerate(photos):
        for number, caption in enumerate(record.captions):
            for match in WORD.finditer(caption):
                word = match.group().lower()
                if len(word) >= SHORTEST and (meant := counts.meant(word)):
                    evidence = f"{match.group()} ({counts.count[word]} in all): {meant}?"
                    yield found("unknown_word", photos, image, evidence, number, match.span())
