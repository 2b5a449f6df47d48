"""Sources on the Hub by `hf:`; downloads themselves are tested where something was pushed."""

from __future__ import annotations

import pytest

from huecry.errors import UserError
from huecry.towers import ModelConfig, load_branches, load_towers
from huecry.towers.hub import fetch


def test_other_sources_are_returned_as_they_are(tmp_path):
    for source in ("tiny", "group/model", str(tmp_path), "open_clip:ViT-B-16/openai"):
        assert fetch(source) == source


@pytest.mark.parametrize("source", ["hf:", "hf:model", "hf:a/b/c", "hf:../secret", "hf:group/model@main"])
def test_names_that_cannot_be(source):
    for read in (fetch, load_branches, lambda source: load_towers(ModelConfig(source))):
        with pytest.raises(UserError, match="hf:org/name"):
            read(source)


def test_without_the_network():
    with pytest.raises(UserError, match="hf:group/model: not on this machine, and the Hub does not answer") as caught:
        fetch("hf:group/model")
    assert "\n" not in str(caught.value)
