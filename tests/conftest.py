"""What several tests stand on: a small drawn data set, a bundle with tiny towers, and no network."""

from __future__ import annotations

import itertools
import json
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from PIL import Image, ImageDraw
from small_runs import stage

from huecry.cli import main

# Read once, when the libraries are imported: a fixture would come too late.
os.environ["HF_HUB_OFFLINE"] = os.environ["HF_DATASETS_OFFLINE"] = "1"

hypothesis.settings.register_profile("house", deadline=None)  # a busy machine is no mistake
hypothesis.settings.load_profile("house")

COLOURS = ("red", "blue", "green", "yellow", "white", "black", "orange", "purple")
WALLS = ("grey", "brown", "pink", "beige", "silver", "gold", "navy", "olive")
SENTENCES = (
    "A person in a {top} coat and {legs} trousers before a {wall} wall.",
    "Someone wears {legs} trousers below a {top} coat; the wall is {wall}.",
    "The {wall} wall stands behind a {top} coat and {legs} trousers.",
    "On the left a {wall} wall, on the right a {top} coat over {legs} trousers.",
)


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keeps what the library caches inside the session's folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HUECRY_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def draw(top: str, legs: str, wall: str) -> Image.Image:
    """A coat above trousers before a wall, in solid colours, 64 x 128."""
    picture = Image.new("RGB", (64, 128), wall)
    pen = ImageDraw.Draw(picture)
    pen.rectangle((16, 20, 47, 69), fill=top)
    pen.rectangle((20, 70, 43, 119), fill=legs)
    return picture


@pytest.fixture(scope="session")
def make_photos(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """`make_photos(persons=4, photos=2, captions=2)`: a new folder in the imagefolder layout, each call its own.

    persons: of the training split; val and test have two of their own. photos: of each person. captions: of each
    photograph, at most four. Clothes tell persons apart, walls the photographs of a person; no two captions are alike.
    """

    def make(persons: int = 4, photos: int = 2, captions: int = 2) -> Path:
        folder = tmp_path_factory.mktemp("photos")
        clothes = itertools.permutations(COLOURS, 2)
        lines = []
        for split, count in (("train", persons), ("val", 2), ("test", 2)):
            (folder / split).mkdir()
            for person in range(count):
                top, legs = next(clothes)
                for photo in range(photos):
                    wall, name = WALLS[photo], f"{split}/{person}_{photo}.png"
                    draw(top, legs, wall).save(folder / name)
                    said = [text.format(top=top, legs=legs, wall=wall) for text in SENTENCES[:captions]]
                    row = {"file_name": name, "captions": said, "person_id": f"{split}-{person}", "split": split}
                    lines.append(json.dumps(row))
        (folder / "metadata.jsonl").write_text("\n".join(lines) + "\n")
        return folder

    return make


@pytest.fixture(scope="session")
def photo_folder(make_photos: Callable[..., Path]) -> Path:
    """The set that `make_photos()` draws, shared: tests only read it."""
    return make_photos()


@pytest.fixture
def global_states() -> Callable[[], tuple[Any, ...]]:
    """`global_states()`: where Python's, numpy's and torch's global generators stand, to compare."""
    import numpy as np
    import torch

    def read() -> tuple[Any, ...]:
        return random.getstate(), str(np.random.get_state()), torch.get_rng_state().tolist()  # noqa: NPY002

    return read


@pytest.fixture
def tiny_bundle(photo_folder: Path) -> Callable[..., Any]:
    """`tiny_bundle(tasks, photos=None, table=None, **sections)`: a Bundle with `tiny` towers, as a stage builds it.

    tasks: stanzas by name. photos: a PhotoSet, by default the training split of `photo_folder`. table: the known
    tasks, by default the library's. sections: further sections of the recipe, for example `data={"labels": "pair"}`.
    """

    def make(tasks: dict[str, dict[str, Any]], photos: Any = None, table: Any = None, **sections: Any) -> Any:
        from huecry.config import build_recipe
        from huecry.data.readers import read
        from huecry.tasks import TASKS
        from huecry.training.stage import build_bundle

        table = TASKS if table is None else table
        photos = read(photo_folder)["train"] if photos is None else photos
        return build_bundle(build_recipe("tiny", {"tasks": tasks, **sections}, (), table), table, photos)

    return make


@pytest.fixture(scope="session")
def finished_run(photo_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of two steps that went well; tests only read it."""
    run = tmp_path_factory.mktemp("runs") / "finished"
    assert main(stage(photo_folder, run)) == 0
    return run


@pytest.fixture
def mistake(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """`mistake(arguments, *culprits)`: the one line that a command ends in, which names them all."""

    def made(arguments: list[str], *culprits: object) -> str:
        capsys.readouterr()
        try:
            status = main(arguments)
        except SystemExit as end:  # what the parser refuses
            status = end.code  # type: ignore[assignment]
        error = capsys.readouterr().err
        assert status == 2, error
        assert error.endswith("\n")
        assert len(error.splitlines()) == 1, error
        assert error.startswith("huecry")
        assert all(str(culprit) in error for culprit in culprits), error
        return error

    return made
