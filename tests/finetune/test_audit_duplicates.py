"""Near duplicates across persons: which captions say the same, and which only use the same words."""

from __future__ import annotations

from pathlib import Path

import pytest

from huecry.data.records import PhotoSet, Record
from huecry.finetune.audit_duplicates import near_duplicates


def photos(split: str, **captions: tuple[str, ...]) -> PhotoSet:
    """Photographs named `<person>_<number>`; a person of the name `nobody` is unknown."""
    records = []
    for name, said in captions.items():
        person = name.partition("_")[0]
        records.append(Record(Path(name), said, None if person == "nobody" else person, name))
    return PhotoSet(split, records)


FILLERS = [f"A {colour} hat, {colour} scarf." for colour in ("red", "green", "blue", "pink", "purple")]
SAID = "A man in a black shirt, white trousers and a red backpack."
AGAIN = "He wears a black shirt and white pants, carrying a red backpack."


def found(*splits: PhotoSet) -> set[tuple[str, str, int | None]]:
    given = {one.split: one for one in splits} | {"test": photos("test", filler_0=tuple(FILLERS))}
    return {(one.split, one.file, one.caption) for one in near_duplicates(given)}


def test_two_persons_of_whom_the_same_is_said_each_have_a_finding():
    first = photos("train", anna_0=("A green dress and a hat.", SAID), ben_0=(AGAIN,))
    assert found(first) == {("train", "anna_0", 1), ("train", "ben_0", 0)}
    apart = found(photos("train", anna_0=(SAID,)), photos("val", ben_0=(AGAIN,)))
    assert apart == {("train", "anna_0", 0), ("val", "ben_0", 0)}


def test_the_nearest_is_named_with_its_words():
    splits = {"train": photos("train", anna_0=(SAID,), ben_0=(AGAIN,), filler_0=tuple(FILLERS))}
    first, second = near_duplicates(splits)
    assert "caption 0 of ben_0 (person ben)" in first.evidence
    assert AGAIN in first.evidence
    assert SAID in second.evidence
    assert (first.rule, first.person) == ("near_duplicate_caption", "anna")


def test_one_person_or_an_unknown_one_has_no_duplicates():
    assert found(photos("train", anna_0=(SAID, AGAIN), anna_1=(SAID,))) == set()
    assert found(photos("train", nobody_0=(SAID,), nobody_1=(SAID,), anna_0=(AGAIN,))) == set()


def test_the_same_words_in_other_places_are_not_the_same():
    swapped = "A man in a white shirt, black trousers and a red backpack."
    assert found(photos("train", anna_0=(SAID,), ben_0=(swapped,))) == set()
    other = "A woman in a black shirt, white trousers and a red backpack."
    assert found(photos("train", anna_0=(SAID,), ben_0=(other,))) == set()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("A boy in black shoes, grey jeans and a green bag.", "A boy in black shoes, grey jeans and a yellow bag."),
        ("A lady in black shoes and a green bowling shirt.", "A lady in black shoes and a pink bowling shirt."),
        ("A boy in grey jeans, red sneekers and a green tee.", "A tall boy with freckles, grey jeans and a green tee."),
    ],
)
def test_one_thing_in_another_colour_or_not_named_is_not_the_same(one, other):
    assert found(photos("train", anna_0=(one,), ben_0=(other,))) == set()


def test_a_caption_in_words_that_no_list_knows_is_found_again():
    said = "The child wears a dinosaur romper with a spiky tail and fluffy mules."
    turned = "The child wears fluffy mules and a dinosaur romper with a spiky tail."
    for again in (said, turned):
        assert found(photos("train", anna_0=(said,), ben_0=(again,))) == {("train", "anna_0", 0), ("train", "ben_0", 0)}


def test_captions_that_say_little_are_not_compared():
    assert found(photos("train", anna_0=("Black shirt.",), ben_0=("A black shirt.",))) == set()
    assert found(photos("train")) == set()
