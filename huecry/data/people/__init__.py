"""The embedded people: a seeded set of drawn pedestrians with captions, so that a first run needs no download.

Four photographs a person and two captions a photograph. Two persons in five belong to a pair of look-alikes that
differ in exactly one thing. Validation (50 persons) and test (100) are the same whatever is asked for training, and
no outfit occurs in two splits. A photograph depends on its split, seed, person and number alone, so a larger
training set begins with the smaller one.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from random import Random

from PIL import Image

from huecry.data.people.drawing import photograph
from huecry.data.people.wardrobe import Person, draw_look_alike, draw_person
from huecry.data.people.wording import describe
from huecry.errors import UserError

VERSION = 1
PHOTOS = 4
FIXED = {"test": 100, "val": 50}
QUALITY = 92


def is_look_alike(number: int) -> bool:
    """Whether the person of this odd number is made from the one before it."""
    return number % 2 == 1 and number % 10 < 4


def _dress(split: str, seed: int, count: int, taken: set[tuple]) -> list[Person]:
    persons: list[Person] = []
    for number in range(count):
        rng = Random(f"person {split} {seed} {number}")
        while True:
            person = draw_look_alike(rng, persons[-1]) if is_look_alike(number) else draw_person(rng)
            if person.outfit not in taken:
                break
        taken.add(person.outfit)
        persons.append(person)
    return persons


def dress_people(persons: int = 1000, seed: int = 0) -> dict[str, list[Person]]:
    """Who stands in each split: train, val and test, every outfit once.

    Raises UserError for fewer than two training persons.
    """
    if persons < 2:
        raise UserError(f"data.persons={persons}: a set needs at least 2 persons; ask for more")
    taken: set[tuple] = set()
    fixed = {split: _dress(split, 0, count, taken) for split, count in FIXED.items()}
    return {"train": _dress("train", seed, persons, taken), "val": fixed["val"], "test": fixed["test"]}


def take_photo(person: Person, split: str, seed: int, number: int, photo: int) -> tuple[Image.Image, list[str]]:
    """One photograph of a person, 64 x 128, and its two captions."""
    seed = seed if split == "train" else 0
    picture, sight = photograph(person, Random(f"photo {split} {seed} {number} {photo}"))
    return picture, describe(person, sight, Random(f"caption {split} {seed} {number} {photo}"))


def write_people(
    out: Path,
    persons: int = 1000,
    seed: int = 0,
    progress: Callable[[Iterable], Iterable] | None = None,
) -> None:
    """Write the set as `out/{train,val,test}/*.jpg` and `out/metadata.jsonl`, one row a photograph.

    A row reads {"file_name", "captions", "person_id", "split"}. The same persons and seed give the same bytes.
    progress: wraps the iteration over the photographs, such as `tqdm`.
    Raises UserError for fewer than two persons and for a folder that already holds something.
    """
    out = Path(out)
    splits = dress_people(persons, seed)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out}: already there and not empty; name a new folder or remove it")
    for split in splits:
        (out / split).mkdir(parents=True, exist_ok=True)

    shots = [
        (split, number, person, photo)
        for split, people in splits.items()
        for number, person in enumerate(people)
        for photo in range(PHOTOS)
    ]
    with (out / "metadata.jsonl").open("w", encoding="utf-8", newline="\n") as table:
        for split, number, person, photo in progress(shots) if progress else shots:
            picture, captions = take_photo(person, split, seed, number, photo)
            name = f"{split}/{number:05d}_{photo}.jpg"
            picture.save(out / name, quality=QUALITY, subsampling=0)
            row = {"file_name": name, "captions": captions, "person_id": f"{split}-{number:05d}", "split": split}
            table.write(json.dumps(row) + "\n")


def cached_people(persons: int, seed: int) -> Path:
    """Folder of the written set under $HUECRY_CACHE or ~/.cache/huecry, made at the first call and reused later.

    The set appears under its name only when complete, and two processes may ask for it at once.
    Raises UserError for fewer than two persons and for a cache that cannot be written.
    """
    root = Path(os.environ.get("HUECRY_CACHE") or Path.home() / ".cache" / "huecry")
    final = root / f"people-v{VERSION}-{persons}-{seed}"
    if final.is_dir():
        return final
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{final.name}-", dir=root) as scratch:
            made = Path(scratch) / final.name
            write_people(made, persons, seed)
            try:
                made.rename(final)
            except OSError:
                if not final.is_dir():
                    raise
    except OSError as error:
        raise UserError(f"{root}: the people cannot be written ({error}); set HUECRY_CACHE to another folder") from None
    return final
