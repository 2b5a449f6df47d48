"""Reading any source: ids, lists, what is said of the counts, every mistake; the real sets where they lie."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from layout_files import content, mistake, picture, row, write_lines, write_set

from huecry.data.layouts import ImageFolder
from huecry.data.readers import describe, keep_labelled, read
from huecry.data.records import PhotoSet, Record
from huecry.errors import UserError

REAL = Path(__file__).resolve().parents[2].parent / "shared" / "data"
real_data = pytest.mark.skipif(not REAL.is_dir(), reason=f"the real sets are not at {REAL}")


# person ids


def test_ids_are_told_apart_by_spelling(tmp_path):
    ids = [3, "3", 3.0, "03", "anna", None, -1, float("nan"), 10**30]
    lines = [{"file_name": f"{i}.png", "person_id": who} for i, who in enumerate(ids)]
    photos = read(write_lines(tmp_path, lines))["train"]
    assert [one.person for one in photos] == ["3", "3", "3", "03", "anna", None, "-1", None, str(10**30)]
    assert photos.image_person.tolist() == [0, 0, 0, 1, 2, -1, 3, -1, 4]


@pytest.fixture(scope="module")
def two_pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ids")
    for i in range(8):
        picture(folder / f"{i}.png")
    return folder


@settings(max_examples=40)
@given(st.lists(st.integers() | st.text(min_size=1).filter(str.strip) | st.none(), min_size=1, max_size=8))
def test_the_same_id_is_the_same_number(two_pictures, ids):
    rows = [{"file_name": f"{i}.png", "person_id": who} for i, who in enumerate(ids)]
    (two_pictures / "metadata.jsonl").write_text("\n".join(json.dumps(one) for one in rows))
    numbers = read(two_pictures)["train"].image_person.tolist()
    for who, number in zip(ids, numbers, strict=True):
        assert (who is None) == (number == -1)
        for other, its in zip(ids, numbers, strict=True):
            assert (number == its) == ((None if who is None else str(who)) == (None if other is None else str(other)))


# lists of sources


def test_a_list_keeps_ids_and_names_apart(tmp_path):
    one = write_set(tmp_path / "x" / "cam", [row("a.png", ["one"], 1), row("b.png", ["two"], 2, "test")])
    two = write_lines(
        tmp_path / "y" / "cam", [{"file_name": "a.png", "captions": ["three"], "person_id": 1}, {"file_name": "c.png"}]
    )
    splits = read([str(one), str(two) + "/"])
    assert content(splits) == {
        "train": [
            ("cam/a.png", "cam/1", ("one",)),
            ("cam-2/a.png", "cam-2/1", ("three",)),
            ("cam-2/c.png", None, ()),
        ],
        "test": [("cam/b.png", "cam/2", ("two",))],
    }
    assert splits["train"].image_person.tolist() == [0, 1, -1]
    assert read([one])["train"][0].person == "cam/1"
    mistake([one, two, tmp_path / "x" / ".." / "x" / "cam"], "listed twice", "data.source")
    mistake([], "empty list", "data.source")


# the labelled part


def crowd(persons: int) -> PhotoSet:
    """Two photographs of each person, apart, and two of nobody known."""
    records = [Record(None, ("a coat",), f"p{i % persons}", f"{i}") for i in range(2 * persons)]
    return PhotoSet("train", [*records, *(Record(None, ("a hat",), None, name) for name in ("x", "y"))])


@settings(max_examples=60)
@given(st.integers(1, 30), st.floats(0.001, 0.999), st.floats(0.001, 0.999), st.integers(0, 5))
def test_a_smaller_labelled_share_is_part_of_a_larger(persons, one, other, seed):
    photos = crowd(persons)
    smaller, larger = (keep_labelled(photos, share, seed) for share in sorted((one, other)))
    assert len(smaller.persons) == max(1, round(min(one, other) * persons))
    assert set(smaller.records) <= set(larger.records) <= set(photos.records)
    assert len(smaller) == 2 * len(smaller.persons)  # every photograph of who is kept, none of nobody known
    order = [photos.records.index(record) for record in smaller]
    assert order == sorted(order)


def test_the_labelled_part_is_chosen_by_ids_and_seed_alone():
    photos = crowd(40)
    turned = PhotoSet("train", photos.records[::-1])
    assert set(keep_labelled(turned, 0.3, 0).persons) == set(keep_labelled(photos, 0.3, 0).persons)
    assert set(keep_labelled(photos, 0.3, 1).persons) != set(keep_labelled(photos, 0.3, 0).persons)
    assert keep_labelled(photos, 1, 0) is photos


def test_a_labelled_part_of_nobody():
    nobody = PhotoSet("train", [Record(None, ("a hat",), None, "x")])
    assert keep_labelled(nobody, 1, 0) is nobody
    with pytest.raises(UserError, match=r"^data\.labelled=0\.5: no photograph of train has a person id"):
        keep_labelled(nobody, 0.5, 0)


# mistakes


def test_a_source_that_is_not_there(tmp_path):
    mistake(tmp_path / "nowhere", str(tmp_path / "nowhere"), "no such folder")
    assert "hf:org/name" in mistake("org/name", "no such folder")
    mistake("", "data.source", "no such folder")


def test_a_folder_in_no_known_layout(tmp_path):
    line = mistake(tmp_path, str(tmp_path), "no known layout", "data.layout")
    for name in ("reid_raw.json", "ICFG-PEDES.json", "data_captions.json", "metadata.jsonl", "dataset_dict.json"):
        assert name in line


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ('[{"file_path": "a.png"},\n {"file_path": ]', "line 2: not valid JSON"),
        ('{"annotations": []}', "holds an object; a list"),
        ('[{}, "a.png"]', "row 2: holds a string"),
        ("[]", "empty"),
        ("", "line 1: not valid JSON"),
        ("[" * 100_000, "not usable JSON"),
        ("[" + "9" * 5_000 + "]", "not usable JSON"),
    ],
)
def test_a_malformed_json(tmp_path, text, part):
    (tmp_path / "imgs").mkdir()
    (tmp_path / "reid_raw.json").write_text(text)
    mistake(tmp_path, str(tmp_path / "reid_raw.json"), part)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ('{"file_name": "a.png"}\n\n{"file_name": "b.png"', "line 3: not valid JSON"),
        ('{"file_name": "a.png"}\n["b.png"]', "line 2: holds a list; one JSON object a line"),
        ("\n\n", "empty"),
    ],
)
def test_a_malformed_line(tmp_path, text, part):
    (tmp_path / "metadata.jsonl").write_text(text)
    mistake(tmp_path, str(tmp_path / "metadata.jsonl"), part)


def test_text_in_another_encoding(tmp_path):
    (tmp_path / "metadata.jsonl").write_bytes('{"file_name": "é.png"}'.encode("latin-1"))
    mistake(tmp_path, "metadata.jsonl: not UTF-8", "save it as UTF-8")


@pytest.mark.parametrize("key", ["file_path", "captions", "id", "split"])
def test_a_missing_field(tmp_path, key):
    rows = [row("a.png"), row("b.png")]
    del rows[1][key]
    column = {"file_path": "image", "captions": "caption", "id": "person_id", "split": "split"}[key]
    mistake(write_set(tmp_path, rows), "reid_raw.json: row 2: no field", key, f"data.columns.{column}")


def test_missing_photographs_are_counted_once_each(tmp_path):
    paths = ("a.png", "cam/b.png", "cam/b.png", "gone/c.png", "a\0.png", "\ud800.png", "a.png/d.png", "cam")
    folder = write_set(tmp_path, [row("a.png"), row("cam/kept.png")])
    (folder / "reid_raw.json").write_text(json.dumps([row(path) for path in paths]))
    mistake(folder, "row 2", "'cam/b.png'", str(folder / "imgs"), "and 5 more are missing")
    (folder / "reid_raw.json").write_text(json.dumps([row("a.png"), row("b.png")]))
    assert "more" not in mistake(folder, "row 2: no photograph 'b.png'")


def test_a_missing_photographs_folder(tmp_path):
    (tmp_path / "reid_raw.json").write_text(json.dumps([row("a.png"), row("b.png")]))
    mistake(tmp_path, str(tmp_path / "imgs"), "no such folder", "reid_raw.json")


@pytest.mark.parametrize("path", ["../../x.png", "/etc/passwd", "cam/../../x.png", ".."])
def test_a_path_that_leads_out(tmp_path, path):
    mistake(write_set(tmp_path, [row("a.png"), row(path)]), "row 2", repr(path), "leads out of")


def test_a_link_that_leads_out(tmp_path):
    picture(tmp_path / "imgs-too" / "secret.png")
    folder = write_set(tmp_path, [row("a.png")])
    (folder / "imgs" / "link.png").symlink_to(tmp_path / "imgs-too" / "secret.png")
    (folder / "imgs" / "cam").symlink_to(tmp_path / "imgs-too")
    (folder / "imgs" / "broken.png").symlink_to(folder / "imgs" / "nowhere.png")
    for path in ("link.png", "cam/secret.png", "cam/nothing.png"):
        (folder / "reid_raw.json").write_text(json.dumps([row(path)]))
        mistake(folder, "row 1", repr(path), "leads out of")
    (folder / "reid_raw.json").write_text(json.dumps([row("broken.png")]))
    mistake(folder, "row 1: no photograph 'broken.png'")


def test_a_directory_is_listed_once(tmp_path):
    picture(tmp_path / "cam" / "a.png")
    images = ImageFolder(tmp_path)
    assert images.find("cam/a.png", "row 1").image == tmp_path / "cam" / "a.png"
    picture(tmp_path / "cam" / "b.png")
    assert images.find("cam/b.png", "row 2") is None


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ({"split": "dev"}, ["no split 'dev'", "train, val, test, validation"]),
        ({"split": None}, ["no split None"]),
        ({"split": ["train"]}, ["no split ['train']"]),
        ({"captions": ["fine", "  "]}, ["caption 2 is empty"]),
        ({"captions": ""}, ["caption 1 is empty"]),
        ({"captions": []}, ["no caption"]),
        ({"captions": None}, ["no caption"]),
        ({"captions": ["fine", 3]}, ["neither a sentence nor a list"]),
        ({"captions": {"a": "b"}}, ["neither a sentence nor a list"]),
        ({"id": True}, ["True is not a person id"]),
        ({"id": [1]}, ["[1] is not a person id"]),
        ({"id": 1.5}, ["1.5 is not a person id"]),
        ({"id": " "}, ["' ' is not a person id", "null"]),
        ({"file_path": ""}, ["'' is not the path of a photograph"]),
        ({"file_path": 7}, ["7 is not the path of a photograph"]),
        ({"file_path": "a.png", "id": 2}, ["'a.png' is person '2' here and '1' in", "row 1;"]),
    ],
)
def test_a_bad_value_names_file_and_row(tmp_path, change, parts):
    folder = write_set(tmp_path, [row("a.png"), row("b.png") | change])
    mistake(folder, f"{folder / 'reid_raw.json'}: row 2: ", *parts)


def test_an_empty_caption_is_a_mistake_where_none_is_allowed(tmp_path):
    write_lines(tmp_path, [{"file_name": "a.png"}, {"file_name": "b.png", "caption": "\t"}])
    mistake(tmp_path, "metadata.jsonl: line 2: caption 1 is empty")


def test_data_columns_that_do_not_exist(tmp_path):
    folder = write_set(tmp_path, [row("a.png")])
    parts = ("data.columns.image=file_pth", "file_path, captions, id, split", "did you mean file_path?")
    mistake(folder, *parts, columns={"image": "file_pth"})
    mistake(folder, "data.columns.person", "image, caption, person_id, split", columns={"person": "id"})


def test_a_holdout_that_is_no_share(tmp_path):
    for share in (-0.1, 1.0, float("nan")):
        mistake(tmp_path, "data.holdout", holdout=share)


# describe


def made(split, photographs, persons, captions):
    """A photo set with these counts."""
    extra = captions - photographs
    records = [
        Record(None, ("a",) * (1 + (i < extra)), f"{split}{i % persons}", f"{split}/{i}") for i in range(photographs)
    ]
    return PhotoSet(split, records)


@pytest.mark.parametrize(
    ("split", "counts", "verdict"),
    [
        ("val", (3078, 1000, 6158 - 2), "differs from CUHK-PEDES as published (val) by 2 captions"),
        ("val", (3078, 1000, 3078), "differs from CUHK-PEDES as published (val) by 3,080 captions"),
        ("test", (3074, 1000, 6148), "differs from CUHK-PEDES as published (test) by 8 captions"),
        ("test", (3073, 1000, 6146), "differs from CUHK-PEDES as published (test) by 1 photographs and 10 captions"),
        ("train", (34054, 11003, 68108), "matches CUHK-PEDES as published (train)"),
        ("train", (34054, 11003, 68100), "differs from CUHK-PEDES as published (train) by 8 captions"),
        ("train", (34674, 3102, 34674), "matches ICFG-PEDES as published (train)"),
        ("test", (19848, 1000, 19848), "matches ICFG-PEDES as published (test)"),
        ("train", (18505, 3701, 37010), "matches RSTPReid as published (train)"),
        ("val", (1000, 200, 2000), "matches RSTPReid as published (val)"),
        ("test", (1000, 200, 2000), "matches RSTPReid as published (test)"),
        ("train", (1000, 200, 2000), ""),
        ("val", (900, 200, 1800), ""),
    ],
)
def test_describe_names_the_published_variant(split, counts, verdict):
    photos = made(split, *counts)
    line = f"{photos.summary()}; {verdict}" if verdict else photos.summary()
    assert describe("some/folder", {split: photos}) == ["some/folder", line]


def test_describe_counts_more_than_two_captions_a_photograph():
    photos = made("train", 34054, 11003, 68108).records
    more = PhotoSet("train", [*photos[:-18], *(Record(None, ("a",) * 3, r.person, r.name) for r in photos[-18:])])
    assert describe("x", {"train": more})[1].endswith("matches CUHK-PEDES as copies of it circulate (train)")


def test_describe_sees_a_benchmark_through_its_holdout():
    whole = made("train", 34674, 3102, 34674).records
    held_out = set(list(dict.fromkeys(record.person for record in whole))[:155])
    train = PhotoSet("train", [record for record in whole if record.person not in held_out])
    val = PhotoSet("val", [record for record in whole if record.person in held_out])
    lines = describe(["a", "b"], {"train": train, "val": val})
    assert lines[0] == "a, b"
    assert lines[-1] == "train and val together: matches ICFG-PEDES as published (train)"


def test_describe_counts_what_is_unusual():
    train = PhotoSet("train", [Record(None, ("a",), "1", "a"), Record(None, (), None, "b")])
    test = PhotoSet("test", [Record(None, ("a",), "1", "c")])
    lines = describe("x", {"train": train, "test": test})
    assert lines[1].endswith("1 without a person id, 1 without a caption")
    assert lines[-1] == "train and test share 1 persons"


# real sets


@real_data
def test_the_real_sets_alone_and_together():
    one, two = read(REAL / "cuhk01"), read(REAL / "cuhk03_persons")
    both = read([REAL / "cuhk01", REAL / "cuhk03_persons"])
    for split, counts in {"train": (851, 213, 1982, 203), "val": (332, 83, 502, 52)}.items():
        parts = (len(one[split]), len(one[split].persons), len(two[split]), len(two[split].persons))
        assert parts == counts
        assert (len(both[split]), len(both[split].persons)) == (counts[0] + counts[2], counts[1] + counts[3])
        assert both[split].captions == one[split].captions + two[split].captions
    assert set(one) == set(two) == {"train", "val"}
    assert len(one["train"].row_image) == 2 * 851
    for photos in (one["val"], two["val"]):
        assert photos[0].open().mode == "RGB"


@real_data
@pytest.mark.parametrize(
    ("name", "counts", "verdicts"),
    [
        (
            "cuhk_pedes_captions/caption_val_new.json",
            {"val": (3078, 1000)},
            ["differs from CUHK-PEDES as published (val) by 3,080 captions"],
        ),
        (
            "rstpreid/data_captions-3000-1.json",
            {"train": (3000, 3000), "val": (1000, 200), "test": (1000, 200)},
            ["matches RSTPReid as published (val)", "matches RSTPReid as published (test)"],
        ),
    ],
)
def test_published_annotations_without_their_photographs(tmp_path, name, counts, verdicts):
    file = REAL / name
    (tmp_path / file.name).symlink_to(file)
    for one in json.loads(file.read_text()):
        stand_in = tmp_path / "imgs" / one.get("file_path", one.get("img_path"))
        stand_in.parent.mkdir(parents=True, exist_ok=True)
        stand_in.touch()
    splits = read(tmp_path)
    assert {split: (len(photos), len(photos.persons)) for split, photos in splits.items()} == counts
    lines = describe(tmp_path, splits)[1:]
    for line, verdict in zip(lines[-len(verdicts) :], verdicts, strict=True):
        assert verdict in line
