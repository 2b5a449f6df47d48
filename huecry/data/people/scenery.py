"""Where the embedded people walk: flat streets, parks and halls with clutter, whoever walks there."""

from __future__ import annotations

from random import Random

from PIL import Image, ImageDraw

from huecry.data.people.wardrobe import CLOTH, SHADES, Colour

WALLS: tuple[Colour, ...] = (
    (186, 178, 164), (150, 92, 76), (204, 196, 180), (120, 126, 134), (168, 150, 120), (214, 214, 210),
    (96, 104, 112), (176, 132, 100), (132, 148, 160), (84, 76, 72),
)  # fmt: skip
GROUNDS: tuple[Colour, ...] = (
    (128, 128, 130), (160, 156, 148), (102, 104, 108), (178, 166, 146), (92, 92, 94), (144, 130, 116),
)  # fmt: skip
SKIES: tuple[Colour, ...] = ((196, 216, 236), (216, 222, 228), (170, 200, 232), (236, 226, 210))
LEAVES: tuple[Colour, ...] = ((66, 112, 58), (92, 132, 66), (48, 84, 52), (136, 140, 70), (168, 120, 56))


def toned(colour: Colour, factor: float) -> Colour:
    """A colour made darker (factor below 1) or lighter."""
    red, green, blue = (max(0, min(255, round(channel * factor))) for channel in colour)
    return red, green, blue


def painted(rng: Random) -> Colour:
    """The paint of a car, a sign or a shop: any shade that cloth may have."""
    return SHADES[rng.choice(CLOTH)].rgb


def facade(rng: Random) -> Colour:
    """The colour of a wall: more often paint than stone or brick."""
    return toned(painted(rng) if rng.random() < 0.75 else rng.choice(WALLS), rng.uniform(0.75, 1.1))


def scene(rng: Random, width: int, height: int) -> Image.Image:
    """A background with its clutter, as an RGB picture."""
    paved = painted(rng) if rng.random() < 0.45 else rng.choice(GROUNDS)
    ground = toned(paved, rng.uniform(0.8, 1.15))
    picture = Image.new("RGB", (width, height), ground)
    draw = ImageDraw.Draw(picture)
    horizon = round(height * rng.uniform(0.34, 0.72))
    rng.choice((_street, _shops, _park, _hall, _road, _plaza))(rng, draw, width, horizon)
    _ground(rng, draw, width, height, horizon, ground)
    for _ in range(rng.choices((0, 1, 2, 3), (2, 4, 3, 1))[0]):
        rng.choice((_pole, _bollard, _car, _bush, _sign, _bench))(rng, draw, width, height, horizon)
    return picture


