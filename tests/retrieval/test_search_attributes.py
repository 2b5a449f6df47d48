"""Sentences from attributes."""

from __future__ import annotations

import pytest

from huecry.data.captions import find_spans
from huecry.errors import UserError
from huecry.retrieval.search_attributes import ATTRIBUTES, compose, random_sentences


@pytest.mark.parametrize(
    ("attributes", "sentence"),
    [
        (["upper=red"], "a person wearing a red top"),
        (["upper=red", "bag=backpack"], "a person wearing a red top and carrying a backpack"),
        (["bag=backpack", "upper=red"], "a person wearing a red top and carrying a backpack"),
        (["lower=blue jeans", "feet=white"], "a person wearing blue jeans and white shoes"),
        (["hair=long black", "head=cap"], "a person with long black hair and wearing a cap"),
        (
            ["hair=ponytail", "upper=white shirt", "upper=Dark Blue denim jacket", "lower=khakis", "bag=umbrella"],
            "a person with a ponytail, wearing a white shirt, a dark blue denim jacket and khakis "
            "and carrying an umbrella",
        ),
        (["whole=dress"], "a person wearing a dress"),
        (["whole=orange uniform"], "a person wearing an orange uniform"),
        (["whole=uniform"], "a person wearing a uniform"),
        (["upper=red and white striped t-shirt"], "a person wearing a red and white striped t-shirt"),
        (["other=glasses", "hands=black"], "a person wearing glasses and black gloves"),
        (["upper=dark"], "a person wearing a dark top"),
    ],
)
def test_sentences(attributes, sentence) -> None:
    assert compose(attributes) == sentence


@pytest.mark.parametrize(
    ("attribute", "culprits"),
    [
        ("upper", ["--attr upper:", "upper=red"]),
        ("uper=red", ["no attribute is called uper", "did you mean upper?", *ATTRIBUTES]),
        ("age=young", ["no attribute is called age"]),
        ("upper=", ["--attr upper=:", "colours: black"]),
        ("upper=spotty", ["--attr upper=spotty", "colours: black, white", "coat", "hoodie", "t-shirt"]),
        ("upper=jeans", ["things: blazer"]),
        ("upper=jacket red", ["things: blazer"]),
        ("upper=asian", ["not in the vocabulary"]),
        ("upper=red, shirt", ["not in the vocabulary"]),
        ("other=red", ["glasses"]),
        ("hair=purplish-grey-ish?", ["blond", "ponytail"]),
    ],
)
def test_what_is_not_known_is_told_with_what_is(attribute, culprits) -> None:
    with pytest.raises(UserError) as caught:
        compose(["lower=jeans", attribute])
    assert "\n" not in str(caught.value)
    assert all(culprit in str(caught.value) for culprit in culprits)


def test_every_thing_and_colour_that_is_listed_is_taken() -> None:
    for key, attribute in ATTRIBUTES.items():
        assert attribute.nouns
        for noun in attribute.nouns:
            sentence = compose([f"{key}=teal {noun}"])
            (span,) = find_spans(sentence)
            assert (span.hue, span.noun, span.scored) == ("teal", noun, True)


def test_random_sentences_are_those_of_their_seed() -> None:
    sentences = random_sentences(50, 3)
    assert sentences == random_sentences(50, 3) != random_sentences(50, 4)
    assert len(set(sentences)) == 50
    assert all(2 <= len(find_spans(sentence)) <= 4 for sentence in sentences)
