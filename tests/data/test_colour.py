"""Lab, luma and colour differences against scikit-image."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage import color

from huecry.data.captions import HUES
from huecry.data.colour import PROTOTYPES, delta_e76, delta_e2000, lab_to_rgb, luma, nearest_name, rgb_to_lab


def pictures(seed: int = 0) -> torch.Tensor:
    """Random colours [2, 3, 20, 30] with pure black, white, greys and primaries among them."""
    rgb = torch.rand(2, 3, 20, 30, generator=torch.Generator().manual_seed(seed))
    rgb[0, :, 0], rgb[0, :, 1] = 0, 1
    rgb[0, :, 2] = torch.linspace(0, 1, 30)
    rgb[0, :, 3, :3] = torch.eye(3)
    return rgb


def last(picture: torch.Tensor) -> np.ndarray:
    return picture.movedim(-3, -1).double().numpy()


def test_lab_is_that_of_scikit_image():
    assert np.abs(last(rgb_to_lab(pictures())) - color.rgb2lab(last(pictures()))).max() < 1e-3


def test_lab_round_trip():
    assert (lab_to_rgb(rgb_to_lab(pictures())) - pictures()).abs().max() < 1e-3
    exact = pictures().double()
    assert (lab_to_rgb(rgb_to_lab(exact)) - exact).abs().max() < 1e-6


def test_colours_out_of_gamut_are_cut_not_wrapped():
    wild = torch.tensor([50.0, 120.0, -120.0])[:, None, None]
    rgb = lab_to_rgb(wild)
    assert rgb.min() >= 0
    assert rgb.max() <= 1


def test_lab_is_computed_in_full_precision_under_autocast():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside, back = rgb_to_lab(pictures()), lab_to_rgb(rgb_to_lab(pictures()))
    assert inside.dtype == torch.float32
    assert torch.equal(inside, rgb_to_lab(pictures()))
    assert (back - pictures()).abs().max() < 1e-3


def test_lab_has_finite_gradients_at_black_and_at_the_joint_of_its_curve():
    rgb = torch.tensor([0.0, 0.04045, 0.5]).repeat(3, 1)[:, None].requires_grad_()
    (lab_to_rgb(rgb_to_lab(rgb)).sum() + rgb_to_lab(rgb).sum()).backward()
    assert rgb.grad is not None
    assert rgb.grad.isfinite().all()


def test_differences_are_those_of_scikit_image():
    first, second = rgb_to_lab(pictures(0)), rgb_to_lab(pictures(1))
    second[:, :, 5:8] = first[:, :, 5:8]
    second[:, 1:, 9] = 0  # a grey beside a colour
    for own, theirs in ((delta_e76, color.deltaE_cie76), (delta_e2000, color.deltaE_ciede2000)):
        assert np.abs(own(first, second).numpy() - theirs(last(first), last(second))).max() < 1e-3
    assert (delta_e2000(first, first) == 0).all()


def test_luma_is_pillows_grey():
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    grey = luma(torch.from_numpy(pixels).permute(2, 0, 1))
    assert grey.shape == (3, 20, 30)
    assert grey.dtype == torch.uint8
    assert (grey[0] == grey[1]).all()
    pillow = np.asarray(Image.fromarray(pixels).convert("L")).astype(int)
    assert np.abs(grey[0].numpy().astype(int) - pillow).max() <= 1


def test_names_of_colours():
    names = list(PROTOTYPES)
    assert set(names) <= set(HUES)
    assert nearest_name(torch.tensor(list(PROTOTYPES.values()))).tolist() == list(range(len(names)))
    seen = {(206, 30, 36): "red", (24, 36, 88): "navy", (248, 214, 40): "yellow", (38, 152, 64): "green"}
    seen |= {(242, 242, 240): "white", (30, 30, 34): "black", (244, 160, 188): "pink", (204, 180, 136): "beige"}
    for rgb, name in seen.items():
        lab = rgb_to_lab(torch.tensor(rgb).reshape(3, 1, 1) / 255)[:, 0, 0]
        assert names[int(nearest_name(lab))] == name, rgb


@pytest.mark.parametrize("shape", [(3, 4, 5), (2, 3, 4, 5), (1, 2, 3, 4, 5)])
def test_any_leading_shape(shape):
    assert rgb_to_lab(torch.rand(shape)).shape == shape
