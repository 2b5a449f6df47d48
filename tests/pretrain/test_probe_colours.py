"""What the probe says of the head that colours grey pictures, against scikit-image, loops, and painters we know."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from skimage import color, metrics
from torch import Tensor

from huecry.data.captions import NEIGHBOURS, find_spans
from huecry.data.colour import PROTOTYPES, luma, nearest_name, rgb_to_lab
from huecry.pretrain.probe_colours import (
    MAIN,
    NAMES,
    NEW_HUES,
    ZONES,
    Painter,
    attainable,
    colour_figures,
    colourfulness,
    examples,
    joined,
    moved,
    named,
    paintings,
    swaps,
    zone_of,
)
from huecry.pretrain.probe_rows import derangement

CAPTIONS = (
    "A person in a red coat and blue trousers.",
    "Someone wears green jeans below an orange sweater.",
    "A purple hoodie and brown shorts.",
    "A pink t-shirt and a yellow skirt.",
    "The black coat and white shirt are worn with teal pants.",
    "A navy dress.",
)
OWNERS = np.array([0, 0, 1, 2, 3, 4])
SIZE = (32, 16)


def generator() -> np.random.Generator:
    return np.random.default_rng(0)


def pictures(count: int = len(CAPTIONS), seed: int = 0) -> Tensor:
    """Random pictures, [B, 3, h, w] sRGB."""
    return torch.rand(count, 3, *SIZE, generator=torch.Generator().manual_seed(seed))


def truth(lightness: float | None = None) -> Tensor:
    lab = rgb_to_lab(pictures())
    if lightness is not None:
        lab[:, 0] = lightness
    return lab


def obedient(index: Sequence[int], captions: Sequence[str]) -> Tensor:
    """Paints in every zone what the caption says is worn there."""
    ab = torch.zeros(len(captions), 2, *SIZE)
    for number, caption in enumerate(captions):
        for span in find_spans(caption):
            if span.zone in ZONES and span.hue in PROTOTYPES:
                rows, _ = zone_of(span.zone, *SIZE)
                ab[number, :, rows] = torch.tensor(PROTOTYPES[span.hue][1:])[:, None, None]
    return ab


def fixed(ab: Tensor):
    """Paints the same whatever the caption says."""
    return lambda index, captions: ab[list(index)]


def test_a_painter_that_obeys_turns_every_swapped_garment():
    found = paintings(obedient, truth(45.0), CAPTIONS, OWNERS, generator())
    figures = colour_figures(found)
    assert figures["counterfactuals"] >= 8
    assert figures["counterfactual_accuracy"] == 1
    assert figures["counterfactual_chance"] == 0
    assert figures["counterfactuals"] == figures["counterfactuals_upper"] + figures["counterfactuals_lower"]


def test_a_painter_that_ignores_the_caption_gains_nothing():
    lab = truth(45.0)
    figures = colour_figures(paintings(fixed(lab[:, 1:]), lab, CAPTIONS, OWNERS, generator()))
    assert figures["text_gain"] == figures["text_gain_low"] == figures["text_gain_high"] == 0
    assert figures["delta_e76"] == figures["delta_e2000"] == 0
    assert figures["counterfactual_accuracy"] == figures["counterfactual_chance"]
    gray = colour_figures(paintings(fixed(torch.zeros(6, 2, *SIZE)), lab, CAPTIONS, OWNERS, generator()))
    assert gray["counterfactual_accuracy"] == 0
    assert gray["delta_e76"] == gray["delta_e76_gray"] == gray["delta_e76_shuffled"]


def test_figures_against_scikit_image_and_loops():
    lab, painted = truth(), rgb_to_lab(pictures(seed=1))[:, 1:]
    found = paintings(fixed(painted), lab, CAPTIONS, OWNERS, generator())
    assert len(found.owner) == 6
    for row in range(6):
        right = lab[row].permute(1, 2, 0).double().numpy()
        said = np.concatenate([right[..., :1], painted[row].permute(1, 2, 0).double().numpy()], axis=-1)
        distance = color.deltaE_cie76(right, said)
        assert found.e76[row] == pytest.approx(distance.mean(), rel=1e-5)
        assert found.gray[row] == pytest.approx(np.hypot(right[..., 1], right[..., 2]).mean(), rel=1e-5)
        assert found.e2000[row] == pytest.approx(color.deltaE_ciede2000(right, said).mean(), rel=1e-4)
        assert found.within_10[row] == pytest.approx((distance < 10).mean())
        assert found.within_20[row] == pytest.approx((distance < 20).mean())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # scikit-image tells of every colour that sRGB has not
            rgb, shown = (np.clip(color.lab2rgb(one), 0, 1) for one in (right, said))
        assert found.psnr[row] == pytest.approx(metrics.peak_signal_noise_ratio(rgb, shown, data_range=1), abs=0.02)
        assert found.truly[row] == pytest.approx(slow_colourfulness(rgb), rel=1e-3)
        assert found.colourful[row] == pytest.approx(slow_colourfulness(shown), rel=1e-2)
    figures = colour_figures(found)
    assert figures["delta_e76"] == pytest.approx(found.e76.mean())
    assert figures["within_20"] == pytest.approx(100 * found.within_20.mean())
    assert figures["colourfulness_ratio"] == pytest.approx(found.colourful.mean() / found.truly.mean())
    assert figures["painted"] == 6


def slow_colourfulness(picture: np.ndarray) -> float:
    first, second = [], []
    for red, green, blue in 255 * picture.reshape(-1, 3):
        first.append(red - green)
        second.append((red + green) / 2 - blue)
    spread = np.sqrt(np.std(first) ** 2 + np.std(second) ** 2)
    return spread + 0.3 * np.sqrt(np.mean(first) ** 2 + np.mean(second) ** 2)


def test_a_grey_picture_is_not_colourful():
    assert colourfulness(torch.full((2, 3, 4, 4), 0.3)).tolist() == [0, 0]
    lab = torch.zeros(6, 3, *SIZE)
    figures = colour_figures(paintings(fixed(lab[:, 1:]), lab, CAPTIONS, OWNERS, generator()))
    assert "colourfulness_ratio" not in figures
    assert figures["psnr"] == pytest.approx(100)


def test_the_text_gain_is_what_another_persons_caption_costs():
    asked: list[list[str]] = []

    def paint(index: Sequence[int], captions: Sequence[str]) -> Tensor:
        asked.append(list(captions))
        return torch.tensor([float(len(caption)) for caption in captions])[:, None, None, None].expand(-1, 2, *SIZE)

    lab = torch.zeros(6, 3, *SIZE)
    found = paintings(paint, lab, CAPTIONS, OWNERS, generator())
    partner, _ = derangement(OWNERS)
    assert asked[0] == [CAPTIONS[other] for other in partner]
    gains = [2**0.5 * (len(CAPTIONS[other]) - len(own)) for own, other in zip(CAPTIONS, partner, strict=True)]
    assert (found.shuffled - found.e76).tolist() == pytest.approx(gains, abs=1e-4)
    figures = colour_figures(found)
    assert figures["text_gain"] == pytest.approx(np.mean(gains), abs=1e-4)
    assert figures["text_gain_low"] <= figures["text_gain"] <= figures["text_gain_high"]


def test_rows_without_another_person_are_left_out():
    found = paintings(obedient, truth(), CAPTIONS, np.array([0, 0, 0, 0, 0, 1]), generator())
    assert sorted(found.owner.tolist()) == [0, 1]
    assert len(paintings(obedient, truth()[:1], CAPTIONS[:1], OWNERS[:1], generator()).owner) == 0


def test_batches_are_joined():
    parts = [paintings(obedient, truth(45.0), CAPTIONS, OWNERS + shift, generator()) for shift in (0, 10)]
    whole = joined(parts)
    assert len(whole.owner) == 12
    assert len(whole.turned) == 2 * len(parts[0].turned) == len(whole.zone)


def test_what_can_be_swapped():
    found = swaps(CAPTIONS, torch.full((6, *SIZE), 45.0), generator())
    said = {(swap.row, swap.zone) for swap in found}
    # two colours above the waist in row 4, and a dress covers the whole body
    assert said == {(0, "upper"), (0, "lower"), (1, "lower"), (1, "upper"), (2, "upper"), (2, "lower")} | {
        (3, "upper"),
        (3, "lower"),
        (4, "lower"),
    }
    for swap in found:
        assert swap.new in NEW_HUES
        assert swap.new != swap.old.hue
        assert swap.new not in NEIGHBOURS[str(swap.old.hue)]
        assert swap.new in attainable(45.0)
        changed = [span for span in find_spans(swap.caption) if span.zone == swap.zone]
        assert [span.hue for span in changed] == [swap.new]
        others = [(s.hue, s.zone) for s in find_spans(CAPTIONS[swap.row]) if s.zone != swap.zone]
        assert [(s.hue, s.zone) for s in find_spans(swap.caption) if s.zone != swap.zone] == others


def test_swaps_are_drawn_by_lot_but_repeatably():
    lightness = torch.full((6, *SIZE), 45.0)
    first, again = (swaps(CAPTIONS, lightness, generator()) for _ in range(2))
    assert first == again
    many = {swap.new for seed in range(20) for swap in swaps(CAPTIONS, lightness, np.random.default_rng(seed))}
    assert len(many) >= 4


@pytest.mark.parametrize(
    ("lightness", "can", "cannot"),
    [
        (12.0, set(), {"red", "yellow", "pink", "orange", "blue"}),  # a dark red is maroon, a dark blue navy
        (33.0, {"brown", "blue", "green", "purple", "red"}, {"yellow", "pink"}),
        (83.0, {"yellow", "pink"}, {"red", "brown", "blue"}),
        (99.5, set(), {"red", "orange", "blue", "purple", "pink", "brown"}),
    ],
)
def test_not_every_lightness_allows_every_hue(lightness, can, cannot):
    found = attainable(lightness)
    assert can <= found
    assert not cannot & found


@pytest.mark.parametrize("lightness", [20.0, 35.0, 50.0, 65.0])
def test_attainable_is_the_same_cloth_in_other_light(lightness):
    """Against scikit-image: the prototype's XYZ, scaled to the lightness, still has its name."""
    found = attainable(lightness)
    assert found
    for hue in found:
        xyz = color.lab2xyz(np.array(PROTOTYPES[hue], dtype=float))
        wanted = color.lab2xyz(np.array([lightness, 0.0, 0.0]))
        rgb = color.xyz2rgb((xyz * wanted[1] / xyz[1])[None, None]).clip(0, 1)
        lab = torch.from_numpy(color.rgb2lab(rgb)[0, 0])
        assert list(PROTOTYPES)[int(nearest_name(lab))] == hue


