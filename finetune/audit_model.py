"""The rules of an audit that ask a model: pairs that do not belong together, wrong persons, two in one id, nobody.

Source: pair losses that tell wrong pairs from right ones as in Qin et al., "Noisy-Correspondence Learning for
    Text-to-Image Person Re-identification" (RDE), CVPR 2024. Shares of kinds by expectation maximisation as in
    Saerens, Latinne and Decaestecker, "Adjusting the Outputs of a Classifier to New a Priori Probabilities", Neural
    Computation 2002.
Formula: x(t, v) = logsumexp over the photographs u of other persons of s(t, u) - s(t, v), with s the scaled cosine: the
    pair's contrastive loss is softplus(x). Likewise from the photograph to captions of other persons.
Deviations: no mixture is fitted to the losses. What each kind of fault looks like is measured on rows that are wrong on
    purpose, see `huecry.finetune.audit_evidence`, and x is one column of their evidence beside what else is known of
    the person: where nothing is wrong a fault stays without rows, and hard but right pairs are not flagged.

Shapes: N photographs, R captions of one split, features of D. Products are made in blocks of rows; nothing of the size
[R, N] is held.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from huecry.data.records import PhotoSet
from huecry.errors import UserError
from huecry.finetune.audit_evidence import BLOCK, BOTH, CAPTION, LOOKS, NOBODY, NONE, PHOTO, Evidence, observable
from huecry.finetune.audit_ids import parted
from huecry.finetune.audit_presence import Backdrops
from huecry.finetune.findings import Finding, found
from huecry.finetune.mixture import FEWEST, Array, CannotTell, check_told_apart, posteriors
from huecry.retrieval.evaluate import Features, identities

LIKELY = 0.4
"""The posterior above which a photograph is said to show somebody else: one that is hard to read often seems to."""
DOUBTFUL = 0.25
"""The same for captions, ids and nobody, whose posteriors err on the side of doubt: a look costs less than a miss."""


class Odds(NamedTuple):
    """x of every row's own pair [R] and of wrong pairs [M], from the caption and from the photograph.

    row_sum [R], image_sum [N + K S]: the logsumexp over other persons, from captions, and from photographs and then
    backdrops.
    """

    text: Array
    image: Array
    wrong_text: Array
    wrong_image: Array
    row_sum: Array
    image_sum: Array


class Doubts(NamedTuple):
    """What a model doubts of a split, as posteriors, 0..1.

    pair [R]: that the caption is somebody else's. stranger [N]: that the photograph is, and not its captions. other
    [N]: that it is of another person than the others of its id, as its captions are. nobody [N]: that no person is on
    it. looks, wrong_looks: cosines with other photographs of the person, and of those that somebody else is on.
    """

    pair: Array
    stranger: Array
    other: Array
    nobody: Array
    looks: Array
    wrong_looks: Array


def model_findings(
    photos: PhotoSet, features: Features, scale: float, backdrops: Backdrops | None = None, seed: int = 0
) -> tuple[list[Finding], dict[str, str]]:
    """Findings of a split, and the rules that could not be asked with the reason. scale: the model's logit scale.

    backdrops: None does not ask whether anybody is there.

    Raises UserError for features that are not finite.
    """
    if not (features.images.isfinite().all() and features.texts.isfinite().all()):
        raise UserError("--model: its features are not finite, it may have diverged; use an earlier checkpoint")
    left_out: dict[str, str] = {}
    if backdrops is not None:
        try:
            check_told_apart(-backdrops.presence, -backdrops.empty.ravel(), "photographs")
        except CannotTell as why:
            backdrops, left_out["no_person"] = None, str(why)
    odds, captions = log_odds(photos, features, scale, backdrops, seed), True
    try:
        check_pairs(odds)
    except CannotTell as why:
        left_out |= dict.fromkeys(("pair_mismatch", "wrong_person"), str(why))
        captions = False
    doubts = doubt(photos, features, scale, odds, backdrops, seed, captions)
    findings = [*pair_findings(photos, doubts), *nobody_findings(photos, doubts)]
    try:
        check_told_apart(-doubts.looks, -doubts.wrong_looks, "photographs of a person")
        findings += id_findings(photos, doubts)
    except CannotTell as why:
        left_out["id_consistency"] = str(why)
    return findings, left_out


def pair_findings(photos: PhotoSet, doubts: Doubts) -> Iterator[Finding]:
    """Captions that do not belong to their photograph, and photographs of somebody else than their captions'."""
    for row in np.flatnonzero(doubts.pair > DOUBTFUL).tolist():
        image = int(photos.row_image[row])
        evidence = "fits neither the photograph nor what else is known of the person "
        evidence += f"(posterior {doubts.pair[row]:.2f}): {photos.caption(row)!r}"
        yield found("pair_mismatch", photos, image, evidence, int(row - photos.first_row[image]))
    for image in np.flatnonzero(doubts.stranger > LIKELY).tolist():
        evidence = "its captions fit each other and the person's other photographs, not this one "
        yield found("wrong_person", photos, image, f"{evidence}(posterior {doubts.stranger[image]:.2f})")


def nobody_findings(photos: PhotoSet, doubts: Doubts) -> Iterator[Finding]:
    """Photographs on which there is no person."""
    for image in np.flatnonzero(doubts.nobody > DOUBTFUL).tolist():
        evidence = "like the edges of the photographs, and unlike what is said of it "
        yield found("no_person", photos, image, f"{evidence}(posterior {doubts.nobody[image]:.2f})")


