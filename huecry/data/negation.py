"""Where a caption says what is not there: "no hat", "without a bag", "isn't carrying"."""

from __future__ import annotations

import re
from collections.abc import Iterator

_WORDS = r"no|not|nothing|without|never|none|neither|nor|lacks|lacking|cannot|w/o|\w+n['’]t"
_WORDS += "|(?:is|are|was|were|does|do|did|has|have|ca|wo|could|would|should)nt"
_NEGATION = re.compile(rf"\b(?:{_WORDS})\b", re.IGNORECASE)
_EXCUSED = re.compile(
    r"\bno\.\s*\d|\bno-(?:show|iron|name|brand)|\bno doubt\b|\bnot only\b|\bnothing (?:but|special)\b", re.IGNORECASE
)


def negations(caption: str) -> Iterator[tuple[int, int]]:
    """The characters (start, end) of each word of a caption that negates, from left to right. Any text will do."""
    excused = [match.span() for match in _EXCUSED.finditer(caption)]
    for match in _NEGATION.finditer(caption):
        if not any(first <= match.start() < last for first, last in excused):
            yield match.span()
