"""An exported model, shared."""

from __future__ import annotations

from pathlib import Path

import pytest

from huecry import api


@pytest.fixture(scope="session")
def exported(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model of `finished_run`, exported in all formats; tests only read it."""
    out = tmp_path_factory.mktemp("exported") / "model"
    api.export(str(finished_run), str(out))
    return out
