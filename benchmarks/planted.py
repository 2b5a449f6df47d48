"""A set of drawn people into which every pitfall that an audit looks for is planted, with what was planted where.

Captions are written here and not by the embedded set's own writers, so that a clean one has none of the pitfalls by
accident. A pitfall often brings another with it: a caption of somebody else may also contradict the right one. What is
true but was not what was planted is noted as `also` and counts neither way.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from PIL import Image

from huecry.data.people.drawing import HEIGHT, WIDTH, ZOOM, camera, photograph
from huecry.data.people.scenery import scene
from huecry.data.people.wardrobe import SHADES, Person, Piece, draw_person
from huecry.data.people.wording import slip

PHOTOS = 3
ANYTHING_OF_A_MODEL = ("pair_mismatch", "wrong_person", "id_consistency", "no_person")
STARTS = ("A person wearing", "The outfit of this pedestrian is")
PLURAL = ("trousers", "jeans", "shorts", "leggings", "sneakers", "boots", "shoes")

# rule -> what is put behind a caption, or in its place where it begins with "="
SENTENCES: dict[str, tuple[str, ...]] = {
    "negation": (
        "There is no hat.",
        "Nothing is carried and the person does not have glasses.",
        "The collar is not buttoned.",
        "Dressed without a belt.",
        "Neither a watch nor a ring can be made out.",
        "She isn't wearing gloves.",
    ),
    "hedge": (
        "It may be raining cloth, perhaps nylon.",
        "The belt appears to be leather.",
        "The belt is either brown or black.",
        "Maybe also a watch.",
        "The bracelet looks like silver.",
        "Possibly a student.",
        "It could be a uniform.",
        "There is some kind of logo.",
    ),
    "bystander": (
        "Another woman in a green coat is close by.",
        "Beside a man in a red cap.",
        "Two other people are in the background.",
        "Her friend wears a purple scarf.",
        "Next to a small child.",
        "The person is together with a tall woman.",
    ),
    "left_right": (
        "A watch on the left wrist.",
        "There is a ring on the right hand.",
        "The logo is on the left side.",
        "The strap hangs over the right shoulder.",
    ),
    "action": (
        "The person is walking down the street.",
        "Talking on the phone.",
        "The person is looking at a screen.",
        "They are crossing the road.",
        "The pedestrian sits on a bench.",
        "Riding a bicycle.",
        "The person is waiting for a bus.",
        "Seen pushing a cart.",
    ),
    "short_caption": ("=n/a", "=A person.", "=test", "=no description", "=Somebody in a street.", "=xxx"),
}
LONG = (
    "The fabric is thick and smooth with a fine woven texture, the seams are neat, the hem is straight, the "
    "collar is wide and flat, the cuffs are narrow, the buttons are round and small, the pocket is deep and "
    "square, the zipper is made of metal, the lining is soft, the edges are clean and the whole outfit is simple, "
    "plain and quite formal in its style."
)


@dataclass
class Plan:
    """What becomes of the rows. planted, also: (rule, file, caption or None)."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    planted: set[tuple[str, str, int | None]] = field(default_factory=set)
    also: set[tuple[str, str, int | None]] = field(default_factory=set)

    def plant(self, rule: str, row: Mapping[str, Any], caption: int | None, *also: str) -> None:
        """Note a pitfall, and the rules that may be true of the photograph besides."""
        self.planted.add((rule, row["file_name"], caption))
        self.also |= {(other, row["file_name"], None) for other in also}


