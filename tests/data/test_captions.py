"""Colours in captions: what is found, what it means and whether it is scored."""

from __future__ import annotations

import pickle
import random

import pytest
from spans import only, texts, told

from huecry.data.captions import HUES, MODIFIERS, NEIGHBOURS, find_spans, mask_colours, replace_colour
from huecry.data.tokens import encode

EXAMPLE = "A man in a dark blue-grey t-shirt and black shoes"


def test_the_worked_example():
    assert told(EXAMPLE) == [
        ("dark blue", "navy", "dark", "t-shirt", True),
        ("grey", "gray", "none", "t-shirt", True),
        ("black", "black", "none", "shoes", True),
    ]
    assert [(span.tag, span.zone) for span in find_spans(EXAMPLE)] == [("garment", "upper")] * 2 + [("garment", "feet")]
    ids, positions = mask_colours(EXAMPLE)
    assert ids == [320, 786, 530, 320, 49405, 268, 49405, 339, 268, 2523, 537, 49405, 4079]
    assert [1 + position for position in positions] == [5, 7, 12]  # 1: the start that the tokenizer puts before them
    assert encode(EXAMPLE) == (320, 786, 530, 320, 3144, 1746, 268, 5046, 339, 268, 2523, 537, 1449, 4079)


def test_the_classes():
    table = "black white gray red maroon orange yellow green teal blue navy purple pink brown beige multi blond"
    assert " ".join(HUES) == table
    assert MODIFIERS == ("none", "light", "dark", "bright")
    assert set(NEIGHBOURS["navy"]) == {"blue", "black"}
    assert {"white"} < set(NEIGHBOURS["gray"])
    assert all(hue in NEIGHBOURS[other] for hue in HUES for other in NEIGHBOURS[hue])
    assert set(NEIGHBOURS) == set(HUES)


@pytest.mark.parametrize(
    ("text", "hue", "modifier"),
    [
        ("light brown", "brown", "light"),
        ("light-brown", "brown", "light"),
        ("lightbrown", "brown", "light"),
        ("pale pink", "pink", "light"),
        ("pastel green", "green", "light"),
        ("faded blue", "blue", "light"),
        ("deep purple", "purple", "dark"),
        ("neon yellow", "yellow", "bright"),
        ("Bright Red", "red", "bright"),
        ("dark navy blue", "navy", "dark"),
        ("light sky blue", "blue", "light"),
        ("faded dark blue", "navy", "dark"),
        ("darker grey", "gray", "dark"),
        ("dark  green", "green", "dark"),
        ("navy-blue", "navy", "none"),
        ("navyblue", "navy", "none"),
        ("charcoal grey", "gray", "none"),
        ("olive green", "green", "none"),
        ("dark olive green", "green", "dark"),
        ("blacks", "black", "none"),
        ("off–white", "white", "none"),
    ],
)
def test_compounds_and_modifiers_are_one_span(text, hue, modifier):
    assert told(f"a {text} jacket") == [(text, hue, modifier, "jacket", True)]


@pytest.mark.parametrize(
    ("caption", "found"),
    [
        ("a black and white striped shirt", ["black", "white"]),
        ("red/blue jacket", ["red", "blue"]),
        ("a black-and-white dress", ["black", "white"]),
        ("a red, white & blue flannel shirt", ["red", "white", "blue"]),
        ("a teal green top", ["teal", "green"]),
        ("light and dark blue jeans", ["light", "dark blue"]),
    ],
)
def test_coordinated_colours_share_their_noun(caption, found):
    spans = find_spans(caption)
    assert texts(caption) == found
    assert len({span.noun for span in spans}) == 1
    assert spans[0].noun is not None


@pytest.mark.parametrize(
    "caption",
    [
        "a man while standing",
        "the right hand on a block",
        "reach for the plate",
        "a tam and a rad gond bleu rde blck hat",
        "traffic light",
        "under a street light, a person in the dark",
        "a dark logo and a lighter sole",
        "a light weight jacket",
        "a dark logo, lighter trousers",
        "a paded jacket",  # as near to padded as to faded
        "",
        "... !?",
        "tanned, reddening, bluegrass",
    ],
)
def test_what_is_no_colour(caption):
    assert find_spans(caption) == ()


@pytest.mark.parametrize(
    ("caption", "noun"),
    [
        ("his hair is black", "hair"),
        ("Her hair is long, straight and black.", "hair"),
        ("a shirt that is mostly blue", "shirt"),
        ("shoes which are a very light grey", "shoes"),
        ("a jacket in red", "jacket"),
        ("shirt: red", "shirt"),
        ("hair black", "hair"),
        ("black leather dress shoes", "shoes"),
        ("a white, long sleeved polo shirt", "polo shirt"),
        ("a blue woman's coat", "coat"),
        ("a green suit jacket", "blazer"),
        ("a white shirt collar", "collar"),
        ("a black pair of trousers", "trousers"),
        ("white 3/4 sleeve tee", "t-shirt"),
        ("a pink light jacket", "jacket"),
        ("black haired", "hair"),
        ("khakis and shoes", "trousers"),
        ("yellow sneakers", "shoes"),
    ],
)
def test_the_head_noun(caption, noun):
    assert {span.noun for span in find_spans(caption) if span.hue} == {noun}


