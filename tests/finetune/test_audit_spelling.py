"""Slips of the pen: found with what was meant, and words that are only rare left alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from huecry.data.records import PhotoSet, Record
from huecry.finetune.audit_spelling import WordCounts, fragment, known, spelling_findings

COMMON = ["a man wearing a black shirt and grey jeans and shoes with a royal blue backpack"] * 30


@pytest.mark.parametrize(
    ("slip", "meant"),
    [
        *(("balck", "black"), ("wearign", "wearing"), ("sihrt", "shirt"), ("bacpack", "backpack"), ("roayl", "royal")),
        *(("gery", "grey"), ("legggings", "leggings"), ("gren", "green"), ("pnk", "pink"), ("brigth", "bright")),
        *(("wering", "wearing"), ("dresed", "dressed"), ("chekered", "checkered"), ("waisst", "waist")),
        *(("pontyail", "ponytail"), ("umberela", "umbrella"), ("cardingen", "cardigan")),
        *(("pedestrain's", "pedestrian"), ("hatt", "hat"), ("hass", "has")),
    ],
)
def test_slips(slip, meant):
    counts = WordCounts([*COMMON, f"a man who has {slip}"])
    assert counts.meant(slip) == meant


@pytest.mark.parametrize(
    ("slip", "meant"),
    [
        *(("bluejeans", "blue jeans"), ("whiteblouse", "white blouse"), ("ablue", "a blue"), ("hasgrey", "has grey")),
        *(("shoesand", "shoes and"), ("jacketwith", "jacket with"), ("redblack", "red black")),
    ],
)
def test_words_run_together(slip, meant):
    assert WordCounts([*COMMON, f"a man with {slip}"]).meant(slip) == meant


@pytest.mark.parametrize("slip", ["sandles", "bagpack", "leggins", "snickers", "stripped", "fuschia", "collard"])
def test_slips_that_the_lexicon_reads(slip):
    assert WordCounts([f"a man with {slip}"]).meant(slip) is not None
    assert not known(slip)


@pytest.mark.parametrize(
    "word",
    [
        *("paisley", "herringbone", "scrunchie", "colourful", "duffle", "brimmed", "flowerlike", "wheels", "hand"),
        *("tunics", "grey", "gray", "jewellery", "moulded", "organised", "men's", "isn't", "sari", "jeggings"),
        *("galoshes", "trilby", "brim", "seams", "lacks", "strides", "snood", "sheepskin", "schoolgirl", "toggles"),
        *("shirtdress", "waistcoat", "downcoat", "rainboots", "flatform", "kameez", "kumamon", "nyu", "vis"),
    ],
)
def test_words_that_are_right(word):
    assert WordCounts([*COMMON, f"a man with {word}"]).meant(word) is None


def test_a_word_that_many_write_is_no_slip():
    assert WordCounts([*COMMON, *["a carring man"] * 3]).meant("carring") == "carrying"
    assert WordCounts([*COMMON, *["a carring man"] * 40]).meant("carring") is None


def test_an_english_word_is_a_slip_only_where_another_one_is_far_likelier():
    captions = [*["a man in a black jacket and jeans"] * 60, "a man in a black jacked and jeans", "a jacked man"]
    counts = WordCounts([*["a woman with long hair who has blue shorts on"] * 400, *captions])
    assert counts.meant("jacked", "black", "and") == "jacket"
    assert counts.meant("jacked", "a", "man") is None
    assert WordCounts(captions[-2:]).meant("jacked", "black", "and") is None
    assert WordCounts([*["white shirt"] * 50, "a shirr coat"]).meant("shirr", "a", "coat") == "shirt"


def test_unknown_words_by_frequency():
    counts = WordCounts(["qzvxk zzqqv qzvxk", "A Qzvxk shirt"])
    assert counts.unknown == {"qzvxk": 3, "zzqqv": 1}
    assert not known("qzvxk")
    assert known("shirt")


def test_findings_name_the_characters():
    caption = "A man in a Balck shirt and black jeans"
    photos = PhotoSet("train", [Record(Path("a"), ("a black shirt", caption), None, "a")])
    (finding,) = spelling_findings(photos, WordCounts(photos.captions))
    assert (finding.rule, finding.severity, finding.caption) == ("unknown_word", "info", 1)
    assert finding.span is not None
    assert caption[slice(*finding.span)] == "Balck"
    assert "black?" in finding.evidence


def test_printed_letters_and_letters_of_other_alphabets_are_no_slips():
    captions = ("a shirt with BLAKC on it", "HE HAS A BLAKC SHIRT", "a İpek ² Ⅷ 日本 shirt", "a1b2c")
    photos = PhotoSet("train", [Record(Path("a"), captions, None, "a")])
    assert [finding.caption for finding in spelling_findings(photos, WordCounts(photos.captions))] == [1]


def test_the_beginning_of_a_word_is_no_word():
    assert all(fragment(word) for word in ("trous", "je", "backp", "wea"))
    assert not any(fragment(word) for word in ("us", "shirt", "hand", "brim", "qzvxk"))