def write_planted(out: Path, persons: int = 200, each: int = 8, seed: int = 0) -> Plan:
    """Write the set as an imagefolder in one split (`train`); each: photographs, or persons, that get a pitfall.

    Needs about 20 * `each` persons. Returns what was planted; it is written beside the photographs as planted.json.
    """
    rng = Random(f"planted {seed}")
    people = [draw_person(rng) for _ in range(persons)]
    strangers = [draw_person(rng) for _ in range(4 * each)]
    (out / "train").mkdir(parents=True)
    plan = Plan()
    for number in range(each):  # the first persons have twins: all that is said of them is said of two
        people[2 * number + 1] = people[2 * number]
    for number, person in enumerate(people):
        for photo in range(PHOTOS):
            row = _row(out, f"train/{number:04d}_{photo}.png", f"p{number}", person, rng)
            plan.rows.append(row)
            if number < 2 * each and number % 2:
                starts = dict(zip(STARTS, reversed(STARTS), strict=True))
                for caption, text in enumerate(plan.rows[-1 - PHOTOS]["captions"]):
                    start = STARTS[caption]
                    row["captions"][caption] = starts[start] + text.removeprefix(start)
            if number < 2 * each:
                for caption in (0, 1):
                    plan.plant("near_duplicate_caption", row, caption)
                plan.also |= {(rule, row["file_name"], None) for rule in ANYTHING_OF_A_MODEL}
    free = [*range(2 * each, persons)]
    rng.shuffle(free)
    of_person = defaultdict(list)
    for row in plan.rows:
        of_person[row["person_id"]].append(row)

    def take() -> dict[str, Any]:  # one photograph a person, so that pitfalls do not meet
        return rng.choice(of_person[f"p{free.pop()}"])

    for rule, sentences in SENTENCES.items():
        for number in range(each):
            row, caption = take(), rng.randrange(2)
            sentence = sentences[number % len(sentences)]
            row["captions"][caption] = sentence[1:] if sentence[0] == "=" else f"{row['captions'][caption]} {sentence}"
            plan.plant(rule, row, caption, "pair_mismatch", "caption_conflict")
    for _ in range(each):
        row, caption = take(), rng.randrange(2)
        row["captions"][caption] += f" {LONG}"
        plan.plant("truncated", row, caption)
        row = take()
        words = row["captions"][0].rstrip(".").split()
        cuts = [place for place, word in enumerate(words) if word in ("and", "a", "an", "of", "with") and place > 5]
        row["captions"][0] = " ".join(words[: cuts[-1] + 1])
        plan.plant("unfinished", row, 0)
        row = take()
        row["captions"][1] = slip(row["captions"][1], rng)
        plan.plant("unknown_word", row, 1)
        _plant_conflict(plan, take(), rng)
        _plant_pictures(plan, out, take, rng)
        row = take()
        row["captions"][0] = _shot(strangers.pop(), rng)[1][0]
        plan.plant("pair_mismatch", row, 0, "caption_conflict", "wrong_person")
        row = take()
        _shot(strangers.pop(), rng)[0].save(out / row["file_name"])
        plan.plant("wrong_person", row, None, "pair_mismatch")
        plan.also |= {("id_consistency", one["file_name"], None) for one in of_person[row["person_id"]]}
        row = take()
        row |= _row(out, row["file_name"], row["person_id"], strangers.pop(), rng)
        plan.plant("id_consistency", row, None)
    for _ in range(each):  # last, so that it changes nothing of the others
        row = take()
        camera(rng, scene(rng, WIDTH * ZOOM, HEIGHT * ZOOM)).save(out / row["file_name"])
        plan.plant("no_person", row, None, *ANYTHING_OF_A_MODEL)
    (out / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in plan.rows), encoding="utf-8")
    content = {name: sorted(map(list, getattr(plan, name)), key=str) for name in ("planted", "also")}
    (out / "planted.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return plan


def _row(out: Path, file: str, person_id: str, person: Person, rng: Random) -> dict[str, Any]:
    picture, captions = _shot(person, rng)
    picture.save(out / file)
    return {"file_name": file, "captions": captions, "person_id": person_id, "split": "train"}


def _shot(person: Person, rng: Random) -> tuple[Image.Image, list[str]]:
    """A photograph, and two captions in plain words of the whole outfit that it shows but for something small."""
    picture, sight = photograph(person, Random(rng.random()))
    captions = []
    for start in STARTS:
        told = [
            _phrase(getattr(person, part), rng)
            for part in ("outer", "top", "bottoms", "shoes", "hat", "scarf", "bag")
            if sight.shows(person, part) and (part not in ("hat", "scarf", "bag") or rng.random() < 0.9)
        ]
        captions.append(f"{start} {', '.join(told[:-1])} and {told[-1]}." if told[1:] else f"{start} {told[0]}.")
    return picture, captions


def _phrase(piece: Piece, rng: Random) -> str:
    text = f"{rng.choice(SHADES[piece.shade].names)}{' ' + piece.pattern if piece.pattern else ''} {piece.kind}"
    if piece.kind in PLURAL:
        return text
    return f"an {text}" if text[0] in "aeiou" else f"a {text}"


def _plant_conflict(plan: Plan, row: dict[str, Any], rng: Random) -> None:
    """Give a garment of the second caption a colour that nobody takes for the one in the first."""
    first, second = ("red", "green") if rng.random() < 0.5 else ("purple", "yellow")
    row["captions"][0] = f"A person wearing {first} trousers, a white shirt and black boots."
    row["captions"][1] = f"This pedestrian wears a white shirt, black boots and {second} trousers."
    plan.plant("caption_conflict", row, None, *ANYTHING_OF_A_MODEL, "near_duplicate_caption")


def _plant_pictures(plan: Plan, out: Path, take: Any, rng: Random) -> None:
    row = take()
    level = rng.randrange(256)
    Image.new("RGB", (64, 128), (level, level, level)).save(out / row["file_name"])
    plan.plant("flat_picture", row, None, *ANYTHING_OF_A_MODEL, "duplicate_image")
    row = take()
    size = (192, 96) if rng.random() < 0.5 else (16, 128)
    Image.open(out / row["file_name"]).resize(size).save(out / row["file_name"])
    plan.plant("odd_shape", row, None, *ANYTHING_OF_A_MODEL)
    row = take()
    content = (out / row["file_name"]).read_bytes()
    (out / row["file_name"]).write_bytes(content[: len(content) // 2] if rng.random() < 0.5 else b"not a picture")
    plan.plant("undecodable", row, None, *ANYTHING_OF_A_MODEL)
    row, other = take(), take()
    (out / other["file_name"]).write_bytes((out / row["file_name"]).read_bytes())
    for one in (row, other):
        plan.plant("duplicate_image", one, None, *ANYTHING_OF_A_MODEL)


def judge(
    planted: Iterable[Sequence[Any]], also: Iterable[Sequence[Any]], findings: Iterable[Mapping[str, Any]]
) -> dict[str, dict[str, float]]:
    """Recall and precision by rule, with `planted`, `found` (of those) and `wrong` (neither planted nor also true)."""
    wanted, excused = {tuple(one) for one in planted}, {tuple(one) for one in also}
    by_file = {(rule, file) for rule, file, _ in excused}
    found = {(one["rule"], one["file"], one["caption"]) for one in findings}
    figures = {}
    for rule in sorted({rule for rule, *_ in wanted}):
        own, right = {one for one in found if one[0] == rule}, {one for one in wanted if one[0] == rule}
        wrong = {one for one in own - right if (rule, one[1]) not in by_file}
        hits = len(own & right)
        figures[rule] = {
            "planted": len(right),
            "found": hits,
            "wrong": len(wrong),
            "recall": hits / len(right),
            "precision": hits / max(hits + len(wrong), 1),
        }
    return figures
