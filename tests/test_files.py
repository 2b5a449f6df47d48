"""What is written appears whole, with the mode that any new file has."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from huecry.files import write_file, write_folder


@pytest.fixture(params=[0o022, 0o077, 0o007], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def save(path: Path) -> None:
    save_file({"one": torch.ones(3)}, path)


def test_files_have_the_mode_of_new_files(tmp_path, umask) -> None:
    """Which safetensors' own do not."""
    (tmp_path / "usual").write_text("")
    usual = (tmp_path / "usual").stat().st_mode
    write_file(tmp_path / "tensors", save)
    write_folder(tmp_path / "model", lambda folder: save(folder / "tensors"))
    assert [path.stat().st_mode for path in (tmp_path / "tensors", tmp_path / "model" / "tensors")] == [usual, usual]
    (tmp_path / "folder").mkdir()
    assert (tmp_path / "model").stat().st_mode == (tmp_path / "folder").stat().st_mode
    assert os.umask(umask) == umask
