"""Colour as numbers: CIE Lab, colour differences, luma, and the name of a colour.

Pictures are tensors [..., 3, H, W]; sRGB values lie in 0..1. All conversions run in at least fp32, whatever autocast
says. Reference white D65, 2 degrees.
"""

from __future__ import annotations

import torch
from torch import Tensor

_TO_XYZ = (
    (0.412453, 0.357580, 0.180423),
    (0.212671, 0.715160, 0.072169),
    (0.019334, 0.119193, 0.950227),
)
_WHITE = (0.95047, 1.0, 1.08883)
_EDGE = 6 / 29

PROTOTYPES: dict[str, tuple[float, float, float]] = {
    "black": (6, 0, 0),
    "gray": (54, 0, 0),
    "white": (95, 0, 0),
    "red": (41, 60, 40),
    "maroon": (22, 34, 10),
    "orange": (60, 38, 61),
    "yellow": (83, -4, 71),
    "green": (47, -38, 28),
    "teal": (49, -26, -11),
    "blue": (37, 14, -47),
    "navy": (16, 11, -27),
    "purple": (33, 36, -33),
    "pink": (71, 35, 0),
    "brown": (33, 12, 21),
    "beige": (80, 2, 20),
}
"""A typical Lab value of each colour of cloth that has a name."""


def _full(tensor: Tensor) -> Tensor:
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def _mix(matrix: Tensor, picture: Tensor) -> Tensor:
    """The 3x3 matrix on the channels, written out: autocast would run a matrix product in half precision."""
    channels = picture.unbind(-3)
    return torch.stack([sum(row[i] * channels[i] for i in range(3)) for row in matrix], dim=-3)


def rgb_to_lab(rgb: Tensor) -> Tensor:
    """CIE Lab [..., 3, H, W] of sRGB values in 0..1."""
    rgb = _full(rgb)
    linear = torch.where(rgb <= 0.04045, rgb / 12.92, ((rgb.clamp(min=0.04045) + 0.055) / 1.055) ** 2.4)
    white = rgb.new_tensor(_WHITE)
    xyz = _mix(rgb.new_tensor(_TO_XYZ) / white[:, None], linear)
    root = torch.where(xyz > _EDGE**3, xyz.clamp(min=_EDGE**3) ** (1 / 3), xyz / (3 * _EDGE**2) + 4 / 29)
    x, y, z = root.unbind(-3)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], dim=-3)


def lab_to_rgb(lab: Tensor) -> Tensor:
    """sRGB values [..., 3, H, W] of CIE Lab, cut to 0..1 where a colour is out of gamut."""
    lightness, a, b = _full(lab).unbind(-3)
    y = (lightness + 16) / 116
    root = torch.stack([y + a / 500, y, y - b / 200], dim=-3)
    xyz = torch.where(root > _EDGE, root**3, 3 * _EDGE**2 * (root - 4 / 29))
    white = root.new_tensor(_WHITE)
    matrix = torch.linalg.inv(torch.tensor(_TO_XYZ, dtype=torch.float64) / white.cpu().double()[:, None]).to(root)
    linear = _mix(matrix, xyz).clamp(0, 1)
    coded = torch.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear.clamp(min=0.0031308) ** (1 / 2.4) - 0.055)
    return coded.clamp(0, 1)


def luma(pixels: Tensor) -> Tensor:
    """The grey picture of a colour one, uint8 [..., 3, H, W]: Y = 0.299 R + 0.587 G + 0.114 B on gamma-coded values."""
    red, green, blue = pixels.float().unbind(-3)
    grey = (0.299 * red + 0.587 * green + 0.114 * blue).round().to(torch.uint8)
    return grey.unsqueeze(-3).expand(pixels.shape)


def delta_e76(first: Tensor, second: Tensor) -> Tensor:
    """Euclidean difference [..., H, W] of two pictures in Lab."""
    return (_full(first) - _full(second)).square().sum(dim=-3).sqrt()


def delta_e2000(first: Tensor, second: Tensor) -> Tensor:
    """CIEDE2000 difference [..., H, W] of two pictures in Lab (Sharma, Wu and Dalal, 2005), unit weights."""
    (l1, a1, b1), (l2, a2, b2) = _full(first).unbind(-3), _full(second).unbind(-3)
    mean_chroma7 = ((torch.hypot(a1, b1) + torch.hypot(a2, b2)) / 2) ** 7
    stretch = 1 + 0.5 * (1 - (mean_chroma7 / (mean_chroma7 + 25.0**7)).sqrt())
    a1, a2 = a1 * stretch, a2 * stretch
    c1, c2 = torch.hypot(a1, b1), torch.hypot(a2, b2)
    h1, h2 = (torch.rad2deg(torch.atan2(b, a)) % 360 for a, b in ((a1, b1), (a2, b2)))
    colourless = c1 * c2 == 0
    turn = h2 - h1
    turn = torch.where(turn > 180, turn - 360, torch.where(turn < -180, turn + 360, turn))
    turn = torch.where(colourless, 0.0, turn)
    hue = 2 * (c1 * c2).sqrt() * torch.sin(torch.deg2rad(turn / 2))
    mean_l, mean_c = (l1 + l2) / 2, (c1 + c2) / 2
    total = h1 + h2
    mean_h = torch.where(
        (h1 - h2).abs() <= 180, total / 2, torch.where(total < 360, (total + 360) / 2, (total - 360) / 2)
    )
    mean_h = torch.where(colourless, total, mean_h)

    def wave(factor: float, shift: float) -> Tensor:
        return torch.cos(torch.deg2rad(factor * mean_h + shift))

    tilt = 1 - 0.17 * wave(1, -30) + 0.24 * wave(2, 0) + 0.32 * wave(3, 6) - 0.20 * wave(4, -63)
    scale_l = 1 + 0.015 * (mean_l - 50) ** 2 / (20 + (mean_l - 50) ** 2).sqrt()
    scale_c, scale_h = 1 + 0.045 * mean_c, 1 + 0.015 * mean_c * tilt
    mean_c7 = mean_c**7
    rotation = -2 * (mean_c7 / (mean_c7 + 25.0**7)).sqrt()
    rotation = rotation * torch.sin(torch.deg2rad(60 * torch.exp(-(((mean_h - 275) / 25) ** 2))))
    light, chroma, hue = (l2 - l1) / scale_l, (c2 - c1) / scale_c, hue / scale_h
    return (light**2 + chroma**2 + hue**2 + rotation * chroma * hue).clamp(min=0).sqrt()


def nearest_name(lab: Tensor) -> Tensor:
    """Index into `PROTOTYPES` [...] of Lab values [..., 3]: the nearest one, lightness counting half."""
    lab = _full(lab)
    weights = lab.new_tensor([0.5, 1.0, 1.0])
    prototypes = lab.new_tensor(list(PROTOTYPES.values()))
    return ((lab[..., None, :] - prototypes) * weights).square().sum(dim=-1).argmin(dim=-1)
