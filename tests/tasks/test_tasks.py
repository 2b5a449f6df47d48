"""What every loss must do: gradients, precision, state; and what the colour tasks cost together."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch

from huecry.config import build_recipe
from huecry.errors import UserError
from huecry.tasks import TASKS

COLOUR: dict[str, Any] = {"colour_words": {}, "colourise": {}, "grayscale": {}}
SEMI_HARD = {"mining": "semi_hard", "reduction": "sum"}  # who is eligible changes by leaps
EACH = [
    {"contrastive": {"positives": "instance"}},
    {"contrastive": {}},
    {"sdm": {}},
    {"identity": {}},
    {"identity": {"mutual": 0.5, "scale": 28.0}},
    {"n_itc": {"multi_view": True, "text_iou": 0.5}},
    {"r_itc": {"smoothing": 0.1}},
    {"c_itc": {}},
    {"cmpm": {}},
    {"cmpm": {"compat": "l2"}},
    {"cmpc": {}},
    {"triplet": {"mirror": True, "intra": True, "adaptive": 1.0}},
    {"triplet": SEMI_HARD},
    {"triplet": {"mining": "all", "margin": None}},
    {"triplet": {"form": "pairs"}},
    {"triplet": {"form": "quadruplet", "margin": 1.0}},
    {"compound_ranking": {}},
    {"tal": {}},
    {"tal": {"select": 0.3, "division": True}},
    {"align": {}},
    {"hetero_centre": {}},
    {"simclr": {}},
    {"colour_detection": {}},
    {"mlm": {}},
    {"mlm": {"head": "cross", "blocks": 2}},
    {"colour_words": {}},
    {"colour_words": {"head": "irra", "target": "vocab"}},
    {"colourise": {}},
    {"colourise": {"loss": "bins"}},
    {"colourise": {"hide": "channels"}},
    {"grayscale": {}},
    {"grayscale": {"identities": True}},
    {"clustering": {}},
    {"clustering": {"mine": 1.0, "match": 0.0, "margin": 2.5, "across": 1.0}},
    {"moco": {"negatives": "union", "queue_size": 32}},
    {"moco": {"negatives": "multi_positive", "queue_size": 32}},
    {"moco": {"negatives": "union", "queue_size": 32, "intra": True, "image_key": "rgb2"}},
]
TAUGHT = {"identity", "grayscale", "n_itc", "tal", "compound_ranking"}
"""Tasks in which a part of the loss has no gradient by intent, or whose gradient is zero at the start."""
DIFFERENTIABLE = [
    *(tasks for tasks in EACH if not TAUGHT & tasks.keys() and tasks != {"triplet": SEMI_HARD}),
    {"grayscale": {"mutual": 0.0}},
    {"n_itc": {"distil": 0.0, "multi_view": True, "text_iou": 0.5}},
]


@pytest.mark.parametrize("tasks", DIFFERENTIABLE)
def test_gradients_reach_both_towers_and_agree_with_differences(tasks: dict[str, Any], drawn: Any) -> None:
    bundle, batch = drawn(tasks)
    loss, _ = bundle(batch)
    loss.backward()
    for side in ("image",) if "simclr" in tasks else ("image", "text"):
        name = f"{side}.layers.1.mlp.fc1.weight"
        weight = bundle.towers.get_parameter(name)
        assert weight.grad is not None
        direction = torch.randn(weight.shape, generator=torch.Generator().manual_seed(0)) * 1e-3
        with torch.no_grad():
            weight.add_(direction)
            above = bundle(batch)[0].item()
            weight.sub_(2 * direction)
            below = bundle(batch)[0].item()
            weight.add_(direction)
        assert above - below == pytest.approx(2 * float((weight.grad * direction).sum()), rel=0.05, abs=1e-4)


@pytest.mark.parametrize("tasks", EACH)
def test_losses_are_finite_in_bf16_and_near_fp32(tasks: dict[str, Any], drawn: Any) -> None:
    bundle, batch = drawn(tasks)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half, _ = bundle(batch)
    full, _ = bundle(batch)
    assert half.dtype == torch.float32
    assert torch.isfinite(half)
    assert half.item() == pytest.approx(full.item(), rel=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("tasks", EACH)
def test_state_round_trip(tasks: dict[str, Any], drawn: Any) -> None:
    bundle, batch = drawn(tasks)
    with torch.no_grad():
        for parameter in bundle.parameters():
            parameter.mul_(1.1)
    before = bundle(batch)[0].item()
    other, _ = drawn(tasks)
    other.load_state_dict(bundle.state_dict())
    assert other(batch)[0].item() == before


FIVE = {**COLOUR, "moco": {"queue_size": 32}, "clustering": {"mine": 1.0}}


@pytest.mark.parametrize(("tasks", "without_gradient"), [(COLOUR, 0), (FIVE, 1)], ids=["colour", "all five"])
def test_all_tasks_together_run_two_passes_of_each_tower(
    tasks: dict[str, Any], without_gradient: int, drawn: Any
) -> None:
    bundle, batch = drawn({"contrastive": {"positives": "instance"}, **tasks})
    passes: Counter[tuple[str, bool]] = Counter()
    for kind in ("image", "text"):
        for towers in (bundle.towers, *([bundle.momentum.towers] if bundle.momentum else [])):
            getattr(towers, kind).register_forward_hook(
                lambda *_, kind=kind: passes.update([(kind, torch.is_grad_enabled())])
            )
    loss, logs = bundle(batch)
    loss.backward()
    bundle.after_backward()
    for kind in ("image", "text"):
        assert (passes[kind, True], passes[kind, False]) == (2, without_gradient)
    assert {"contrastive", *tasks} <= logs.keys()


def test_augmentation_that_turns_colours_is_refused_with_both_keys() -> None:
    for task, augmentation in (
        *((task, key) for task in COLOUR for key in ("hue", "saturation", "grayscale")),
        ("colour_words", "erase_area"),
    ):
        with pytest.raises(UserError) as refused:
            build_recipe("r", {"tasks": {task: {}}}, [f"views.rgb.{augmentation}=0.3"], TASKS)
        assert f"views.rgb.{augmentation}" in str(refused.value)
        assert f"tasks.{task}" in str(refused.value)


def test_masked_channels_are_refused_beside_the_grey_branch() -> None:
    stanzas = {"colourise": {"hide": "channels"}, "grayscale": {}}
    with pytest.raises(UserError) as refused:
        build_recipe("r", {"tasks": stanzas}, [], TASKS)
    assert "tasks.colourise.hide=colour" in str(refused.value)
    assert "tasks.grayscale=null" in str(refused.value)
    build_recipe("r", {"tasks": stanzas}, ["tasks.grayscale=null"], TASKS)


@pytest.mark.parametrize(
    "change",
    [
        *("colour_words.head=x", "colour_words.target=x", "colour_words.blocks=0", "colour_words.smoothing=1"),
        *("colourise.loss=x", "colourise.hide=x", "colourise.blocks=0", "colourise.width=8", "colourise.uncoloured=-1"),
        *("grayscale.export=x", "grayscale.scale=0", "grayscale.mutual=-1", "grayscale.identity=-1"),
        *("moco.negatives=x", "moco.image_key=text", "moco.text_key=rgb", "moco.queue_size=0", "moco.temperature=0"),
        *("clustering.unit=x", "clustering.momentum=2", "clustering.floor=-1", "clustering.match=-1"),
        *(
            "clustering.across=-1",
            "clustering.mine=-1",
            "clustering.temperature=0",
            "clustering.nearest=1",
            "clustering.margin=-1",
        ),
        *("n_itc.same_person=2", "n_itc.smoothing=-1", "n_itc.text_iou=2", "n_itc.distil=2", "n_itc.distil_steps=-1"),
        *("cmpm.compat=x", "sdm.compat=x", "identity.mutual=-1", "identity.mutual_start=-1", "align.match_scale=0"),
        *("triplet.mining=x", "triplet.form=x", "triplet.reduction=x", "triplet.margin=-1", "triplet.adaptive=-1"),
        *(
            "compound_ranking.margin=null",
            "compound_ranking.weak=-1",
            "tal.temperature=0",
            "tal.margin=-1",
            "tal.select=0",
        ),
        *("mlm.head=x", "mlm.blocks=0", "simclr.temperature=0", "simclr.hidden=0", "colour_detection.blocks=0"),
        *("moco.alpha=2", "moco.alpha_steps=-1", "moco.intra=true"),
    ],
)
def test_a_wrong_value_names_its_key(change: str) -> None:
    task, _, rest = change.partition(".")
    with pytest.raises(UserError, match=rf"tasks\.{task}") as refused:
        build_recipe("r", {"tasks": {task: {}}}, [f"tasks.{change}"], TASKS)
    assert rest.partition("=")[0] in str(refused.value)
