"""What the probe says of the towers: the metrics of evaluation without colour, and swapped colour words."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from torch.nn import functional as F

from huecry.data.captions import find_spans
from huecry.data.readers import read
from huecry.data.tokens import tokenize
from huecry.pretrain.probe_towers import tower_figures, wrong_colours
from huecry.retrieval.evaluate import EvalConfig, evaluate_split

OPTIONS = {"seed": 0, "workers": 0, "on_bad_image": "error"}


def test_wrong_colours_change_every_scored_colour_and_nothing_else():
    caption = "A man in an orange coat, a dark blue t-shirt and Red shoes; no green bag, colorful socks."
    seen = set()
    for seed in range(30):
        wrong = wrong_colours(caption, np.random.default_rng(seed))
        assert wrong is not None
        pairs = [(a.hue, b.hue) for a, b in zip(find_spans(caption), find_spans(wrong), strict=True) if a.scored]
        assert all(old != new for old, new in pairs)
        assert "no green bag" in wrong
        assert " a orange" not in wrong
        seen |= {new for _, new in pairs}
    assert len(seen) > 10
    assert wrong_colours("A man with a bag.", np.random.default_rng(0)) is None


def test_figures_are_those_of_evaluation_without_colour(untrained, tiny_bundle, make_photos):
    folder = make_photos()
    photos = read(folder)["test"]
    bundle = tiny_bundle({"contrastive": {}}, photos=photos)
    figures = tower_figures(bundle, photos, EvalConfig(), **OPTIONS)
    plain = evaluate_split(bundle, bundle.towers, photos, EvalConfig()).summary()
    assert (figures["R1"], figures["mAP"], figures["gallery"]) == (plain["R1"], plain["mAP"], 4)
    for path in (folder / "test").iterdir():
        with Image.open(path) as picture:
            ImageOps.grayscale(picture.convert("RGB")).convert("RGB").save(path)
    grey = tower_figures(bundle, photos, EvalConfig(), **OPTIONS)
    for key in ("R1", "mAP"):
        assert grey[key] == grey[f"{key}_gray_gallery"] == pytest.approx(figures[f"{key}_gray_gallery"])
        assert grey[f"{key}_colourless_queries"] == grey[f"{key}_both"] == pytest.approx(figures[f"{key}_both"])


def test_the_swap_against_a_loop(tiny_bundle, photo_folder):
    photos = read(photo_folder)["val"]
    bundle = tiny_bundle({"contrastive": {}}, photos=photos).eval()
    generator = np.random.default_rng([0, 8])
    drops = []
    with torch.no_grad():
        for row, caption in enumerate(photos.captions):
            picture = torch.from_numpy(np.array(photos[int(photos.row_image[row])].open())).permute(2, 0, 1)[None]
            image = bundle({"rgb": picture}, mode="encode")["rgb"]
            ids = tokenize([caption, wrong_colours(caption, generator)])
            right, wrong = F.cosine_similarity(bundle({"text": ids}, mode="encode")["text"], image).tolist()
            drops.append(right - wrong)
    figures = tower_figures(bundle, photos, EvalConfig(), **OPTIONS)
    assert figures["swaps"] == 8
    assert figures["swap_drop"] == pytest.approx(np.mean(drops), abs=1e-6)
    assert figures["swap_preferred"] == 100 * np.mean(np.array(drops) > 0)


def test_towers_that_read_no_words_prefer_nothing(tiny_bundle, photo_folder):
    photos = read(photo_folder)["val"]
    bundle = tiny_bundle({"contrastive": {}}, photos=photos)
    with torch.no_grad():
        bundle.towers.text.words.weight.fill_(0.1)
    figures = tower_figures(bundle, photos, EvalConfig(), **OPTIONS)
    assert figures["swap_drop"] == pytest.approx(0, abs=1e-6)
    assert figures["R1"] == figures["R1_colourless_queries"]