def test_a_zone_of_light_and_dark_cells_must_allow_the_new_hue_in_both():
    half = torch.full((1, *SIZE), 25.0)
    half[..., 1::2] = 75.0
    both = attainable(25.0) & attainable(50.0) & attainable(75.0)
    found = {swap.new for seed in range(40) for swap in swaps(CAPTIONS[:1], half, np.random.default_rng(seed))}
    assert found
    assert found <= both


@pytest.mark.parametrize("size", [SIZE, (96, 32), (56, 56), (3, 2), (1, 1)])
def test_zones_lie_within_the_picture(size):
    for zone in ZONES:
        rows, columns = zone_of(zone, *size)
        assert 0 <= rows.start < rows.stop <= size[0]
        assert 0 <= columns.start < columns.stop <= size[1]


def test_the_cells_that_moved_most_are_a_quarter_of_the_zone():
    before = torch.zeros(2, *SIZE)
    after = before.clone()
    rows, columns = zone_of("upper", *SIZE)
    after[:, rows.start, columns] = 30.0
    after[:, -1] = 90.0  # outside
    cells = moved(before, after, "upper")
    size = (rows.stop - rows.start) * (columns.stop - columns.start)
    assert cells.sum() == round(size / 4)
    assert cells[rows.start, columns].all()
    assert not cells[-1].any()
    inside = torch.zeros(SIZE, dtype=torch.bool)
    inside[rows, columns] = True
    assert not (cells & ~inside).any()


