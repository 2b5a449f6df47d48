"""Search through faiss: nearly what exact search finds, with its scores, and only where it is worth it."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from huecry import Index, api
from huecry.errors import UserError
from huecry.retrieval import indexing, search_faiss
from huecry.retrieval.index_file import About, IndexFile
from huecry.retrieval.search_faiss import RECALL, make_cells, open_cells

pytest.importorskip("faiss")


def gallery(count: int = 20_000, width: int = 16) -> tuple[IndexFile, Tensor]:
    """Features around 200 centres, and queries near some of them."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(200, width, generator=generator)
    rows = torch.randint(0, 200, (count + 50,), generator=generator)
    features = normalize(centres[rows] + 0.4 * torch.randn(count + 50, width, generator=generator), dim=1)
    hashes = torch.arange(count * 32).view(count, 32).fmod(251).to(torch.uint8)
    hashes[:, :4] = torch.arange(count, dtype=torch.int32).view(torch.uint8).view(count, 4)
    about = About({"source": "tiny"}, "", "", {}, None, None)
    paths = [f"{number}.jpg" for number in range(count)]
    return IndexFile(about, paths, features[:count], hashes, torch.zeros(count, 2).long()), features[count:]


def clock(exact_seconds: float) -> SimpleNamespace:
    """A clock by which all exact queries together take so long, and anything later a millisecond."""
    ticks = itertools.chain([0.0], itertools.count(exact_seconds, 0.001))
    return SimpleNamespace(perf_counter=lambda: next(ticks))


@pytest.fixture(scope="module")
def made() -> tuple[IndexFile, Tensor, Any]:
    file, queries = gallery()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search_faiss, "time", clock(1.0))
        cells, worth = make_cells(file, queries)
    assert worth
    return file, queries, cells


def test_the_recall_is_that_against_exact_search(made, tmp_path) -> None:
    file, queries, cells = made
    assert RECALL <= cells.recall <= 1
    assert 1 <= cells.probes < cells.index.nlist / 2
    told = cells.save(tmp_path / "photos.faiss")
    file = replace(file, about=replace(file.about, fast=told))
    file.write(tmp_path / "photos")
    opened = Index.open(tmp_path / "photos")
    fast, exact = opened.nearest(queries, 10), opened.nearest(queries, 10, exact=True)
    shared = 0
    for near, right in zip(fast, exact, strict=True):
        scores = {one.path: one.score for one in right}
        both = [one for one in near if one.path in scores]
        assert [one.score for one in both] == pytest.approx([scores[one.path] for one in both], abs=1e-6)
        assert near == sorted(near, key=lambda one: -one.score)
        shared += len(both)
    assert shared / 500 == pytest.approx(cells.recall, abs=1e-9)
    assert cells.recall < 1
    assert opened.nearest(queries[:1], 20_000) == opened.nearest(queries[:1], 20_000, exact=True)


def test_cells_that_do_not_fit_or_are_not_there(made, tmp_path, monkeypatch) -> None:
    _, _, cells = made
    told = cells.save(tmp_path / "photos.faiss")
    assert open_cells(tmp_path, {}, 20_000) is None
    assert open_cells(tmp_path, {**told, "file": "gone.faiss"}, 20_000) is None
    assert open_cells(tmp_path / "deeper", {**told, "file": "../photos.faiss"}, 20_000) is None
    for path, count in (("photos.faiss", 19_999), ("noise.faiss", 20_000)):
        (tmp_path / "noise.faiss").write_bytes(b"noise" * 100)
        with pytest.raises(UserError, match=rf"{path}: not the cells of this index"):
            open_cells(tmp_path, {**told, "file": path}, count)
    monkeypatch.setattr(search_faiss, "installed", lambda: False)
    assert open_cells(tmp_path, told, 20_000) is None


@pytest.mark.parametrize(("exact_seconds", "worth"), [(0.0019, False), (0.0021, True)])
def test_what_is_not_found_in_half_the_time_is_not_worth_it(monkeypatch, exact_seconds, worth) -> None:
    file, queries = gallery(1000)
    monkeypatch.setattr(search_faiss, "time", clock(exact_seconds))
    assert make_cells(file, queries)[1] is worth


def test_a_large_gallery_has_its_cells_made_and_kept(photo_folder, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(indexing, "LARGE", 10)
    calls = []

    def make(file: IndexFile, queries: Tensor) -> Any:
        calls.append((len(file.paths), queries.shape))
        return make_cells(file, queries)[0], True

    monkeypatch.setattr(indexing, "make_cells", make)
    arguments = ("tiny", str(photo_folder), "data.workers=0", "train.cpu_threads=1")
    api.index(*arguments, out=str(tmp_path / "photos"))
    (cells,) = tmp_path.glob("*.faiss")
    assert calls == [(16, (indexing.ASKED, 128))]
    api.index(*arguments, out=str(tmp_path / "photos"))
    assert (len(calls), [*tmp_path.glob("*.faiss")]) == (1, [cells])
    assert Path(str(tmp_path / "photos.parts")).exists() is False
    capsys.readouterr()
    result = api.search(str(tmp_path / "photos"), "a red coat", k=2)
    assert result["exact"] is False
    assert f"recall@10 {result['recall']:.3f} against exact" in capsys.readouterr().out
    assert api.search(str(tmp_path / "photos"), "a red coat", exact=True)["recall"] is None
    monkeypatch.setattr(indexing, "LARGE", 17)
    (tmp_path / "photos").unlink()
    api.index(*arguments, out=str(tmp_path / "photos"))
    assert [*tmp_path.glob("*.faiss")] == []
