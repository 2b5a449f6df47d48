"""Noun phrases of captions: what they share, what they leave out, and other chunkers."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from huecry.data import lexicon
from huecry.data.people import dress_people, take_photo
from huecry.data.phrases import lexicon_chunker, normalised, phrases, spacy_chunker, words
from huecry.errors import UserError


@pytest.mark.parametrize(
    ("caption", "found"),
    [
        ("A short black shirt, no hat", {"short black shirt", "not_hat"}),
        ("A man in a dark blue-grey t-shirt and black shoes", {"navy gray t-shirt", "black shoes"}),
        ("the woman wears a paisley scarf", {"paisley scarf"}),
        ("white nike sneakers with green laces", {"white nike shoes", "green laces"}),
        ("a pair of plaid pants", {"checked trousers"}),
        ("black-and-white polka dot blouse", {"black white dotted blouse"}),
        ("a long sleeve, red/blue tee", {"long-sleeved red blue t-shirt"}),
        ("black dress shoes", {"black dress shoes"}),
        ("light-coloured jeans and dark boots", {"light jeans", "dark boots"}),
        ("a green back pack", {"green backpack"}),
        ("dark khakis", {"dark beige trousers"}),
        ("a woman's red coat", {"red coat"}),
        ("a red woman's coat", {"red coat"}),
        ("bright   YELLO   Jacket!!", {"bright yellow jacket"}),
    ],
)
def test_phrases(caption, found):
    assert phrases(caption) == found


def test_two_writers_share_their_words():
    pairs = [
        ("dark blue trousers", "navy blue slacks"),
        ("grey sneakers", "gray trainers"),
        ("a white tee", "white T-shirts"),
        ("a dark red jumper", "the burgundy sweater"),
        ("a stripy purse", "a striped handbag"),
        ("black rucksacks", "black backpack"),
        ("multi-coloured scarf", "colorful scarf"),
    ]
    for one, other in pairs:
        assert phrases(one) == phrases(other), one


def test_a_colour_told_by_a_verb():
    assert phrases("Her hair is long and black. The shoes, which are white, are sneakers.") >= {
        "black hair",
        "white shoes",
    }


@pytest.mark.parametrize(
    ("caption", "found"),
    [
        ("no hat", {"not_hat"}),
        ("no red bag or hat", {"not_red", "not_bag", "not_hat"}),
        ("he isn't wearing a blue coat", {"not_blue", "not_coat"}),
        ("without glasses, a hat", {"not_glasses", "hat"}),
        ("no hat. A hat", {"not_hat", "hat"}),
    ],
)
def test_what_is_not_there_never_meets_what_is(caption, found):
    assert words(caption) == found


def test_what_says_nothing_of_the_clothes_is_left_out():
    caption = (
        "The young asian man with tan skin, seen from the back side, holds his left hand up to the camera; an elderly "
        "woman is in the background of the picture. He is a black man."
    )
    assert phrases(caption) == frozenset()
    assert words("an elderly woman in a red coat") == {"red", "coat"}
    assert phrases("") == frozenset()


def test_age_origin_skin_and_gender_never_appear():
    never = " ".join(lexicon.LEXICON["never"])
    assert words(f"a {never} man, {never} ladies' coat") == {"coat"}
    assert words("the phrase", lambda caption: [f"the {never} coat", "a young person", "dark skin"]) == {"coat"}


def test_raw_phrases_are_pieces_of_the_caption():
    caption = "A person with a red  bag, and WHITE shoes"
    assert list(lexicon_chunker(caption)) == ["A person", "a red  bag", "WHITE shoes"]


def test_another_chunker():
    caption = "a man on a bridge without a green umbrella"
    raw = ["a man", "a bridge", "a green umbrella", "the tall towers"]
    assert phrases(caption, lambda text: raw) == {"bridge", "not_green not_umbrella", "tall tower"}
    assert words(caption, lambda text: iter(raw)) == {"bridge", "not_green", "not_umbrella", "tall", "tower"}
    assert normalised("the hats") == "hat"
    assert normalised("no hat") == "not_hat"


def test_spacy_is_asked_for_its_noun_chunks(monkeypatch):
    def load(name: str):
        if name != "small":
            raise OSError(name)
        return lambda text: SimpleNamespace(noun_chunks=[SimpleNamespace(text="a red hat")])

    monkeypatch.setitem(sys.modules, "spacy", SimpleNamespace(load=load))
    assert phrases("a red hat", spacy_chunker("small")) == {"red hat"}
    with pytest.raises(UserError, match="python -m spacy download en_core_web_sm") as mistake:
        spacy_chunker()
    assert "\n" not in str(mistake.value)


def test_spacy_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "spacy", None)
    with pytest.raises(UserError, match="pip install spacy") as mistake:
        spacy_chunker()
    assert "\n" not in str(mistake.value)


def test_what_the_embedded_people_wear_is_found():
    persons = dress_people(40)["train"]
    captions = [text for n, person in enumerate(persons) for text in take_photo(person, "train", 0, n, 0)[1]]
    found = [phrases(caption) for caption in captions]
    assert min(len(one) for one in found) >= 2
    heads = {noun.head for noun in lexicon.NOUNS.values()}
    last = [phrase.split()[-1].removeprefix("not_") for one in found for phrase in one]
    assert all(any(head.split()[-1] == word for head in heads) for word in last)


KNOWN = [
    *lexicon.PLAIN,
    *lexicon.LEXICON["adjectives"],
    *lexicon.LEXICON["stops"],
    "coat",
    "pants",
    "man's",
    "no",
    ",",
    ".",
]


@given(st.one_of(st.text(), st.lists(st.sampled_from(KNOWN), max_size=12).map(" ".join)))
def test_any_text_will_do(text):
    found = phrases(text)
    assert words(text) == {word for phrase in found for word in phrase.split()}
    assert all(phrase == phrase.lower().strip() and phrase for phrase in found)
    assert all(raw in text for raw in lexicon_chunker(text))
    assert phrases(text, lambda caption: [caption]) is not None
