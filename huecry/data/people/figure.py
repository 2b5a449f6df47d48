"""The figure of an embedded person: clothes, hair, hat and bag on a body, drawn from far to near."""

from __future__ import annotations

from PIL import Image, ImageDraw

from huecry.data.people.body import Body, Point
from huecry.data.people.scenery import toned
from huecry.data.people.wardrobe import CLOSED, SHADES, Piece


class Figure(Body):
    """Draws one person."""

    def paint(self) -> None:
        """Draw everything, from what lies farthest to what lies nearest."""
        person, back = self.person, self.side == "back"
        bag = person.bag.kind if person.bag else ""
        profile = self.side in ("left", "right")
        if not back:
            self.hair_behind()
        if bag == "backpack" and not back:
            self.backpack()
        self.arm(-1, 0.82)
        self.leg(-1, 0.85)
        self.leg(1, 1.0)
        self.torso()
        if bag == "backpack" and self.side == "front":
            self.straps()
        if bag == "shoulder bag":
            self.strap()
        if not profile:
            self.arm(1, 0.94)
        self.scarf()
        self.head()
        if back:
            self.hair_behind()
        if bag == "backpack" and back:
            self.backpack()
        if profile:
            self.arm(1, 1.0)
        if bag in ("handbag", "tote bag", "shoulder bag", "suitcase"):
            self.bag(bag)

    def leg(self, which: int, light: float) -> None:
        joints = self.joints(which, shoulder=False)
        hip, knee, ankle = joints
        bottoms = self.person.bottoms
        bare = toned(self.skin, light)
        self.limb(joints, [0.05, 0.036, 0.026], bare)
        if bottoms and bottoms.kind in ("trousers", "jeans", "leggings"):
            widths = {
                "trousers": [0.066, 0.058, 0.054],
                "jeans": [0.064, 0.05, 0.042],
                "leggings": [0.056, 0.038, 0.028],
            }
            colour = toned(SHADES[bottoms.shade].rgb, light)
            self.limb(joints, widths[bottoms.kind], colour)
            if bottoms.kind == "jeans":
                self.limb([knee, ankle], [0.006, 0.006], toned(colour, 1.25))
                self.ellipse(ankle[0], ankle[1], 0.042, 0.014, toned(colour, 1.25))
        elif bottoms and bottoms.kind == "shorts":
            cut = (hip[0] + 0.93 * (knee[0] - hip[0]), hip[1] + 0.93 * (knee[1] - hip[1]))
            self.limb([hip, cut], [0.066, 0.062], toned(SHADES[bottoms.shade].rgb, light))
        self.shoe(ankle, light)

    def shoe(self, ankle: Point, light: float) -> None:
        shoes = self.person.shoes
        colour = toned(SHADES[shoes.shade].rgb, light)
        x, y = ankle
        toe = 0.034 * self.profile
        if shoes.kind == "boots":
            self.box(x, y - 0.035, 0.037, 0.05, colour, 0.01)
        self.ellipse(x + toe, y + 0.016, 0.036 + 0.022 * abs(self.profile), 0.026, colour)
        if shoes.kind == "sneakers":
            self.box(x + toe, y + 0.036, 0.036 + 0.022 * abs(self.profile), 0.007, toned((236, 236, 234), light))

    def arm(self, which: int, light: float) -> None:
        joints = self.joints(which, shoulder=True)
        shoulder, elbow, hand = joints
        top, outer = self.person.top, self.person.outer
        self.limb(joints, [0.032, 0.028, 0.022], toned(self.skin, light))
        self.ellipse(hand[0], hand[1], 0.024, 0.024, toned(self.skin, light))
        sleeve = top if outer is None or outer.kind == "vest" else outer
        if sleeve is None:
            return
        colour = toned(SHADES[sleeve.shade].rgb, light * 0.94)
        bulk = 1.25 if sleeve.kind in ("puffer jacket", "coat", "hoodie", "sweater") else 1.0
        if sleeve.kind in ("t-shirt", "polo shirt", "dress"):
            middle = (shoulder[0] + 0.7 * (elbow[0] - shoulder[0]), shoulder[1] + 0.7 * (elbow[1] - shoulder[1]))
            self.limb([shoulder, middle], [0.042, 0.044], colour)
        elif sleeve.kind != "tank top":
            wrist = (elbow[0] + 0.86 * (hand[0] - elbow[0]), elbow[1] + 0.86 * (hand[1] - elbow[1]))
            self.limb([shoulder, elbow, wrist], [0.042 * bulk, 0.037 * bulk, 0.031 * bulk], colour)
        if sleeve.kind != "tank top":
            self.ellipse(shoulder[0], shoulder[1] + 0.004, 0.04 * bulk, 0.036, colour)

    def trunk(self, hem: float, flare: float = 0.0, bulk: float = 1.0) -> list[Point]:
        """The outline from the shoulders down to a hem."""
        w = self.wide * bulk
        right = [(0.05, 0.168), (0.128 * w, 0.2), (0.108 * w, 0.38), ((0.112 + flare) * w, hem)]
        return [*((-x, y) for x, y in reversed(right)), *right]

    def cloth(self, outline: list[Point], piece: Piece) -> None:
        """Fill an outline with a piece's shade and pattern."""
        colour = SHADES[piece.shade].rgb
        self.polygon(outline, colour)
        if not piece.pattern:
            return
        mask = Image.new("1", self.picture.size)
        ImageDraw.Draw(mask).polygon([self.at(*point) for point in outline], fill=1)
        layer = Image.new("RGB", self.picture.size, colour)
        draw, trim = ImageDraw.Draw(layer), SHADES[piece.trim].rgb
        step = 0.062 * self.pose.height
        left, top = self.at(-0.25, 0.16)
        columns, rows = 9, 14
        if piece.pattern != "dotted":
            for row in range(rows):
                y = top + row * step
                draw.rectangle((0, y, layer.width, y + step * (0.5 if piece.pattern == "striped" else 0.3)), fill=trim)
        if piece.pattern == "checked":
            for column in range(columns):
                x = left + column * step
                draw.rectangle((x, 0, x + step * 0.3, layer.height), fill=trim)
        if piece.pattern == "dotted":
            for row in range(rows):
                for column in range(columns):
                    x, y = left + (column + row % 2 / 2) * step, top + row * step
                    draw.ellipse((x, y, x + step * 0.6, y + step * 0.6), fill=trim)
        self.picture.paste(layer, mask=mask)

    def torso(self) -> None:
        person = self.person
        top, bottoms, outer = person.top, person.bottoms, person.outer
        self.box(0, 0.155, 0.03, 0.03, toned(self.skin, 0.9))
        if bottoms:
            colour = SHADES[bottoms.shade].rgb
            if bottoms.kind in ("skirt", "long skirt"):
                hem, flare = (0.755, 0.165) if bottoms.kind == "skirt" else (0.92, 0.15)
                w = self.wide
                self.polygon([(-0.1 * w, 0.44), (0.1 * w, 0.44), (flare * w, hem), (-flare * w, hem)], colour)
                for x in (-0.4, 0.1, 0.5):
                    self.limb([(x * 0.1 * w, 0.5), (x * flare * w, hem)], [0.003, 0.005], toned(colour, 0.82))
            else:
                self.box(0, 0.49, 0.108 * self.wide, 0.045, colour, 0.02)
        if top:
            if top.kind == "dress":
                w = self.wide
                self.cloth(
                    [*self.trunk(0.46)[1:-1], (0.1 * w, 0.46), (0.175 * w, 0.76), (-0.175 * w, 0.76), (-0.1 * w, 0.46)],
                    top,
                )
            else:
                self.cloth(self.trunk(0.53), top)
            self.trimmings(top)
        if outer:
            self.outer(outer)

    def trimmings(self, top: Piece) -> None:
        """Collar, buttons, hood, hem: what tells one top from another."""
        dark, light = toned(SHADES[top.shade].rgb, 0.72), toned(SHADES[top.shade].rgb, 1.2)
        middle = 0.085 * self.profile
        if top.kind in ("shirt", "polo shirt"):
            self.polygon([(-0.055, 0.165), (0.055, 0.165), (middle, 0.215)], light)
            if self.side != "back":
                end = 0.52 if top.kind == "shirt" else 0.28
                self.limb([(middle, 0.2), (middle, end)], [0.005, 0.005], dark)
        elif top.kind == "hoodie":
            self.ellipse(-0.05 * self.profile, 0.185, 0.085, 0.04, dark)
            if self.side == "front":
                self.box(0, 0.44, 0.065 * self.wide, 0.04, dark, 0.015)
        elif top.kind == "sweater":
            self.box(0, 0.52, 0.112 * self.wide, 0.014, dark)
            self.box(0, 0.168, 0.045, 0.014, dark)
        elif top.kind == "tank top":
            for which in (-1, 1):
                self.polygon(
                    [
                        (which * 0.13 * self.wide, 0.19),
                        (which * 0.085 * self.wide, 0.17),
                        (which * 0.105 * self.wide, 0.3),
                    ],
                    self.skin,
                )
            self.ellipse(middle, 0.175, 0.05, 0.035, self.skin)
        elif self.side != "back":
            self.ellipse(middle * 0.5, 0.168, 0.042, 0.02, toned(self.skin, 0.95))

    def outer(self, outer: Piece) -> None:
        colour = SHADES[outer.shade].rgb
        dark = toned(colour, 0.74)
        hem = {"coat": 0.67, "raincoat": 0.61, "cardigan": 0.6, "vest": 0.51, "jacket": 0.53, "blazer": 0.57}.get(
            outer.kind, 0.54
        )
        flare = 0.045 if hem > 0.6 else 0.008
        bulk = 1.16 if outer.kind == "puffer jacket" else 1.05
        outline = self.trunk(hem, flare, bulk)
        if outer.kind in CLOSED or self.side == "back":
            self.polygon(outline, colour)
        else:
            middle, gap = 0.075 * self.profile * self.wide, 0.046 * self.wide
            half = len(outline) // 2
            self.polygon([*outline[:half], (middle - gap * 0.6, 0.168), (middle - gap, hem)], colour)
            self.polygon([(middle + gap, hem), (middle + gap * 0.6, 0.168), *outline[half:]], colour)
            if outer.kind == "blazer":
                for which in (-1, 1):
                    edge = middle + which * gap
                    self.polygon([(edge * 0.7, 0.17), (edge + which * 0.035, 0.25), (edge, 0.36)], dark)
        if outer.kind == "puffer jacket":
            for y in (0.26, 0.33, 0.4, 0.47):
                self.box(0, y, 0.118 * self.wide, 0.006, dark)
        elif outer.kind == "raincoat":
            self.ellipse(-0.05 * self.profile, 0.18, 0.085, 0.042, dark)
            if self.side != "back":
                self.limb([(0.08 * self.profile, 0.2), (0.08 * self.profile, hem)], [0.005, 0.005], dark)
        elif outer.kind in ("vest", "coat") and self.side == "back":
            self.box(0, 0.36 if outer.kind == "vest" else 0.41, 0.11 * self.wide, 0.006, dark)

    def scarf(self) -> None:
        if self.person.scarf is None:
            return
        colour = SHADES[self.person.scarf.shade].rgb
        self.ellipse(0, 0.178, 0.08, 0.036, colour)
        if self.side != "back":
            self.box(0.03 + 0.06 * self.profile, 0.26, 0.026, 0.085, toned(colour, 0.9), 0.01)

    def head(self) -> None:
        hair, hat = self.person.hair, self.person.hat
        colour = SHADES[hair.shade].rgb
        forward = 0.03 * self.profile
        self.ellipse(forward * 0.4, 0.082, 0.058, 0.074, self.skin)
        if self.side == "back":
            self.ellipse(0, 0.074, 0.064, 0.076, colour)
        else:
            self.ellipse(-forward, 0.05, 0.064, 0.052, colour)
            self.ellipse(forward * 0.9, 0.093, 0.05 - 0.006 * abs(self.profile), 0.052, self.skin)
            for eye in (-0.022, 0.022):
                x = forward * 1.5 + eye * (1 - 0.4 * abs(self.profile))
                self.ellipse(x, 0.085, 0.007, 0.007, (40, 34, 34))
        if hair.kind == "bun" and hat is None:
            self.ellipse(-forward * 1.6, -0.002, 0.036, 0.034, toned(colour, 0.85))
        if hair.kind == "curly" and hat is None and self.side == "back":
            self.ellipse(0, 0.062, 0.094, 0.09, colour)
        if hat:
            self.hat(hat, forward)

    def hair_behind(self) -> None:
        """Hair that hangs or stands away from the head: before it when seen from behind, else after it."""
        hair = self.person.hair
        colour = toned(SHADES[hair.shade].rgb, 0.92)
        lag = -0.05 * self.profile
        if hair.kind == "long":
            self.box(lag * 0.6, 0.15, 0.078, 0.105, colour, 0.04)
        elif hair.kind == "ponytail":
            away = lag * 2.0 if self.side != "front" else 0.062
            self.limb([(away * 0.5, 0.06), (away, 0.11), (away * 1.05, 0.24)], [0.022, 0.03, 0.014], colour)
        elif hair.kind == "curly" and self.person.hat is None:
            self.ellipse(lag * 0.5, 0.062, 0.094, 0.09, colour)

    def hat(self, hat: Piece, forward: float) -> None:
        colour = SHADES[hat.shade].rgb
        dark = toned(colour, 0.75)
        x = -forward * 0.4
        crown = [self.at(x - 0.07, -0.018), self.at(x + 0.07, 0.115)]
        self.draw.pieslice((*crown[0], *crown[1]), 180, 360, fill=colour)
        if hat.kind == "cap":
            if self.side != "back":
                self.box(x + forward * 2.6, 0.05, 0.06 - 0.008 * abs(self.profile), 0.012, dark, 0.01)
        elif hat.kind == "beanie":
            self.box(x, 0.045, 0.072, 0.02, dark, 0.01)
            self.ellipse(x, -0.018, 0.022, 0.02, colour)
        else:
            self.ellipse(x, 0.046, 0.135, 0.026, dark)
            self.box(x, 0.03, 0.068, 0.01, toned(colour, 0.6))

    def backpack(self) -> None:
        piece = self.person.bag
        assert piece is not None
        colour = SHADES[piece.shade].rgb
        dark = toned(colour, 0.75)
        if self.side == "back":
            x = -0.1 * self.profile
            self.box(x, 0.33, 0.098 * self.wide, 0.135, colour, 0.035)
            self.box(x, 0.39, 0.07 * self.wide, 0.06, dark, 0.02)
        elif self.side == "front":
            self.box(-0.05 * self.profile, 0.31, 0.15 * self.wide, 0.115, dark, 0.04)
        else:
            self.box(-0.13 * self.heading * self.wide, 0.32, 0.085, 0.135, colour, 0.035)
            self.box(-0.19 * self.heading * self.wide, 0.38, 0.035, 0.06, dark, 0.02)

    def straps(self) -> None:
        assert self.person.bag is not None
        colour = SHADES[self.person.bag.shade].rgb
        for x in (-0.078, 0.078):
            self.limb([(x * self.wide, 0.178), (x * 1.1 * self.wide, 0.4)], [0.019, 0.017], colour)

    def strap(self) -> None:
        assert self.person.bag is not None
        colour = toned(SHADES[self.person.bag.shade].rgb, 0.85)
        self.limb([(-0.09 * self.wide, 0.18), (0.12 * self.wide, 0.5)], [0.011, 0.011], colour)

    def bag(self, kind: str) -> None:
        piece = self.person.bag
        assert piece is not None
        colour = SHADES[piece.shade].rgb
        dark = toned(colour, 0.72)
        x, y = self.joints(1, shoulder=True)[2]
        if kind == "shoulder bag":
            x = 0.13 * self.wide
            self.box(x, 0.54, 0.07, 0.058, colour, 0.02)
            self.box(x, 0.515, 0.07, 0.024, dark, 0.015)
        elif kind == "handbag":
            self.limb([(x - 0.035, y + 0.07), (x, y), (x + 0.035, y + 0.07)], [0.007, 0.007, 0.007], dark)
            self.box(x, y + 0.105, 0.075, 0.05, colour, 0.02)
            self.box(x, y + 0.085, 0.02, 0.012, dark)
        elif kind == "tote bag":
            self.limb([(0.1 * self.wide, 0.19), (0.15 * self.wide, 0.4)], [0.01, 0.01], dark)
            self.polygon([(x - 0.07, 0.39), (x + 0.09, 0.39), (x + 0.1, 0.6), (x - 0.08, 0.6)], colour)
            self.box(x + 0.01, 0.4, 0.08, 0.01, dark)
        else:
            x += 0.05 * (1 if x >= 0 else -1)
            self.limb([self.joints(1, shoulder=True)[2], (x, 0.74)], [0.007, 0.007], (70, 70, 74))
            self.box(x, 0.85, 0.085, 0.125, colour, 0.02)
            self.box(x, 0.82, 0.085, 0.006, dark)
            self.box(x, 0.89, 0.085, 0.006, dark)
