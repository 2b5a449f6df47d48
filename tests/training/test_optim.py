"""The optimiser's groups, Muon beside AdamW against each alone, and the rate as a function of the step."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import stage
from torch import nn

from huecry.cli import main
from huecry.config import build_recipe
from huecry.errors import UserError
from huecry.towers import ModelConfig, load_towers
from huecry.training.optim import (
    FreezeConfig,
    MuonAdamW,
    OptimConfig,
    build_optimizer,
    freeze,
    learning_rate,
    momentum_at,
)


def test_groups(tiny_bundle: Any) -> None:
    bundle = tiny_bundle({"identity": {}})
    config = OptimConfig(lr=1e-3, head_lr_scale=7.0, weight_decay=0.3)
    names = {id(parameter): name for name, parameter in bundle.named_parameters()}
    for group in build_optimizer(bundle, config).param_groups:
        for parameter in group["params"]:
            name = names[id(parameter)]
            assert group["scale"] == (7.0 if name.startswith("tasks.") else 1.0)
            plain = "norm" in name or name.endswith(("bias", "logit_scale", "class_embedding"))
            assert group["weight_decay"] == (0.0 if plain else 0.3), name


def test_muon_takes_the_matrices_of_linear_layers(tiny_bundle: Any) -> None:
    bundle = tiny_bundle({"colour_words": {"blocks": 1}})
    names = {id(parameter): name for name, parameter in bundle.named_parameters()}
    optimiser = build_optimizer(bundle, OptimConfig(lr=1e-3, head_lr_scale=7.0, muon=6.0))
    assert isinstance(optimiser, MuonAdamW)
    by_muon, by_adamw = (
        {names[id(parameter)] for group in part.param_groups for parameter in group["params"]}
        for part in optimiser.parts.values()
    )
    assert by_muon | by_adamw == set(names.values())
    assert not by_muon & by_adamw
    for name in ("image.layers.0.mlp.fc1", "text.layers.2.self_attn.q_proj", "text.projection"):
        assert f"towers.{name}.weight" in by_muon
    for name in ("image.patch.weight", "text.words.weight", "text.positions", "image.layers.0.mlp.fc1.bias"):
        assert f"towers.{name}" in by_adamw
    scales = {names[id(parameter)]: group["scale"] for group in optimiser.param_groups for parameter in group["params"]}
    assert scales["towers.text.projection.weight"] == 6.0
    assert scales["tasks.colour_words.hue.weight"] == 42.0
    assert scales["tasks.colour_words.hue.bias"] == 7.0
    assert scales["towers.text.words.weight"] == 1.0


def test_rates_fall_from_layer_to_layer(tiny_bundle: Any) -> None:
    """Four layers of the image tower and three of the text tower, by hand; above them the rate is the full one."""
    bundle = tiny_bundle({"colour_words": {"blocks": 1}})
    names = {id(parameter): name for name, parameter in bundle.named_parameters()}
    optimiser = build_optimizer(bundle, OptimConfig(head_lr_scale=7.0, muon=6.0, layer_decay=0.5))
    scales = {names[id(parameter)]: group["scale"] for group in optimiser.param_groups for parameter in group["params"]}
    expected = {
        "towers.image.positions": 0.5**5,
        "towers.image.pre_norm.weight": 0.5**5,
        "towers.image.layers.0.mlp.fc1.bias": 0.5**4,
        "towers.image.layers.3.mlp.fc1.weight": 6 * 0.5,
        "towers.image.norm.weight": 1,
        "towers.text.words.weight": 0.5**4,
        "towers.text.layers.0.mlp.fc1.weight": 6 * 0.5**3,
        "towers.text.layers.2.layer_norm1.weight": 0.5,
        "towers.text.projection.weight": 6,
        "towers.logit_scale": 1,
        "tasks.colour_words.hue.bias": 7,
    }
    assert {name: scales[name] for name in expected} == expected
    assert scales.keys() == set(names.values())


def test_what_is_frozen(tiny_bundle: Any) -> None:
    towers = tiny_bundle({"contrastive": {}}).towers
    before = {name for name, parameter in towers.named_parameters() if parameter.requires_grad}
    freeze(towers, FreezeConfig())
    assert {name for name, parameter in towers.named_parameters() if parameter.requires_grad} == before
    freeze(towers, FreezeConfig(image=0.5, text=1.0))
    frozen = {name for name, parameter in towers.named_parameters() if not parameter.requires_grad}
    below = ("image.patch", "image.class", "image.positions", "image.pre_norm", "image.layers.0.", "image.layers.1.")
    assert frozen == {name for name in before if name.startswith((*below, "text."))}


def test_something_must_learn() -> None:
    with pytest.raises(UserError, match=r"^optim\.freeze: both towers whole"):
        build_recipe("toy", {}, ["optim.freeze.image=1", "optim.freeze.text=1"], {})


def test_a_run_leaves_what_is_frozen_as_it_was(photo_folder: Path, tmp_path: Path, capsys: Any) -> None:
    changes = ("model.source=tiny", "optim.freeze.image=0.5", "optim.freeze.text=1", "optim.layer_decay=0.8")
    run = stage(photo_folder, tmp_path / "run", *changes, "train.gradients_every=1")
    assert main([*run, "--dry-run"]) == 0
    assert " M of them frozen, pictures 128x64" in capsys.readouterr().out
    assert main(run) == 0
    before, after = (load_towers(ModelConfig(source)).state_dict() for source in ("tiny", str(tmp_path / "run")))
    same = {name for name in before if torch.equal(before[name], after[name])}
    learnt = {name for name in before if name.startswith(("image.layers.2", "image.layers.3", "image.norm"))}
    learnt = {name for name in learnt if "k_proj.bias" not in name}  # softmax does not see it: no gradient to speak of
    assert same >= {name for name in before if name.startswith(("text.", "image.layers.0", "image.layers.1"))}
    assert not same & {*learnt, "image.projection.weight"}


def layers() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.Linear(8, 2))


def learn(model: nn.Module, optimisers: list[torch.optim.Optimizer], steps: int) -> None:
    generator = torch.Generator().manual_seed(steps)
    for _ in range(steps):
        for optimiser in optimisers:
            optimiser.zero_grad()
        model(torch.randn(5, 6, generator=generator)).square().sum().backward()
        for optimiser in optimisers:
            for group in optimiser.param_groups:
                group["lr"] = 0.01 * group.get("scale", 1.0)
            optimiser.step()


def test_one_step_is_a_step_of_each() -> None:
    """Beside torch's two optimisers, each on its own share; the rate set from outside reaches both."""
    config = OptimConfig(lr=0.5, weight_decay=0.1, muon=3.0)
    ours, theirs = layers(), layers()
    matrices, rest = [theirs[0].weight, theirs[2].weight], [theirs[0].bias, *theirs[1].parameters(), theirs[2].bias]  # type: ignore[index, union-attr]
    muon = torch.optim.Muon(matrices, weight_decay=0.1, momentum=0.9, adjust_lr_fn="match_rms_adamw")  # type: ignore[arg-type]
    muon.param_groups[0]["scale"] = 3.0
    adamw = torch.optim.AdamW(rest, weight_decay=0.0, betas=(0.9, 0.98))  # type: ignore[arg-type]
    learn(ours, [build_optimizer(ours, config)], 4)
    learn(theirs, [muon, adamw], 4)
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one, other)
    assert not torch.equal(ours[0].weight, layers()[0].weight)  # type: ignore[index]


