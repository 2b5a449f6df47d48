"""What a task may rely on: one pass a view, declared views only, momentum, labels, buffers, and order of events."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from huecry.data.loader import TrainingLoader, TrainingRows
from huecry.data.order import BatchOrder
from huecry.data.readers import read
from huecry.data.views import Shape, ViewsConfig
from huecry.training.task import Task, TaskConfig, weight_at

ROWS = 8


@dataclass
class ToyConfig(TaskConfig):
    """size: of the numbers that the preparer draws."""

    size: int = 3


def prepare_toy(sample: Any, generator: np.random.Generator) -> dict[str, np.ndarray]:
    return {"numbers": generator.random(3, dtype=np.float32), "length": np.array(len(sample.caption))}


class Toy(Task):
    """Uses every seam: several views, momentum, gathering, labels, a preparer, a buffer updated after backward."""

    Config = ToyConfig
    views = frozenset({"rgb", "gray", "text"})
    momentum = True
    seen: Tensor

    def __init__(self, config: Any, facts: Any) -> None:
        super().__init__(config, facts)
        self.head = torch.nn.Linear(facts.text_width, 1)
        self.register_buffer("seen", torch.zeros(facts.rows, dtype=torch.int64))

    @staticmethod
    def preparer(config: Any) -> Any:
        return prepare_toy

    def forward(self, encode: Any, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        colour, gray, key = encode("rgb"), encode("gray"), encode("rgb", momentum=True)
        assert encode("rgb") is colour
        text = encode("text")
        head = self.head(text.tokens).squeeze(-1)[text.valid].mean()
        loss = (colour.pooled - key.pooled).square().mean() + (gray.projected.mean() - head).square()
        return loss + batch["numbers"].mean(), {"labels": encode.labels.float().mean()}

    @torch.no_grad()
    def after_backward(self, encode: Any, batch: dict[str, Tensor]) -> None:
        assert encode("text").pooled.shape[0] == len(batch["row"])
        self.seen.index_add_(0, encode.gather_ids("row"), torch.ones_like(batch["row"]))


class Peeking(Task):
    """Reads a view that it did not declare."""

    views = frozenset({"gray"})

    def forward(self, encode: Any, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        return encode(self.view).pooled.sum(), {}

    view = "rgb"


class PeekingMomentum(Peeking):
    view = "gray"

    def forward(self, encode: Any, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        return encode("gray", momentum=True).pooled.sum(), {}


class ImagesOnly(Task):
    views = frozenset({"gray"})

    def forward(self, encode: Any, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        assert set(batch) == {"row", "image", "person", "gray"}
        return encode("gray").pooled.square().mean(), {}


TABLE = {"toy": Toy, "second": Toy, "peeking": Peeking, "peeking_momentum": PeekingMomentum, "images": ImagesOnly}


@pytest.fixture
def make(make_photos: Callable[..., Any], tiny_bundle: Callable[..., Any]) -> Callable[..., Any]:
    """Builds (bundle, batch) for stanzas of the toy tasks."""
    folder = make_photos(persons=4, photos=2, captions=2)

    def build(tasks: dict[str, Any], **sections: Any) -> Any:
        photos = read(folder)["train"]
        bundle = tiny_bundle(tasks, photos, table=TABLE, **sections)
        shape = Shape(bundle.towers.image_size, bundle.towers.context)
        prepare = {name: task.preparer(task.config) for name, task in bundle.tasks.items()}
        prepare = {name: function for name, function in prepare.items() if function}
        rows = TrainingRows(photos, sorted(bundle.views | {"rgb"}), ViewsConfig(), shape, prepare, 0, "error")
        order = np.random.default_rng(0).permutation(len(photos.row_image))
        (batch,) = TrainingLoader(rows, BatchOrder(ROWS, 0, 1), 0, False).epoch(order, 0, 0, 1)
        return bundle, batch

    return build


def count_passes(bundle: Any) -> dict[str, int]:
    counts = {"image": 0, "text": 0, "image_key": 0, "text_key": 0}

    def counting(name: str) -> Callable[..., None]:
        def hook(*_: Any) -> None:
            counts[name] += 1

        return hook

    bundle.towers.image.register_forward_hook(counting("image"))
    bundle.towers.text.register_forward_hook(counting("text"))
    if bundle.momentum is not None:
        bundle.momentum.towers.image.register_forward_hook(counting("image_key"))
        bundle.momentum.towers.text.register_forward_hook(counting("text_key"))
    return counts


def test_each_view_passes_its_tower_once_whatever_the_number_of_tasks(make: Any) -> None:
    bundle, batch = make({"toy": {}, "second": {}})
    counts = count_passes(bundle)
    loss, _ = bundle(batch)
    loss.backward()
    bundle.after_backward()
    assert counts == {"image": 2, "text": 1, "image_key": 1, "text_key": 0}


@pytest.mark.parametrize("name", ["peeking", "peeking_momentum"])
def test_reading_what_was_not_declared_is_an_error(name: str, make: Any) -> None:
    bundle, batch = make({name: {}})
    with pytest.raises(KeyError, match="without declaring"):
        bundle(batch)


def test_a_task_sees_its_own_views_only_and_the_unread_tower_is_frozen(make: Any) -> None:
    bundle, batch = make({"images": {}})
    bundle(batch)[0].backward()
    assert not any(parameter.requires_grad for parameter in bundle.towers.text.parameters())
    trained = [parameter for parameter in bundle.parameters() if parameter.requires_grad]
    assert all(parameter.grad is not None for parameter in trained)


def test_momentum_towers_follow_without_gradient(make: Any) -> None:
    bundle, batch = make({"toy": {}})
    assert all(not parameter.requires_grad for parameter in bundle.momentum.parameters())
    live = bundle.towers.image.projection.weight
    old = live.detach().clone()
    with torch.no_grad():
        live.add_(1.0)
    bundle.after_step(1, 0.75)
    assert torch.allclose(bundle.momentum.towers.image.projection.weight, old + 0.25, atol=1e-6)
    bundle.after_step(2, 1.0)
    assert torch.allclose(bundle.momentum.towers.image.projection.weight, old + 0.25, atol=1e-6)
    loss, _ = bundle(batch)
    loss.backward()
    assert all(parameter.grad is None for parameter in bundle.momentum.parameters())


def test_without_a_task_that_asks_there_is_no_momentum_pair(make: Any) -> None:
    bundle, _ = make({"images": {}})
    assert bundle.momentum is None


def test_buffers_are_updated_after_backward_and_saved(make: Any) -> None:
    bundle, batch = make({"toy": {}})
    bundle(batch)[0].backward()
    assert bundle.tasks["toy"].seen.sum() == 0
    bundle.after_backward()
    assert torch.equal(bundle.tasks["toy"].seen.nonzero().flatten(), batch.row.sort().values)
    other, _ = make({"toy": {}})
    other.load_state_dict(bundle.state_dict())
    assert torch.equal(other.tasks["toy"].seen, bundle.tasks["toy"].seen)


def test_preparers_reach_their_task_with_numbers_of_their_own(make: Any) -> None:
    _, batch = make({"toy": {}, "second": {}})
    assert batch.inputs["toy"]["numbers"].shape == (ROWS, 3)
    assert not torch.equal(batch.inputs["toy"]["numbers"], batch.inputs["second"]["numbers"])
    assert (batch.inputs["toy"]["length"] > 10).all()


@pytest.mark.parametrize("source", ["given", "pair"])
def test_labels_are_looked_up_by_dataset_row(source: str, make: Any) -> None:
    bundle, batch = make({"toy": {}}, data={"labels": source})
    expected = batch.person if source == "given" else batch.image
    assert torch.equal(bundle.labels.of(batch.row), expected)


def test_published_labels_are_read_at_once_and_saved(make: Any) -> None:
    bundle, batch = make({"toy": {}})
    image = torch.arange(len(bundle.labels.image)) % 3 - 1
    bundle.labels.publish(image, torch.full_like(bundle.labels.text, 7))
    assert torch.equal(bundle.labels.of(batch.row), image[batch.image])
    other, _ = make({"toy": {}})
    other.load_state_dict(bundle.state_dict())
    assert torch.equal(other.labels.image, image)
    assert (other.labels.text == 7).all()


def test_total_is_the_weighted_sum(make: Any) -> None:
    bundle, batch = make({"toy": {"weight": 2.0}, "images": {"weight": 0.25}})
    total, logs = bundle(batch)
    assert total.item() == pytest.approx(2.0 * float(logs["toy"]) + 0.25 * float(logs["images"]), rel=1e-6)


@pytest.mark.parametrize(
    ("ramp", "step", "expected"),
    [
        ("constant", 0, 0.0),
        ("constant", 10, 0.5),
        ("linear", 10, 0.0),
        ("linear", 15, 0.125),
        ("linear", 30, 0.5),
        ("linear", 99, 0.5),
        ("cosine", 20, 0.25),
        ("cosine", 30, 0.5),
    ],
)
def test_ramps(ramp: str, step: int, expected: float) -> None:
    config = TaskConfig(weight=0.5, ramp=ramp, ramp_start=10, ramp_steps=20)
    assert weight_at(config, step) == pytest.approx(expected)
