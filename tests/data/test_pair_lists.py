"""Lists of what training leaves out or weighs less: how they are read, and what is left of a split."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from huecry.data.pair_lists import PairLists, read_pair_list, read_pair_lists
from huecry.data.records import PhotoSet, Record
from huecry.errors import UserError


def photos(split: str = "train") -> PhotoSet:
    def record(name: str, person: str, *captions: str) -> Record:
        return Record(Path(name), captions, person, name)

    first = [record("a", "1", "a0", "a1"), record("b", "1", "b0")]
    return PhotoSet(split, [*first, record("c", "2"), record("d", "3", "d0")])


@pytest.fixture
def write(tmp_path):
    """`write(line, ..., name="list.jsonl")`: a list of these lines; returns its path."""

    def make(*lines: Any, name: str = "list.jsonl") -> str:
        text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
        (tmp_path / name).write_text(text)
        return str(tmp_path / name)

    return make


def left(photos: PhotoSet) -> list[tuple[str, tuple[str, ...]]]:
    return [(record.name, record.captions) for record in photos]


def test_excluded_captions_and_photographs_leave(write):
    path = write({"file": "a", "caption": 1}, {"file": "d"}, {"file": "c"}, "", {"file": "b", "caption": None})
    lists = PairLists(read_pair_list(path, weighted=False))
    kept = lists.training(photos())
    assert left(kept) == [("a", ("a0",))]
    assert kept.persons == ("1",)
    assert kept.row_weight.tolist() == [1]
    assert left(PairLists().training(photos())) == left(photos())


def test_a_photograph_all_of_whose_captions_leave_goes_with_them(write):
    lists = PairLists(read_pair_list(write({"file": "a", "caption": 0}, {"file": "a", "caption": 1}), weighted=False))
    assert [name for name, _ in left(lists.training(photos()))] == ["b", "c", "d"]


def test_weights_by_row_the_least_where_several_lines_speak(write):
    path = write({"file": "a", "weight": 0.5}, {"file": "a", "caption": 1, "weight": 0.25}, {"file": "d", "weight": 0})
    weights = read_pair_list(path, weighted=True)
    assert weights.row_weights(photos()).tolist() == [0.5, 0.25, 1, 0]
    kept = PairLists(None, weights).training(photos())
    assert left(kept) == [("a", ("a0", "a1")), ("b", ("b0",)), ("c", ())]
    assert kept.row_weight.tolist() == [0.5, 0.25, 1]
    assert kept.fingerprint != PhotoSet("train", kept.records).fingerprint


def test_both_lists_and_a_split_that_is_not_meant(write):
    exclude = read_pair_list(write({"file": "a", "split": "val"}, {"file": "b"}), weighted=False)
    weights = read_pair_list(write({"file": "a", "weight": 0.5}, name="weights.jsonl"), weighted=True)
    kept = PairLists(exclude, weights).training(photos())
    assert left(kept) == [("a", ("a0", "a1")), ("c", ()), ("d", ("d0",))]
    assert kept.row_weight.tolist() == [0.5, 0.5, 1]
    np.testing.assert_array_equal(exclude.images(photos("val")), [True, True, False, False])


def test_the_version_is_the_digest_of_the_bytes(write):
    path = write({"file": "a"})
    digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    lists = read_pair_lists(path, None, None, None)
    assert lists.exclude is not None
    assert lists.exclude.digest == digest
    assert read_pair_lists(path, None, digest, None) == lists
    Path(path).write_text(json.dumps({"file": "a"}) + " ")
    with pytest.raises(UserError, match=rf"data\.exclude_sha256={digest[:12]}: .*list\.jsonl has .*give back"):
        read_pair_lists(path, None, digest, None)
    with pytest.raises(UserError, match=r"data\.weights_sha256=.*no list is named"):
        read_pair_lists(None, None, None, digest)


@pytest.mark.parametrize(
    ("line", "culprit"),
    [
        ("{", "not valid JSON"),
        ("[1]", "not an object"),
        ('{"fil": "a"}', "file=None"),
        ('{"file": 3}', "file=3"),
        ('{"file": "a", "caption": -1}', "caption=-1"),
        ('{"file": "a", "caption": true}', "caption=True"),
        ('{"file": "a", "caption": "0"}', "caption='0'"),
        ('{"file": "a", "split": 1}', "split=1"),
    ],
)
def test_a_line_that_cannot_be_used(write, line, culprit):
    with pytest.raises(UserError) as caught:
        read_pair_list(write({"file": "a"}, line), weighted=False)
    assert culprit in str(caught.value)
    assert "list.jsonl: line 2: " in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("weight", [-0.1, 1.1, "0.5", None, True, float("nan")])
def test_a_weight_that_is_none(write, weight):
    with pytest.raises(UserError, match=r"line 1: weight=.*from 0 to 1"):
        read_pair_list(write({"file": "a", "weight": weight}), weighted=True)
    with pytest.raises(UserError, match=r"line 1: weight=None"):
        read_pair_list(write({"file": "a"}), weighted=True)


def test_files_that_are_no_list(write, tmp_path):
    with pytest.raises(UserError, match=r"data\.exclude=.*nowhere.*cannot be read"):
        read_pair_list(str(tmp_path / "nowhere"), weighted=False)
    with pytest.raises(UserError, match=r"data\.weights=.*cannot be read"):
        read_pair_list(str(tmp_path), weighted=True)
    (tmp_path / "latin").write_bytes(b'{"file": "\xe9"}')
    with pytest.raises(UserError, match=r"data\.exclude=.*not UTF-8"):
        read_pair_list(str(tmp_path / "latin"), weighted=False)


@pytest.mark.parametrize(
    ("line", "culprit"),
    [
        ({"file": "z"}, "no photograph 'z' in the data set"),
        ({"file": "a", "split": "test"}, "no photograph 'a' in split test"),
        ({"file": "a", "caption": 2}, "has no caption 2"),
        ({"file": "../a"}, "no photograph '../a'"),
    ],
)
def test_a_line_about_nothing(write, line, culprit):
    exclude = read_pair_list(write({"file": "a", "caption": 1}, line), weighted=False)
    with pytest.raises(UserError, match=r"line 2: ") as caught:
        exclude.check({"train": photos()})
    assert culprit in str(caught.value)
    read_pair_list(write({"file": "a", "caption": 1}), weighted=False).check({"train": photos()})
