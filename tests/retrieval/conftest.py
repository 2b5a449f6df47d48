"""The page of an index, for the tests that ask it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from served import Served, serving


@pytest.fixture(scope="module")
def served(place: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """`huecry serve` of the index that the module's own fixture `place` made."""
    with serving(place, tmp_path_factory.mktemp("temporary")) as served:
        yield served
