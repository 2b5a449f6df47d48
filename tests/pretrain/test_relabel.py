"""Labels made before an epoch: what is published, what degenerate clusterings do, and that resuming is exact."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from small_runs import kill_again_and_again, stage

from huecry.cli import main
from huecry.data.records import PhotoSet, Record
from huecry.errors import UserError
from huecry.pretrain import relabel as module
from huecry.pretrain.pseudo_labels import ALONE
from huecry.pretrain.relabel import Relabel, clustered, figures
from huecry.retrieval.evaluate import Features
from huecry.training.labels import LabelTable, RelabelConfig
from huecry.training.trainer import EpochContext, Trainer

PLAIN: dict[str, Any] = {
    "k1": 3,
    "k2": 1,
    "min_samples": 2,
    "eps": 0.5,
    "reliability": False,
    "refine": False,
    "start": 0,
}
PSEUDO = ("data.labels=pseudo", "relabel.start=0", "relabel.k1=4", "relabel.k2=2", "relabel.min_samples=2")


def photographs(persons: int, photos: int = 3, captions: int = 2) -> PhotoSet:
    names = [(person, photo) for person in range(persons) for photo in range(photos)]
    said = tuple(f"caption {number}" for number in range(captions))
    return PhotoSet("train", [Record(Path(f"{p}_{n}.png"), said, str(p), f"{p}_{n}.png") for p, n in names])


def around(centres: list[int], width: int = 8) -> torch.Tensor:
    """A feature near the axis of each number; every negative one is far from all others."""
    generator = torch.Generator().manual_seed(0)
    features = 0.05 * torch.randn(len(centres), width, generator=generator)
    for row, centre in enumerate(centres):
        features[row, centre if centre >= 0 else width // 2 - centre] += 1
    return features


remembered: list[torch.Tensor] = []


def context(epoch: int, photos: PhotoSet, features: Features, table: LabelTable | None = None) -> Any:
    lines: list[dict[str, Any]] = []
    table = LabelTable(photos, "pseudo") if table is None else table
    remembered.clear()

    def remember(*given: torch.Tensor) -> None:
        remembered.extend(given)

    made = EpochContext(epoch, 0, np.random.default_rng(0), photos, table, lambda: features, lines.append, remember)
    return made, table, lines


PHOTOS = photographs(3, captions=1)
IMAGES = around([0, 0, 0, 1, 1, 1, 2, 2, -1])
TEXTS = around([0, 0, 0, 1, 1, 1, 3, 3, 3])
FEATURES = Features(IMAGES, TEXTS, torch.ones(9, dtype=torch.bool))


@pytest.mark.parametrize(
    ("source", "image", "text"),
    [
        ("image", [0, 0, 0, 1, 1, 1, 2, 2, 3], [0, 0, 0, 1, 1, 1, 2, 2, 3]),
        ("text", [0, 0, 0, 1, 1, 1, 2, 2, 2], [0, 0, 0, 1, 1, 1, 2, 2, 2]),
        ("both", [0, 0, 0, 1, 1, 1, 2, 2, 3], [0, 0, 0, 1, 1, 1, 2, 2, 2]),
    ],
)
def test_what_is_published(source: str, image: list[int], text: list[int]) -> None:
    made, table, lines = context(0, PHOTOS, FEATURES)
    assert table.image.tolist() == list(range(9))  # pairs until then
    Relabel(RelabelConfig(**PLAIN | {"source": source}))(made)
    assert table.image.tolist() == image  # the last photograph is alone: a number of its own
    assert table.text.tolist() == text
    (line,) = lines
    assert line["labels"]["clusters"] == 3
    assert line["labels"]["alone"] == pytest.approx(0 if source == "text" else 1 / 9)


def test_captions_of_one_photograph_share_its_label_even_if_it_is_alone() -> None:
    photos = photographs(3)
    made, table, _ = context(0, photos, Features(IMAGES, around([0] * 18), torch.ones(9, dtype=torch.bool)))
    Relabel(RelabelConfig(**PLAIN))(made)
    assert table.text.tolist() == table.image[photos.row_image].tolist()
    assert table.image[8] == 3


def test_refinement_gives_the_photograph_alone_the_cluster_of_its_captions() -> None:
    image, text, _ = clustered(FEATURES, PHOTOS, RelabelConfig(**PLAIN | {"refine": True}), [None, None])
    assert image.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert text.tolist() == image[PHOTOS.row_image].tolist()


def test_a_photograph_that_cannot_be_read_is_alone() -> None:
    readable = torch.ones(9, dtype=torch.bool)
    readable[4] = False
    image, _, _ = clustered(Features(IMAGES, TEXTS, readable), PHOTOS, RelabelConfig(**PLAIN), [None, None])
    assert image[4] == ALONE


def test_figures_of_labels() -> None:
    found = figures(np.array([0, 0, 0, 1, 1, 1, 2, 2, -1]), np.repeat([0, 1, 2], 3), PHOTOS)
    assert (found["clusters"], found["text_clusters"]) == (3, 3)
    assert found["largest"] == pytest.approx(1 / 3)
    assert found["text_ari"] == found["text_nmi"] == pytest.approx(1)
    assert 0.5 < found["ari"] < 1
    unknown = PhotoSet("train", [Record(Path("a"), ("x",), None, "a"), Record(Path("b"), ("y",), None, "b")])
    assert "ari" not in figures(np.array([0, 0]), np.array([0, 0]), unknown)


def test_when_it_clusters() -> None:
    hook = Relabel(RelabelConfig(**PLAIN | {"start": 2, "every": 3}))
    table = LabelTable(PHOTOS, "pseudo")
    done = []
    for epoch in range(9):
        made, _, lines = context(epoch, PHOTOS, FEATURES, table)
        hook(made)
        done += [epoch] * len(lines)
    assert done == [2, 5, 8]


@pytest.mark.parametrize("centres", [[0] * 9, list(range(9))], ids=["one cluster", "all alone"])
def test_clusterings_that_tell_nobody_apart(centres: list[int]) -> None:
    lost = Features(around(centres, 12), TEXTS, torch.ones(9, dtype=torch.bool))
    hook = Relabel(RelabelConfig(**PLAIN | {"k1": 9, "eps": 0.3}))
    made, table, _ = context(0, PHOTOS, FEATURES)
    hook(made)
    before = table.image.tolist()
    for epoch in (1, 2):
        with pytest.warns(UserWarning, match=f"epoch {epoch}: .* the labels stay"):
            hook(context(epoch, PHOTOS, lost, table)[0])
        assert table.image.tolist() == before
    hook(context(3, PHOTOS, FEATURES, table)[0])  # counted from anew
    for epoch in (4, 5):
        with pytest.warns(UserWarning, match="the labels stay"):
            hook(context(epoch, PHOTOS, lost, table)[0])
    with pytest.raises(UserError, match=r"relabel\.eps=0\.3"):
        hook(context(6, PHOTOS, lost, table)[0])


def test_the_threshold_of_reliability_is_set_once(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[float | None] = []
    original = module.reliable

    def watched(*arguments: Any) -> Any:
        given.append(arguments[3])
        return original(*arguments)

    monkeypatch.setattr(module, "reliable", watched)
    hook = Relabel(RelabelConfig(**PLAIN | {"reliability": True, "source": "both"}))
    table = LabelTable(PHOTOS, "pseudo")
    for epoch in range(2):
        hook(context(epoch, PHOTOS, FEATURES, table)[0])
    assert given[:2] == [None, None]
    assert given[2:] == table.thresholds.tolist()
    assert (table.thresholds >= 0).all()


ALL_FIVE = ("tasks.moco.queue_size=32", "tasks.clustering.mine=1.0")
ALL_FIVE += tuple(f"tasks.{name}.weight=0.5" for name in ("colour_words", "colourise", "grayscale"))


def assert_same_run(one: Path, other: Path) -> None:
    """Two run folders tell the same story, to the last bit."""
    for name in ("metrics.jsonl", "results.json"):
        assert (one / name).read_text() == (other / name).read_text()
    models = [load_file(run / "model" / "model.safetensors") for run in (one, other)]
    assert all(torch.equal(weight, models[1][key]) for key, weight in models[0].items())


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["in the epoch", "before its first step"])
def test_a_run_that_dies_goes_on_with_the_same_bits(
    moment: str, make_photos: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_photos(persons=6, photos=3, captions=2)
    changes = (
        "train.max_steps=12",
        "train.epochs=3",
        "train.log_every=2",
        "data.sampler=identity",
        "eval.every=3",
        *PSEUDO,
    )
    changes += ("tasks.contrastive.positives=identity",)
    assert main(stage(folder, tmp_path / "alone", *changes)) == 0
    original = Trainer._micro_batch
    deadly = 4 if moment == "before its first step" else 6

    def dies(self: Trainer, batch: Any, update: bool) -> None:
        if self.progress.step == deadly:
            raise KeyboardInterrupt  # no snapshot is taken: as SIGKILL leaves it
        original(self, batch, update)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_micro_batch", dies)
        assert main(stage(folder, tmp_path / "died", *changes)) == 130
    assert main(stage(folder, tmp_path / "died", *changes, "train.resume=true")) == 0
    assert_same_run(tmp_path / "alone", tmp_path / "died")
    lines = [json.loads(line) for line in (tmp_path / "alone" / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines if "labels" in line] == [0, 1, 2]
    shutil.rmtree(tmp_path / "died")


@pytest.mark.slow
@pytest.mark.parametrize("delay", [0.0, 0.1, 0.3, 0.7])
def test_killed_at_any_moment_of_all_five_tasks(delay: float, make_photos: Any, tmp_path: Path) -> None:
    """SIGKILL at a time after each epoch's snapshot, which relabelling follows; then once more to the end."""
    folder = make_photos(persons=6, photos=3, captions=2)
    changes = ("train.max_steps=null", "train.epochs=4", "train.log_every=1", "eval.every=4", *PSEUDO, *ALL_FIVE)
    assert main(stage(folder, tmp_path / "alone", *changes)) == 0
    command = [sys.executable, "-m", "huecry.cli", *stage(folder, tmp_path / "died", *changes, "train.resume=true")]
    status, kills = kill_again_and_again(command, tmp_path / "died", delay)
    assert status == 0
    assert kills > 0
    assert_same_run(tmp_path / "alone", tmp_path / "died")


def test_pseudo_labels_serve_fine_tuning(photo_folder: Path, tmp_path: Path) -> None:
    arguments = stage(photo_folder, tmp_path / "run", *PSEUDO, "model.source=tiny")
    arguments = ["finetune", *(one for one in arguments[1:] if not one.startswith("tasks."))]
    assert main(arguments) == 0
    assert '"labels"' in (tmp_path / "run" / "metrics.jsonl").read_text()
