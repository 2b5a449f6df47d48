"""What the probe says of the head that names masked colours, against twins written as loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from huecry.data.captions import HUES, MODIFIERS, find_spans
from huecry.data.tokens import encode
from huecry.pretrain.probe_rows import derangement, resampled
from huecry.pretrain.probe_words import Answers, ask, hue_scores, joined, looks, macro, word_figures
from huecry.tasks.attention import pick
from huecry.training.encode import encode_view


def answers(count: int = 60, seed: int = 0) -> Answers:
    generator = np.random.default_rng(seed)
    hues = generator.integers(0, 5, count)
    return Answers(
        owner=generator.integers(0, 8, count),
        hue=hues,
        said=np.where(generator.random(count) < 0.6, hues, generator.integers(0, 17, count)),
        blind=np.where(generator.random(count) < 0.2, hues, generator.integers(0, 17, count)),
        tag=generator.choice(["garment", "hair"], count),
        toned=generator.integers(-1, 4, count),
        tone=generator.integers(0, 4, count),
        captions=30,
        coloured=24,
    )


def slow_macro(hue, said) -> float:
    shares = []
    for one in range(len(HUES)):
        of_class = [s == h for h, s in zip(hue, said, strict=True) if h == one]
        if of_class:
            shares.append(100 * sum(of_class) / len(of_class))
    return sum(shares) / len(shares)


def test_figures_against_loops():
    found = answers()
    figures = word_figures(found, seed=4)
    assert figures["accuracy"] == pytest.approx(100 * np.mean([found.hue[i] == found.said[i] for i in range(60)]))
    assert figures["macro_accuracy"] == pytest.approx(slow_macro(found.hue, found.said))
    assert figures["blind_macro_accuracy"] == pytest.approx(slow_macro(found.hue, found.blind))
    assert figures["visual_gain"] == pytest.approx(figures["macro_accuracy"] - figures["blind_macro_accuracy"])
    hair = found.tag == "hair"
    assert figures["accuracy_hair"] == pytest.approx(100 * (found.said == found.hue)[hair].mean())
    told = [found.toned[i] == found.tone[i] for i in range(60) if found.toned[i] >= 0]
    assert figures["modifier_accuracy"] == pytest.approx(100 * np.mean(told))
    assert (figures["spans"], figures["coverage"]) == (60, 80)
    counts = np.array(figures["confusion"]["counts"])
    assert figures["confusion"]["classes"] == list(HUES)
    for right in range(17):
        for said in range(17):
            assert counts[right, said] == sum((found.hue == right) & (found.said == said))


def test_the_interval_of_the_gain_against_loops():
    found = answers()
    gains = []
    persons = sorted(set(found.owner.tolist()))
    for weights in resampled(len(persons), 4):
        rows: list[int] = []
        for person, times in zip(persons, weights, strict=True):
            rows += np.flatnonzero(found.owner == person).tolist() * int(times)
        seeing, unseeing = (slow_macro(found.hue[rows], said[rows]) for said in (found.said, found.blind))
        gains.append(seeing - unseeing)
    figures = word_figures(found, seed=4)
    wanted = (np.percentile(gains, 2.5), np.percentile(gains, 97.5))
    assert (figures["visual_gain_low"], figures["visual_gain_high"]) == pytest.approx(wanted)
    assert figures["visual_gain_low"] < figures["visual_gain"] < figures["visual_gain_high"]


def test_macro_accuracy_passes_over_classes_that_do_not_occur():
    assert macro(np.array([1.0, 0, 3]), np.array([2.0, 0, 3])) == pytest.approx(75)


def test_batches_are_joined():
    whole = joined([answers(10, 1), answers(0, 2), answers(7, 3)])
    assert len(whole.hue) == len(whole.tag) == 17
    assert (whole.captions, whole.coloured) == (90, 72)


def test_a_head_that_ignores_the_photograph_gains_nothing(untrained, val_rows, monkeypatch):
    probed = untrained(colour_words={})
    head, rows = probed.colour_words, val_rows(probed.towers)
    monkeypatch.setattr(
        head, "states", lambda text, valid, image, at: pick(text, at.clamp(min=0, max=text.shape[1] - 1))
    )
    found = ask(head, probed.towers, rows)
    assert len(found.said) > 0
    assert np.array_equal(found.said, found.blind)
    figures = word_figures(found)
    assert figures["accuracy"] == figures["blind_accuracy"]
    assert figures["visual_gain"] == figures["visual_gain_low"] == figures["visual_gain_high"] == 0


def test_a_head_that_sees_the_photograph_alone_answers_for_the_other_one(untrained, val_rows, monkeypatch):
    """It says the first colour of whoever is shown: its own caption's, and the partner's when it is blind."""
    probed = untrained(colour_words={})
    head, rows = probed.colour_words, val_rows(probed.towers)
    rows = rows.at(np.unique(rows.image, return_index=True)[1])
    first = rows.inputs["colour_words"]["hue"][:, 0]
    known = encode_view(probed.towers, "rgb", rows.views["rgb"]).projected.detach()

    def states(text, valid, image, at):
        shown = torch.cdist(image.flatten(1), known.flatten(1)).argmin(dim=1)
        return F.one_hot(first[shown], 17).float()[:, None].expand(-1, at.shape[1], -1)

    monkeypatch.setattr(head, "states", states)
    head.hue, head.modifier = torch.nn.Identity(), torch.nn.Linear(17, 4)
    found = ask(head, probed.towers, rows)
    partner, apart = derangement(rows.owner)
    assert apart.all()
    counts = [sum(span.scored for span in find_spans(caption)) for caption in rows.captions]
    assert found.said.tolist() == np.repeat(first.numpy(), counts).tolist()
    assert found.blind.tolist() == np.repeat(first.numpy()[partner], counts).tolist()


def test_answers_belong_to_their_captions(untrained, val_rows):
    probed = untrained(colour_words={})
    rows = val_rows(probed.towers)
    found = ask(probed.colour_words, probed.towers, rows)
    spans = [
        (int(owner), HUES.index(span.hue), span.tag, MODIFIERS.index(span.modifier))
        for owner, caption in zip(rows.owner, rows.captions, strict=True)
        for span in find_spans(caption)
        if span.scored
    ]
    columns = (found.owner.tolist(), found.hue.tolist(), found.tag.tolist(), found.toned.tolist())
    assert [*zip(*columns, strict=True)] == spans
    assert (found.captions, found.coloured) == (8, 8)


def test_a_head_that_names_words_is_held_to_those_of_one_class(untrained):
    head = untrained(colour_words={"target": "vocab"}).colour_words
    for hue in ("red", "teal", "gray"):
        with torch.no_grad():
            head.word.weight.zero_()
            head.word.bias.zero_()
            head.word.bias[encode(hue)[0]] = 1
            head.word.bias[encode("jacket")[0]] = 9
        assert HUES[int(hue_scores(head, torch.zeros(1, 128)).argmax())] == hue
    with torch.no_grad():
        head.word.bias.zero_()
        head.word.bias[encode("dark")[0]] = 1  # of "dark blue" and of "dark red": says nothing
    assert (hue_scores(head, torch.zeros(1, 128)) == 0).all()


@pytest.mark.parametrize("config", [{}, {"head": "irra"}, {"target": "vocab"}])
def test_every_head_can_be_asked_and_looked_at(untrained, val_rows, config):
    probed = untrained(colour_words=config)
    rows = val_rows(probed.towers)
    figures = word_figures(ask(probed.colour_words, probed.towers, rows))
    assert ("modifier_accuracy" in figures) == (config.get("target") != "vocab")
    found = looks(probed.colour_words, probed.towers, rows)
    for caption, row in zip(rows.captions, found, strict=True):
        scored = [span for span in find_spans(caption) if span.scored]
        assert [look.hue for look in row] == [span.hue for span in scored][:4]
        for look, span in zip(row, scored, strict=False):
            assert look.words.startswith(caption[span.start : span.end])
            assert look.heat.shape == (8, 4)
            assert look.heat.sum() == pytest.approx(1, abs=1e-5)
            assert look.said in HUES
