"""The body of an embedded person: pose, proportions, joints, and the flat shapes that a figure is made of."""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, sin

from PIL import Image, ImageDraw

from huecry.data.people.wardrobe import SKINS, Colour, Person

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Pose:
    """How a figure stands in the frame.

    turn: 0 faces the camera, pi/2 the right, pi shows the back; height, x and y are in pixels of the drawing;
    y is the crown of the head.
    """

    turn: float
    stride: float
    swing: float
    height: float
    x: float
    y: float

    @property
    def side(self) -> str:
        """front, back, left or right: what a caption would call it."""
        if abs(sin(self.turn)) > 0.75:
            return "right" if sin(self.turn) > 0 else "left"
        return "front" if cos(self.turn) > 0 else "back"


class Body:
    """A posed body without anything on, and the shapes to dress it with.

    Coordinates are in body heights: x from the middle, y down from the crown (0) to the soles (1).
    """

    def __init__(self, picture: Image.Image, person: Person, pose: Pose) -> None:
        self.picture, self.draw = picture, ImageDraw.Draw(picture)
        self.person, self.pose = person, pose
        self.front, self.profile = cos(pose.turn), sin(pose.turn)
        self.side = pose.side
        self.heading = 1.0 if self.profile >= 0 else -1.0
        self.wide = (0.62 + 0.38 * abs(self.front)) * person.build
        self.skin = SKINS[person.skin]

    def at(self, x: float, y: float) -> Point:
        return self.pose.x + x * self.pose.height, self.pose.y + y * self.pose.height

    def polygon(self, points: list[Point], colour: Colour) -> None:
        self.draw.polygon([self.at(*point) for point in points], fill=colour)

    def box(self, x: float, y: float, rx: float, ry: float, colour: Colour, corner: float = 0.0) -> None:
        left, top = self.at(x - rx, y - ry)
        right, bottom = self.at(x + rx, y + ry)
        self.draw.rounded_rectangle((left, top, right, bottom), corner * self.pose.height, fill=colour)

    def ellipse(self, x: float, y: float, rx: float, ry: float, colour: Colour) -> None:
        self.draw.ellipse((*self.at(x - rx, y - ry), *self.at(x + rx, y + ry)), fill=colour)

    def limb(self, points: list[Point], widths: list[float], colour: Colour) -> None:
        """A jointed limb: `widths` are half widths at the points."""
        for (x0, y0), (x1, y1), w0, w1 in zip(points, points[1:], widths, widths[1:], strict=False):
            length = max(((x1 - x0) ** 2 + (y1 - y0) ** 2) ** 0.5, 1e-6)
            nx, ny = (y1 - y0) / length, (x0 - x1) / length
            self.polygon(
                [
                    (x0 + nx * w0, y0 + ny * w0),
                    (x1 + nx * w1, y1 + ny * w1),
                    (x1 - nx * w1, y1 - ny * w1),
                    (x0 - nx * w0, y0 - ny * w0),
                ],
                colour,
            )
        for (x, y), w in zip(points[1:-1], widths[1:-1], strict=True):
            self.ellipse(x, y, w, w, colour)

    def joints(self, which: int, shoulder: bool) -> list[Point]:
        """Shoulder, elbow, hand or hip, knee, ankle of one side (-1 far or left, 1 near or right)."""
        side_on = abs(self.profile)
        phase = self.pose.stride * which * (-1 if shoulder else 1)
        forward = phase * side_on * self.heading
        bottoms = self.person.bottoms
        if bottoms and bottoms.kind == "long skirt" and not shoulder:
            forward *= 0.35
        if shoulder:
            x, y = which * 0.118 * self.wide * (1 - 0.75 * side_on), 0.205
            lean = forward * 0.8 + which * (0.10 + 0.12 * self.pose.swing) * (1 - side_on)
            bend = 0.35 * self.heading * side_on - which * 0.1 * (1 - side_on)
            upper, lower = 0.165, 0.155
        else:
            x, y = which * 0.055 * self.wide * (1 - 0.6 * side_on), 0.5
            lean = forward * 0.55 + which * 0.03 * (1 - side_on)
            bend = -max(0.0, -phase) * 0.7 * self.heading * side_on
            upper, lower = 0.235, 0.225
            lower -= 0.02 * max(0.0, phase) * (1 - side_on)
        knee = (x + upper * sin(lean), y + upper * cos(lean))
        return [(x, y), knee, (knee[0] + lower * sin(lean + bend), knee[1] + lower * cos(lean + bend))]
