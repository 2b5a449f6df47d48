"""Views: what they share, what they leave alone, and that a sample alone decides how it looks."""

from __future__ import annotations

import colorsys
import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from huecry.data.augment import (
    FILL,
    ImageAugmentation,
    TextAugmentation,
    augmented_ids,
    gray,
    resized,
    swap_sides,
)
from huecry.data.records import Record
from huecry.data.tokens import EOT, MASK, SOT, VOCAB, tokenize
from huecry.data.views import (
    IMAGE_VIEWS,
    TEXT_VIEWS,
    VIEWS,
    Rendering,
    Sample,
    Shape,
    ViewsConfig,
)

STILL = ImageAugmentation(flip=0.0, pad=0.0)
SHAPE = Shape((64, 32), 77)
CAPTION = "On the left a bright red coat, on the right a bag."


def noise(seed: int = 0) -> Image.Image:
    """A picture no two pixels of which are alike, by and large."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (64, 32, 3), dtype=np.uint8))


def sample(picture: Image.Image | None = None, caption: str = CAPTION, row: int = 0) -> Sample:
    picture = noise() if picture is None else picture
    return Sample(row, row // 2, 0, Record(None, (caption,), "1", "a.png"), caption, picture)  # type: ignore[arg-type]


def render(rgb: ImageAugmentation = STILL, epoch: int = 0, one: Sample | None = None, **views: Any) -> Rendering:
    return Rendering(sample() if one is None else one, ViewsConfig(rgb=rgb, **views), SHAPE, (5, epoch))


def view(name: str, *args: Any, **options: Any) -> np.ndarray:
    return VIEWS[name](render(*args, **options))


def test_every_view_is_of_a_picture_or_a_caption():
    assert VIEWS.keys() == IMAGE_VIEWS | TEXT_VIEWS | {"ab", "hidden", "masked", "swapped"}
    rendering = render(ImageAugmentation())
    for name, make in VIEWS.items():
        made = make(rendering)
        pictures = dict.fromkeys(IMAGE_VIEWS, (64, 32, 3)) | {"ab": (64, 32, 4), "hidden": (3,)}
        tables = {"masked": ((77,), bool), "swapped": ((16, 2), np.int64)}
        shape, kind = (pictures[name], np.uint8) if name in pictures else ((77,), np.int64)
        assert (made.shape, made.dtype) == tables.get(name, (shape, kind))


LIVELY = ImageAugmentation(erase=1.0, brightness=0.3, contrast=0.3, saturation=0.3, hue=0.2, grayscale=0.3)


def test_seed_epoch_and_row_alone_decide():
    options: dict[str, Any] = {"text_aug": TextAugmentation(mask_p=0.5, delete_p=0.2), "rgb2": LIVELY}
    for name in VIEWS:
        first = view(name, LIVELY, 3, **options)
        rendering = render(LIVELY, 3, **options)
        for other in reversed(VIEWS):  # asked for in another order, and twice
            VIEWS[other](rendering)
        np.testing.assert_array_equal(VIEWS[name](rendering), first)
    for name in ("rgb", "rgb2", "strong", "strong2", "text_aug"):
        original = view(name, LIVELY, 3, **options)
        others = [
            view(name, LIVELY, 4, **options),
            view(name, LIVELY, 3, one=sample(row=1), **options),
            VIEWS[name](Rendering(sample(), ViewsConfig(rgb=LIVELY, **options), SHAPE, (6, 3))),
        ]
        assert not any(np.array_equal(original, other) for other in others), name


def test_rgb2_is_drawn_apart_from_rgb():
    rendering = render(ImageAugmentation(pad=0.2), rgb2=ImageAugmentation(pad=0.2))
    assert not np.array_equal(VIEWS["rgb"](rendering), VIEWS["rgb2"](rendering))


def test_gray_is_the_luma_of_rgb_with_its_crop_and_erased_rectangle():
    for epoch in range(8):
        rendering = render(ImageAugmentation(pad=0.2, erase=0.7, erase_area=0.3, brightness=0.3), epoch)
        grey, rgb = VIEWS["gray"](rendering), VIEWS["rgb"](rendering).astype(np.float64)
        by_hand = rgb[..., 0] * 0.299 + rgb[..., 1] * 0.587 + rgb[..., 2] * 0.114
        assert np.abs(grey[..., 0] - by_hand).max() <= 0.5 + 1e-4
        assert np.array_equal(grey[..., 0], grey[..., 1])
        assert np.array_equal(grey[..., 0], grey[..., 2])


def test_the_colour_target_has_the_geometry_of_rgb_but_plain_colours():
    for epoch in range(20):
        moved = replace(STILL, flip=0.5, pad=0.1)
        rendering, plain = render(replace(moved, brightness=0.5), epoch), render(moved, epoch)
        target, rgb = VIEWS["ab"](rendering), VIEWS["rgb"](plain)
        shown = target[..., 3] == 1
        np.testing.assert_array_equal(target[shown, :3], rgb[shown])
        assert (rgb[~shown] == FILL).all()
        erased = render(replace(moved, erase=1.0), epoch)
        hidden = VIEWS["ab"](erased)[..., 3] == 0
        np.testing.assert_array_equal(hidden, (VIEWS["rgb"](erased) == FILL).all(axis=-1))
        assert shown.mean() > (~hidden).mean() > 0.4


def test_without_border_and_erasing_every_pixel_can_be_judged():
    assert (view("ab")[..., 3] == 1).all()


def test_hidden_channels_say_nothing_and_shown_ones_are_those_of_rgb():
    seen = set()
    for epoch in range(60):
        rendering = render(replace(STILL, flip=0.5), epoch)
        hidden = VIEWS["hidden"](rendering).astype(bool)
        masked, rgb = VIEWS["channels"](rendering), VIEWS["rgb"](rendering)
        seen.add(tuple(hidden))
        np.testing.assert_array_equal(masked[..., ~hidden], rgb[..., ~hidden])
        by_hand = rgb[..., ~hidden].astype(np.float64).mean(axis=-1)
        assert np.abs(masked[..., hidden] - by_hand[..., None]).max() <= 0.5
    assert len(seen) == 6
    assert not seen & {(True,) * 3, (False,) * 3}


def test_colour_words_are_masked_in_a_view_of_their_own():
    rendering = render(replace(STILL, flip=1.0))
    before = VIEWS["text"](rendering).copy()
    masked = VIEWS["text_nocolour"](rendering)
    assert (masked == MASK).sum() == 1
    np.testing.assert_array_equal(VIEWS["text"](rendering), before)
    red = tokenize(["red"])[0, 1].item()
    assert red in before
    assert red not in masked
    other = sample(caption="On the left a BLUISH coat, on the right a bag.")
    np.testing.assert_array_equal(masked, VIEWS["text_nocolour"](render(replace(STILL, flip=1.0), one=other)))


def test_a_hue_that_turns_leaves_the_grey_views_alone():
    """A change of colour that keeps luma must not reach what colourisation and the grey branch see."""
    pixels = np.array(noise()) // 2 + 60
    turned = pixels + np.array([19, -7, -13])  # 0.299 * 19 - 0.587 * 7 - 0.114 * 13 = 0.09
    first, second = (render(one=sample(Image.fromarray(p.astype(np.uint8)))) for p in (pixels, turned))
    assert np.abs(VIEWS["rgb"](first).astype(int) - VIEWS["rgb"](second)).max() == 19
    assert np.abs(VIEWS["gray"](first).astype(int) - VIEWS["gray"](second)).max() <= 1


def test_luma_keeps_greys_and_agrees_with_pillow():
    greys = np.repeat(np.arange(256, dtype=np.uint8)[:, None, None], 3, axis=2)
    np.testing.assert_array_equal(gray(greys), greys)
    pillow = np.asarray(noise().convert("L")).astype(int)
    assert np.abs(gray(np.array(noise()))[..., 0].astype(int) - pillow).max() <= 1


def test_the_picture_is_resized_whatever_its_shape():
    for size in ((32, 64), (100, 40), (7, 200)):
        assert resized(Image.new("RGB", size), (64, 32)).size == (32, 64)
    picture = noise()
    np.testing.assert_array_equal(np.asarray(resized(picture, (64, 32))), np.asarray(picture))


# mirror


def test_the_flip_is_shared_by_every_view_and_told_to_the_caption():
    mirrored = np.asarray(noise())[:, ::-1].copy()
    swapped = tokenize(["On the right a bright red coat, on the left a bag."])[0].numpy()
    always = replace(STILL, flip=1.0)
    rendering = render(always, rgb2=STILL)
    for name in ("rgb", "rgb2"):
        np.testing.assert_array_equal(VIEWS[name](rendering), mirrored)
    np.testing.assert_array_equal(VIEWS["gray"](rendering), gray(mirrored))
    np.testing.assert_array_equal(VIEWS["text"](rendering), swapped)
    unmasked = view("text_aug", always, text_aug=TextAugmentation())
    np.testing.assert_array_equal(unmasked, swapped)


def test_a_sample_that_is_not_mirrored_keeps_its_caption():
    np.testing.assert_array_equal(view("text"), tokenize([CAPTION])[0].numpy())
    kept = view("text", replace(STILL, flip=1.0), swap_sides=False)
    np.testing.assert_array_equal(kept, tokenize([CAPTION])[0].numpy())


def test_about_half_the_samples_are_mirrored():
    flips = [render(ImageAugmentation(), epoch).flipped for epoch in range(400)]
    assert 160 <= sum(flips) <= 240


@pytest.mark.parametrize(
    ("caption", "mirrored"),
    [
        ("Left of the right bag", "Right of the left bag"),
        ("LEFT and Right", "RIGHT and Left"),
        ("a bright, upright, leftover coat", "a bright, upright, leftover coat"),
        ("right-handed; left.", "left-handed; right."),
        ("nothing to do", "nothing to do"),
    ],
)
def test_sides_are_exchanged_in_whole_words_with_their_case(caption, mirrored):
    assert swap_sides(caption) == mirrored
    assert swap_sides(mirrored) == caption


# captions


def test_masking_leaves_the_caption_of_the_other_views_alone():
    rendering = render(text_aug=TextAugmentation(mask_p=1.0, delete_p=0.3))
    before = VIEWS["text"](rendering).copy()
    masked = VIEWS["text_aug"](rendering)
    assert not np.array_equal(masked, before)
    assert not np.shares_memory(masked, VIEWS["text"](rendering))
    np.testing.assert_array_equal(VIEWS["text"](rendering), before)
    masked[:] = 1
    np.testing.assert_array_equal(VIEWS["text"](rendering), before)


def words_of(ids: np.ndarray) -> list[int]:
    """The ids between start and end, checked to be one caption and padding."""
    end = ids.tolist().index(EOT)
    assert ids[0] == SOT
    assert not ids[end + 1 :].any()
    assert not {SOT, EOT} & set(ids[1:end].tolist())
    return ids[1:end].tolist()


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 90), st.floats(0, 1), st.floats(0, 1), st.integers(0, 2**32 - 1))
def test_an_augmented_caption_is_a_caption(count, mask_p, delete_p, seed):
    ids = tokenize([" ".join(["coat"] * count)])[0].numpy()
    changed = augmented_ids(ids, np.random.default_rng(seed), TextAugmentation(mask_p, delete_p))
    assert changed.shape == ids.shape
    assert changed.dtype == ids.dtype
    assert len(words_of(changed)) <= min(count, 75)
    assert max(changed) < VOCAB


def test_the_share_of_masked_words_is_the_one_asked_for():
    ids = tokenize([" ".join(["coat"] * 70)])[0].numpy()
    generator = np.random.default_rng(0)
    coat, words = ids[1], []
    for _ in range(200):
        words += words_of(augmented_ids(ids, generator, TextAugmentation(mask_p=0.3)))
    assert len(words) == 200 * 70
    # of 14,000 draws, four standard deviations
    assert words.count(MASK) / len(words) == pytest.approx(0.3 * 0.8, abs=0.0145)
    assert sum(word not in (MASK, coat) for word in words) / len(words) == pytest.approx(0.3 * 0.1, abs=0.006)


def test_the_share_of_deleted_words_is_the_one_asked_for_and_their_order_stays():
    ids = tokenize(["one two three four five six seven eight nine ten"])[0].numpy()
    generator = np.random.default_rng(0)
    rows = [words_of(augmented_ids(ids, generator, TextAugmentation(delete_p=0.25))) for _ in range(1000)]
    places = [[ids.tolist().index(word) for word in row] for row in rows]
    assert all(row == sorted(row) for row in places)
    assert sum(map(len, rows)) / 10_000 == pytest.approx(0.75, abs=0.018)


def test_nothing_asked_for_changes_nothing_and_everything_deleted_leaves_start_and_end():
    ids = tokenize([CAPTION])[0].numpy()
    generator = np.random.default_rng(0)
    np.testing.assert_array_equal(augmented_ids(ids, generator, TextAugmentation()), ids)
    assert words_of(augmented_ids(ids, generator, TextAugmentation(mask_p=1.0, delete_p=1.0))) == []


# pixels


@settings(deadline=None, max_examples=80)
@given(st.floats(0.001, 1.0), st.integers(0, 2**31))
def test_an_erased_rectangle_is_no_larger_than_asked(area, epoch):
    white = sample(Image.new("RGB", (32, 64), "white"))
    pixels = view("rgb", replace(STILL, erase=1.0, erase_area=area), epoch, white)
    erased = (pixels != 255).any(axis=2)
    assert erased.sum() <= area * erased.size
    assert (pixels[erased] == FILL).all()
    if erased.any():
        rows, columns = np.flatnonzero(erased.any(axis=1)), np.flatnonzero(erased.any(axis=0))
        assert erased.sum() == len(rows) * len(columns)
        assert len(rows) == rows[-1] - rows[0] + 1
        assert len(columns) == columns[-1] - columns[0] + 1


def test_erasing_happens_as_often_as_asked():
    white = sample(Image.new("RGB", (32, 64), "white"))
    hits = sum((view("rgb", replace(STILL, erase=0.3), epoch, white) != 255).any() for epoch in range(500))
    assert 150 - 41 <= hits <= 150 + 41  # four standard deviations


def hues(pixels: np.ndarray) -> np.ndarray:
    return np.array([colorsys.rgb_to_hsv(*(pixel / 255.0))[0] for pixel in pixels.reshape(-1, 3)])


def test_hue_jitter_turns_the_colours_and_nothing_else_does():
    red = sample(Image.new("RGB", (32, 64), (200, 30, 30)))
    default = [view("rgb", replace(ImageAugmentation(), pad=0.0), epoch, red) for epoch in range(5)]
    assert all((pixels == (200, 30, 30)).all() for pixels in default)
    shifts = []
    for epoch in range(200):
        pixels = view("rgb", replace(STILL, hue=0.25), epoch, red)
        hue = hues(pixels[:1, :1])[0]
        shifts.append(hue if hue <= 0.5 else hue - 1)
        assert (pixels == pixels[0, 0]).all()
    assert np.abs(shifts).max() <= 0.25 + 1 / 128
    assert min(shifts) < -0.2
    assert max(shifts) > 0.2


def test_default_rendering_shows_the_pixels_of_the_photograph():
    """Mirrored and moved by a border, and nothing else: every pixel inside is one of the picture's own."""
    picture = np.asarray(noise())
    border = round(0.03 * 64)
    for epoch in range(12):
        rendering = render(ImageAugmentation(), epoch)
        pixels = VIEWS["rgb"](rendering)
        source = picture[:, ::-1] if rendering.flipped else picture
        moved = np.full((64 + 4 * border, 32 + 4 * border, 3), FILL, dtype=np.uint8)
        moved[2 * border : -2 * border, 2 * border : -2 * border] = source
        windows = [
            moved[top : top + 64, left : left + 32]
            for top in range(border, 3 * border + 1)
            for left in range(border, 3 * border + 1)
        ]
        assert sum(np.array_equal(pixels, window) for window in windows) == 1


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation", "grayscale"])
def test_each_photometric_change_changes_pixels_and_keeps_black(name):
    pictures = [sample(noise()), sample(Image.new("RGB", (32, 64), "black"))]
    changed = [view("rgb", replace(STILL, **{name: 1.0}), 1, one) for one in pictures]
    assert not np.array_equal(changed[0], np.asarray(noise()))
    assert not changed[1].any()


