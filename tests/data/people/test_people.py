"""The embedded people: counts, splits, look-alikes, determinism, variety of pictures and captions."""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from PIL import Image

from huecry.data import people
from huecry.data.people import PHOTOS, VERSION, cached_people, dress_people, take_photo, wardrobe, write_people
from huecry.data.people.drawing import photograph
from huecry.data.people.wardrobe import SHADES, draw_look_alike, draw_person
from huecry.data.people.wording import Sight, describe, slip
from huecry.errors import UserError


def rows_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metadata.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def few(monkeypatch) -> None:
    """Validation and test sets of a few persons, so that writing takes no time."""
    monkeypatch.setattr(people, "FIXED", {"test": 4, "val": 2})


def digest(folder: Path) -> str:
    total = hashlib.sha256()
    for path in sorted(folder.rglob("*.*")):
        total.update(path.relative_to(folder).as_posix().encode() + path.read_bytes())
    return total.hexdigest()


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("people") / "small"
    write_people(out, persons=6)
    return out


@pytest.fixture(scope="module")
def crowd() -> dict[str, list]:
    return dress_people(1000, 0)


@pytest.fixture(scope="module")
def captions(crowd) -> list[str]:
    rng = Random("sights")
    return [
        caption
        for number, person in enumerate(crowd["train"])
        for caption in describe(
            person, Sight(rng.choice(("front", "back", "left", "right")), True), Random(f"words {number}")
        )
    ]


def test_layout_and_counts(small):
    rows = rows_of(small)
    assert {tuple(row) for row in rows} == {("file_name", "captions", "person_id", "split")}
    for split, persons in {"train": 6, "val": 50, "test": 100}.items():
        ids = [row["person_id"] for row in rows if row["split"] == split]
        assert len(set(ids)) == persons
        assert len(ids) == PHOTOS * persons
        assert len(list((small / split).glob("*.jpg"))) == PHOTOS * persons
    assert all(len(row["captions"]) == 2 and all(row["captions"]) for row in rows)
    with Image.open(small / rows[0]["file_name"]) as picture:
        assert picture.size == (64, 128)
        assert picture.mode == "RGB"


def test_same_arguments_same_bytes(few, tmp_path):
    random.seed(4)
    expected = random.random()
    random.seed(4)
    write_people(tmp_path / "one", persons=6)
    write_people(tmp_path / "two", persons=6)
    assert digest(tmp_path / "one") == digest(tmp_path / "two")
    assert random.random() == expected


