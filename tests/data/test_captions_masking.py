"""Captions without their colours: nothing is left, of the embedded people and of any text."""

from __future__ import annotations

import itertools
import re
import time
from random import Random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from spans import only

from huecry.data import lexicon
from huecry.data.captions import HUES, MODIFIERS, find_spans, mask_colours
from huecry.data.people import dress_people, take_photo
from huecry.data.people.wardrobe import SHADES
from huecry.data.people.wording import slip
from huecry.data.tokens import EOT, MASK, VOCAB, encode, pack, tokenize, vocabulary


def decode(ids: list[int]) -> str:
    names = {index: word for word, index in vocabulary()[0].items()}
    return "".join(names[index] for index in ids).replace("</w>", " ")


@pytest.fixture(scope="module")
def people() -> list[str]:
    photos = ((number, person, photo) for number, person in enumerate(dress_people(60)["train"]) for photo in range(4))
    return [text for n, person, photo in photos for text in take_photo(person, "train", 0, n, photo)[1]]


def test_ids_do_not_tell_the_colour():
    for other in ("bluish", "Light-Blue", "YELLO", "navy blue", "dark  grey", "fuchsia"):
        assert mask_colours(f"a {other} shirt") == mask_colours("a red shirt")
    assert mask_colours("AN orange shirt") == mask_colours("a red shirt")
    assert mask_colours("an old shirt, an\tolive bag")[0] == [*encode("an old shirt, a "), MASK, *encode("bag")]


def test_the_end_moves_by_what_was_removed():
    caption = "a multi-colored coat"
    ids, positions = mask_colours(caption)
    assert (ids, positions) == ([320, MASK, 7356], [1])
    packed, plain = pack([ids])[0].tolist(), tokenize([caption])[0].tolist()
    assert packed.index(EOT) == plain.index(EOT) - len(encode("multi-colored")) + 1
    long = pack([mask_colours("a red coat, " * 40)[0]])[0].tolist()
    assert (len(long), long[-1]) == (77, EOT)


NAMES = {
    "black": "black",
    "white off-white": "white",
    "grey charcoal silver": "gray",
    "red scarlet reddish": "red",
    "maroon burgundy": "maroon",
    "orange": "orange",
    "yellow lemon mustard gold": "yellow",
    "green emerald olive mint": "green",
    "teal turquoise": "teal",
    "blue": "blue",
    "navy": "navy",
    "purple violet lavender lilac": "purple",
    "pink rose magenta fuchsia": "pink",
    "brown chocolate": "brown",
    "beige tan khaki sand cream ivory": "beige",
    "blond blonde": "blond",
}


def test_the_colours_of_the_embedded_people():
    expected = {name: hue for names, hue in NAMES.items() for name in names.split()}
    for name in {name for shade in SHADES.values() for name in shade.names} | {s.hue for s in SHADES.values()}:
        first, _, last = name.rpartition(" ")
        hue = {"dark blue": "navy", "navy blue": "navy", "dark red": "maroon", "wine red": "maroon"}.get(
            name, expected[last]
        )
        span = only(f"a {name} coat")
        assert (span.start, span.end, span.hue) == (2, 2 + len(name), hue), name
        assert span.modifier == lexicon.MODIFIERS.get(first, "none"), name
        assert only(f"long {name.replace('grey', 'gray')} hair").tag == "hair"


def test_nothing_is_left_of_the_embedded_people(people):
    left = re.compile(rf"\b(?:{'|'.join(lexicon.PLAIN)})\b")
    for caption in people:
        spans = find_spans(caption)
        ids, positions = mask_colours(caption)
        assert positions == [index for index, token in enumerate(ids) if token == MASK]
        assert len(positions) == len(spans)
        assert all(span.scored for span in spans if span.hue), caption
        assert not left.search(decode(ids)), caption
        assert find_spans(decode(ids)) == ()
    nouns = [span.noun for caption in people for span in find_spans(caption)]
    assert nouns.count(None) < 0.01 * len(nouns)  # misspelt ones


def test_slips_of_the_embedded_people_are_mended_or_left(people):
    rng = Random(0)
    mended = lost = 0
    for caption in people:
        spoilt = slip(caption, rng)
        before, after = find_spans(caption), find_spans(spoilt)
        hues = [span.hue for span in before if span.hue]
        found = [span.hue for span in after if span.hue]
        mended += found == hues and [s.end - s.start for s in before] != [s.end - s.start for s in after]
        lost += found != hues
        remaining = iter(hues)
        assert all(hue in remaining for hue in found), spoilt  # none invented, none of another class
    assert mended > 30
    assert lost < 0.1 * len(people)  # words of four letters


WORDS = [
    *lexicon.PLAIN,
    *lexicon.MODIFIERS,
    *re.split(
        " ", "a man no black dark-blue t-shirt and or, / is hair in. off-white light colored juice wall with next"
    ),
    *re.split(" ", "yello shirt pants - ’s é İ ß skin of pair bluejeans &amp; 黑色 x3/4 khakis ' ( red/blue"),
    "\n",
]
SENTENCES = st.one_of(st.text(), st.lists(st.sampled_from(WORDS), max_size=14).map(" ".join))


@given(SENTENCES)
@example("Dark Red dark red DARK-RED darkred")
@example("light dark, very red or blue and pants")
def test_spans_and_ids_of_any_text(text):
    spans = find_spans(text)
    ids, positions = mask_colours(text)
    assert all(0 <= s.start < s.end <= len(text) for s in spans)
    assert all(a.end <= b.start for a, b in itertools.pairwise(spans))
    assert all(s.hue is None or s.hue in HUES for s in spans)
    assert all(s.modifier in MODIFIERS and not (s.scored and s.hue is None) for s in spans)
    assert all(s.zone is None or s.noun for s in spans)
    assert all(0 <= token < VOCAB - 2 for token in ids)
    assert len(positions) == len(spans)
    assert all(ids[position] == MASK for position in positions)


@given(SENTENCES)
def test_masking_leaves_nothing_to_find(text):
    pieces, done = [], 0
    for span in find_spans(text):
        pieces += [text[done : span.start], " jekyll "]
        done = span.end
    assert find_spans("".join(pieces) + text[done:]) == ()


@given(st.lists(st.sampled_from(WORDS), max_size=14).map(" ".join))
def test_no_form_survives(text):
    ids, _ = mask_colours(text)
    assert not set(decode(ids).split()) & set(lexicon.PLAIN)


def test_it_is_quick(people):
    find_spans("warm")
    start = time.process_time()
    for caption in people:
        find_spans.__wrapped__(caption)
    assert len(people) / (time.process_time() - start) > 2000
