"""The rules of an audit about the captions of one photograph: tags, faults of a caption, conflicts between two."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence

from huecry.data.captions import NEIGHBOURS, find_spans
from huecry.data.lexicon import ADJECTIVES, MODIFIERS, NOUNS, PLAIN, SINGLE
from huecry.data.records import PhotoSet
from huecry.data.tokens import CONTEXT, encode
from huecry.finetune.audit_spelling import WORD, known
from huecry.finetune.audit_tags import tags
from huecry.finetune.findings import Finding, found

SHORTEST = 4
"""Captions of fewer words are short whatever they say."""
WORDS_WITHOUT_CONTENT = 10
"""Captions of fewer words are short if they say nothing of clothes, hair or belongings."""

_WORN = tuple({*NOUNS, *ADJECTIVES, *PLAIN})
_PLACEHOLDER = re.compile(
    r"\W*(?:n/?a|nan|null|none|nil|todo|tbd|test|tests|testing|unknown|untitled|empty|placeholder|description|caption"
    r"|(?:no|missing|add|insert|enter|write) (?:a |the |your )?(?:caption|description|text)"
    r"(?: (?:here|available|provided))?"
    r"|lorem ipsum.*|asdf\w*|qwert\w*|(\w)\1{2,})\W*",
    re.IGNORECASE | re.DOTALL,
)
_NEVER_LAST = {"a", "an", "the", "and", "or", "but", "with", "of", "his", "their", "my"}
_NEVER_LAST |= {"while", "which", "whose", "than", "very"}
_ENDS_AFTER_SUBJECT = {"is", "are", "was", "were", "has", "have", "wears", "wearing"}
"""Last words that end a sentence only as in "the coat that she has"."""
_SUBJECT_LAST = re.compile(
    r"\b(?:(?:it|he|she|they|that|there|also)\s+\w+|(?:he|she|they)\s*(?:is|are|was|['’]s|['’]re)\s+wearing)\W*$",
    re.IGNORECASE,
)
_CLOSED = re.compile(r"[.!?]['\")\s]*$")
_DESCRIBED = re.compile(r"\b(is|are|was|were|in|of)?\s*\b(?:an?|the)\s+((?:[\w-]+\s+){0,3}[\w-]+)\s*$", re.IGNORECASE)
_JOINED = re.compile(r"\s*(?:and|,|/|&|or|-|\s)+\s*")
_SOLE = re.compile(r"\W+(?:[a-z]+\W+)?(?:bottom|bottoms|underside)\b", re.IGNORECASE)


def caption_findings(photos: PhotoSet, context: int = CONTEXT) -> Iterator[Finding]:
    """Findings about single captions, and about the captions of one photograph.

    context: tokens that the text tower reads, start and end included.
    """
    for image, record in enumerate(photos):
        for number, caption in enumerate(record.captions):
            for rule, (first, last) in () if _PLACEHOLDER.fullmatch(caption) else tags(caption):
                yield found(rule, photos, image, excerpt(caption, first, last), number, (first, last))
            for rule, evidence in faults(caption, context):
                yield found(rule, photos, image, evidence, number)
        for evidence in conflicts(record.captions):
            yield found("caption_conflict", photos, image, evidence)


def excerpt(caption: str, first: int, last: int, around: int = 30) -> str:
    """The characters from `first` to `last` in brackets, with a few words on either side."""
    start, end = max(first - around, 0), min(last + around, len(caption))
    before = caption[start:first] if start == 0 else "…" + caption[start:first].partition(" ")[2]
    after = caption[last:end] if end == len(caption) else caption[last:end].rpartition(" ")[0] + "…"
    return f"{before}[{caption[first:last]}]{after}"


def faults(caption: str, context: int = CONTEXT) -> Iterator[tuple[str, str]]:
    """(rule, evidence) where a caption is too long, ends in the middle, or says nothing."""
    room = context - 2
    if len(encode(caption)) > room:
        yield "truncated", f"{len(encode(caption))} tokens, {room} are read; lost: {_lost(caption, room)!r}"
    words = [match.group().lower() for match in WORD.finditer(caption)]
    if _PLACEHOLDER.fullmatch(caption):
        yield "short_caption", f"a placeholder: {caption[:60]!r}"
    elif len(words) < SHORTEST:
        yield "short_caption", f"{len(words)} words: {caption[:60]!r}"
    elif len(words) < WORDS_WITHOUT_CONTENT and not (find_spans(caption) or _worn(words)):
        yield "short_caption", f"nothing about clothes, hair or belongings: {caption[:80]!r}"
    elif not _CLOSED.search(caption) and _unfinished(caption, words[-1]):
        yield "unfinished", f"ends in {caption.rstrip()[-40:]!r}"


def _worn(words: Sequence[str]) -> bool:
    """Whether some of these words are clothes, hair or belongings."""
    return any(word in NOUNS and NOUNS[word].tag in ("garment", "hair", "accessory") for word in words)


def _unfinished(caption: str, last: str) -> bool:
    """Whether a caption without a full stop breaks off: at a word that ends nothing, within a phrase or a word."""
    if last in _NEVER_LAST or (last in _ENDS_AFTER_SUBJECT and not _SUBJECT_LAST.search(caption)):
        return True
    if not known(last) and any(word.startswith(last) and len(word) > len(last) + 1 for word in _WORN):
        return True
    phrase = _DESCRIBED.search(caption)
    return (
        phrase is not None
        and phrase.group(1) is None
        and all(
            word in SINGLE or word in MODIFIERS or word in ADJECTIVES
            for word in re.findall(r"[a-z]+", phrase.group(2).lower())
        )
        and last not in NOUNS
    )


def _lost(caption: str, room: int) -> str:
    """The words of a caption that do not fit into so many tokens."""
    ends = [match.end() for match in re.finditer(r"\S+", caption)]
    kept = max((end for end in ends if len(encode(caption[:end])) <= room), default=0)
    return caption[kept:].strip()


def conflicts(captions: Sequence[str]) -> Iterator[str]:
    """Evidence for each garment that two captions of one photograph give colours that nobody takes for one another."""
    told = [garment_hues(caption) for caption in captions]
    for garment in sorted({noun for hues in told for noun in hues}):
        for first, second in ((a, b) for b in range(len(told)) for a in range(b)):
            one, other = told[first].get(garment, frozenset()), told[second].get(garment, frozenset())
            if one and other and not any(a == b or b in NEIGHBOURS[a] for a in one for b in other):
                yield (
                    f"{garment}: {' and '.join(sorted(one))} in caption {first}, "
                    f"{' and '.join(sorted(other))} in caption {second}"
                )
                break


def garment_hues(caption: str) -> dict[str, frozenset[str]]:
    """Garment -> the hues that a caption gives it; one that it calls many-coloured is left out."""
    hues: dict[str, set[str]] = defaultdict(set)
    spans = find_spans(caption)
    for span, after in zip(spans, (*spans[1:], None), strict=False):
        noun = span.noun
        if after is not None and _JOINED.fullmatch(caption, span.end, after.start):
            noun = after.noun  # "blue and khaki polo": one thing has both
        worn = span.scored and span.tag == "garment" and span.zone
        if (
            worn and noun is not None and span.hue is not None and not _SOLE.match(caption, span.end)
        ):  # "black shoes with white bottoms"
            hues[noun].add(span.hue)
    return {noun: frozenset(found) for noun, found in hues.items() if "multi" not in found}
