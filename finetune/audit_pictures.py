"""The rules of an audit about single pictures: undecodable, flat, of an odd shape, the same twice, without a person."""

from __future__ import annotations

import hashlib
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from huecry.data.records import PhotoSet, Record
from huecry.errors import UserError
from huecry.finetune.findings import Finding, found
from huecry.retrieval.evaluate import Features

FLAT = 5.0
"""Standard deviation, in grey levels of 255, below which nothing can be seen."""
SHAPES = (1.0, 5.0)
"""Height over width of a standing person in its box."""
MOSTLY = 0.8
"""Share of the photographs that must look like persons before the others can be said not to."""

PROMPTS = {
    "person": ("a photo of a person", "a photo of a pedestrian", "a man or a woman walking"),
    "scene": ("a photo of an empty scene", "an empty street", "a photo of a wall"),
    "object": ("a photo of an object", "a photo of a thing"),
}

Place = tuple[str, int]


class Look(NamedTuple):
    """A picture's deviation of grey levels (0..127), its shape (height over width) and the digest of its pixels."""

    deviation: float
    shape: float
    digest: bytes


def look(record: Record) -> Look:
    """Decode a picture and measure it. Raises UserError where it cannot be decoded."""
    picture = record.open()
    size = repr(picture.size).encode()
    return Look(
        float(np.asarray(picture.convert("L"), dtype=np.float32).std()),
        picture.height / picture.width,
        hashlib.sha256(size + picture.tobytes()).digest(),
    )


def picture_findings(
    splits: Mapping[str, PhotoSet], progress: Callable[[Iterable[Any]], Iterable[Any]]
) -> tuple[list[Finding], dict[str, set[int]]]:
    """Findings about the pictures of all splits, and the numbers of the undecodable ones by split.

    progress: wraps the iteration over (split, number), such as `tqdm`.
    """
    findings: list[Finding] = []
    broken: dict[str, set[int]] = {split: set() for split in splits}
    same: dict[bytes, list[Place]] = defaultdict(list)
    places = [(split, image) for split, photos in splits.items() for image in range(len(photos))]
    for split, image in progress(places):
        photos = splits[split]
        try:
            seen = look(photos[image])
        except UserError as error:
            broken[split].add(image)
            why = str(error).partition("cannot be read (")[2].partition(");")[0]
            findings.append(found("undecodable", photos, image, why or str(error)))
            continue
        same[seen.digest].append((split, image))
        if seen.deviation < FLAT:
            evidence = f"its grey levels deviate by {seen.deviation:.1f} of 255"
            findings.append(found("flat_picture", photos, image, evidence))
        if not SHAPES[0] <= seen.shape <= SHAPES[1]:
            findings.append(found("odd_shape", photos, image, f"height over width is {seen.shape:.2f}"))
    return [*findings, *_duplicates(splits, same.values())], broken


def _duplicates(splits: Mapping[str, PhotoSet], groups: Iterable[list[Place]]) -> Iterator[Finding]:
    for places in groups:
        for split, image in places:
            own = splits[split][image].person
            for other_split, other in places:
                person = splits[other_split][other].person
                two = own is not None and person is not None and own != person
                if two or other_split != split:
                    name = splits[other_split][other].name
                    evidence = f"the same pixels as {name} (person {person}, {other_split})"
                    yield found("duplicate_image", splits[split], image, evidence)
                    break


def no_person_findings(
    photos: PhotoSet, features: Features, ask: Callable[[PhotoSet], Features]
) -> tuple[list[Finding], str | None]:
    """Photographs nearer to an empty scene or an object than to a person, by prompts; or why that cannot be told.

    ask: the model's features of any photographs and captions. Towers that never learnt the prompts' words say nothing:
    the margin is believed only if most photographs are persons by it, and pictures of nothing are not.
    """
    with tempfile.TemporaryDirectory() as folder:
        shown = ask(_nothing(Path(folder)))
    kinds = _kinds(shown.texts)
    margin, empty = _margins(features.images, kinds), _margins(shown.images, kinds)
    persons, nothing = float((margin > 0).float().mean()), float((empty < 0).float().mean())
    if persons < MOSTLY or nothing < MOSTLY or float(empty.median()) > float(margin.quantile(0.05)):
        return [], (
            f"the prompts say nothing to this model: {100 * persons:.0f} % of the photographs and "
            f"{100 * (1 - nothing):.0f} % of pictures of nothing are persons by them"
        )
    return [
        found("no_person", photos, int(image), f"margin of the prompts {float(margin[image]):+.3f}")
        for image in (margin < 0).nonzero().flatten()
    ], None


def _nothing(folder: Path) -> PhotoSet:
    """Pictures that show nothing: flat, shaded and noisy ones; the first has the prompts for captions."""
    generator = np.random.default_rng(0)
    height, width = 128, 64
    shade = np.linspace(40, 215, height)[:, None, None].repeat(width, axis=1).repeat(3, axis=2)
    arrays = [np.full((height, width, 3), level) for level in (40, 128, 215)]
    arrays += [
        shade,
        shade[::-1],
        generator.uniform(0, 255, (height, width, 3)),
        generator.normal(128, 12, shade.shape),
    ]
    prompts = tuple(text for texts in PROMPTS.values() for text in texts)
    records = []
    for number, array in enumerate(arrays):
        path = folder / f"{number}.png"
        Image.fromarray(array.clip(0, 255).astype(np.uint8)).save(path)
        records.append(Record(path, () if number else prompts, None, path.name))
    return PhotoSet("prompts", records)


def _kinds(texts: Tensor) -> Tensor:
    """One direction [3, D] for person, scene and object, from the features of the prompts in order."""
    parts = F.normalize(texts.float(), dim=1).split([len(prompts) for prompts in PROMPTS.values()])
    return F.normalize(torch.stack([part.mean(dim=0) for part in parts]), dim=1)


def _margins(images: Tensor, kinds: Tensor) -> Tensor:
    """Cosine [n] with the person's direction less the larger of the others."""
    cosine = F.normalize(images.float(), dim=1) @ kinds.T
    return cosine[:, 0] - cosine[:, 1:].max(dim=1).values
