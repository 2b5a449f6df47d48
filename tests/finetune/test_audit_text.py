"""Faults of captions, on hand-made cases."""

from __future__ import annotations

from pathlib import Path

import pytest

from huecry.data.records import PhotoSet, Record
from huecry.data.tokens import encode
from huecry.finetune.audit_text import caption_findings, excerpt, faults


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
        "A man in a grey hoodie who",
        "A woman in white shorts, sandals, as well as",
        "A boy in a cap. He also",
        "A lady in a skirt, and her",
        "A lady with a clutch on her",
        "A man in a suit and he",
        "A man who is dressed in",
        "A girl wearing tights under the",
        "A man with a red cap,",
        "A man with a long-",
        "A man with a red cap (worn",
        "A man wearing a grey suit, a tie, and dark",
        "A woman with a blue dress and white",
        "A man wearing jeans and a pair of tall",
        "A woman with a scarf around",
        "A man in a black and white",
        "A man in a red shirt and.",
        "A man in a red shirt with a.",
        "A man in a red shirt. He is.",
        "A man in a red shirt. He carries a brown.",
        "A lady has shorts that are",
        "A lady in a coat, and the shoes are",
        "A man in a brown belt, blue j",
        "A man in a dark suit carrying a umbre",
        "A lady with her hair in",
        "A man in a white shirt with the words",
    ],
)
def test_a_caption_that_breaks_off(caption):
    assert rules(caption) == ["unfinished"]


@pytest.mark.parametrize(
    "caption",
    [
        "A man wearing a black jacket and blue jeans",
        "A red coat is what she is wearing",
        "Red is the colour his cap is in",
        "She wears a skirt that the woman also has on",
        "Black jeans and the coat he was seen in",
        "Her coat is red and her hair is a dark brown",
        "Red shirt, blue jeans, and shoes that are white",
        "A cap in his hand",
        "A coat in a light blue",
        "A woman with a belt that is too wide for her",
        "A blue bag in front of her.",
        "A friend of his in a red coat with a coat like that",
        "A man with his hood up and a jacket on",
        "A woman with long hair, her cap turned around",
        "A shirt with a capital A",
        "A jersey with the number 8",
        "A man in black and white",
        "Her hair is long and dark",
        "A man with a beard, tall and slim",
        "A man with his cap tilted a little.",
        "A man in trousers of black leather",
        "A man in a cap walking towards us",
        "A man in jeans and a black T",
        "The coat is plain, and casual in its style.",
        "The man has jeans with holes in the denim",
        "A shirt with red letters, and a cap of the colour her hair has in the front",
        "A sweater with big words",
    ],
)
def test_a_caption_that_ends(caption):
    assert rules(caption) == []


@pytest.mark.parametrize(
    "caption",
    [
        *("n/a", "A man.", "test", "no caption available", "xxx", "A person in the street.", "see above", "..."),
        *("Cannot see the image.", "No person visible.", "The picture of a man.", "The same as before.", "a1b2c"),
        *("The man wears clothes and shoes.", "A woman fully dressed in some outfit.", "An Asian man in his thirties."),
        "A young woman is walking along the pavement beside the road and looks towards the camera as she crosses it.",
    ],
)
def test_a_caption_that_says_nothing(caption):
    assert rules(caption) == ["short_caption"]


@pytest.mark.parametrize(
    "caption",
    [
        *("Man in blue jeans.", "A person all in black.", "Red coat, blue jeans, backpack.", "Man in grey."),
        *("A lady in a sari.", "A man in flip flops.", "A woman in formal clothes.", "A boy in a onesie."),
        *("A bald man.", "Girl in plaid."),
    ],
)
def test_a_short_caption_that_says_enough(caption):
    assert rules(caption) == []


def test_findings_name_photograph_caption_and_characters():
    captions = ("Red coat.", "A green coat and a bag in the left hand.")
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
