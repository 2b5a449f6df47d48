"""The words of the lexicon: forms, slips of the pen, words run together, nouns."""

from __future__ import annotations

from importlib.resources import files

import pytest
from spans import only, texts, told

from huecry.data import lexicon
from huecry.data.captions import find_spans


def test_every_form_has_one_class():
    forms = [form for row in lexicon.LEXICON["hues"].values() for form in row]
    assert len(forms) == len(set(forms))
    for hue, row in lexicon.LEXICON["hues"].items():
        for form in row:
            for written in {form, form.replace(" ", "-"), form.replace(" ", ""), form.upper(), form.capitalize()}:
                caption = f"Wearing a {written} shirt."
                assert texts(caption) == [written], written
                assert only(caption).hue == hue
                assert only(caption).noun == "shirt"


def test_the_table_of_the_specification_is_there():
    table = {
        "gray": "grey greyish charcoal silver ash slate",
        "maroon": "burgundy wine oxblood",
        "orange": "rust peach coral salmon",
        "teal": "turquoise aqua aquamarine cyan",
        "beige": "tan khaki cream ivory nude taupe sand camel",
        "brown": "chestnut chocolate coffee caramel bronze copper",
        "multi": "multicoloured multicolored multicolor multi-coloured colorful colourful rainbow",
        "beige ": "skin-coloured skin-colored",
    }
    for hue, forms in table.items():
        for form in forms.split():
            assert told(f"a {form} coat") == [(form, hue.strip(), "none", "coat", True)]
    assert told("dark red tie") == [("dark red", "maroon", "dark", "tie", True)]
    assert told("deep blue tie") == [("deep blue", "navy", "dark", "tie", True)]
    assert told("jet-black tie") == [("jet-black", "black", "none", "tie", True)]


@pytest.mark.parametrize(
    ("word", "meant"),
    [("yello", "yellow"), ("balck", "black"), ("purpel", "purple"), ("orrange", "orange"), ("whtie", "white")],
)
def test_slips_of_the_pen(word, meant):
    assert told(f"a {word} coat") == [(word, meant, "none", "coat", True)]


def test_words_run_together():
    assert told("bluejeans and a whiteshirt") == [
        ("blue", "blue", "none", "jeans", True),
        ("white", "white", "none", "shirt", True),
    ]
    assert texts("a blackwhite coat") == ["black", "white"]
    assert find_spans("a greenhouse") == ()


def test_the_vocabulary_is_short_and_holds_no_colour():
    known, mended = lexicon.spelling()
    assert "while" in known
    assert not known & mended.keys()
    words = (files("huecry.data") / "vocabulary.txt").read_text(encoding="utf-8").split()
    assert len(words) <= 3000
    assert words == sorted(set(words))
    assert not set(words) & lexicon.SINGLE.keys()


def test_slips_are_those_at_distance_one():
    assert set(lexicon.slips("ab")) >= {"b", "a", "ba", "xb", "ax", "xab", "axb", "abx"}
    assert all(abs(len(slip) - 3) <= 1 for slip in lexicon.slips("tan"))


def test_plurals_and_joints():
    assert [lexicon.plural(word) for word in ("bag", "watch", "dress", "box", "lady", "boy")] == [
        "bags",
        "watches",
        "dresses",
        "boxes",
        "ladies",
        "boys",
    ]
    assert lexicon.joined("button-up shirt") == "buttonupshirt"
    assert lexicon.NOUNS["hoodies"] == ("hoodie", "garment", "upper")


def test_the_names_in_the_lexicon_are_its_own():
    heads = {noun.head for noun in lexicon.NOUNS.values()}
    content = lexicon.LEXICON
    assert {*content["first_halves"], *content["parts"]} <= heads
    assert {*content["things"], *content["senses"]} <= {*lexicon.PLAIN, *lexicon.MODIFIERS}
    assert set(content["bare"]["words"]) <= lexicon.MODIFIERS.keys()
    assert set(content["bare"]["zones"]) <= {noun.zone for noun in lexicon.NOUNS.values()}
    assert {hue for pair in content["neighbours"] for hue in pair} <= content["hues"].keys()