def test_the_state_goes_on_where_it_was() -> None:
    config = OptimConfig(muon=3.0)
    whole = layers()
    learn(whole, [build_optimizer(whole, config)], 3)
    first, second = build_optimizer(whole, config), None
    learn(whole, [first], 2)
    again = copy.deepcopy(whole)
    second = build_optimizer(again, config)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    learn(whole, [first], 3)
    learn(again, [second], 3)
    for one, other in zip(whole.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)


def test_learning_rate_warms_up_and_decays() -> None:
    config = OptimConfig(lr=2.0, warmup=0.1, schedule="cosine", final=0.25)
    rates = [learning_rate(config, step, 100) for step in range(100)]
    assert rates[0] == pytest.approx(0.2)
    assert rates[9] == pytest.approx(2.0)
    assert rates[55] == pytest.approx(2.0 * (0.25 + 0.75 * 0.5))
    assert rates == sorted(rates[:10]) + sorted(rates[10:], reverse=True)
    assert learning_rate(OptimConfig(lr=2.0, warmup=0.0, schedule="constant"), 99, 100) == 2.0
    trapezoid = OptimConfig(lr=2.0, warmup=0.1, schedule="trapezoid", final=0.25)
    found = [learning_rate(trapezoid, step, 100) for step in (0, 9, 10, 50, 75, 100)]
    assert found == pytest.approx([0.2, 2.0, 2.0, 2.0, 2.0 * 0.625, 0.5])
    assert math.isclose(learning_rate(OptimConfig(lr=1.0, warmup=0.0), 100, 100), 0.0, abs_tol=1e-12)
    steps = OptimConfig(lr=2.0, warmup=0.1, schedule="steps", milestones=[0.5, 0.875])
    found = [learning_rate(steps, step, 80) for step in (0, 7, 39, 40, 69, 70, 79)]
    assert found == pytest.approx([0.25, 2.0, 2.0, 0.2, 0.2, 0.02, 0.02])


def test_momentum_is_constant_or_grows_to_one() -> None:
    assert momentum_at(OptimConfig(momentum=0.9), 77, 100) == 0.9
    growing = OptimConfig(momentum=0.9, momentum_schedule="cosine")
    values = [momentum_at(growing, step, 100) for step in range(101)]
    assert values[0] == pytest.approx(0.9)
    assert values[50] == pytest.approx(0.95)
    assert values[100] == 1.0
    assert values == sorted(values)
