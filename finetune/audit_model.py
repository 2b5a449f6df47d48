"""The rules of an audit that ask a model: pairs that do not belong together, and wrong persons.

Source: pair losses and their two-component mixture as in Qin et al., "Noisy-Correspondence Learning for Text-to-Image
    Person Re-identification" (RDE), CVPR 2024.
Formula: x(t, v) = logsumexp over the photographs u of other persons of s(t, u) - s(t, v), with s the scaled cosine: the
    pair's contrastive loss is softplus(x). Likewise from the photograph to captions of other persons. A pair is wrong
    if in both directions the posterior of the high component is above 1/2.
Deviations: the mixture is fitted to x, which does not pile up at zero as the loss does. Its high component is not
    fitted but measured, on pairs that are wrong on purpose: where no pair is wrong it stays empty, and the hard but
    right ones are not flagged. As nobody knows the shape of the right side, the posterior is the mean of those under
    one and under two Gaussians. A caption that agrees with others of its person is not called wrong: either the
    photograph is, or the caption is hard for this model.

Shapes: N photographs, R captions of one split, features of D. Products are made in blocks of rows; nothing of the size
[R, N] is held.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from huecry.data.records import PhotoSet
from huecry.errors import UserError
from huecry.finetune.audit_ids import UNCLEAR, groups, id_findings
from huecry.finetune.findings import Finding, found
from huecry.finetune.mixture import FEWEST, Array, CannotTell, check_told_apart, different, posterior, unlike
from huecry.retrieval.evaluate import Features, identities

BLOCK = 1 << 24


class Odds(NamedTuple):
    """x of every row's own pair [R] and of wrong pairs [M], from the caption and from the photograph.

    wrong_set [M]: numbers of the draws; all captions of one photograph are put to the same wrong one.
    row_sum [R], image_sum [N]: the logsumexp of x for the own person, from captions and from photographs.
    """

    text: Array
    image: Array
    wrong_text: Array
    wrong_image: Array
    wrong_set: NDArray[np.int64]
    row_sum: Array
    image_sum: Array


class Doubts(NamedTuple):
    """What a model doubts of a split, as posteriors, 0..1.

    pair [R]: that the caption is not of its photograph, in both directions. alien [R]: that it is of another person
    than the other captions of its person; 1 where there is none to compare with. stranger: photographs that somebody
    else is on -> why.
    """

    pair: Array
    alien: Array
    stranger: dict[int, str]

    def witness(self, photos: PhotoSet) -> NDArray[np.int8]:
        """What the captions say of each photograph [N], where all fit it: 1 its person, -1 another; else 0."""
        said = np.zeros(len(photos), dtype=np.int8)
        fit, own = self.pair < 0.5, self.alien < 0.5
        for value, rows in ((1, fit & own), (-1, fit & ~own)):
            count = np.bincount(photos.row_image[rows], minlength=len(photos))
            said[(count > 0) & (count == np.diff(photos.first_row))] = value
        return said


def model_findings(
    photos: PhotoSet, features: Features, scale: float, seed: int = 0
) -> tuple[list[Finding], dict[str, str]]:
    """Findings of a split, and the rules that could not be asked with the reason. scale: the model's logit scale.

    Raises UserError for features that are not finite.
    """
    if not (features.images.isfinite().all() and features.texts.isfinite().all()):
        raise UserError("--model: its features are not finite, it may have diverged; use an earlier checkpoint")
    findings: list[Finding] = []
    left_out: dict[str, str] = {}
    witness = np.zeros(len(photos), dtype=np.int8)
    try:
        doubts = doubt(photos, features, scale, seed)
        witness = doubts.witness(photos)
        findings += pair_findings(photos, doubts)
    except CannotTell as why:
        left_out |= dict.fromkeys(("pair_mismatch", "wrong_person"), str(why))
    try:
        findings += id_findings(photos, features.images, witness, seed)
    except CannotTell as why:
        left_out["id_consistency"] = str(why)
    return findings, left_out


def pair_findings(photos: PhotoSet, doubts: Doubts) -> Iterator[Finding]:
    """Captions that do not belong to their photograph, and photographs of somebody else than their captions'."""
    for row in np.flatnonzero((doubts.pair > 0.5) & (doubts.alien > 0.5)).tolist():
        image = int(photos.row_image[row])
        if image not in doubts.stranger:
            evidence = f"does not fit the photograph (posterior {doubts.pair[row]:.2f}) nor the person's other captions"
            evidence += f" ({doubts.alien[row]:.2f}): {photos.caption(row)!r}"
            yield found("pair_mismatch", photos, image, evidence, int(row - photos.first_row[image]))
    for image, evidence in doubts.stranger.items():
        yield found("wrong_person", photos, image, evidence)


def doubt(photos: PhotoSet, features: Features, scale: float, seed: int = 0) -> Doubts:
    """What a model doubts. Raises CannotTell where it knows too little, or there are too few pairs."""
    if len(photos.row_image) < FEWEST:
        raise CannotTell(f"{len(photos.row_image)} pairs are too few")
    odds = log_odds(photos, features, scale, seed)
    check_told_apart(odds.text, odds.wrong_text, "pairs")
    check_told_apart(odds.image, odds.wrong_image, "pairs")
    pair = np.minimum(posterior(odds.text, odds.wrong_text), posterior(odds.image, odds.wrong_image))
    texts, persons = F.normalize(features.texts.float(), dim=1), identities(photos)
    other = different(texts, persons[photos.row_image], seed)
    alien = unlike(texts, persons[photos.row_image], photos.row_image, other)
    images = F.normalize(features.images.float() - features.images.float().mean(dim=0), dim=1)
    strange = unlike(images, persons, np.arange(len(photos)), different(images, persons, seed))
    return Doubts(pair, alien, _strangers(photos, features, odds, other, scale, strange))


