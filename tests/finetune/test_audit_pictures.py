"""The rules about single pictures, on small ones drawn here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from huecry.data.records import PhotoSet, Record
from huecry.finetune.audit_pictures import PROMPTS, look, no_person_findings, picture_findings
from huecry.retrieval.evaluate import Features

NOISE = np.random.default_rng(0).integers(0, 256, (64, 32, 3), dtype=np.uint8)


def save(folder: Path, name: str, array: np.ndarray) -> Record:
    path = folder / name
    Image.fromarray(array.astype(np.uint8)).save(path)
    return Record(path, ("a red coat",), name.partition("_")[0], name)


def noise(seed: int, shape: tuple[int, int] = (64, 32)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3))


def found(**splits: list[Record]) -> tuple[set[tuple[str, str, str]], dict[str, set[int]]]:
    findings, broken = picture_findings({name: PhotoSet(name, records) for name, records in splits.items()}, list)
    return {(one.rule, one.split, one.file) for one in findings}, broken


def test_a_picture_is_measured(tmp_path):
    grey = np.full((40, 20, 3), 100)
    grey[:20] = 140
    seen = look(save(tmp_path, "a.png", grey))
    assert seen.shape == 2
    assert seen.deviation == pytest.approx(20)
    same = look(save(tmp_path, "b.bmp", grey))
    assert same == seen  # whatever the file
    assert look(save(tmp_path, "c.png", grey.transpose(1, 0, 2))).digest != seen.digest


def test_flat_and_odd_and_undecodable(tmp_path):
    records = [
        save(tmp_path, "0_a.png", noise(0)),
        save(tmp_path, "1_flat.png", np.full((64, 32, 3), 90) + noise(1) % 8),
        save(tmp_path, "2_wide.png", noise(2, (32, 64))),
        save(tmp_path, "3_tall.png", noise(3, (200, 30))),
        save(tmp_path, "4_square.png", noise(4, (32, 32))),
        save(tmp_path, "5_cut.png", noise(5)),
        save(tmp_path, "6_text.png", noise(6)),
    ]
    cut = tmp_path / "5_cut.png"
    cut.write_bytes(cut.read_bytes()[:2000])
    (tmp_path / "6_text.png").write_text("not a picture")
    findings, broken = found(train=records)
    assert findings == {
        ("flat_picture", "train", "1_flat.png"),
        ("odd_shape", "train", "2_wide.png"),
        ("odd_shape", "train", "3_tall.png"),
        ("undecodable", "train", "5_cut.png"),
        ("undecodable", "train", "6_text.png"),
    }
    assert broken == {"train": {5, 6}}


def test_duplicates_of_two_persons_or_splits(tmp_path):
    train = [save(tmp_path, name, noise(seed)) for name, seed in (("0_a.png", 0), ("0_b.png", 0), ("1_a.bmp", 0))]
    train += [save(tmp_path, name, noise(seed)) for name, seed in (("2_a.png", 1), ("3_a.png", 2), ("3_b.png", 2))]
    test = [save(tmp_path, "2_t.png", noise(1)), save(tmp_path, "4_t.png", noise(4))]
    findings, _ = found(train=train, test=test)
    assert findings == {
        *(("duplicate_image", "train", name) for name in ("0_a.png", "0_b.png", "1_a.bmp", "2_a.png")),
        ("duplicate_image", "test", "2_t.png"),
    }


def test_twice_an_unknown_person_is_no_contradiction(tmp_path):
    twice = [save(tmp_path, name, noise(0)) for name in ("a.png", "b.png")]
    unknown = [Record(one.image, one.captions, None, one.name) for one in twice]
    assert found(train=unknown)[0] == set()


KINDS = {kind: axis for axis, kind in enumerate(PROMPTS)}


def model(blind: bool = False):
    """Features by hand: prompts point along their kind's axis; pictures of nothing along that of scenes."""

    def ask(photos: PhotoSet) -> Features:
        axes = torch.eye(3)
        texts = torch.cat([axes[KINDS[kind]].repeat(len(texts), 1) for kind, texts in PROMPTS.items()])
        kind = "person" if blind else "scene"
        images = axes[KINDS[kind]].repeat(len(photos), 1)
        for record in photos:
            assert record.open().height > 0
        return Features(images, texts, torch.ones(len(photos), dtype=torch.bool))

    return ask


def photographs(kinds: list[str]) -> tuple[PhotoSet, Features]:
    photos = PhotoSet("val", [Record(Path(str(n)), ("a coat",), str(n), str(n)) for n in range(len(kinds))])
    images = torch.eye(3)[[KINDS[kind] for kind in kinds]] + 0.1
    return photos, Features(F.normalize(images, dim=1), torch.eye(3)[:1], torch.ones(len(kinds), dtype=torch.bool))


def test_no_person_by_prompts():
    photos, features = photographs(["person"] * 18 + ["scene", "object"])
    findings, why = no_person_findings(photos, features, model())
    assert why is None
    assert {(one.rule, one.image) for one in findings} == {("no_person", 18), ("no_person", 19)}


@pytest.mark.parametrize(("kinds", "blind"), [(["person"] * 10 + ["scene"] * 10, False), (["person"] * 20, True)])
def test_prompts_that_say_nothing_are_left_out_and_why(kinds, blind):
    photos, features = photographs(kinds)
    findings, why = no_person_findings(photos, features, model(blind))
    assert findings == []
    assert why is not None
    assert "say nothing to this model" in why
