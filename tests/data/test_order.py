"""The order: permutations by epoch, whole blocks of a label, and shares of processes that make the global batch."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from huecry.data.order import BatchOrder, identity_order, random_order, taking_part

labels_of_rows = st.lists(st.integers(-1, 6), min_size=1, max_size=60).map(np.array)


@given(st.integers(0, 200), st.integers(0, 2**32 - 1), st.integers(0, 1000))
def test_an_epoch_is_a_permutation(count, seed, epoch):
    order = random_order(count, seed, epoch)
    assert sorted(order) == list(range(count))
    np.testing.assert_array_equal(random_order(count, seed, epoch), order)


def test_every_seed_and_epoch_has_its_own():
    orders = {tuple(random_order(50, seed, epoch)) for seed in range(5) for epoch in range(5)}
    assert len(orders) == 25
    labels = np.repeat(np.arange(10), 5)
    assert len({tuple(identity_order(labels, 2, seed, epoch)) for seed in range(5) for epoch in range(5)}) == 25


def test_every_row_may_come_anywhere():
    """The first place of 3,000 epochs: each of ten rows about a tenth of the time, four standard deviations."""
    first = Counter(int(random_order(10, 0, epoch)[0]) for epoch in range(3000))
    assert all(abs(first[row] - 300) <= 66 for row in range(10))


@given(labels_of_rows, st.integers(1, 6), st.integers(0, 20))
def test_identity_blocks(labels, instances, epoch):
    order = identity_order(labels, instances, 3, epoch)
    assert sorted(order) == list(range(len(labels)))
    np.testing.assert_array_equal(identity_order(labels, instances, 3, epoch), order)
    blocks = [labels[order[first : first + instances]] for first in range(0, len(order), instances)]
    pure = Counter(int(block[0]) for block in blocks if len(block) == instances and len(set(block.tolist())) == 1)
    for label, rows in Counter(labels[labels >= 0].tolist()).items():
        assert pure[label] >= rows // instances
    assert all(len(block) == instances for block in blocks[:-1])


@given(labels_of_rows, st.integers(1, 4), st.integers(1, 4))
def test_a_batch_that_instances_divide_holds_whole_blocks(labels, instances, blocks_a_batch):
    order = identity_order(labels, instances, 0, 0)
    size = instances * blocks_a_batch
    for label, rows in Counter(labels[labels >= 0].tolist()).items():
        places = np.flatnonzero(labels[order] == label)
        batches = Counter((places // size).tolist())
        assert sum(count // instances for count in batches.values()) >= rows // instances


def test_unknown_labels_alone_are_only_shuffled():
    order = identity_order(np.full(9, -1), 4, 0, 0)
    assert sorted(order) == list(range(9))
    assert order.tolist() != list(range(9))


def test_blocks_of_a_known_set():
    labels = np.array([0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2])
    order = identity_order(labels, 4, 0, 0)
    blocks = labels[order].reshape(3, 4)
    assert all(len(set(block)) == 1 for block in blocks.tolist())
    assert len({tuple(labels[identity_order(labels, 4, 0, epoch)]) for epoch in range(20)}) == 6  # all of 3!


@given(st.integers(1, 4), st.integers(1, 5), st.integers(0, 40), st.data())
def test_the_shares_in_rank_order_are_the_global_batch(world, share, count, data):
    size = world * share
    order = np.random.default_rng(count).permutation(count)
    batches = count // size
    start = data.draw(st.integers(0, batches))
    samplers = [BatchOrder(size, rank, world) for rank in range(world)]
    for sampler in samplers:
        sampler.set(order, 7, start, batches)
        assert len(sampler) == batches - start
    joined = [[pair for part in parts for pair in part] for parts in zip(*samplers, strict=True)]
    whole = BatchOrder(size, 0, 1)
    whole.set(order, 7, start, batches)
    assert joined == list(whole)
    rows = [row for batch in joined for _, row in batch]
    assert rows == order[start * size : batches * size].tolist()
    assert {epoch for batch in joined for epoch, _ in batch} <= {7}


def test_an_epoch_goes_on_where_it_stopped():
    sampler = BatchOrder(4, 1, 2)
    order = random_order(22, 0, 3)
    sampler.set(order, 3, 0, 5)
    whole = list(sampler)
    sampler.set(order, 3, 2, 5)
    assert list(sampler) == whole[2:]
    sampler.set(order, 3, 5, 5)
    assert list(sampler) == []
    assert len(sampler) == 0


def test_rows_are_plain_numbers():
    """Numpy's own would pass through the data workers, and print as such in messages."""
    sampler = BatchOrder(2, 0, 1)
    sampler.set(random_order(4, 0, 0), 0, 0, 2)
    assert all(type(row) is int for batch in sampler for _, row in batch)


@pytest.mark.parametrize("instances", [1, 5])
def test_an_empty_or_single_set(instances):
    assert identity_order(np.empty(0, dtype=np.int64), instances, 0, 0).tolist() == []
    assert identity_order(np.array([4]), instances, 0, 0).tolist() == [0]


# who takes part

weights_of_rows = st.lists(st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0]), min_size=1, max_size=60).map(np.array)


@given(weights_of_rows, st.integers(0, 100), st.integers(0, 100))
def test_an_epoch_keeps_its_length_and_the_weightless_stay_away(weights, seed, epoch):
    if not weights.any():
        with pytest.raises(ValueError, match="weighs anything"):
            taking_part(weights, seed, epoch)
        return
    rows = taking_part(weights, seed, epoch)
    assert len(rows) == len(weights)
    assert (np.diff(rows) >= 0).all()
    assert (weights[rows] > 0).all()
    counts = np.bincount(rows, minlength=len(weights))
    assert (counts[weights == 1] > 0).all()
    assert np.ptp(counts[counts > 0]) <= 1
    np.testing.assert_array_equal(taking_part(weights, seed, epoch), rows)


@given(st.integers(1, 100), st.integers(0, 100), st.integers(0, 100))
def test_where_all_weigh_the_same_every_row_comes_once(count, seed, epoch):
    assert taking_part(np.ones(count), seed, epoch).tolist() == list(range(count))


@given(weights_of_rows, st.integers(0, 100), st.integers(0, 59))
def test_whether_a_row_takes_part_hangs_on_no_other(weights, epoch, row):
    """A row of weight 1/2 among others of any weights: the same epochs, as long as somebody else is there."""
    row %= len(weights)
    here = np.append(weights, 1.0)
    here[row] = 0.5
    there = np.ones(len(here))
    there[row] = 0.5
    assert (row in taking_part(here, 7, epoch)) == (row in taking_part(there, 7, epoch))


def test_a_row_comes_as_often_as_it_weighs():
    weights = np.array([1.0, 0.25, 1.0, 0.75])
    share = np.mean([np.isin(np.arange(4), taking_part(weights, 0, epoch)) for epoch in range(2000)], axis=0)
    assert share == pytest.approx(weights, abs=0.04)  # four standard deviations
    assert taking_part(np.array([0.0, 1e-9, 0.0]), 0, 0).tolist() == [1, 1, 1]  # somebody must come
    epochs = {tuple(taking_part(np.full(20, 0.5), seed, epoch)) for seed in range(3) for epoch in range(3)}
    assert len(epochs) == 9
