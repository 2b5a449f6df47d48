"""What an audit finds: one record a finding, and the table of its rules."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple

from huecry.data.records import PhotoSet


class Rule(NamedTuple):
    """severity: `error` (cannot be used), `warning` (probably wrong) or `info` (harder than it looks, seldom wrong)."""

    severity: str
    title: str
    meaning: str


RULES: dict[str, Rule] = {
    "undecodable": Rule("error", "Undecodable file", "The picture cannot be read."),
    "flat_picture": Rule("warning", "Flat picture", "Its grey levels hardly vary: nothing can be seen."),
    "odd_shape": Rule("warning", "Odd shape", "Height over width is far from that of a standing person."),
    "duplicate_image": Rule("warning", "Duplicate image", "The same pixels stand under two persons or in two splits."),
    "pair_mismatch": Rule("warning", "Pair mismatch", "Caption and photograph do not find each other."),
    "wrong_person": Rule(
        "warning",
        "Wrong person",
        "The captions agree with each other, but not with the photograph: somebody else, or hidden.",
    ),
    "id_consistency": Rule("warning", "Two people in one id", "The photograph is unlike the others of its person."),
    "no_person": Rule("warning", "No person", "The photograph is nearer to an empty scene than to a person."),
    "caption_conflict": Rule(
        "warning", "Caption conflict", "Two captions of the photograph give a garment different colours."
    ),
    "truncated": Rule("warning", "Truncated caption", "Longer than the text tower reads: its end is never seen."),
    "unfinished": Rule("warning", "Unfinished caption", "It ends in the middle of a sentence."),
    "short_caption": Rule("warning", "Short caption", "It says nothing that a person could be found by."),
    "near_duplicate_caption": Rule(
        "warning", "Near-duplicate caption", "A caption of another person says the same: each is wrong for the other."
    ),
    "unknown_word": Rule("info", "Unknown word", "Probably a slip of the pen."),
    "negation": Rule("info", "Negation", "It says what is not there, which towers read as if it were."),
    "hedge": Rule("info", "Hedge", "It is not sure, or leaves a choice."),
    "bystander": Rule("info", "Bystander", "It speaks of somebody else too."),
    "left_right": Rule(
        "info", "Left and right", "Ambiguous between the person's side and the picture's; a flip swaps it."
    ),
    "action": Rule("info", "Action", "What the person does, which differs between photographs of one person."),
}
"""Rule -> what it means, the gravest first."""
MODEL_RULES = ("pair_mismatch", "wrong_person", "id_consistency", "no_person")
"""Rules that ask a model."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of `findings.jsonl`.

    file: the photograph's name inside the data set. image: its number in the split. caption: which of its captions,
    from 0; None where the photograph or all its captions are meant. span: character offsets in that caption, or None.
    evidence: why, in words.
    """

    rule: str
    severity: str
    split: str
    file: str
    image: int
    person: str | None
    caption: int | None
    span: tuple[int, int] | None
    evidence: str

    def as_line(self) -> dict[str, object]:
        """The finding as plain values."""
        return {**asdict(self), "span": None if self.span is None else [*self.span]}


def found(
    rule: str,
    photos: PhotoSet,
    image: int,
    evidence: str,
    caption: int | None = None,
    span: tuple[int, int] | None = None,
) -> Finding:
    """A finding about a photograph, or one of its captions, of a split."""
    record = photos[image]
    return Finding(rule, RULES[rule].severity, photos.split, record.name, image, record.person, caption, span, evidence)


def counts(findings: Iterable[Finding], splits: Sequence[str]) -> dict[str, dict[str, int]]:
    """Rule -> split -> number of findings; rules that found nothing are there with zeros."""
    table = {rule: dict.fromkeys(splits, 0) for rule in RULES}
    for finding in findings:
        table[finding.rule][finding.split] += 1
    return table
