"""The file of an index: what is written comes back, and what is no index is told in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from huecry.errors import UserError
from huecry.retrieval.index_file import About, Broken, IndexFile, read_index, shown

ABOUT = About({"source": "tiny"}, "0" * 64, "photos", {}, None, "photos")
NAMES = ["a.jpg", "two\nlines.jpg", "é/漢.png", "\udcff.gif", " ", "tab\t.jpg"]


def made(count: int = 6, width: int = 4, seed: int = 0) -> IndexFile:
    generator = torch.Generator().manual_seed(seed)
    return IndexFile(
        ABOUT,
        [*NAMES, *map(str, range(count))][:count],
        torch.nn.functional.normalize(torch.randn(count, width, generator=generator), dim=1),
        torch.randint(0, 256, (count, 32), generator=generator, dtype=torch.uint8),
        torch.randint(0, 1 << 60, (count, 2), generator=generator),
        [json.dumps([f"number {one}", "\0"] if one else []) for one in range(count)],
        [Broken("no\npicture.jpg", 1, 2, "why\nnot"), Broken("\udcff.jpg", -2, -2, "é")],
    )


@pytest.mark.parametrize("count", [0, 1, 6])
def test_round_trip(tmp_path, count) -> None:
    index = made(count)
    index.write(tmp_path / "new" / "index")
    found = read_index(tmp_path / "new" / "index")
    assert (found.about, found.paths, found.captions, found.broken) == (
        ABOUT,
        index.paths,
        index.captions,
        index.broken,
    )
    for name in ("features", "hashes", "stamps"):
        assert torch.equal(getattr(found, name), getattr(index, name))
    replace(index, captions=None, broken=[]).write(tmp_path / "new" / "index")
    found = read_index(tmp_path / "new" / "index")
    assert (found.captions, found.broken) == (None, [])
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["index"]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


def changed(**tensors: torch.Tensor) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        index = replace(made(), **tensors)
        index.write(path)

    return change


def weights(path: Path) -> None:
    save_file({"weight": torch.zeros(2)}, path)


def without_metadata(path: Path) -> None:
    save_file(load_file(path), path)


DAMAGE = {
    "cut": cut,
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("features"),
    "weights": weights,
    "no metadata": without_metadata,
    "a row less": changed(features=torch.zeros(5, 4)),
    "half precision": changed(features=torch.zeros(6, 4).half()),
    "short hashes": changed(hashes=torch.zeros(6, 16, dtype=torch.uint8)),
    "one stamp": changed(stamps=torch.zeros(6, dtype=torch.int64)),
    "a caption less": changed(captions=["[]"] * 5),
    "a path less": changed(paths=NAMES[:5]),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=[*DAMAGE])
def test_what_is_no_index(tmp_path, damage) -> None:
    path = tmp_path / "index"
    made().write(path)
    damage(path)
    with pytest.raises(UserError, match=r"index: not an index that can be read \(.*\); make one with huecry index"):
        read_index(path)


def test_an_index_that_is_not_there(tmp_path) -> None:
    for path in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(UserError, match="no such index; make it with huecry index MODEL FOLDER --out"):
            read_index(path)


@pytest.mark.parametrize("copies", [0, 3])
def test_the_nearest_against_sorting_all(copies) -> None:
    index = made(300, 8)
    index.features[10 : 10 + copies] = index.features[200]
    index.hashes[10 : 10 + copies] = index.hashes[200]
    queries = torch.nn.functional.normalize(torch.randn(40, 8, generator=torch.Generator().manual_seed(1)), dim=1)
    queries[0] = index.features[200]
    exact = queries.double().numpy() @ index.features.double().numpy().T
    for k in (1, 7, 1000):
        for (scores, rows), line in zip(index.nearest(queries, k), exact, strict=True):
            expected = np.argsort(-line, kind="stable")[:k]
            assert len(rows) == min(k, 300)
            np.testing.assert_allclose(scores, line[expected], atol=1e-6)
            np.testing.assert_allclose(line[rows], line[expected], atol=1e-6)
    best = next(index.nearest(queries[:1], 1 + copies))
    assert best[1].tolist() == [*range(10, 10 + copies), 200]  # equal pictures by their place, with equal scores
    assert len(set(best[0].tolist())) == 1


def test_features_that_are_not_finite_are_told() -> None:
    index = made()
    index.features[3, 2] = float("nan")
    with pytest.raises(UserError, match="not finite"):
        list(index.nearest(torch.ones(1, 4), 2))


@pytest.mark.parametrize(("name", "line"), [("é/漢 1.png", "é/漢 1.png"), ("a\nb", r"'a\nb'"), ("\udcff", r"'\udcff'")])
def test_names_on_one_line(name, line) -> None:
    assert shown(name) == line
