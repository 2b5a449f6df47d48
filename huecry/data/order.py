"""The order of samples: a function of seed, epoch and labels alone."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np


def random_order(count: int, seed: int, epoch: int) -> np.ndarray:
    """A permutation [count] of the rows, its own for each epoch."""
    return np.random.default_rng([seed, epoch]).permutation(count)


def identity_order(labels: np.ndarray, instances: int, seed: int, epoch: int) -> np.ndarray:
    """A permutation of the rows in which rows of one label stand together in blocks.

    Every row comes once. A label's rows are shuffled and cut into blocks of `instances`; what is left over, and rows
    of unknown label (-1), fill blocks of their own. The blocks are shuffled and an incomplete one comes last, so a
    batch whose size `instances` divides holds whole blocks.
    """
    generator = np.random.default_rng([seed, epoch])
    shuffled = generator.permutation(len(labels))
    shuffled = shuffled[np.argsort(labels[shuffled], kind="stable")]
    unknown = int((labels < 0).sum())
    loose = [shuffled[:unknown]]
    blocks: list[np.ndarray] = []
    known = shuffled[unknown:]
    edges = np.flatnonzero(np.diff(labels[known])) + 1
    for rows in np.split(known, edges):
        whole = len(rows) - len(rows) % instances
        blocks.extend(rows[:whole].reshape(-1, instances))
        loose.append(rows[whole:])
    rest = np.concatenate(loose)
    rest = rest[generator.permutation(len(rest))]
    whole = len(rest) - len(rest) % instances
    blocks.extend(rest[:whole].reshape(-1, instances))
    sequence = [blocks[index] for index in generator.permutation(len(blocks))]
    return np.concatenate([*sequence, rest[whole:]])


def taking_part(weights: np.ndarray, seed: int, epoch: int) -> np.ndarray:
    """Rows [R] of an epoch, ascending, as many as there are: each takes part with the chance weights[row], 0..1.

    Seed, epoch and row alone decide. The places of those that do not are filled by drawing from those that do, each as
    often as any other, give or take one. Where chance leaves nobody, the likeliest comes. Weights of 1 leave every row
    once, a weight of 0 keeps a row out. Raises ValueError where no weight is above 0.
    """
    if not (weights > 0).any():
        raise ValueError("no row weighs anything")
    margin = weights.copy()
    for row in np.flatnonzero(weights < 1):
        margin[row] -= np.random.default_rng([seed, epoch, int(row), 2]).random()
    part = np.flatnonzero(margin > 0)
    if not len(part):
        part = np.array([np.where(weights > 0, margin, -np.inf).argmax()])
    generator = np.random.default_rng([seed, epoch, 3])
    rounds = [generator.permutation(part) for _ in range(-(-len(weights) // len(part)) - 1)]
    return np.sort(np.concatenate([part, *rounds])[: len(weights)])


class BatchOrder:
    """Batch sampler of one process: yields lists of (epoch, row), its contiguous share of every global batch.

    The shares of all processes, joined in rank order, are the global batch. `set` chooses the order and the first
    batch to yield; incomplete batches at the end are dropped.
    """

    def __init__(self, batch_size: int, rank: int, world: int) -> None:
        self.batch_size, self.rank, self.share = batch_size, rank, batch_size // world
        self.epoch, self.start, self.order = 0, 0, np.empty(0, dtype=np.int64)
        self.count = 0

    def set(self, order: np.ndarray, epoch: int, start: int, count: int) -> None:
        """Yield batches `start` .. `count - 1` of an order next."""
        self.order, self.epoch, self.start, self.count = order, epoch, start, count

    def __len__(self) -> int:
        return max(self.count - self.start, 0)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for batch in range(self.start, self.count):
            first = batch * self.batch_size + self.rank * self.share
            yield [(self.epoch, int(row)) for row in self.order[first : first + self.share]]