def test_bytes_do_not_depend_on_the_hash_seed():
    code = (
        "from hashlib import sha256; from huecry.data.people import *; p = dress_people(12)['train'][11];"
        "i, c = take_photo(p, 'train', 0, 11, 1); print(sha256(i.tobytes() + repr(c).encode()).hexdigest())"
    )
    runs = {
        subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(runs) == 1


def test_a_bigger_set_begins_with_the_smaller_one(few, tmp_path):
    small = tmp_path / "small"
    write_people(small, persons=6)
    write_people(tmp_path / "big", persons=9)
    big = {row["file_name"]: row for row in rows_of(tmp_path / "big")}
    for row in rows_of(small):
        assert big[row["file_name"]] == row
        assert (tmp_path / "big" / row["file_name"]).read_bytes() == (small / row["file_name"]).read_bytes()
    assert len(big) == len(rows_of(small)) + 3 * PHOTOS


def test_a_seed_changes_training_only(few, tmp_path):
    small = tmp_path / "small"
    write_people(small, persons=6)
    write_people(tmp_path / "other", persons=6, seed=7)
    for name, same in (("test", True), ("val", True), ("train", False)):
        assert (digest(small / name) == digest(tmp_path / "other" / name)) is same


def test_no_outfit_occurs_twice(crowd):
    outfits = [person.outfit for split in crowd.values() for person in split]
    assert len(set(outfits)) == len(outfits) == 1150


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_look_alikes_differ_in_exactly_one_thing(crowd, split):
    persons = crowd[split]
    twins = [
        number for number in range(0, len(persons) - 1, 2) if len(persons[number].differences(persons[number + 1])) == 1
    ]
    assert 2 * len(twins) >= 0.3 * len(persons)
    for number in twins:
        first, second = persons[number], persons[number + 1]
        (part,) = first.differences(second)
        old, new = getattr(first, part), getattr(second, part)
        if old and new:
            ways = [old.kind != new.kind, old.shade != new.shade, (old.pattern, old.trim) != (new.pattern, new.trim)]
            assert sum(ways) == 1


def test_wardrobe_is_wide(crowd):
    pieces = [piece for person in crowd["train"] for piece in person.outfit if piece]
    garments = {*wardrobe.TOPS, *wardrobe.OUTERS, *wardrobe.BOTTOMS, "dress"}
    assert len(garments & {piece.kind for piece in pieces}) >= 12
    worn = {piece.shade for piece in pieces if piece.kind in garments}
    assert len({SHADES[shade].hue for shade in worn}) >= 11
    assert {*wardrobe.BAGS, *wardrobe.HATS, *wardrobe.HAIRCUTS} <= {piece.kind for piece in pieces}
    assert {"striped", "checked", "dotted"} <= {piece.pattern for piece in pieces}


def test_shades_of_one_hue_have_names_of_their_own():
    names = [name for shade in wardrobe.CLOTH for name in SHADES[shade].names]
    assert len(names) == len(set(names))


def test_photographs_of_a_person_differ():
    person = dress_people(2)["test"][0]
    shots = [np.asarray(take_photo(person, "test", 0, 0, photo)[0], dtype=float) for photo in range(PHOTOS)]
    for i in range(PHOTOS):
        for j in range(i):
            assert abs(shots[i] - shots[j]).mean() > 10


def test_every_side_is_photographed():
    person = draw_person(Random(1))
    sides = {photograph(person, Random(f"side {number}"))[1].side for number in range(60)}
    assert sides == {"front", "back", "left", "right"}


def test_background_does_not_depend_on_the_person():
    first = draw_person(Random(1))
    second = draw_look_alike(Random(2), first)
    one, two = (np.asarray(photograph(person, Random("scene"))[0], dtype=int) for person in (first, second))
    assert abs(one - two)[:, :8].max() == 0
    assert (one != two).any()


def test_captions_tell_the_colours_that_are_worn(crowd):
    everything = Sight("front", True)
    told = 0
    for number, person in enumerate(crowd["val"]):
        allowed = {
            name
            for piece in person.outfit
            if piece
            for shade in (piece.shade, piece.trim)
            if shade
            for name in (*SHADES[shade].names, SHADES[shade].hue)
        }
        words = {word for name in allowed for word in name.replace("-", " ").split()} | {"gray"}
        colours = {word for shade in SHADES.values() for name in shade.names for word in name.replace("-", " ").split()}
        for caption in describe(person, everything, Random(f"told {number}")):
            said = set(re.findall(r"[a-z]+", caption.lower())) & colours
            assert said <= words
            told += bool(said)
    assert told > 90


def test_what_cannot_be_seen_is_not_told():
    rng = Random(5)
    person = next(
        person
        for person in iter(lambda: draw_person(rng), None)
        if person.outer and person.top and person.top.kind == "hoodie" and person.hat and person.hair.kind == "short"
    )
    for number in range(40):
        text = " ".join(describe(person, Sight("back", True, feet=False), Random(number)))
        assert "hood" not in text
        assert "hair" not in text
        assert person.shoes.kind not in text


def test_captions_never_speak_of_gender_age_skin_or_origin(captions):
    banned = {"man", "woman", "men", "women", "male", "female", "boy", "girl", "lady", "guy", "gentleman"}
    banned |= {"he", "she", "his", "her", "him", "old", "young", "elderly", "skin", "asian", "african", "european"}
    assert not banned & {word for caption in captions for word in re.findall(r"[a-z]+", caption.lower())}


def test_captions_are_sentences_of_varied_wording(captions):
    assert all(caption[0].isupper() and caption.endswith(".") and "  " not in caption for caption in captions)
    lengths = [len(caption.split()) for caption in captions]
    assert min(lengths) >= 4
    assert max(lengths) <= 60
    assert np.std(lengths) > 4
    assert len(set(captions)) > 0.97 * len(captions)
    assert len({caption.split()[0] for caption in captions}) > 8
    negated = sum(bool(re.search(r"\bno (hat|bag|jacket|scarf)\b", caption)) for caption in captions)
    assert 0.01 < negated / len(captions) < 0.15
    assert not [caption for caption in captions if re.search(r"\ba [aeiou]|\ban [^aeiou]", caption, re.IGNORECASE)]


def test_negations_are_true(crowd):
    for number, person in enumerate(crowd["val"]):
        for caption in describe(person, Sight("front", True), Random(f"negation {number}")):
            assert not (person.hat and "no hat" in caption)
            assert not (person.bag and "no bag" in caption)


def test_a_slip_changes_one_word():
    caption = "A person wearing a purple sweater."
    for number in range(30):
        slipped = slip(caption, Random(number))
        changed = [a for a, b in zip(caption.split(), slipped.split(), strict=True) if a != b]
        assert len(changed) <= 1


def test_pictures_are_quick():
    """Five thousand in a minute would be 12 ms each; a crowded machine is granted twice as much."""
    start = time.process_time()
    for number in range(100):
        take_photo(draw_person(Random(number)), "train", 0, number, 0)
    assert time.process_time() - start < 100 * 0.024


def test_the_generator_is_frozen(crowd):
    """A change of any caption or picture needs a new VERSION, and these figures with it."""
    told, colours = hashlib.sha256(), []
    for split in ("train", "val", "test"):
        for number in range(20):
            picture, captions = take_photo(crowd[split][number], split, 0, number, number % PHOTOS)
            told.update("\n".join(captions).encode())
            colours.append(np.asarray(picture, dtype=float).mean())
    assert VERSION == 1
    assert told.hexdigest()[:16] == "f2aa15e92762ff8d"
    assert np.mean(colours) == pytest.approx(115.72, abs=0.2)
    assert np.std(colours) == pytest.approx(26.24, abs=0.2)


@pytest.mark.parametrize("persons", [1, 0, -3])
def test_too_few_persons(tmp_path, persons):
    with pytest.raises(UserError, match=r"data\.persons"):
        write_people(tmp_path / "set", persons=persons)
    assert not (tmp_path / "set").exists()


def test_a_folder_in_use_is_refused_and_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match=re.escape(str(tmp_path))):
        write_people(tmp_path, persons=2)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_progress_sees_every_photograph(few, tmp_path):
    seen = []

    def progress(items):
        for item in items:
            seen.append(item)
            yield item

    write_people(tmp_path / "set", persons=2, progress=progress)
    assert len(seen) == PHOTOS * (2 + 2 + 4)


def test_the_cache_is_made_once(few, tmp_path, monkeypatch):
    monkeypatch.setenv("HUECRY_CACHE", str(tmp_path / "cache"))
    folder = cached_people(2, 3)
    assert folder == tmp_path / "cache" / f"people-v{VERSION}-2-3"
    monkeypatch.setattr(people, "write_people", lambda *_: pytest.fail("written twice"))
    assert cached_people(2, 3) == folder
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_an_interrupted_cache_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setenv("HUECRY_CACHE", str(tmp_path))

    def broken(out, *_):
        out.mkdir()
        raise KeyboardInterrupt

    monkeypatch.setattr(people, "write_people", broken)
    with pytest.raises(KeyboardInterrupt):
        cached_people(2, 0)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_two_processes_may_fill_the_cache_at_once(tmp_path, monkeypatch):
    monkeypatch.setenv("HUECRY_CACHE", str(tmp_path))
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        folders = {job.result() for job in [pool.submit(cached_people, 2, 0) for _ in range(2)]}
    assert len(folders) == 1
    assert [path.name for path in tmp_path.iterdir()] == [folders.pop().name]


def test_a_cache_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HUECRY_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match="HUECRY_CACHE"):
        cached_people(2, 0)
