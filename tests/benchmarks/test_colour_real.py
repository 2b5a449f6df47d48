"""The histogram classifier beside the colour tasks: it sees, and blind it guesses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from huecry.data.readers import read


@pytest.fixture(autouse=True)
def _benchmarks_are_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))


def test_it_names_the_colours_that_it_sees(make_photos: Any) -> None:
    from colour_real import histogram_answers, scored

    photos = read(make_photos(persons=24, photos=2, captions=1))["train"]
    found = histogram_answers(photos, photos)
    assert len(found.hue) == len(scored(photos))  # everybody has somebody else's photograph to be blind with
    garment = found.tag == "garment"
    seeing, blind = ((said == found.hue)[garment].mean() for said in (found.said, found.blind))
    assert seeing > 0.9
    assert blind < 0.5
    assert set(np.unique(found.owner)) == set(range(24))
