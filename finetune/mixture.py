"""Of which kind a row of evidence is, where rows that are wrong on purpose show what each kind looks like."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

TOLD_APART = 0.95
"""Share of the wrong values that the middle right one must be better than; under that a model knows too little."""
FEWEST = 20
"""Values below which nothing can be said of a distribution."""
MOST = 20_000
"""Rows of a kind that the posteriors are learnt from."""
ROUNDS = 10
"""Turns of learning; in the first half of them the kinds count as equally common, so that many faults cannot hide."""
LOOSE = 1000.0
"""How freely the classifier may fit, whatever the number of rows: a few faults among the right rows bend it little."""
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


def posteriors(rows: Array, wrong: Mapping[int, Array], seed: int) -> Array:
    """The posterior [n, K] of each kind for rows of evidence [n, C]; kind 0 is right, `wrong` has rows of the others.

    A linear classifier tells the rows from those that are wrong on purpose. How common each kind is, is found by
    expectation maximisation over the rows; those that seem wrong teach the less what right ones are like. No value may
    be missing; kinds that `wrong` lacks get 0.
    """
    generator = np.random.default_rng([seed, 2])
    taught = [rows, *wrong.values()]
    taken = [np.sort(generator.permutation(len(part))[:MOST]) for part in taught]
    kinds = [0, *wrong]
    chance = np.zeros((len(rows), max(kinds) + 1))
    middle, spread = np.median(rows, axis=0), np.concatenate(taught).std(axis=0) + 1e-9
    taught = [(part[kept] - middle) / spread for part, kept in zip(taught, taken, strict=True)]
    place = np.repeat(np.arange(len(kinds)), [len(part) for part in taught])
    weight = np.ones(len(place))
    prior = np.full(len(kinds), 1 / len(kinds))
    for turn in range(ROUNDS):
        fitted = LogisticRegression(C=LOOSE / len(place), max_iter=1000).fit(
            np.concatenate(taught), place, sample_weight=weight
        )
        likelihood = fitted.predict_proba((rows - middle) / spread) / np.bincount(place, weight)
        found = _shared(likelihood, prior)
        if turn >= ROUNDS // 2:
            prior = found.mean(axis=0)
        weight[: len(taken[0])] = found[taken[0], 0].clip(1e-6)
    for _ in range(100):
        found = _shared(likelihood, found.mean(axis=0))
    chance[:, kinds] = found
    return chance


def _shared(likelihood: Array, prior: Array) -> Array:
    """Posteriors [n, K] under the shares `prior` [K]."""
    found = likelihood * prior
    return found / found.sum(axis=1, keepdims=True)
