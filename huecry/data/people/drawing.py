"""Photographs of the embedded people: a figure in a scene, seen through an imperfect camera."""

from __future__ import annotations

from math import pi
from random import Random

import numpy as np
from PIL import Image, ImageFilter

from huecry.data.people.body import Pose
from huecry.data.people.figure import Figure
from huecry.data.people.scenery import obstacle, scene
from huecry.data.people.wardrobe import Person, draw_person
from huecry.data.people.wording import Sight

WIDTH, HEIGHT = 64, 128
ZOOM = 2


def _pose(rng: Random, width: int, height: int) -> Pose:
    tall = height * rng.uniform(0.6, 0.92)
    spare = height - tall
    return Pose(
        turn=rng.choice((0, 0, 1, 2, 2, 3)) * pi / 2 + rng.uniform(-0.45, 0.45),
        stride=rng.uniform(0.0, 0.75) * rng.choice((-1, 1)),
        swing=rng.uniform(0, 1),
        height=tall,
        x=width / 2 + width * rng.uniform(-0.06, 0.06),
        y=spare * rng.uniform(0.1, 0.95) + height * 0.01 + (height * 0.1 if rng.random() < 0.08 else 0),
    )


def _bystander(rng: Random, picture: Image.Image) -> None:
    width, height = picture.size
    tall = height * rng.uniform(0.45, 0.9)
    x = rng.choice((-1, 1)) * width * rng.uniform(0.4, 0.52) + width / 2
    crown = (height - tall) * rng.uniform(0.3, 0.9)
    pose = Pose(rng.uniform(0, 2 * pi), rng.uniform(0, 0.7), 0.3, tall, x, crown)
    Figure(picture, draw_person(rng), pose).paint()


def camera(rng: Random, picture: Image.Image) -> Image.Image:
    """Blur, light from one side, tint, exposure, contrast and grain; halves the drawing to its final size."""
    small = picture.resize((WIDTH, HEIGHT), Image.Resampling.BOX)
    if rng.random() < 0.5:
        small = small.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 0.9)))
    tint = np.array([rng.gauss(1, 0.08) for _ in range(3)], dtype=np.float32)
    slope = np.linspace(-1, 1, WIDTH, dtype=np.float32) * np.float32(rng.uniform(-0.2, 0.2))
    exposure, contrast = rng.uniform(0.68, 1.2), rng.uniform(0.75, 1.1)
    values = np.asarray(small, dtype=np.float32)
    values = (values - 120) * np.float32(contrast) + 120
    values = values * tint * np.float32(exposure) * (1 + slope)[None, :, None]
    grain = np.frombuffer(rng.randbytes(values.size), dtype=np.uint8).reshape(values.shape).astype(np.float32)
    values += (grain - 127.5) * np.float32(rng.uniform(0.0, 0.12))
    return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))


def photograph(person: Person, rng: Random) -> tuple[Image.Image, Sight]:
    """A picture of a person, 64 x 128 pixels, and what it lets one see."""
    width, height = WIDTH * ZOOM, HEIGHT * ZOOM
    picture = scene(rng, width, height)
    for _ in range(rng.choices((0, 1, 2), (3, 4, 3))[0]):
        _bystander(rng, picture)
    if rng.random() < 0.5:
        picture = picture.filter(ImageFilter.BoxBlur(rng.uniform(0.5, 2.5)))
    pose = _pose(rng, width, height)
    Figure(picture, person, pose).paint()
    if rng.random() < 0.18:
        obstacle(rng, picture)
    feet = pose.y + 0.97 * pose.height < height
    return camera(rng, picture), Sight(pose.side, abs(pose.stride) > 0.3, feet)