def _ground(rng: Random, draw: ImageDraw.ImageDraw, width: int, height: int, horizon: int, ground: Colour) -> None:
    kind = rng.randrange(4)
    line = toned(ground, rng.choice((0.86, 1.12)))
    if kind == 0:
        for step in range(1, 6):
            y = horizon + (height - horizon) * step * step // 30
            draw.line((0, y, width, y), fill=line, width=2)
        for x in range(-width, 2 * width, 40):
            draw.line((width // 2 + (x - width // 2) // 3, horizon, x, height), fill=line, width=2)
    elif kind == 1:
        kerb = horizon + round((height - horizon) * rng.uniform(0.1, 0.5))
        draw.rectangle((0, kerb, width, height), fill=toned(ground, 0.82))
        draw.rectangle((0, kerb, width, kerb + 4), fill=toned(ground, 1.3))
    elif kind == 2:
        for number in range(rng.randrange(2, 5)):
            y = horizon + (number + 1) * (height - horizon) // 5
            draw.rectangle((0, y, width, y + 8), fill=toned(ground, 1.25))


def _street(rng: Random, draw: ImageDraw.ImageDraw, width: int, horizon: int) -> None:
    wall = facade(rng)
    draw.rectangle((0, 0, width, horizon), fill=wall)
    if rng.random() < 0.5:
        for row, y in enumerate(range(0, horizon, 12)):
            draw.line((0, y, width, y), fill=toned(wall, 0.88))
            for x in range(-(row % 2) * 12, width, 24):
                draw.line((x, y, x, min(y + 12, horizon)), fill=toned(wall, 0.88))
    glass = toned((110, 136, 156), rng.uniform(0.5, 1.3))
    size, gap = rng.randrange(22, 44), rng.randrange(10, 30)
    start = rng.randrange(-size, gap)
    for x in range(start, width, size + gap):
        for y in range(rng.randrange(4, 20), horizon - size, round(size * 1.9)):
            draw.rectangle((x, y, x + size, y + round(size * 1.3)), fill=glass, outline=toned(wall, 0.7), width=2)
    if rng.random() < 0.4:
        x = rng.randrange(-20, width)
        draw.rectangle((x, max(0, horizon - 92), x + 40, horizon), fill=toned(painted(rng), 0.8))


def _shops(rng: Random, draw: ImageDraw.ImageDraw, width: int, horizon: int) -> None:
    edge = rng.randrange(-10, width // 2)
    for x in (edge - width, edge, edge + width):
        front = toned(painted(rng), rng.uniform(0.7, 1.0))
        draw.rectangle((x, 0, x + width, horizon), fill=front)
        draw.rectangle((x + 8, 44, x + width - 8, horizon - 12), fill=toned((92, 104, 112), rng.uniform(0.5, 1.6)))
        stripe = painted(rng)
        if rng.random() < 0.5:
            for number in range(8):
                left = x + number * width // 8
                fill = stripe if number % 2 else (238, 236, 230)
                draw.rectangle((left, 26, left + width // 8 - 1, 44), fill=fill)
        else:
            draw.rectangle((x + 6, 10, x + width - 6, 34), fill=stripe)


def _park(rng: Random, draw: ImageDraw.ImageDraw, width: int, horizon: int) -> None:
    draw.rectangle((0, 0, width, horizon), fill=rng.choice(SKIES))
    leaf = toned(rng.choice(LEAVES), rng.uniform(0.8, 1.2))
    draw.rectangle((0, horizon - rng.randrange(10, 60), width, horizon), fill=leaf)
    for _ in range(rng.randrange(2, 6)):
        x, y, r = rng.randrange(width), rng.randrange(horizon), rng.randrange(14, 44)
        draw.rectangle((x - 4, y, x + 4, horizon), fill=(92, 70, 52))
        draw.ellipse((x - r, y - r, x + r, y + r), fill=toned(leaf, rng.uniform(0.7, 1.3)))


def _hall(rng: Random, draw: ImageDraw.ImageDraw, width: int, horizon: int) -> None:
    wall = facade(rng)
    draw.rectangle((0, 0, width, horizon), fill=wall)
    tile = rng.randrange(16, 36)
    for x in range(0, width, tile):
        draw.line((x, 0, x, horizon), fill=toned(wall, 0.9), width=2)
    for y in range(0, horizon, tile):
        draw.line((0, y, width, y), fill=toned(wall, 0.9), width=2)
    for _ in range(rng.randrange(0, 3)):
        x, y = rng.randrange(-20, width), rng.randrange(horizon)
        draw.rectangle((x, y, x + rng.randrange(24, 60), y + rng.randrange(24, 70)), fill=painted(rng))


def _road(rng: Random, draw: ImageDraw.ImageDraw, width: int, horizon: int) -> None:
    draw.rectangle((0, 0, width, horizon), fill=rng.choice(SKIES))
    x = -rng.randrange(30)
    while x < width:
        step = rng.randrange(24, 70)
        top = rng.randrange(round(horizon * 0.8))
        draw.rectangle((x, top, x + step, horizon), fill=facade(rng))
        x += step


def _plaza(rng: Random, draw: ImageDraw.ImageDraw, width: int, horizon: int) -> None:
    draw.rectangle((0, 0, width, horizon), fill=facade(rng))
    for _ in range(rng.randrange(1, 4)):
        x, y, w = rng.randrange(-20, width), rng.randrange(horizon), rng.randrange(20, 80)
        draw.rectangle((x, y, x + w, y + w // 2), fill=facade(rng))


def _pole(rng: Random, draw: ImageDraw.ImageDraw, width: int, height: int, horizon: int) -> None:
    x, thick = rng.randrange(width), rng.randrange(3, 9)
    foot = rng.randrange(horizon, height)
    draw.rectangle((x, 0, x + thick, foot), fill=toned((110, 112, 116), rng.uniform(0.5, 1.4)))


def _bollard(rng: Random, draw: ImageDraw.ImageDraw, width: int, height: int, horizon: int) -> None:
    x, foot = rng.randrange(width), rng.randrange(horizon, height)
    colour = painted(rng)
    draw.rectangle((x, foot - 36, x + 12, foot), fill=colour)
    draw.rectangle((x, foot - 28, x + 12, foot - 22), fill=(236, 236, 232))


def _car(rng: Random, draw: ImageDraw.ImageDraw, width: int, height: int, horizon: int) -> None:
    x, foot = rng.randrange(-80, width - 10), horizon + rng.randrange(0, max(1, (height - horizon) // 2))
    paint, length = painted(rng), rng.randrange(90, 130)
    tall = round(length * 0.24)
    draw.rounded_rectangle((x + length * 0.2, foot - 2 * tall, x + length * 0.8, foot - tall // 2), 8, fill=paint)
    draw.rectangle((x + length * 0.27, foot - 1.8 * tall, x + length * 0.73, foot - tall), fill=(74, 88, 98))
    draw.rounded_rectangle((x, foot - tall - 4, x + length, foot), 8, fill=paint)
    for wheel in (0.22, 0.78):
        middle = x + length * wheel
        draw.ellipse((middle - 11, foot - 11, middle + 11, foot + 11), fill=(32, 32, 34))


def _bush(rng: Random, draw: ImageDraw.ImageDraw, width: int, height: int, horizon: int) -> None:
    x, foot, r = rng.randrange(width), horizon + rng.randrange(0, 24), rng.randrange(12, 34)
    colour = toned(rng.choice(LEAVES), rng.uniform(0.8, 1.2))
    for step in (-1, 0, 1):
        draw.ellipse((x + step * r - r, foot - 2 * r, x + step * r + r, foot + r // 3), fill=colour)


def _sign(rng: Random, draw: ImageDraw.ImageDraw, width: int, height: int, horizon: int) -> None:
    x, y, size = rng.randrange(width), rng.randrange(10, max(11, horizon)), rng.randrange(16, 40)
    draw.rectangle((x + size // 2 - 2, y, x + size // 2 + 2, horizon + 20), fill=(96, 98, 100))
    draw.rectangle((x, y, x + size, y + size), fill=painted(rng), outline=(232, 232, 230), width=2)


def _bench(rng: Random, draw: ImageDraw.ImageDraw, width: int, height: int, horizon: int) -> None:
    x, foot = rng.randrange(-30, width), rng.randrange(horizon, height)
    colour = toned((140, 98, 60), rng.uniform(0.6, 1.3))
    draw.rectangle((x, foot - 34, x + 64, foot - 24), fill=colour)
    draw.rectangle((x, foot - 18, x + 64, foot - 12), fill=colour)
    for leg in (4, 56):
        draw.rectangle((x + leg, foot - 34, x + leg + 4, foot), fill=(58, 58, 60))


def obstacle(rng: Random, picture: Image.Image) -> None:
    """Something in the foreground that hides a part of the person: a post, a railing, a planter, a car's bonnet."""
    draw = ImageDraw.Draw(picture)
    width, height = picture.size
    kind = rng.randrange(4)
    if kind == 0:
        x, thick = rng.randrange(width), rng.randrange(8, 22)
        draw.rectangle((x, 0, x + thick, height), fill=toned((112, 112, 114), rng.uniform(0.4, 1.5)))
    elif kind == 1:
        y, colour = (
            rng.randrange(round(height * 0.55), round(height * 0.8)),
            toned((120, 122, 126), rng.uniform(0.4, 1.5)),
        )
        for bar in (0, 26):
            draw.rectangle((0, y + bar, width, y + bar + 5), fill=colour)
        for x in range(rng.randrange(30), width, 44):
            draw.rectangle((x, y, x + 5, height), fill=colour)
    elif kind == 2:
        top = rng.randrange(round(height * 0.7), round(height * 0.88))
        left = rng.choice((-20, width // 2))
        draw.rectangle((left, top, left + 84, height), fill=toned(rng.choice(WALLS), 0.8))
        for x in range(left, left + 84, 16):
            draw.ellipse((x - 4, top - 22, x + 22, top + 8), fill=toned(rng.choice(LEAVES), rng.uniform(0.8, 1.2)))
    else:
        top = rng.randrange(round(height * 0.78), round(height * 0.9))
        draw.rounded_rectangle((-20, top, width + 20, height + 30), 30, fill=painted(rng))
