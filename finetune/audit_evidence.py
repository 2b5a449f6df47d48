"""What speaks for a caption and its photograph: how they fit each other, and the rest of what is known of the person.

A row of evidence is about one caption of a photograph, or a photograph without any. Its columns, nan where there is
nothing to compare with:

    fit                 the caption and the photograph
    siblings_fit        the photograph's other captions and the photograph
    siblings_said       the caption and the photograph's other captions
    others_said         the caption and captions of the person's other photographs
    others_fit          the caption and the person's other photographs
    looks               the photograph and the person's other photographs
    others_fit_looks    captions of the person's other photographs, and this one
    presence            whether somebody is on the photograph, as `huecry.finetune.audit_presence` sees it

Captions fit a photograph by the scaled cosine less the mean of the logsumexp over other persons from either side; words
and looks are compared by the cosine of centred features. Of several others the better half counts: one of them may be
wrong itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from huecry.data.records import PhotoSet
from huecry.finetune.audit_ids import groups
from huecry.finetune.audit_presence import Backdrops
from huecry.finetune.mixture import Array
from huecry.retrieval.evaluate import Features, identities

RIGHT, CAPTION, PHOTO, BOTH, SIBLING, NOBODY = range(6)
"""Kinds of rows: all is right; somebody else's is the caption, the photograph, both, another of its captions; or nobody
is on the photograph."""
FIT, SIBLINGS_FIT, SIBLINGS_SAID, OTHERS_SAID, OTHERS_FIT, LOOKS, OTHERS_FIT_LOOKS, PRESENCE = range(8)
MOST_OTHERS = 16
"""Other photographs of a person, and captions of those, that a photograph is compared with."""
BLOCK = 1 << 24
NONE = -1
Index = NDArray[np.int64]


class Claim(NamedTuple):
    """What rows of evidence are about: a caption [n] or `NONE`, a photograph [n], the photograph [n] in whose place it
    stands, and the other captions [n, s] that stand beside, filled up with `NONE`. Behind the photographs are numbered
    the backdrops, kind by kind."""

    caption: Index
    image: Index
    place: Index
    siblings: Index

    def part(self, kept: NDArray[Any]) -> Claim:
        """The rows that an index or a mask names."""
        return Claim(*(value[kept] for value in self))


class Evidence:
    """Rows of evidence of a split. captions: False leaves out all that captions say. backdrops: None leaves out nobody.

    sums: logsumexp of the scaled cosines with other persons' photographs [R], and with captions of others than the
    photographs and then the backdrops show [N + K S].
    """

    def __init__(
        self,
        photos: PhotoSet,
        features: Features,
        scale: float,
        sums: tuple[Array, Array],
        captions: bool = True,
        backdrops: Backdrops | None = None,
    ) -> None:
        images, texts, mean = features.images.float(), features.texts.float(), features.images.float().mean(dim=0)
        self.presence, self.backdrops = np.full(len(images), np.nan), backdrops
        if backdrops is not None:
            images = torch.cat([images, backdrops.features.float().flatten(0, 1)])
            self.presence = np.concatenate([backdrops.presence, backdrops.empty.ravel()])
        halves = [torch.from_numpy(one / 2).float() for one in sums]
        self.photos = photos
        self.persons = identities(photos)
        self.shown = F.normalize(images, dim=1), halves[1]
        self.told = F.normalize(texts, dim=1) * scale, halves[0]
        self.looks = F.normalize(images - mean, dim=1), torch.zeros(len(images))
        self.said = F.normalize(texts - texts.mean(dim=0), dim=1), torch.zeros(len(texts))
        own = [np.arange(*photos.first_row[image : image + 2]) for image in range(len(photos) if captions else 0)]
        self.siblings = _padded([rows[rows != row] for rows in own for row in rows])
        near: list[Index] = [np.empty(0, dtype=np.int64)] * len(photos)
        for members in groups(photos).values():
            for place, image in enumerate(members):
                near[image] = np.roll(members, -place)[1 : MOST_OTHERS + 1]
        self.near = _padded(near)
        self.near_rows = _padded(
            [np.concatenate([own[one] for one in others])[:MOST_OTHERS] if len(others) else others for others in near]
            if captions
            else [np.empty(0, dtype=np.int64)] * len(photos)
        )
        bare = np.diff(photos.first_row) == 0 if captions else np.ones(len(photos), dtype=bool)
        stands = np.concatenate([photos.row_image if captions else [], np.flatnonzero(bare)]).astype(np.int64)
        caption = np.concatenate([np.arange(len(stands) - bare.sum()), np.full(bare.sum(), NONE)])
        self.real = Claim(caption, stands, stands, self._beside(caption))

    def _beside(self, caption: Index) -> Index:
        if not self.siblings.size:
            return np.full((len(caption), 0), NONE)
        return np.where((caption == NONE)[:, None], NONE, self.siblings[caption])

    def on_purpose(self, seed: int) -> dict[int, Claim]:
        """For each kind of fault the real rows with that fault: something of a photograph of another person."""
        generator = np.random.default_rng(seed)
        real, first = self.real, self.photos.first_row
        image = generator.integers(0, len(self.photos), len(real.place))
        count = np.diff(first)[image]
        caption = first[image] + (generator.random(len(image)) * count).astype(np.int64)
        other = self.persons[image] != self.persons[real.place]
        spoken = other & (real.caption != NONE) & (count > 0)
        caption = np.where(spoken, caption, NONE)
        mixed = real.siblings.copy()
        mixed[:, :1] = caption[:, None]
        beside = self._beside(caption)
        claims = {
            CAPTION: Claim(caption, real.image, real.place, real.siblings).part(spoken),
            PHOTO: Claim(real.caption, image, real.place, real.siblings).part(other),
            BOTH: Claim(caption, image, real.place, beside).part(spoken),
        }
        if mixed.size:
            claims[SIBLING] = Claim(real.caption, real.image, real.place, mixed).part(
                spoken & (real.siblings[:, 0] != NONE)
            )
        if self.backdrops is not None:
            made = np.full(len(self.photos), NONE)
            made[self.backdrops.photographs] = np.arange(len(self.backdrops.photographs))
            kind = generator.integers(0, len(self.backdrops.empty), len(real.place))
            number = len(self.photos) + kind * len(self.backdrops.photographs) + made[real.place]
            claims[NOBODY] = Claim(real.caption, number, real.place, real.siblings).part(made[real.place] != NONE)
        return claims

    def rows(self, claim: Claim) -> Array:
        """The evidence [n, 8] of some rows."""
        caption, image, place, siblings = claim
        near, near_rows = self.near[place], self.near_rows[place]
        return np.stack(
            [
                _half(_against(self.told, caption, self.shown, image[:, None])),
                _mean(_against(self.shown, image, self.told, siblings)),
                _mean(_against(self.said, caption, self.said, siblings)),
                _half(_against(self.said, caption, self.said, near_rows)),
                _half(_against(self.told, caption, self.shown, near)),
                _half(_against(self.looks, image, self.looks, near)),
                _half(_against(self.shown, image, self.told, near_rows)),
                self.presence[image],
            ],
            axis=1,
        )


def _padded(rows: Sequence[Index]) -> Index:
    table = np.full((len(rows), max(map(len, rows), default=0)), NONE)
    for number, row in enumerate(rows):
        table[number, : len(row)] = row
    return table


def _against(one: tuple[Tensor, Tensor], first: Index, other: tuple[Tensor, Tensor], second: Index) -> Array:
    """Products [n, m] of vectors, less the biases of both; nan where one of the two is `NONE`."""
    found = np.full(second.shape, np.nan)
    if not second.size:
        return found
    step = max(1, BLOCK // (second.shape[1] * one[0].shape[1]))
    for start in range(0, len(first), step):
        a, b = (torch.from_numpy(index[start : start + step].clip(0)) for index in (first, second))
        products = (other[0][b] @ one[0][a][:, :, None]).squeeze(2) - other[1][b] - one[1][a][:, None]
        found[start : start + step] = products.double().numpy()
    found[(first == NONE)[:, None] | (second == NONE)] = np.nan
    return found


def _mean(values: Array) -> Array:
    known = ~np.isnan(values)
    return np.where(known.any(axis=1), np.nan_to_num(values).sum(axis=1) / known.sum(axis=1).clip(1), np.nan)


def _half(values: Array) -> Array:
    """The mean [n] of the better half of each row of values [n, m] that are there; nan without any."""
    values = -np.sort(-values, axis=1)  # nan comes last
    count = (~np.isnan(values)).sum(axis=1)
    kept = np.arange(values.shape[1])[None] < ((count + 1) // 2)[:, None]
    return np.where(count > 0, np.where(kept, values, 0.0).sum(axis=1) / ((count + 1) // 2).clip(1), np.nan)


def observable(known: NDArray[np.bool_]) -> list[int]:
    """The kinds of fault that rows with these columns can show, beside `RIGHT`."""
    caption, siblings, others = known[FIT], known[SIBLINGS_SAID], known[LOOKS]
    shown = {
        CAPTION: caption,
        PHOTO: others or siblings,
        BOTH: caption and others,
        SIBLING: siblings,
        NOBODY: known[PRESENCE],
    }
    return [kind for kind, seen in shown.items() if seen]
