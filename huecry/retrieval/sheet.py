"""A picture of what was found: a row a query, with its sentence and the best photographs in order."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from huecry.errors import UserError

PAPER, INK, FAINT, LINE, MOUNT = "#ffffff", "#1d2733", "#6b7785", "#e3e7ec", "#eef1f4"
RIGHT, WRONG, UNKNOWN = "#1a9850", "#d73027", "#b4bcc6"
CELL_WIDTH, CELL_HEIGHT, FRAME = 144, 288, 5
MARGIN, GAP, TEXT_WIDTH, CAPTION_HEIGHT, ROW_GAP = 36, 14, 300, 34, 30
TITLE_SIZE, QUERY_SIZE, CAPTION_SIZE = 30, 21, 18


@dataclass(frozen=True, slots=True)
class Hit:
    """One photograph found, with its score. right: is it the person sought; None where nobody knows."""

    picture: Image.Image
    score: float
    right: bool | None = None


@dataclass(frozen=True, slots=True)
class SheetRow:
    """One query: its sentence, what was found (best first) and, where known, the photograph it describes."""

    query: str
    hits: Sequence[Hit]
    truth: Image.Image | None = None


def contact_sheet(rows: Sequence[SheetRow], path: Path, title: str | None = None) -> None:
    """Draw the rows into one PNG.

    Frames are green with a tick for the right person, red with a cross for another, grey where nobody knows.
    Pictures of any shape and mode are fitted whole into equal cells; a sentence too long for its row ends in
    an ellipsis. The file appears complete or not at all, and missing folders are made.

    Raises UserError when there is no row, or when the file cannot be written.
    """
    if not rows:
        raise UserError(f"{path}: no results to draw")
    columns = max(len(row.hits) for row in rows)
    truths = any(row.truth is not None for row in rows)
    head = MARGIN + (TITLE_SIZE + 26 if title else 0)
    first_hit = MARGIN + TEXT_WIDTH + GAP * 2 + truths * (CELL_WIDTH + GAP * 3)
    width = first_hit + columns * (CELL_WIDTH + GAP) - GAP + MARGIN
    step = CELL_HEIGHT + CAPTION_HEIGHT + ROW_GAP
    sheet = Image.new("RGB", (width, head + len(rows) * step - ROW_GAP + MARGIN - 10), PAPER)
    draw = ImageDraw.Draw(sheet)
    if title:
        font = load_font(TITLE_SIZE)
        draw.text((MARGIN, MARGIN - 6), wrap(title, font, width - 2 * MARGIN, 1)[0], INK, font)
    for number, row in enumerate(rows):
        top = head + number * step
        if number:
            draw.line([(MARGIN, top - ROW_GAP // 2), (width - MARGIN, top - ROW_GAP // 2)], LINE, 1)
        _sentence(draw, row.query, top)
        if row.truth is not None:
            left = MARGIN + TEXT_WIDTH + GAP * 2
            _picture(sheet, row.truth, left, top, None)
            draw.text((left, top + CELL_HEIGHT + 7), "described", FAINT, load_font(CAPTION_SIZE))
        for rank, hit in enumerate(row.hits, 1):
            left = first_hit + (rank - 1) * (CELL_WIDTH + GAP)
            _picture(sheet, hit.picture, left, top, _colour(hit.right))
            _caption(draw, rank, hit, left, top + CELL_HEIGHT + 7)
    _save(sheet, path)


def load_font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own font, so many pixels high; it is there on every machine."""
    return ImageFont.load_default(size=size)


def _colour(right: bool | None) -> str:
    return UNKNOWN if right is None else RIGHT if right else WRONG


def wrap(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int, lines: int) -> list[str]:
    """At most so many lines of so many pixels; longer words are broken, longer texts end in an ellipsis."""
    wrapped: list[str] = []
    line = ""
    for word in text.split():
        while word:
            joined = f"{line} {word}" if line else word
            if font.getlength(joined) <= width:
                line, word = joined, ""
            elif line:
                wrapped.append(line)
                line = ""
            else:
                fits = next(n for n in range(1, len(word)) if font.getlength(word[: n + 1]) > width)
                wrapped.append(word[:fits])
                word = word[fits:]
    wrapped += [line] if line or not wrapped else []
    if len(wrapped) > lines:
        last = wrapped[lines - 1]
        while last and font.getlength(last + "…") > width:
            last = last[:-1]
        wrapped = [*wrapped[: lines - 1], last.rstrip() + "…"]
    return wrapped


def _sentence(draw: ImageDraw.ImageDraw, query: str, top: int) -> None:
    font, pitch = load_font(QUERY_SIZE), QUERY_SIZE + 8
    for number, line in enumerate(wrap(query, font, TEXT_WIDTH, (CELL_HEIGHT + CAPTION_HEIGHT) // pitch)):
        draw.text((MARGIN, top + number * pitch), line, INK, font)


def _picture(sheet: Image.Image, picture: Image.Image, left: int, top: int, frame: str | None) -> None:
    """A letter-boxed picture; without a frame it fills the whole cell."""
    box = (left, top, left + CELL_WIDTH - 1, top + CELL_HEIGHT - 1)
    draw = ImageDraw.Draw(sheet)
    draw.rectangle(box, MOUNT, frame, FRAME if frame else 0)
    room_x, room_y = CELL_WIDTH - 2 * FRAME, CELL_HEIGHT - 2 * FRAME
    scale = min(room_x / picture.width, room_y / picture.height)
    size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
    fitted = picture.convert("RGB").resize(size, Image.Resampling.LANCZOS)
    sheet.paste(fitted, (left + (CELL_WIDTH - size[0]) // 2, top + (CELL_HEIGHT - size[1]) // 2))


def _number(score: float) -> str:
    if not math.isfinite(score):
        return "–"
    return f"{round(score, 3) + 0.0:.3f}" if abs(score) < 1000 else f"{score:.1e}"


def _caption(draw: ImageDraw.ImageDraw, rank: int, hit: Hit, left: int, top: int) -> None:
    font, colour = load_font(CAPTION_SIZE), _colour(hit.right)
    draw.text((left, top), str(rank), INK, font)
    after = left + round(font.getlength(str(rank))) + 9
    if hit.right:
        draw.line([(after, top + 12), (after + 5, top + 17), (after + 14, top + 6)], colour, 3, "curve")
    elif hit.right is False:
        draw.line([(after, top + 6), (after + 11, top + 17)], colour, 3)
        draw.line([(after, top + 17), (after + 11, top + 6)], colour, 3)
    score = _number(hit.score)
    draw.text((left + CELL_WIDTH - font.getlength(score), top), score, FAINT, font)


def _save(sheet: Image.Image, path: Path) -> None:
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp", delete=False) as file:
            temporary = file.name
            sheet.save(file, format="PNG", optimize=False)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
        raise UserError(f"{path}: the picture cannot be written ({error})") from None
