"""The momentum queue: its loss against a slow twin, and what the queue holds."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from huecry.errors import UserError
from huecry.training.encode import encode_view

ROWS = 12
MODES = ("mask", "union", "multi_positive")


def filled(bundle: Any, rows: list[int], seed: int = 5) -> Any:
    """The task, its queues filled with other keys of these dataset rows."""
    task = bundle.tasks["moco"]
    generator = torch.Generator().manual_seed(seed)
    for queue in (task.image_keys, task.text_keys):
        queue.copy_(F.normalize(torch.randn(queue.shape, generator=generator), dim=1))
    task.rows.copy_(torch.tensor(rows))
    return task


def softmax_loss(logits: dict[Any, float], target: dict[Any, float]) -> float:
    top = max(logits.values())
    total = sum(math.exp(value - top) for value in logits.values())
    return -sum(share * (logits[key] - top - math.log(total)) for key, share in target.items())


@pytest.mark.parametrize("intra", [False, True])
@pytest.mark.parametrize("negatives", MODES)
def test_loss(negatives: str, intra: bool, drawn: Any, twin: Any) -> None:
    config = {"negatives": negatives, "queue_size": 9, "weight": 1.0, "temperature": 0.2, "alpha": 0.3, "intra": intra}
    bundle, batch = drawn({"moco": {**config, "image_key": "rgb2" if intra else "rgb"}})
    assert bundle.momentum is not None
    with torch.no_grad():
        for parameter in bundle.momentum.parameters():
            parameter.mul_(1.05)
    rows = [-1, *batch.row[[0, 3, 7]].tolist(), 0, 5, -1, 11, 17]
    task = filled(bundle, rows)
    loss, logs = bundle(batch)

    views = {name: batch.views[name] for name in bundle.views}
    towers, slow = bundle.towers, bundle.momentum.towers
    with torch.no_grad():
        anchors = [encode_view(towers, view, views[view]).pooled for view in ("rgb", "text")]
        keys = [encode_view(slow, view, views[view]).pooled for view in ("rgb2" if intra else "rgb", "text")]
    queues = [task.image_keys, task.text_keys]
    labels, row_image = bundle.labels.of(batch.row).tolist(), bundle.labels.row_image.tolist()
    by_row = bundle.labels.by_row.tolist()
    images = batch.image.tolist()

    def same(i: int, row: int) -> bool:
        return row >= 0 and ((by_row[row] == labels[i] and labels[i] >= 0) or row_image[row] == images[i])

    total = 0.0
    ways = [(0, 1), (1, 0)] + ([(0, 0), (1, 1)] if intra else [])
    for anchor, other in ways:
        to_keys, to_queue = (twin.cosines(anchors[anchor], one) for one in (keys[other], queues[other]))
        taught_keys, taught_queue = (twin.cosines(keys[anchor], one) for one in (keys[other], queues[other]))
        for i in range(ROWS):
            if negatives == "multi_positive":
                kept = [k for k, row in enumerate(rows) if row >= 0]
                logits = {("b", j): to_keys[i][j] / 0.2 for j in range(ROWS)}
                logits |= {("q", k): to_queue[i][k] / 0.2 for k in kept}
                names = list(logits)
                taught = [taught_keys[i][n] if kind == "b" else taught_queue[i][n] for kind, n in names]
                taught = twin.softmax([value / 0.2 for value in taught])
                equal = [twin.match(batch, labels, i, n) if kind == "b" else same(i, rows[n]) for kind, n in names]
                target = {
                    name: 0.3 * share + 0.7 * hit / sum(equal)
                    for name, share, hit in zip(names, taught, equal, strict=True)
                }
            else:
                if negatives == "mask":
                    kept = [k for k, row in enumerate(rows) if row >= 0 and not same(i, row)]
                else:
                    kept = [k for k, row in enumerate(rows) if not any(same(j, row) for j in range(ROWS))]
                logits = {"own": to_keys[i][i] / 0.2, **{k: to_queue[i][k] / 0.2 for k in kept}}
                target = {"own": 1.0}
            total += softmax_loss(logits, target) / ROWS
    assert loss.item() == pytest.approx(2 * total / len(ways), rel=1e-4)
    assert logs["moco/filled"].item() == pytest.approx(7 / 9)


def test_the_queue_holds_the_last_keys_and_wraps_around(make_batch: Any) -> None:
    bundle, batch = make_batch({"moco": {"queue_size": 20}}, ROWS, unknown_from=5)
    task = bundle.tasks["moco"]
    assert (task.rows == -1).all()
    for _ in range(2):
        bundle(batch)
        bundle.after_backward()
    rows = batch.row.tolist()
    assert task.rows.tolist() == rows[8:] + rows[4:] + rows[:8]
    assert (task.pointer.item(), task.batches.item()) == (4, 2)
    assert bundle.momentum is not None
    features = bundle({"rgb": batch.views["rgb"], "text": batch.views["text"]}, mode="encode")  # m = 0 so far: equal
    for queue, view in ((task.image_keys, "rgb"), (task.text_keys, "text")):
        unit = F.normalize(features[view], dim=1)
        assert torch.allclose(queue, torch.cat([unit[8:], unit[4:], unit[:8]]), atol=1e-5)


def test_the_queue_is_read_as_it_was_before_the_batch(drawn: Any) -> None:
    bundle, batch = drawn({"moco": {"queue_size": 16}})
    first, _ = bundle(batch)
    assert first.item() == 0  # nobody is in the queue
    bundle.after_backward()
    second, _ = bundle(batch)
    third, _ = bundle(batch)
    assert second.item() == third.item() > 0


def test_a_queue_of_the_anchors_own_person_gives_no_loss(make_batch: Any) -> None:
    bundle, batch = make_batch({"moco": {"queue_size": 8}}, ROWS, unknown_from=5)
    row = int(batch.row[0])
    person = bundle.labels.by_row
    own = [int(r) for r in (person == person[row]).nonzero().flatten()][:8]
    assert len(own) > 1
    filled(bundle, (own * 8)[:8])
    alone = (bundle.labels.of(batch.row) == person[row]).nonzero().flatten()
    batch = type(batch)(
        batch.row[alone],
        batch.image[alone],
        batch.person[alone],
        {view: tensor[alone] for view, tensor in batch.views.items()},
        {},
    )
    assert bundle(batch)[0].item() == 0


def test_labels_are_looked_up_as_they_are_now(drawn: Any) -> None:
    bundle, batch = drawn({"moco": {"queue_size": 18}})
    filled(bundle, list(range(18)))
    before = bundle(batch)[0].item()
    bundle.labels.publish(torch.zeros_like(bundle.labels.image), torch.zeros_like(bundle.labels.text))
    assert before > bundle(batch)[0].item() == 0
    bundle.labels.publish(torch.full_like(bundle.labels.image, -1), torch.full_like(bundle.labels.text, -1))
    assert bundle(batch)[0].item() > before  # nobody is known: only the own photograph's keys are left out


def test_keys_follow_the_momentum_towers(drawn: Any) -> None:
    bundle, batch = drawn({"moco": {"queue_size": ROWS}})
    keys = []
    for momentum in (1.0, 0.0):
        with torch.no_grad():
            for parameter in bundle.towers.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)) * 0.01)
        bundle.after_step(1, momentum)
        bundle(batch)
        bundle.after_backward()
        keys.append(bundle.tasks["moco"].image_keys.clone())
        live = F.normalize(bundle({"rgb": batch.views["rgb"]}, mode="encode")["rgb"], dim=1)
        assert torch.allclose(keys[-1], live, atol=1e-5) == (momentum == 0)


def test_the_momentum_share_grows(drawn: Any) -> None:
    bundle, batch = drawn({"moco": {"negatives": "multi_positive", "queue_size": 24, "alpha": 1.0, "alpha_steps": 2}})
    plain, _ = drawn({"moco": {"negatives": "multi_positive", "queue_size": 24, "alpha": 0.0}})
    whole, _ = drawn({"moco": {"negatives": "multi_positive", "queue_size": 24, "alpha": 1.0}})
    state = bundle.state_dict()
    for other in (plain, whole):
        other.load_state_dict(state)
    task = bundle.tasks["moco"]
    found = []
    for batches in (0, 1, 2, 7):
        task.batches.fill_(batches)
        found.append(bundle(batch)[0].item())
    ends = plain(batch)[0].item(), whole(batch)[0].item()
    assert found == pytest.approx([ends[0], sum(ends) / 2, ends[1], ends[1]], rel=1e-5)


def test_a_queue_shorter_than_a_batch_is_refused(drawn: Any) -> None:
    bundle, batch = drawn({"moco": {"queue_size": 5}})
    bundle(batch)
    with pytest.raises(UserError, match=r"tasks\.moco\.queue_size=5.* 12 keys"):
        bundle.after_backward()
