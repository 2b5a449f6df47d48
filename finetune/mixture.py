"""Which values are of the wrong kind, where values that are wrong on purpose show what that looks like."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

TOLD_APART = 0.95
"""Share of the wrong values that the middle right one must be below; under that a model knows too little of a set."""
FEWEST = 20
"""Values below which nothing can be said of a distribution."""
Array = NDArray[np.float64]


class CannotTell(Exception):
    """Why a rule cannot be asked of this model and these photographs."""


def check_told_apart(right: Array, wrong: Array, what: str) -> None:
    """Raises CannotTell where lower values do not tell right from wrong, or there are too few of them."""
    if min(len(right), len(wrong)) < FEWEST:
        raise CannotTell(f"{min(len(right), len(wrong))} {what} are too few")
    share = float((wrong > np.median(right)).mean())  # the middle: what is wrong among the right moves it little
    if share < TOLD_APART:
        raise CannotTell(
            f"to the model the middle one of the {what} is better than {100 * share:.0f} % of those wrong on purpose; "
            f"{100 * TOLD_APART:.0f} % are needed"
        )


def posterior(values: Array, wrong: Array) -> Array:
    """The posterior [n] that a value is of the wrong kind; wrong [m]: values that are, of which some may be hidden."""
    return np.mean([_mixture(values, wrong, count) for count in (1, 2)], axis=0)


def _mixture(values: Array, wrong: Array, count: int, rounds: int = 200) -> Array:
    """Expectation maximisation of `count` free Gaussians beside the one of `wrong`, whose share alone is fitted."""
    least = 0.05 * values.std() + 1e-12
    mean = np.quantile(values, [0.5] if count == 1 else np.linspace(0.2, 0.6, count))
    deviation, share = np.full(count, values.std() + least), np.full(count, 0.9 / count)
    high = _density(values, wrong.mean(), wrong.std() + least)
    prior = 0.1
    for _ in range(rounds):
        parts = share[:, None] * _density(values[None], mean[:, None], deviation[:, None])
        total = prior * high + parts.sum(axis=0) + 1e-300
        chance, parts = prior * high / total, parts / total
        weight = parts.sum(axis=1) + 1e-12
        prior, share = float(chance.mean()), weight / len(values)
        mean = (parts * values).sum(axis=1) / weight
        deviation = np.sqrt((parts * (values - mean[:, None]) ** 2).sum(axis=1) / weight).clip(least)
    # the wider of two Gaussians wins on both sides; what is better than most right pairs is right, what is worse is not
    order = np.argsort(values)
    chance[order] = np.maximum.accumulate(np.where(values < mean[share.argmax()], 0.0, chance)[order])
    return chance


def _density(values: Array, mean: Array | float, deviation: Array | float) -> Array:
    return np.exp(-0.5 * ((values - mean) / deviation) ** 2) / (deviation * np.sqrt(2 * np.pi))


def different(vectors: Tensor, persons: NDArray[np.int64], seed: int) -> Array:
    """Cosines of unit vectors [n, D] of different persons [n], drawn at random."""
    drawn = np.random.default_rng([seed, 1]).integers(0, len(vectors), (2, max(4 * len(vectors), 1000)))
    first, second = drawn[:, persons[drawn[0]] != persons[drawn[1]]]
    return (vectors[first] * vectors[second]).sum(dim=1).double().numpy()


def unlike(vectors: Tensor, persons: NDArray[np.int64], own: NDArray[np.int64], other: Array) -> Array:
    """The posterior [n] that a unit vector is of another person than the others of its person.

    vectors [n, D], persons [n]. own [n]: those of the same number are compared only where there are no others. other:
    from `different`. 1 where there is nothing to compare with.
    """
    mean = np.full(len(vectors), np.nan)
    order = np.argsort(persons, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(persons[order])) + 1):
        cosine = (vectors[rows] @ vectors[rows].T).double().numpy()
        same = own[rows][:, None] == own[rows][None]
        compared = np.where(same.all(axis=1)[:, None], ~np.eye(len(rows), dtype=bool), ~same)
        count = compared.sum(axis=1)
        mean[rows] = np.where(count > 0, (cosine * compared).sum(axis=1) / np.maximum(count, 1), np.nan)
    known = ~np.isnan(mean)
    chance = np.ones(len(vectors))
    if known.sum() >= FEWEST and len(other):
        chance[known] = posterior(-mean[known], -other)
    return chance
