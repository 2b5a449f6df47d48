"""What the embedded people wear: shades, garments, and the drawing of lots that dresses a person.

A person is a set of pieces (top, outer garment, bottoms, shoes, bag, hat, scarf, hair). Captions speak of nothing else:
skin tone and build vary in the pictures and are never described.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, fields, replace
from random import Random
from typing import Any, NamedTuple

Colour = tuple[int, int, int]


class Shade(NamedTuple):
    """A colour of cloth: its sRGB value, the hue that a hasty writer would say, and the names of careful ones."""

    rgb: Colour
    hue: str
    names: tuple[str, ...]


SHADES: dict[str, Shade] = {
    "black": Shade((30, 30, 34), "black", ("black",)),
    "charcoal": Shade((78, 80, 86), "grey", ("dark grey", "charcoal")),
    "grey": Shade((146, 148, 152), "grey", ("grey", "light grey", "silver")),
    "white": Shade((242, 242, 240), "white", ("white",)),
    "cream": Shade((236, 222, 184), "white", ("cream", "off-white", "ivory")),
    "red": Shade((206, 30, 36), "red", ("red", "bright red", "scarlet")),
    "maroon": Shade((116, 20, 44), "red", ("maroon", "burgundy", "dark red", "wine red")),
    "orange": Shade((240, 124, 26), "orange", ("orange", "bright orange")),
    "yellow": Shade((248, 214, 40), "yellow", ("yellow", "bright yellow", "lemon")),
    "mustard": Shade((196, 148, 30), "yellow", ("mustard", "dark yellow", "gold")),
    "green": Shade((38, 152, 64), "green", ("green", "emerald")),
    "forest": Shade((18, 78, 48), "green", ("dark green", "deep green")),
    "olive": Shade((110, 110, 52), "green", ("olive", "army green", "olive green")),
    "mint": Shade((160, 220, 178), "green", ("mint", "light green", "pale green")),
    "teal": Shade((20, 136, 140), "blue", ("teal", "turquoise")),
    "sky": Shade((132, 186, 234), "blue", ("light blue", "sky blue", "pale blue")),
    "blue": Shade((34, 88, 200), "blue", ("blue", "royal blue", "bright blue")),
    "navy": Shade((24, 36, 88), "blue", ("navy", "dark blue", "navy blue")),
    "purple": Shade((106, 46, 150), "purple", ("purple", "violet")),
    "lavender": Shade((186, 162, 220), "purple", ("lavender", "lilac", "light purple")),
    "pink": Shade((244, 160, 188), "pink", ("pink", "light pink", "rose")),
    "magenta": Shade((216, 34, 130), "pink", ("magenta", "hot pink", "fuchsia")),
    "brown": Shade((114, 68, 34), "brown", ("brown", "chocolate", "dark brown")),
    "beige": Shade((204, 180, 136), "beige", ("beige", "tan", "khaki", "sand")),
    "blond": Shade((222, 186, 104), "blond", ("blond", "blonde")),
    "ginger": Shade((176, 82, 34), "red", ("red", "reddish")),
    "dark hair": Shade((34, 28, 28), "black", ("black",)),
    "brown hair": Shade((98, 60, 34), "brown", ("brown",)),
}

CLOTH = tuple(SHADES)[:24]
DENIM = ("blue", "navy", "sky", "black", "charcoal", "grey")
LEATHER = ("black", "brown", "beige", "white", "red", "navy", "charcoal", "maroon")
HAIR = ("dark hair", "brown hair", "blond", "ginger")

TOPS = ("t-shirt", "shirt", "sweater", "hoodie", "tank top", "polo shirt")
OUTERS = ("jacket", "coat", "blazer", "cardigan", "vest", "puffer jacket", "raincoat")
CLOSED = ("puffer jacket", "raincoat")
BOTTOMS = ("trousers", "jeans", "shorts", "skirt", "long skirt", "leggings")
SHOES = ("sneakers", "boots", "shoes")
BAGS = ("backpack", "handbag", "shoulder bag", "tote bag", "suitcase")
HATS = ("cap", "beanie", "sun hat")
HAIRCUTS = ("short", "long", "ponytail", "bun", "curly")
PATTERNS = ("striped", "checked", "dotted")

SKINS: tuple[Colour, ...] = (
    (250, 220, 196),
    (238, 196, 160),
    (216, 168, 126),
    (176, 124, 84),
    (130, 86, 56),
    (88, 58, 42),
)


class Piece(NamedTuple):
    """One thing that a person wears or carries; `trim` is the second shade of a pattern."""

    kind: str
    shade: str
    pattern: str = ""
    trim: str = ""


@dataclass(frozen=True, slots=True)
class Person:
    """Everything about a person that stays the same from photograph to photograph.

    top is None under a closed outer garment, bottoms is None below a dress; what is absent is None.
    """

    top: Piece | None
    outer: Piece | None
    bottoms: Piece | None
    shoes: Piece
    bag: Piece | None
    hat: Piece | None
    scarf: Piece | None
    hair: Piece
    skin: int = 0
    build: float = 1.0

    @property
    def outfit(self) -> tuple[Piece | None, ...]:
        """The pieces alone: two persons with the same outfit cannot be told apart by a caption."""
        return tuple(getattr(self, name) for name in PIECES)

    def differences(self, other: Person) -> list[str]:
        """Names of the pieces, skin and build in which two persons differ."""
        return [f.name for f in fields(self) if getattr(self, f.name) != getattr(other, f.name)]


PIECES = tuple(f.name for f in fields(Person))[:8]


def _cloth(rng: Random, kind: str) -> str:
    if kind == "jeans":
        return rng.choice(DENIM)
    if kind in ("boots", "shoes", "handbag"):
        return rng.choice(LEATHER)
    return rng.choice(CLOTH)


def _piece(rng: Random, kinds: Collection[str], patterned: float = 0.0) -> Piece:
    kind = rng.choice(tuple(kinds))
    shade = _cloth(rng, kind)
    if rng.random() >= patterned:
        return Piece(kind, shade)
    trim = rng.choice([name for name in CLOTH if contrast(name, shade) > 220])
    return Piece(kind, shade, rng.choice(PATTERNS), trim)


def contrast(first: str, second: str) -> int:
    """Sum of the absolute channel differences of two shades, 0..765."""
    return sum(abs(a - b) for a, b in zip(SHADES[first].rgb, SHADES[second].rgb, strict=True))


def draw_piece(rng: Random, part: str, like: Piece | None = None) -> Piece:
    """A random piece for one part of the outfit.

    like: stay compatible with this piece, so that no other part has to change: a dress stays a dress, a closed outer
    garment closed.
    """
    if part == "top":
        dress = rng.random() < 0.12 if like is None else like.kind == "dress"
        return _piece(rng, ("dress",) if dress else TOPS, 0.25)
    if part == "outer":
        closed = rng.random() < 0.3 if like is None else like.kind in CLOSED
        return _piece(rng, CLOSED if closed else [kind for kind in OUTERS if kind not in CLOSED])
    if part == "bottoms":
        return _piece(rng, BOTTOMS)
    if part == "shoes":
        return _piece(rng, SHOES)
    if part == "bag":
        return _piece(rng, BAGS)
    if part == "hat":
        return _piece(rng, HATS)
    if part == "scarf":
        return _piece(rng, ("scarf",))
    return Piece(rng.choice(HAIRCUTS), rng.choices(HAIR, (4, 4, 3, 2))[0])


def draw_person(rng: Random) -> Person:
    """Dress a person at random."""
    outer = draw_piece(rng, "outer") if rng.random() < 0.5 else None
    top = None if outer and outer.kind in CLOSED else draw_piece(rng, "top")
    bottoms = None if top and top.kind == "dress" else draw_piece(rng, "bottoms")
    return Person(
        top=top,
        outer=outer,
        bottoms=bottoms,
        shoes=draw_piece(rng, "shoes"),
        bag=draw_piece(rng, "bag") if rng.random() < 0.6 else None,
        hat=draw_piece(rng, "hat") if rng.random() < 0.35 else None,
        scarf=draw_piece(rng, "scarf") if rng.random() < 0.12 else None,
        hair=draw_piece(rng, "hair"),
        skin=rng.randrange(len(SKINS)),
        build=round(rng.uniform(0.9, 1.15), 2),
    )


def draw_look_alike(rng: Random, person: Person) -> Person:
    """The same person but for exactly one thing: the shade, kind or pattern of one piece, or one more or less of it."""
    clothes = [part for part in ("top", "outer", "bottoms") if getattr(person, part)]
    part = rng.choice([*clothes, *clothes, "bag", "bag", "hat", "hair"])
    old: Piece | None = getattr(person, part)
    if old is None:
        return _exchanged(person, part, draw_piece(rng, part))
    if part in ("bag", "hat") and rng.random() < 0.4:
        return _exchanged(person, part, None)
    while True:
        new = draw_piece(rng, part, like=old)
        changes = [
            old._replace(shade=new.shade),
            old._replace(kind=new.kind),
            old._replace(pattern=new.pattern, trim=new.trim),
        ]
        change = rng.choices(changes, (7, 2, 2))[0]
        if change != old and _tells(change, old):
            return _exchanged(person, part, change)


def _exchanged(person: Person, part: str, piece: Piece | None) -> Person:
    values: dict[str, Any] = {part: piece}
    return replace(person, **values)


def _tells(change: Piece, old: Piece) -> bool:
    """Whether the difference can be seen, and the changed piece can be had."""
    if change.shade != old.shade and contrast(change.shade, old.shade) <= 150:
        return False
    if change.kind == "jeans" and change.shade not in DENIM:
        return False
    if change.pattern and contrast(change.trim, change.shade) <= 220:
        return False
    return change.pattern != old.pattern or change.trim == old.trim
