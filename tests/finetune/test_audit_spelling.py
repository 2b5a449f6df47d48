"""Slips of the pen: found with what was meant, and words that are only rare left alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from huecry.data.records import PhotoSet, Record
from huecry.finetune.audit_spelling import WordCounts, known, spelling_findings

COMMON = ["a man wearing a black shirt and grey jeans and shoes with a royal blue backpack"] * 30


@pytest.mark.parametrize(
    ("slip", "meant"),
    [
        *(("balck", "black"), ("wearign", "wearing"), ("sihrt", "shirt"), ("bacpack", "backpack"), ("roayl", "royal")),
        *(("bluejeans", "blue jeans"), ("gery", "grey"), ("legggings", "leggings")),
    ],
)
def test_slips(slip, meant):
    counts = WordCounts([*COMMON, f"a man with {slip}"])
    assert counts.meant(slip) == meant


@pytest.mark.parametrize(
    "word",
    ["paisley", "herringbone", "scrunchie", "colourful", "duffle", "brimmed", "flowerlike", "wheels", "hand", "tunics"],
)
def test_words_that_are_right(word):
    assert WordCounts([*COMMON, f"a man with {word}"]).meant(word) is None


def test_a_word_that_many_write_is_no_slip():
    assert WordCounts([*COMMON, *["a carring man"] * 3]).meant("carring") == "carrying"
    assert WordCounts([*COMMON, *["a carring man"] * 40]).meant("carring") is None


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
