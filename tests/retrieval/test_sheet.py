"""The contact sheet: every pixel where it belongs, and a file that is whole or absent."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageColor

from huecry.errors import UserError
from huecry.retrieval import sheet
from huecry.retrieval.sheet import Hit, SheetRow, contact_sheet

BLUE = (10, 20, 220)


def photo(width: int = 40, height: int = 100, mode: str = "RGB") -> Image.Image:
    return Image.new("RGB", (width, height), BLUE).convert(mode)


def cells(picture: Image.Image, colour: str) -> list[tuple[int, int]]:
    """Left upper corners of the frames of one colour, row by row."""
    wanted = ImageColor.getrgb(colour)
    pixels = picture.load()
    assert pixels is not None
    found = []
    for y in range(1, picture.height - 3):
        for x in range(1, picture.width - 60):
            run = pixels[x, y] == wanted and pixels[x - 1, y] != wanted and pixels[x, y - 1] != wanted
            if run and all(pixels[x + n, y] == pixels[x, y + n] == wanted for n in range(60)):
                found.append((x, y))
    return found


def test_frames_tell_right_wrong_and_unknown(tmp_path) -> None:
    rows = [
        SheetRow("red coat", [Hit(photo(), 0.5, True), Hit(photo(), 0.4, False), Hit(photo(), 0.3)], photo()),
        SheetRow("blue coat", [Hit(photo(), 0.5, False), Hit(photo(), 0.4, False)]),
    ]
    contact_sheet(rows, tmp_path / "deep" / "sheet.png", title="two")
    with Image.open(tmp_path / "deep" / "sheet.png") as picture:
        assert picture.format == "PNG"
        right, wrong, unknown = (cells(picture, c) for c in (sheet.RIGHT, sheet.WRONG, sheet.UNKNOWN))
    pitch = sheet.CELL_WIDTH + sheet.GAP
    (left, top), *_ = right
    assert len(right) == 1
    assert wrong[0] == (left + pitch, top)
    assert unknown == [(left + 2 * pitch, top)]
    below = top + sheet.CELL_HEIGHT + sheet.CAPTION_HEIGHT + sheet.ROW_GAP
    assert wrong[1:] == [(left, below), (left + pitch, below)]


@pytest.mark.parametrize("size", [(40, 100), (100, 40), (1000, 3), (3, 1000), (1, 1), (800, 800)])
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P"])
def test_pictures_of_any_shape_stay_in_their_cell(tmp_path, size, mode) -> None:
    contact_sheet([SheetRow("coat", [Hit(photo(size[0], size[1], mode), 0.5, True)])], tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as picture:
        ((left, top),) = cells(picture, sheet.RIGHT)
        room = (sheet.CELL_WIDTH - 2 * sheet.FRAME, sheet.CELL_HEIGHT - 2 * sheet.FRAME)
        inner = picture.crop(
            (left + sheet.FRAME, top + sheet.FRAME, left + sheet.FRAME + room[0], top + sheet.FRAME + room[1])
        )
        frame = ImageColor.getrgb(sheet.RIGHT)
        assert picture.getpixel((left + sheet.CELL_WIDTH - 1, top + sheet.CELL_HEIGHT - 1)) == frame
    ink = (np.asarray(inner) != ImageColor.getrgb(sheet.MOUNT)).any(axis=2)
    scale = min(room[0] / size[0], room[1] / size[1])
    assert ink.any(axis=0).sum() == max(1, round(size[0] * scale))
    assert ink.any(axis=1).sum() == max(1, round(size[1] * scale))


@pytest.mark.parametrize("text", ["a man in red " * 60, "x" * 900, "", "  ", "a 人 é " * 9])
def test_sentences_wrap_inside_their_column(text) -> None:
    font = sheet.load_font(sheet.QUERY_SIZE)
    lines = sheet.wrap(text, font, sheet.TEXT_WIDTH, 11)
    assert 1 <= len(lines) <= 11
    assert all(font.getlength(line) <= sheet.TEXT_WIDTH for line in lines)
    shown = "".join(lines).replace(" ", "")
    whole = text.replace(" ", "")
    assert shown == whole or (shown.endswith("…") and whole.startswith(shown[:-1]))


@pytest.mark.parametrize("score", [-1.0, 0.0, -0.0001, 123.4567, -1e30, float("nan"), float("-inf")])
def test_rank_mark_and_score_do_not_overlap(score) -> None:
    font = sheet.load_font(sheet.CAPTION_SIZE)
    text = sheet._number(score)
    assert text != "-0.000"
    assert font.getlength("100") + 9 + 14 + font.getlength(text) < sheet.CELL_WIDTH


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch) -> None:
    path = tmp_path / "sheet.png"
    contact_sheet([SheetRow("coat", [Hit(photo(), 0.5)])], path)
    before = path.read_bytes()

    def full(self, file, **options):
        file.write(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(UserError, match=r"sheet\.png: the picture cannot be written \(no space left"):
        contact_sheet([SheetRow("coat", [Hit(photo(), 0.1)])], path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["sheet.png"]


def test_nothing_to_draw_is_told(tmp_path) -> None:
    with pytest.raises(UserError, match="no results to draw"):
        contact_sheet([], tmp_path / "sheet.png")
    contact_sheet([SheetRow("nobody found", [])], tmp_path / "sheet.png", title="x" * 500)
