"""The rules of an audit about the captions of one photograph: tags, faults of a caption, conflicts between two."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from huecry.data.captions import find_spans
from huecry.data.lexicon import ADJECTIVES
from huecry.data.records import PhotoSet
from huecry.data.tokens import CONTEXT, encode
from huecry.finetune.audit_conflicts import conflicts
from huecry.finetune.audit_spelling import WORD
from huecry.finetune.audit_tags import tags
from huecry.finetune.audit_unfinished import SIZES, unfinished, worn
from huecry.finetune.findings import Finding, found

SHORTEST = 3
"""Captions of fewer words are short whatever they say."""

_SAYS_LITTLE = {
    *("clothes", "clothing", "attire", "apparel", "garment", "garments", "outfit", "outfits", "ensemble", "shoe"),
    *("shoes", "footwear", "object", "objects", "item", "items", "camera", "frame"),
}
"""Garments and belongings by which nobody is found, unless they are described."""
_TELLING = {
    *("bald", "balding", "bearded", "brunette", "freckles", "tattoo", "tattoos", "tattooed", "shirtless", "barefoot"),
    *("cane", "stick", "crutch", "crutches", "wheelchair", "scooter", "motorcycle", "guitar", "violin", "balloon"),
    *("dog", "costume", "habit", "uniformed"),
}
"""Other words by which somebody may be found."""
_VAGUE = SIZES | {
    *("athletic", "casual", "fitting", "flat", "formal", "high", "hiking", "low", "matching", "open", "plain", "torn"),
    *("round", "square", "straight", "style", "training", "wheeled", "plastic", "cropped", "patterned", "graphic"),
    "zebra",  # the crossing
}
"""Adjectives of the lexicon that say nothing without a noun."""
_PLACEHOLDER = re.compile(
    r"\W*(?:n/?a|nan|null|none|nil|todo|tbd|test|tests|testing|unknown|untitled|empty|placeholder|description|caption"
    r"|(?:no|missing|add|insert|enter|write) (?:a |the |your )?(?:caption|description|text)"
    r"(?: (?:here|available|provided))?"
    r"|lorem ipsum.*|asdf\w*|qwert\w*|(\w)\1{2,})\W*",
    re.IGNORECASE | re.DOTALL,
)


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
    elif unfinished(caption):
        yield "unfinished", f"ends in {caption.rstrip()[-40:]!r}"
    elif not _tells(caption, words):
        yield "short_caption", f"nothing about clothes, hair or belongings: {caption[:80]!r}"


def _tells(caption: str, words: Sequence[str]) -> bool:
    """Whether a caption says anything by which a person could be found."""
    if not _TELLING.isdisjoint(words) or any(ADJECTIVES[word] not in _VAGUE for word in words if word in ADJECTIVES):
        return True
    for first in range(len(words)):
        for last in range(first + 1, min(first + 4, len(words) + 1)):
            described = words[last - 1] not in _SAYS_LITTLE or (first > 0 and words[first - 1] in ADJECTIVES)
            if described and worn("".join(words[first:last])):
                return True
    return any(span.tag not in ("scene", "person") for span in find_spans(caption))


def _lost(caption: str, room: int) -> str:
    """The words of a caption that do not fit into so many tokens."""
    ends = [match.end() for match in re.finditer(r"\S+", caption)]
    kept = max((end for end in ends if len(encode(caption[:end])) <= room), default=0)
    return caption[kept:].strip()