def test_grayscale_takes_all_colour():
    pixels = view("rgb", replace(STILL, grayscale=1.0))
    assert (pixels == pixels[..., :1]).all()


def test_no_view_warns_of_something_that_pillow_will_drop():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in VIEWS:
            view(name, LIVELY)


def test_a_crop_shows_a_part_of_the_picture_at_full_size():
    columns = Image.fromarray(np.tile(np.linspace(0, 255, 32).astype(np.uint8), (64, 1))).convert("RGB")
    widths = []
    for row in range(40):
        one = sample(columns, row=row)
        shown = view("rgb", ImageAugmentation(flip=0.0, pad=0.0, crop=0.25), one=one)[..., 0].astype(int)
        assert shown.shape == (64, 32)
        assert (np.diff(shown, axis=1) >= 0).all()
        widths.append((shown[0, -1] - shown[0, 0]) / 255)
    assert 0.4 < min(widths) < 0.6  # a quarter of the area is half of the width, give or take the aspect
    assert max(widths) > 0.9


def test_blur_smooths_and_jitter_decides_whether_colours_change():
    still = view("rgb", STILL).astype(float)
    blurred = view("rgb", ImageAugmentation(flip=0.0, pad=0.0, blur=1.0)).astype(float)
    assert blurred.std() < still.std()
    never = ImageAugmentation(flip=0.0, pad=0.0, jitter=0.0, brightness=0.5, saturation=0.5)
    np.testing.assert_array_equal(view("rgb", never), still)


def test_another_caption_of_the_person_is_drawn_anew_every_epoch():
    others = ("a red coat", "blue trousers", "a green hat")
    one = replace(sample(), others=others)
    words = {VIEWS["text_other"](render(epoch=epoch, one=one)).tobytes() for epoch in range(40)}
    assert words == {np.asarray(tokenize([caption], 77)[0]).tobytes() for caption in others}
    np.testing.assert_array_equal(view("text_other"), view("text"))  # nobody else described him


@pytest.mark.parametrize("share", [0.0, 0.15, 1.0])
def test_masked_words_are_marked_and_at_least_one_is(share: float):
    for epoch in range(20):
        rendering = render(epoch=epoch, text_masked=share)
        shown, masked, ids = (VIEWS[name](rendering) for name in ("text_masked", "masked", "text"))
        words = (ids > 0) & (ids < 49406)
        np.testing.assert_array_equal(shown[~masked], ids[~masked])
        assert not (masked & ~words).any()
        least, most = {0.0: (1, 1), 0.15: (1, words.sum() - 1), 1.0: (words.sum(), words.sum())}[share]
        assert least <= masked.sum() <= most
