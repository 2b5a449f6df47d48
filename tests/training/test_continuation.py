"""A run that begins from a snapshot: what it takes up, what it leaves, and what it says of both."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from huecry.data.readers import read
from huecry.errors import UserError
from huecry.training.continuation import take_up
from huecry.training.snapshot import save_snapshot

TASKS: dict[str, dict[str, Any]] = {"contrastive": {}, "colour_words": {}, "moco": {"queue_size": 16}}


@pytest.fixture
def saved(tiny_bundle: Callable[..., Any], photo_folder: Path, tmp_path: Path) -> tuple[Any, Path, str]:
    """(bundle with numbers of its own everywhere, the folder of its snapshot, the fingerprint of its data)."""
    bundle, fingerprint = tiny_bundle(TASKS), read(photo_folder)["train"].fingerprint
    generator = torch.Generator().manual_seed(5)
    for name, tensor in bundle.state_dict().items():
        if tensor.is_floating_point() and not name.startswith("towers."):
            tensor.copy_(torch.rand(tensor.shape, generator=generator))
    bundle.state_dict()["tasks.moco.rows"].copy_(torch.arange(16))
    save_snapshot(tmp_path / "checkpoints", 7, bundle, {}, {"data": fingerprint}, keep=1)
    return bundle, tmp_path / "checkpoints" / "step-7", fingerprint


def equal(one: Any, other: Any) -> bool:
    return all(torch.equal(tensor, other.state_dict()[name]) for name, tensor in one.state_dict().items())


def test_on_the_same_data_all_is_taken_up(saved, tiny_bundle):
    before, folder, fingerprint = saved
    bundle = tiny_bundle({**TASKS, "simclr": {}})
    line = take_up(bundle, str(folder), fingerprint)
    names = "towers, colour_words, moco, momentum towers, labels"
    assert line == f"{folder}: snapshot of step 7; taken up: {names}; begun anew: simclr"
    for name in ("colour_words", "moco"):
        assert equal(before.task_list[name], bundle.task_list[name])
    assert equal(before.momentum, bundle.momentum)


def test_on_other_data_nothing_about_rows_is_taken_up(saved, tiny_bundle):
    before, folder, _ = saved
    bundle, fresh = tiny_bundle(TASKS), tiny_bundle(TASKS)
    line = take_up(bundle, str(folder), "other data")
    assert line is not None
    assert "taken up: towers, colour_words, momentum towers; begun anew: moco; other training data" in line
    words, old, new = (one.task_list["colour_words"] for one in (bundle, before, fresh))
    assert all(torch.equal(weight, dict(old.named_parameters())[name]) for name, weight in words.named_parameters())
    assert torch.equal(words.class_weight, new.class_weight)  # of the captions that are there now
    assert (bundle.task_list["moco"].rows == -1).all()
    assert equal(before.momentum, bundle.momentum)


def test_an_objective_of_another_shape_begins_anew_as_a_whole(saved, tiny_bundle):
    _, folder, fingerprint = saved
    bundle = tiny_bundle({**TASKS, "moco": {"queue_size": 24}})
    line = take_up(bundle, str(folder), fingerprint)
    assert line is not None
    assert "begun anew: moco" in line
    assert bundle.task_list["moco"].pointer == 0
    assert (bundle.task_list["moco"].rows == -1).all()


def test_only_a_snapshot_has_something_to_take_up(saved, tiny_bundle):
    _, folder, fingerprint = saved
    bundle, fresh = tiny_bundle(TASKS), tiny_bundle(TASKS)
    fresh.load_state_dict(bundle.state_dict())
    for source in ("tiny", str(folder / "model"), str(folder.parents[1]), "group/model"):
        assert take_up(bundle, source, fingerprint) is None
    assert equal(bundle, fresh)


@pytest.mark.parametrize("damage", ["state", "weights", "keys"])
def test_a_snapshot_that_cannot_be_read(saved, tiny_bundle, tmp_path, damage):
    _, folder, fingerprint = saved
    shutil.copytree(folder, tmp_path / "copy")
    if damage == "state":
        (tmp_path / "copy" / "state.json").write_text("{")
    elif damage == "keys":
        (tmp_path / "copy" / "state.json").write_text(json.dumps({"step": 7}))
    else:
        save_file({"a": torch.ones(99)}, tmp_path / "whole")
        (tmp_path / "copy" / "bundle.safetensors").write_bytes((tmp_path / "whole").read_bytes()[:-9])
    with pytest.raises(UserError, match="its snapshot cannot be read"):
        take_up(tiny_bundle(TASKS), str(tmp_path / "copy"), fingerprint)