def test_nouns_of_neighbours_are_left_alone():
    caption = "a white shirt, red and blue jeans and green-black shoes; black hair, pink lips"
    assert [span.noun for span in find_spans(caption)] == ["shirt", "jeans", "jeans", "shoes", "shoes", "hair", "skin"]


def test_a_colour_without_a_noun():
    assert told("a woman in black walking") == [("black", "black", "none", None, True)]
    assert only("dressed all in white.").tag == "unknown"
    assert only("a man in red carrying bags").noun is None
    assert only("something yellow").zone is None


@pytest.mark.parametrize(
    ("caption", "masked"),
    [
        ("a black man", ["black"]),
        ("White young female", ["White"]),
        ("the man is black", ["black"]),
        ("with tan skin", ["tan"]),
        ("a brown skinned boy", ["brown"]),
        ("orange juice", ["orange"]),
        ("a gold medal", ["gold"]),
        ("holding a coffee", ["coffee"]),
        ("a coffee cup", ["coffee"]),
        ("an ice cream", ["cream"]),
        ("by a brick wall", ["brick"]),
        ("a light-coloured bag", ["light-coloured"]),
        ("dark colored", ["dark colored"]),
        ("brightly colored shoes", ["brightly colored"]),
        ("dark pants", ["dark"]),
        ("dark, long trousers", ["dark"]),
        ("a light scarf", ["light"]),
    ],
)
def test_masked_but_not_scored(caption, masked):
    assert texts(caption, scored=False) == masked
    assert texts(caption, scored=True) == []


def test_a_modifier_alone_has_no_hue():
    assert told("dark-colored shirt, pale coat") == [
        ("dark-colored", None, "dark", "shirt", False),
        ("pale", None, "light", "coat", False),
    ]


def test_a_black_man_in_a_white_coat():
    caption = "black man in a white coat"
    assert texts(caption) == ["black", "white"]
    assert texts(caption, scored=True) == ["white"]
    assert find_spans(caption)[0].tag == "person"


def test_blond_speaks_of_hair():
    for caption in ("a blonde woman", "a blond", "the hair is blond", "blonde ponytail"):
        span = only(caption)
        assert (span.hue, span.tag, span.zone, span.scored) == ("blond", "hair", "hair", True)


def test_scenes_are_scored():
    for caption, noun in (("green grass", "grass"), ("a white background", "background"), ("a grey wall", "wall")):
        span = only(caption)
        assert (span.tag, span.noun, span.scored) == ("scene", noun, True)


@pytest.mark.parametrize(
    "caption",
    [
        "no red bag",
        "without a red or blue hat",
        "not wearing a black coat",
        "she doesn't have a white scarf",
        "not black",
    ],
)
def test_what_is_not_there_is_masked_and_not_scored(caption):
    assert find_spans(caption)
    assert all(span.negated and not span.scored for span in find_spans(caption))


@pytest.mark.parametrize(
    "caption", ["no hat, red bag", "no bag and a blue coat", "no hat. White shoes", "not only red"]
)
def test_a_negation_ends(caption):
    assert all(span.scored and not span.negated for span in find_spans(caption))


def test_what_others_wear_is_masked_and_not_scored():
    caption = "A woman in a green coat next to a man in a red shirt. She carries a white bag."
    assert [(s.hue, s.bystander, s.scored) for s in find_spans(caption)] == [
        ("green", False, True),
        ("red", True, False),
        ("white", False, True),
    ]
    caption = "a person walks behind another man with a blue hat and carries a pink bag"
    assert [span.bystander for span in find_spans(caption)] == [True, False]
    assert not only("A person with a red hat near a bench").bystander


def test_tags_and_zones():
    caption = "black hair, red bag, blue cap, green skirt, white boots, grey dress, pink scarf"
    assert [(s.tag, s.zone) for s in find_spans(caption)] == [
        ("hair", "hair"),
        ("accessory", "carried"),
        ("accessory", "head"),
        ("garment", "lower"),
        ("garment", "feet"),
        ("garment", "whole"),
        ("accessory", "neck"),
    ]


def test_another_colour_word():
    def swap(caption: str, word: str) -> str:
        return replace_colour(caption, find_spans(caption)[0], word)

    assert swap("a red coat", "orange") == "an orange coat"
    assert swap("An orange coat", "light blue") == "A light blue coat"
    assert swap("a man, an  olive bag", "red") == "a man, a  red bag"
    assert swap("Black shoes", "teal") == "Teal shoes"
    assert swap("A BLACK COAT", "orange") == "AN ORANGE COAT"
    assert swap("the dark-blue coat", "red") == "the red coat"
    assert swap("a blue-grey coat", "indigo") == "an indigo-grey coat"


def test_spans_are_plain_values():
    spans = find_spans(EXAMPLE)
    assert pickle.loads(pickle.dumps(spans)) == spans
    assert find_spans(EXAMPLE) is spans
    state = random.getstate()
    mask_colours("another red caption")
    assert random.getstate() == state