def test_cells_are_named_by_their_mean_colour():
    ab, lightness = torch.zeros(2, *SIZE), torch.full(SIZE, 41.0)
    rows, columns = zone_of("upper", *SIZE)
    assert (rows, columns) == (slice(6, 15), slice(3, 13))
    ab[:, rows, columns] = torch.tensor([60.0, 40.0])[:, None, None]
    upper = torch.zeros(SIZE, dtype=torch.bool)
    upper[rows, columns] = True
    assert (named(lightness, ab, upper), named(lightness, ab, ~upper)) == ("red", "gray")
    assert set(NEW_HUES) < set(NAMES)


# the head itself


@pytest.mark.parametrize("config", [{}, {"loss": "bins"}, {"hide": "channels"}])
def test_every_head_paints(untrained, val_rows, config):
    probed = untrained(colourise=config)
    rows = val_rows(probed.towers)
    painter = Painter(probed.colourise, probed.towers, rows)
    size = (16, 8) if config.get("loss") == "bins" else SIZE
    assert painter.truth.shape == (8, 3, *size)
    both = painter([2, 2, 5], [rows.captions[2], "", rows.captions[5]])
    assert both.shape == (3, 2, *size)
    assert torch.allclose(both[:1], painter([2], [rows.captions[2]]), atol=1e-3)
    assert not torch.allclose(both[0], both[1], atol=1e-3)
    found = paintings(painter, painter.truth, rows.captions, rows.owner, generator())
    assert len(found.owner) == 8
    assert all(np.isfinite(value) for value in colour_figures(found).values())


@pytest.mark.parametrize("config", [{}, {"hide": "channels"}])
def test_a_painter_sees_no_colour(untrained, val_rows, config):
    """Other red and blue, the same green (or the same luma): the same painting."""
    probed = untrained(colourise=config)
    rows = val_rows(probed.towers)
    before = Painter(probed.colourise, probed.towers, rows)([0, 1], rows.captions[:2])
    if config:
        rows.views["rgb"][:, [0, 2]] = rows.views["rgb"][:, [2, 0]]
    else:
        rows.views["rgb"] = luma(rows.views["rgb"]).contiguous()
    after = Painter(probed.colourise, probed.towers, rows)([0, 1], rows.captions[:2])
    assert torch.allclose(before, after, atol=1e-3)


def test_examples_show_the_first_swap_of_each_row():
    lab = truth(45.0)
    found = examples(obedient, lab, CAPTIONS, generator())
    assert [one.caption for one in found] == list(CAPTIONS)
    for row, one in enumerate(found):
        assert torch.equal(one.own, obedient([row], [CAPTIONS[row]])[0])
        assert not one.empty.any()
        assert (one.swap is None) == (one.swapped is None) == (row == 5)
        if one.swap is not None and one.swapped is not None:
            assert one.swap.row == row
            assert one.swap.zone in MAIN
            assert torch.equal(one.swapped, obedient([row], [one.swap.caption])[0])
