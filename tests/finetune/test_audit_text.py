"""Faults of captions and conflicts between them, on hand-made cases."""

from __future__ import annotations

from pathlib import Path

import pytest

from huecry.data.records import PhotoSet, Record
from huecry.data.tokens import encode
from huecry.finetune.audit_text import caption_findings, conflicts, excerpt, faults


def rules(caption: str) -> list[str]:
    return [rule for rule, _ in faults(caption)]


def test_a_caption_is_truncated_from_the_first_token_that_does_not_fit():
    words = ["red"] * 75
    assert {len(encode(word)) for word in words} == {1}
    assert rules(" ".join(words) + "") == []
    ((rule, evidence),) = faults(" ".join([*words, "blue", "scarf"]))
    assert rule == "truncated"
    assert "77 tokens, 75 are read" in evidence
    assert "'blue scarf'" in evidence
    assert rules(" ".join(words[:30])) == []
    assert [rule for rule, _ in faults("a man in a red coat and blue jeans", context=8)] == ["truncated"]


@pytest.mark.parametrize(
    "caption",
    [
        "A man wearing a black jacket and",
        "A woman with long hair, dressed in a red coat with",
        "A man in blue jeans carrying a black",
        "The woman in the red coat is",
        "A man in a red coat and blue trous",
    ],
)
def test_a_caption_that_breaks_off(caption):
    assert rules(caption) == ["unfinished"]


@pytest.mark.parametrize(
    "caption",
    [
        "A man wearing a black jacket and blue jeans",
        "A red coat is what she is wearing",
        "Her coat is red and her hair is a dark brown",
        "Red shirt, blue jeans, and shoes that are white",
        "a bag in his hand",
        "A man in a red coat, blue jeans and a.",
    ],
)
def test_a_caption_that_ends(caption):
    assert rules(caption) == []


@pytest.mark.parametrize("caption", ["n/a", "A man.", "test", "no caption available", "xxx", "A person in the street."])
def test_a_caption_that_says_nothing(caption):
    assert rules(caption) == ["short_caption"]


@pytest.mark.parametrize("caption", ["Man in blue jeans.", "A person all in black.", "Red coat, blue jeans, backpack."])
def test_a_short_caption_that_says_enough(caption):
    assert rules(caption) == []


@pytest.mark.parametrize(
    ("first", "second", "garments"),
    [
        ("A red coat over blue jeans.", "A green coat over blue jeans.", ["coat"]),
        ("White shoes and a black shirt.", "A yellow shirt and black shoes.", ["shirt", "shoes"]),
        ("A navy coat.", "A black coat.", []),  # neighbours: annotators take one for the other
        ("A black and white shirt.", "A white shirt.", []),
        ("A blue and khaki checked polo.", "A blue plaid polo.", []),
        ("A red coat.", "A green scarf.", []),
        ("A red coat.", "No green coat.", []),
        ("A red coat.", "A man in a coat next to a man in a green coat.", []),
        ("A colorful dress.", "A green dress.", []),
        ("Black shoes with white soles.", "White laces on black shoes.", []),
        ("A red coat.", "A coat.", []),
    ],
)
def test_colours_that_contradict_each_other(first, second, garments):
    assert [evidence.partition(":")[0] for evidence in conflicts([first, second])] == garments
    assert [evidence.partition(":")[0] for evidence in conflicts([second, first])] == garments


def test_one_conflict_a_garment_however_many_captions():
    (evidence,) = conflicts(["A red coat.", "A red coat.", "A green coat.", "A green coat."])
    assert evidence == "coat: red in caption 0, green in caption 2"
    assert [*conflicts(["A red coat."])] == []
    assert [*conflicts([])] == []


def test_findings_name_photograph_caption_and_characters():
    captions = ("A red coat.", "A green coat and a bag in the left hand.")
    photos = PhotoSet("val", [Record(Path("a"), (), None, "a"), Record(Path("b"), captions, "7", "b.jpg")])
    found = {finding.rule: finding for finding in caption_findings(photos)}
    assert found.keys() == {"short_caption", "left_right", "caption_conflict"}
    side, conflict = found["left_right"], found["caption_conflict"]
    assert (side.split, side.file, side.image, side.person, side.caption) == ("val", "b.jpg", 1, "7", 1)
    assert side.span is not None
    assert captions[1][slice(*side.span)] == "left hand"
    assert "[left hand]" in side.evidence
    assert (conflict.caption, conflict.span, conflict.severity) == (None, None, "warning")


def test_an_excerpt_has_the_words_around():
    caption = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen"
    first = caption.index("seven")
    assert excerpt(caption, first, first + 5, around=10) == "…five six [seven] eight…"
    assert excerpt("red coat", 0, 3) == "[red] coat"
