"""Text-IoU: equal to sets of Python, worked examples, and what follows from the definition."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from huecry.data.phrases import phrases, words
from huecry.data.text_iou import MOST, NONE, PhraseIndex, similar_pairs, text_iou

CAPTIONS = [
    "A man in a short black shirt and grey trousers.",
    "The woman wears a black shirt, gray pants and a paisley scarf.",
    "Black trousers, no hat, a red backpack.",
    "He has a hat and a red backpack on his back.",
    "Somebody is walking.",
    "A short black shirt and grey trousers.",
]


def table(index: PhraseIndex, captions: list[str]) -> torch.Tensor:
    units = torch.stack([torch.from_numpy(index(caption)) for caption in captions])
    return text_iou(units, units, torch.from_numpy(index.weights))


@pytest.mark.parametrize("idf", [False, True])
@pytest.mark.parametrize(("unit", "sets"), [("word", words), ("phrase", phrases)])
def test_it_is_the_ratio_of_the_sets(unit, sets, idf):
    found = table(PhraseIndex(CAPTIONS, unit, idf), CAPTIONS)
    held = [sets(caption) for caption in CAPTIONS]
    every = set().union(*held)
    share = {one: sum(one in other for other in held) / len(held) for one in every}
    weight = {one: math.log(1 + 1 / share[one]) if idf else 1.0 for one in every}
    for i, first in enumerate(held):
        for j, second in enumerate(held):
            union = sum(weight[one] for one in first | second)
            expected = sum(weight[one] for one in first & second) / union if union else 0.0
            assert found[i, j].item() == pytest.approx(expected, abs=1e-6)


def test_worked_examples():
    found = table(PhraseIndex(CAPTIONS, idf=False), CAPTIONS)
    # {short black shirt gray trousers} and {black shirt gray trousers paisley scarf}: 4 of 7
    assert found[0, 1].item() == pytest.approx(4 / 7)
    assert found[0, 5] == 1  # the same things in other words
    # {black trousers not_hat red backpack} and {hat red backpack}: "no hat" is no hat
    assert found[2, 3].item() == pytest.approx(2 / 6)
    assert (found[4] == 0).all()  # says nothing
    whole = table(PhraseIndex(CAPTIONS, "phrase", idf=False), CAPTIONS)
    assert whole[0, 1].item() == pytest.approx(1 / 4)  # of short black shirt, black shirt, gray trousers, paisley scarf


def test_what_is_rare_weighs_more():
    many = ["black trousers"] * 8 + ["black trousers and a paisley scarf", "white shoes and a paisley scarf"]
    found = table(PhraseIndex(many), [*many[-2:], "black trousers and white shoes"])
    assert found[0, 1] > found[0, 2]


def test_units_nobody_has_are_passed_and_a_long_list_keeps_the_rare_ones():
    index = PhraseIndex(["a red hat"])
    assert index("a green scarf and a hat")[:2].tolist() == [index.number["hat"], NONE]
    long = " and ".join(f"a {chr(97 + i % 26)}{chr(97 + i // 26)}{chr(97 + i % 7)}ish hat" for i in range(60))
    index = PhraseIndex([long, *["a hat"] * 20])
    assert len(words(long)) > MOST
    kept = index(long)
    assert (kept >= 0).all()
    assert index.number["hat"] not in kept
    assert kept.tolist() == sorted(kept.tolist())


@given(st.lists(st.sampled_from(CAPTIONS), min_size=1, max_size=5), st.lists(st.sampled_from(CAPTIONS), min_size=1))
def test_it_is_symmetric_and_between_none_and_all(first, second):
    index = PhraseIndex(CAPTIONS)
    units = [torch.stack([torch.from_numpy(index(caption)) for caption in part]) for part in (first, second)]
    weights = torch.from_numpy(index.weights)
    found = text_iou(*units, weights)
    assert torch.equal(found, text_iou(units[1], units[0], weights).T)
    assert ((found >= 0) & (found <= 1 + 1e-6)).all()


colours = st.sampled_from(["red", "blue", "black", "white", "striped"])
things = st.sampled_from(["coat", "shirt", "jeans", "scarf", "hat", "boots", "backpack", "umbrella"])
invented = st.lists(st.lists(colours | things, max_size=7).map(lambda said: "a " + " ".join(said)), max_size=12)


@given(invented, st.sampled_from([0.3, 0.5, 0.8]), st.booleans(), st.integers(1, 5))
def test_similar_pairs_are_those_of_the_whole_table(captions, threshold, idf, block):
    captions = [*captions, *captions[:3], *CAPTIONS]
    index = PhraseIndex(captions, idf=idf)
    whole = text_iou(*[torch.from_numpy(index.rows)] * 2, torch.from_numpy(index.weights).double()).numpy()
    found = list(similar_pairs(index, threshold, block))
    first, second = [pair[0] for pair in found], [pair[1] for pair in found]
    assert first == sorted(first)
    assert all(a < b for a, b in zip(first, second, strict=True))
    assert [iou for *_, iou in found] == pytest.approx([float(whole[pair]) for pair in zip(first, second, strict=True)])
    clear = {(i, j) for i in range(len(whole)) for j in range(i + 1, len(whole)) if whole[i, j] > threshold + 1e-6}
    near = {(i, j) for i in range(len(whole)) for j in range(i + 1, len(whole)) if whole[i, j] > threshold - 1e-6}
    assert len(set(zip(first, second, strict=True))) == len(found)
    assert clear <= set(zip(first, second, strict=True)) <= near


@pytest.mark.parametrize("captions", [[], ["Somebody is walking."], ["Somebody is walking."] * 3])
def test_nothing_is_similar_where_nothing_is_said(captions):
    assert list(similar_pairs(PhraseIndex(captions), 0.5)) == []