def id_findings(photos: PhotoSet, doubts: Doubts) -> Iterator[Finding]:
    """Photographs of another person than the others of their id."""
    for image in np.flatnonzero(doubts.other > DOUBTFUL).tolist():
        evidence = f"unlike the other photographs of person {photos[image].person} and what is said of those "
        yield found("id_consistency", photos, image, f"{evidence}(posterior {doubts.other[image]:.2f})")


def check_pairs(odds: Odds) -> None:
    """Raises CannotTell where a model does not tell right pairs from wrong ones, or there are too few."""
    if len(odds.text) < FEWEST:
        raise CannotTell(f"{len(odds.text)} pairs are too few")
    check_told_apart(odds.text, odds.wrong_text, "pairs")
    check_told_apart(odds.image, odds.wrong_image, "pairs")


def doubt(
    photos: PhotoSet,
    features: Features,
    scale: float,
    odds: Odds,
    backdrops: Backdrops | None = None,
    seed: int = 0,
    captions: bool = True,
) -> Doubts:
    """What a model doubts. captions: False asks the photographs alone."""
    evidence = Evidence(photos, features, scale, (odds.row_sum, odds.image_sum), captions, backdrops)
    rows = evidence.rows(evidence.real)
    wrong = {kind: evidence.rows(claim) for kind, claim in evidence.on_purpose(seed).items()}
    known = ~np.isnan(rows)
    chance = np.zeros((len(rows), NOBODY + 1))
    for columns in np.unique(known, axis=0):
        mine, having = (known == columns).all(axis=1), known[:, columns].all(axis=1)
        alike = {kind: wrong[kind][:, columns] for kind in observable(columns) if kind in wrong}
        alike = {kind: part[~np.isnan(part).any(axis=1)] for kind, part in alike.items()}
        alike = {kind: part for kind, part in alike.items() if len(part) >= FEWEST}
        if alike and having.sum() >= FEWEST:
            found = posteriors(rows[having][:, columns], alike, seed)
            chance[mine, : found.shape[1]] = found[mine[having]]
    place, bare = evidence.real.place, evidence.real.caption == NONE
    count = np.bincount(place, minlength=len(photos))
    mean = [np.bincount(place, chance[:, kind], minlength=len(photos)) / count for kind in (PHOTO, BOTH, NOBODY)]
    nothing_said = np.bincount(place, bare, minlength=len(photos)) > 0
    looks = [one[:, LOOKS] for one in (rows, wrong[PHOTO])]
    return Doubts(
        chance[~bare, CAPTION],
        np.where(nothing_said, 0.0, mean[0]),
        np.maximum(np.where(nothing_said, mean[0], mean[1]), parted(photos, evidence.looks[0], seed)),
        mean[2],
        *(one[~np.isnan(one)] for one in looks),
    )


def log_odds(
    photos: PhotoSet,
    features: Features,
    scale: float,
    backdrops: Backdrops | None = None,
    seed: int = 0,
    draws: int = 2,
) -> Odds:
    """x of all own pairs, and of the captions of each photograph with `draws` photographs of other persons."""
    generator = np.random.default_rng(seed)
    images, texts = F.normalize(features.images.float(), dim=1), F.normalize(features.texts.float(), dim=1)
    persons = torch.from_numpy(identities(photos))
    row_image = torch.from_numpy(photos.row_image)
    row_person = persons[row_image]
    wrong = torch.from_numpy(generator.integers(0, len(images), (draws, len(images))))
    rows = torch.arange(len(texts)).repeat(draws)
    partner = wrong[:, row_image].flatten()
    kept = persons[partner] != row_person[rows]
    row, image = torch.cat([torch.arange(len(texts)), rows[kept]]), torch.cat([row_image, partner[kept]])
    own = (texts[row] * images[image]).sum(dim=1) * scale
    to_images = _others(texts, images, row, persons[image], persons, scale)
    to_texts = _others(images, texts, torch.arange(len(images)), persons, row_person, scale)
    text, photo = (to_images - own).double().numpy(), (to_texts[image] - own).double().numpy()
    if backdrops is not None:
        empty = F.normalize(backdrops.features.float().flatten(0, 1), dim=1)
        whose = persons[torch.from_numpy(backdrops.photographs)].repeat(len(backdrops.empty))
        to_texts = torch.cat([to_texts, _others(empty, texts, torch.arange(len(empty)), whose, row_person, scale)])
    count = len(texts)
    return Odds(
        *(text[:count], photo[:count], text[count:], photo[count:]),
        *(to_images[:count].double().numpy(), to_texts.double().numpy()),
    )


def _others(queries: Tensor, gallery: Tensor, query: Tensor, left_out: Tensor, persons: Tensor, scale: float) -> Tensor:
    """logsumexp [n] of the scaled cosines of queries[query] with those of the gallery whose person is not left out."""
    found = []
    for rows, person in zip(*(part.split(max(1, BLOCK // len(gallery))) for part in (query, left_out)), strict=True):
        scores = queries[rows] @ gallery.T * scale
        found.append(scores.masked_fill(persons[None] == person[:, None], -torch.inf).logsumexp(dim=1))
    return torch.cat(found)
