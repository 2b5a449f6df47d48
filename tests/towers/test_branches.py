"""The colour branch: its descriptor, its file, and a model evaluated with it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from small_runs import SMALL
from torch.nn.functional import normalize

from huecry import api
from huecry.cli import main
from huecry.data.augment import resized
from huecry.data.captions import mask_colours
from huecry.data.colour import luma
from huecry.data.readers import read
from huecry.data.records import PhotoSet
from huecry.data.tokens import pack, tokenize
from huecry.errors import UserError
from huecry.retrieval.metrics import score_metrics
from huecry.towers import Branches, ModelConfig, load_branches, load_towers
from huecry.towers.branches import BRANCHES_FILE
from huecry.training.encode import encode_view

WIDTH = 16


def test_the_descriptor_holds_three_unit_vectors() -> None:
    branches = Branches(WIDTH)
    full, gray = torch.randn(4, WIDTH), torch.randn(4, WIDTH)
    gray[3] = full[3]  # nothing was lost with the colours
    for modality in ("image", "text"):
        found = branches.descriptor(modality, full, gray).unflatten(1, (3, WIDTH))
        assert torch.allclose(found.norm(dim=2), torch.tensor([[1.0, 1, 1]] * 3 + [[1.0, 1, 0]]), atol=1e-5)
        expected = getattr(branches, modality)(full - gray)[:3]
        assert torch.allclose(found[:3, 2], torch.nn.functional.normalize(expected, dim=1), atol=1e-6)
    assert not torch.equal(branches.descriptor("image", full, gray), branches.descriptor("text", full, gray))


def test_file_round_trip(tmp_path: Path) -> None:
    branches = Branches(WIDTH)
    (tmp_path / "model").mkdir()
    branches.save(tmp_path / "model")
    for source in (tmp_path, tmp_path / "model"):
        loaded = load_branches(str(source))
        assert loaded is not None
        for name, weight in branches.state_dict().items():
            assert torch.equal(weight, loaded.state_dict()[name])
    assert load_branches("tiny") is None


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / BRANCHES_FILE).write_bytes(b"no weights")
    with pytest.raises(UserError, match=BRANCHES_FILE):
        load_branches(str(tmp_path))


def test_a_model_exported_with_its_branches_is_evaluated_with_them(photo_folder: Path, tmp_path: Path) -> None:
    """The run's own figures and those of its folder agree, and differ from those of the towers alone."""
    run = tmp_path / "run"
    tasks = ["tasks.grayscale.export=concat", "tasks.contrastive.weight=1"]
    assert main(["pretrain", f"data.source={photo_folder}", f"run.dir={run}", *SMALL, *tasks]) == 0
    assert (run / "model" / BRANCHES_FILE).is_file()
    results = json.loads((run / "results.json").read_text())
    found = api.evaluate(str(run), str(photo_folder))
    assert {key: found[key] for key in ("R1", "mAP", "mINP")} == {
        key: results["test"][key] for key in ("R1", "mAP", "mINP")
    }
    assert results["test"]["mAP"] == pytest.approx(_by_hand(run / "model", read(photo_folder)["test"]), rel=1e-4)
    snapshot = next((run / "checkpoints").glob("step-*"))
    assert (snapshot / "model" / BRANCHES_FILE).is_file()


def _by_hand(model: Path, photos: PhotoSet) -> float:
    """mAP of the summed cosines of the three branches."""
    towers, branches = load_towers(ModelConfig(source=str(model))), load_branches(str(model))
    assert branches is not None
    pixels = torch.stack([torch.from_numpy(np.array(resized(one.open(), towers.image_size))) for one in photos])
    pixels = pixels.permute(0, 3, 1, 2)
    masked = pack([mask_colours(caption)[0] for caption in photos.captions])
    with torch.no_grad():
        rgb, gray = (encode_view(towers, "rgb", one).pooled for one in (pixels, luma(pixels)))
        text, erased = (encode_view(towers, "text", ids).pooled for ids in (tokenize(photos.captions), masked))
        pairs = [(rgb, text), (gray, erased), (branches.image(rgb - gray), branches.text(text - erased))]
    scores = sum(normalize(queries, dim=1) @ normalize(gallery, dim=1).T for gallery, queries in pairs)
    ids = torch.from_numpy(photos.image_person)
    return score_metrics([scores], torch.from_numpy(photos.row_person), ids)["mAP"]