def log_odds(photos: PhotoSet, features: Features, scale: float, seed: int, draws: int = 2) -> Odds:
    """x of all own pairs, and of the captions of each photograph with `draws` photographs of other persons."""
    generator = np.random.default_rng(seed)
    images, texts = F.normalize(features.images.float(), dim=1), F.normalize(features.texts.float(), dim=1)
    persons = torch.from_numpy(identities(photos))
    row_image = torch.from_numpy(photos.row_image)
    row_person = persons[row_image]
    wrong = torch.from_numpy(generator.integers(0, len(images), (draws, len(images))))
    rows = torch.arange(len(texts)).repeat(draws)
    partner = wrong[:, row_image].flatten()
    sets = (torch.arange(draws)[:, None] * len(images) + row_image).flatten()
    kept = persons[partner] != row_person[rows]
    row, image = torch.cat([torch.arange(len(texts)), rows[kept]]), torch.cat([row_image, partner[kept]])
    own = (texts[row] * images[image]).sum(dim=1) * scale
    to_images = _others(texts, images, row, persons[image], persons, scale)
    to_texts = _others(images, texts, torch.arange(len(images)), persons, row_person, scale)
    text, photo = (to_images - own).double().numpy(), (to_texts[image] - own).double().numpy()
    count, sums = len(texts), to_texts.double().numpy()
    return Odds(
        *(text[:count], photo[:count], text[count:], photo[count:], sets[kept].numpy()),
        *(to_images[:count].double().numpy(), sums),
    )


def _others(queries: Tensor, gallery: Tensor, query: Tensor, left_out: Tensor, persons: Tensor, scale: float) -> Tensor:
    """logsumexp [n] of the scaled cosines of queries[query] with those of the gallery whose person is not left out."""
    found = []
    for rows, person in zip(*(part.split(max(1, BLOCK // len(gallery))) for part in (query, left_out)), strict=True):
        scores = queries[rows] @ gallery.T * scale
        found.append(scores.masked_fill(persons[None] == person[:, None], -torch.inf).logsumexp(dim=1))
    return torch.cat(found)


def _strangers(
    photos: PhotoSet, features: Features, odds: Odds, other: Array, scale: float, strange: Array
) -> dict[int, str]:
    """Photographs with several captions that agree with each other and, all together, not with the photograph.

    Where there are other photographs of the person, the captions must fit those: what fits none of them is a hard
    caption rather than a wrong photograph. Nor is a photograph wrong that clearly is like those.
    """
    several = np.flatnonzero(np.diff(photos.first_row) > 1)
    if not len(several):
        return {}
    texts = F.normalize(features.texts.float(), dim=1)
    parts = (
        texts[int(first) : int(last)]
        for first, last in zip(photos.first_row[several], photos.first_row[several + 1], strict=True)
    )
    agreement = np.array([float((part @ part.T).min()) for part in parts])
    apart = posterior(-agreement, -other)
    own = _means((odds.text + odds.image) / 2, photos.row_image)[several]
    wrong = _means((odds.wrong_text + odds.wrong_image) / 2, odds.wrong_set)
    alike = posterior(own, wrong[~np.isnan(wrong)])
    elsewhere = _elsewhere(photos, features, odds, scale, several)
    known = ~np.isnan(elsewhere)
    lost = np.zeros(len(several))
    lost[known] = posterior(elsewhere[known], wrong[~np.isnan(wrong)]) if known.any() else 0.0
    return {
        int(several[place]): (
            f"its captions agree (cosine {agreement[place]:.2f}, different persons {other.mean():.2f}) "
            f"but not with it (mean loss {np.logaddexp(0, own[place]):.1f})"
        )
        for place in np.flatnonzero((alike > 0.5) & (apart < 0.5) & (lost < 0.5) & (strange[several] > UNCLEAR))
    }


def _elsewhere(photos: PhotoSet, features: Features, odds: Odds, scale: float, images: NDArray[np.int64]) -> Array:
    """The mean x of the captions of each photograph with the other photographs of its person; nan without any."""
    own, texts = F.normalize(features.images.float(), dim=1), F.normalize(features.texts.float(), dim=1)
    persons = groups(photos)
    found = np.full(len(images), np.nan)
    for place, image in enumerate(images):
        others = [one for one in persons.get(int(photos.image_person[image]), ()) if one != image]
        if others:
            rows = slice(int(photos.first_row[image]), int(photos.first_row[image + 1]))
            scores = (texts[rows] @ own[others].T).double().numpy() * scale
            sums = (odds.row_sum[rows, None] + odds.image_sum[None, others]) / 2
            found[place] = float((sums - scores).mean())
    return found


def _means(values: Array, group: NDArray[np.int64]) -> Array:
    """The mean of the values of each group, by its number; nan for numbers without any."""
    counts = np.bincount(group)
    return np.where(counts > 0, np.bincount(group, values) / np.maximum(counts, 1), np.nan)
