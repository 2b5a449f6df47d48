"""What the span finder says of a caption, in short."""

from __future__ import annotations

from huecry.data.captions import Span, find_spans


def told(caption: str) -> list[tuple]:
    """(text, hue, modifier, noun, scored) of each span."""
    return [(caption[s.start : s.end], s.hue, s.modifier, s.noun, s.scored) for s in find_spans(caption)]


def texts(caption: str, scored: bool | None = None) -> list[str]:
    """The text of each span, or of those that are scored or not."""
    return [caption[s.start : s.end] for s in find_spans(caption) if scored is None or s.scored == scored]


def only(caption: str) -> Span:
    """The one span of a caption that has one."""
    (span,) = find_spans(caption)
    return span
