"""The pictures of a probe, and the page that shows them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pages import Checked
from PIL import Image

from huecry.data.captions import HUES, find_spans
from huecry.data.colour import rgb_to_lab
from huecry.pretrain.page import FILES, HEADLINES, SECTIONS, page, summary
from huecry.pretrain.pictures import (
    Looked,
    Painted,
    draw_confusion,
    draw_looked,
    draw_painted,
    draw_reliance,
    heated,
    recoloured,
)
from huecry.pretrain.probe_colours import Painting, Swap
from huecry.pretrain.probe_words import Look

CAPTION = "A person in a red coat & <b>blue</b> trousers, " + "walking " * 80


def photo(size: tuple[int, int] = (64, 128)) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def lab_of(picture: Image.Image) -> torch.Tensor:
    return rgb_to_lab(torch.from_numpy(np.array(picture)).permute(2, 0, 1) / 255)


def test_the_true_colours_bring_the_picture_back():
    picture = photo()
    again = recoloured(picture, lab_of(picture)[1:])
    assert np.abs(np.array(again).astype(int) - np.array(picture)).max() <= 1


def test_other_colours_keep_the_lightness():
    picture = photo()
    grey = lab_of(recoloured(picture, torch.zeros(2, 8, 4)))
    assert grey[1:].abs().max() < 1
    assert (grey[0] - lab_of(picture)[0]).abs().max() < 1


def test_the_hottest_patch_is_the_brightest():
    heat = np.zeros((8, 4), dtype=np.float32)
    heat[6, 1] = 0.7
    shown = np.array(heated(Image.new("RGB", (64, 128), "grey"), heat)).sum(axis=2)
    rows, columns = np.unravel_index(shown.argmax(), shown.shape)
    assert (rows // 16, columns // 16) == (6, 1)
    assert heated(photo(), np.zeros((8, 4), dtype=np.float32)).size == (64, 128)


@pytest.mark.parametrize("size", [(64, 128), (128, 384), (1500, 900), (1, 1)])
def test_painted_samples_are_drawn_whatever_their_shape(tmp_path, size):
    span = find_spans(CAPTION)[0]
    ab = torch.zeros(2, 32, 16)
    swap = Swap(0, "upper", span, "green", CAPTION.replace("red", "green"))
    rows = [Painted(photo(size), Painting(CAPTION, ab, ab, swap, ab + 20))]
    rows.append(Painted(photo(size), Painting("", ab, ab, None, None)))
    draw_painted(rows, tmp_path / "one.png")
    with Image.open(tmp_path / "one.png") as sheet:
        assert sheet.format == "PNG"
        assert sheet.width < 1100
        assert sheet.height < 800


def test_attention_is_drawn_with_what_was_said(tmp_path):
    heat = np.full((8, 4), 1 / 32, dtype=np.float32)
    looks = [Look("dark blue long-sleeved button-up shirt", "navy", said, heat) for said in ("navy", "blue")]
    draw_looked([Looked(photo(), CAPTION, looks), Looked(photo(), "A red hat.", looks[:1])], tmp_path / "one.png")
    with Image.open(tmp_path / "one.png") as sheet:
        colours = {colour for _, colour in sheet.getcolors(1 << 24)}
    assert {(0x1A, 0x98, 0x50), (0xD7, 0x30, 0x27)} <= colours  # one said right, one wrong


def test_charts_are_drawn(tmp_path):
    counts = np.zeros((17, 17), dtype=int)
    counts[2, 3] = 12_345
    draw_confusion(HUES, counts.tolist(), tmp_path / "confusion.png")
    keys = [
        f"{key}{suffix}" for key in ("R1", "mAP") for suffix in ("", "_colourless_queries", "_gray_gallery", "_both")
    ]
    draw_reliance(dict.fromkeys(keys, 0.0), tmp_path / "reliance.png")
    for name in ("confusion.png", "reliance.png"):
        with Image.open(tmp_path / name) as chart:
            assert min(chart.size) > 300


# the page


def test_a_page_is_well_formed_and_escapes():
    figures = {"visual_gain": 12.5, "accuracy": 40.0, "left_out": {"colourise": "<b>no</b> & more"}}
    found = Checked(page("A & <b>B</b>", "on <b>val</b>", figures, ["confusion.png"]))
    assert [image["src"] for image in found.images] == ["confusion.png"]
    assert all(image["alt"] for image in found.images)
    for text in ("A & <b>B</b>", "on <b>val</b>", "colourise: <b>no</b> & more", "+12.50 points", "40.00 %"):
        assert text in found.text
    assert "Colouring" not in found.text
    assert "http" not in page("", "", figures, FILES)


def test_every_figure_has_a_sentence_of_its_own():
    keys = [line.key for section in SECTIONS for line in section.lines]
    assert len(keys) == len(set(keys))
    assert set(HEADLINES) <= set(keys)
    for section in SECTIONS:
        assert section.question.endswith("?")
        assert all(line.meaning.endswith(".") for line in section.lines)


def test_the_summary_has_a_line_a_headline():
    lines = summary({"visual_gain": 1.0, "mAP": 20.0, "spans": 3, "counterfactual_accuracy": 0.25}).splitlines()
    assert [line.split("  ")[0] for line in lines] == ["Visual gain", "Counterfactual accuracy", "mAP"]
    assert "+1.00 points" in lines[0]
    assert "0.250" in lines[1]
