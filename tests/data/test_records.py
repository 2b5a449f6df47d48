"""Records and photo sets: decoding, row numbering, person numbers, fingerprints."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from huecry.data.records import UNKNOWN, PhotoSet, Record
from huecry.errors import UserError


def record(name, captions=("a coat",), person="1"):
    return Record(image=None, captions=tuple(captions), person=person, name=name)


def test_rows_are_numbered_photograph_by_photograph():
    photos = PhotoSet("train", [record("a", ["x", "y"]), record("b", [], "2"), record("c", ["z"], None)])
    assert len(photos) == 3
    assert photos.row_image.tolist() == [0, 0, 2]
    assert photos.row_person.tolist() == [0, 0, UNKNOWN]
    assert photos.image_person.tolist() == [0, 1, UNKNOWN]
    assert photos.captions == ["x", "y", "z"]
    assert [photos.caption(row) for row in range(3)] == photos.captions
    assert photos.summary() == "train: 3 photographs, 2 persons, 3 captions"
    assert [one.name for one in photos[1:]] == ["b", "c"]


def test_caption_of_a_row_that_is_not_there():
    photos = PhotoSet("train", [record("a", ["x", "y"]), record("b", ["z"])])
    assert photos.caption(-1) == "z"
    assert photos.caption(-3) == "x"
    for row in (3, -4):
        with pytest.raises(IndexError):
            photos.caption(row)


def test_an_empty_set_has_empty_arrays():
    photos = PhotoSet("val", [])
    assert (len(photos), len(photos.row_image), len(photos.row_person), photos.captions) == (0, 0, 0, [])
    assert photos.row_image.dtype == photos.image_person.dtype == np.int64


@given(st.lists(st.tuples(st.none() | st.text(max_size=3), st.lists(st.text(max_size=4), max_size=3)), max_size=12))
def test_rows_and_persons_round_trip(content):
    photos = PhotoSet("train", [record(str(i), captions, who) for i, (who, captions) in enumerate(content)])
    for (who, _), number in zip(content, photos.image_person, strict=True):
        assert who is None if number == UNKNOWN else photos.persons[number] == who
    assert sorted({n for n in photos.image_person if n != UNKNOWN}) == list(range(len(photos.persons)))
    rows = [(image, caption) for image, (_, captions) in enumerate(content) for caption in captions]
    assert [(int(photos.row_image[r]), photos.caption(r)) for r in range(len(photos.row_image))] == rows


@pytest.mark.parametrize(
    "changed",
    [
        [record("b")],
        [record("a", person="2")],
        [record("a", ["a hat"])],
        [record("a", ["a coat", "a coat"])],
        [record("a"), record("a")],
    ],
)
def test_the_fingerprint_tells_contents_apart(changed):
    assert PhotoSet("train", [record("a")]).fingerprint == PhotoSet("val", [record("a")]).fingerprint
    assert PhotoSet("train", changed).fingerprint != PhotoSet("train", [record("a")]).fingerprint


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "1"])
def test_any_kind_of_picture_opens_as_rgb(tmp_path, mode):
    Image.new("RGB", (4, 8), (255, 255, 255)).convert(mode).save(tmp_path / "a.png")
    picture = Record(tmp_path / "a.png", (), None, "a").open()
    assert (picture.mode, picture.size, picture.getpixel((0, 0))) == ("RGB", (4, 8), (255, 255, 255))


def test_a_picture_opens_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (8, 4)).save(tmp_path / "a.jpg", exif=exif)
    assert Record(tmp_path / "a.jpg", (), None, "a").open().size == (4, 8)


def test_what_cannot_be_decoded_is_named(tmp_path):
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (32, 16, 3), dtype=np.uint8)).save(tmp_path / "a.png")
    whole = (tmp_path / "a.png").read_bytes()
    for content in (b"", b"not a picture", whole[: len(whole) // 2], whole[:20], whole[:40] + b"\0" * 40):
        (tmp_path / "a.png").write_bytes(content)
        with pytest.raises(UserError, match=r"cam/a\.png: the picture cannot be read .* data\.on_bad_image") as raised:
            Record(tmp_path / "a.png", (), None, "cam/a.png").open()
        assert "\n" not in str(raised.value)


def test_no_other_program_is_started_for_a_picture(tmp_path):
    Image.new("RGB", (8, 4)).save(tmp_path / "a.eps")
    (tmp_path / "a.jpg").write_bytes((tmp_path / "a.eps").read_bytes())
    with pytest.raises(UserError, match="cannot identify image file"):
        Record(tmp_path / "a.jpg", (), None, "a.jpg").open()
