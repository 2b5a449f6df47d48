"""What training relies on: gradients, the bound on the scale, compilation in place, the momentum pair."""

import copy
import math

import pytest
import torch

from huecry.data.tokens import tokenize
from huecry.towers import ModelConfig, Momentum, Towers, load_towers

IDS = tokenize(["a man in red", "a woman in blue", "somebody in a green coat"])


def gradients(towers: Towers, pixels: torch.Tensor) -> dict[str, torch.Tensor]:
    towers.zero_grad()
    image, text = towers.encode_image(pixels), towers.encode_text(IDS)
    loss = towers.scale * (image.pooled * text.pooled).mean()
    (loss + image.projected.square().mean() + text.projected.square().mean()).backward()
    return {name: weight.grad.clone() for name, weight in towers.named_parameters() if weight.grad is not None}


def test_checkpointing_gives_the_same_gradients_for_every_weight(pixels):
    plain, frugal = (load_towers(ModelConfig(gradient_checkpointing=active)).train() for active in (False, True))
    expected, found = gradients(plain, pixels(128, 64)), gradients(frugal, pixels(128, 64))
    assert expected.keys() == found.keys() == dict(plain.named_parameters()).keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, msg=name)


def test_checkpointing_keeps_fewer_tensors(pixels):
    def kept(active: bool) -> int:
        towers = load_towers(ModelConfig(gradient_checkpointing=active)).train()
        sizes: list[int] = []

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            sizes.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            towers.encode_image(pixels(128, 64))
        return sum(sizes)

    assert kept(True) < kept(False) / 3


def test_the_scale_is_bounded_but_never_frozen():
    towers = load_towers(ModelConfig())
    towers.logit_scale.data.fill_(7.0)
    assert 99.99 < towers.scale.item() <= 100.0
    (slope,) = torch.autograd.grad(towers.scale, towers.logit_scale)
    assert slope.item() == pytest.approx(100.0, rel=1e-4)
    towers.logit_scale.data.fill_(math.log(20.0))
    assert towers.scale.item() == pytest.approx(20.0)


def test_compiled_blocks_keep_names_and_features(pixels):
    towers = load_towers(ModelConfig())
    names, images = list(towers.state_dict()), pixels(128, 64)
    expected = towers.encode_image(images).pooled, towers.encode_text(IDS).pooled
    towers.compile_blocks(backend="eager")
    assert list(towers.state_dict()) == names
    torch.testing.assert_close(towers.encode_image(images).pooled, expected[0])
    torch.testing.assert_close(towers.encode_text(IDS).pooled, expected[1])
    copy.deepcopy(towers).encode_text(IDS)


@pytest.mark.slow
def test_compiled_blocks_train_with_the_default_compiler(pixels):
    towers = load_towers(ModelConfig()).train()
    images = pixels(128, 64)
    expected = gradients(towers, images)
    towers.compile_blocks()
    for name, gradient in gradients(towers, images).items():
        torch.testing.assert_close(gradient, expected[name], atol=1e-4, rtol=1e-3, msg=name)


def test_momentum_is_the_average_and_leaves_the_scale_live(pixels):
    live = load_towers(ModelConfig(), seed=1)
    momentum = Momentum(live)
    start = {name: weight.clone() for name, weight in live.named_parameters()}
    with torch.no_grad():
        for weight in live.parameters():
            weight.add_(0.25)
    momentum.update(live, 0.9)
    for name, weight in momentum.towers.named_parameters():
        share = 0.25 if name == "logit_scale" else 0.025
        torch.testing.assert_close(weight, start[name] + share, msg=name)
        assert not weight.requires_grad
    assert not momentum.towers.encode_image(pixels(128, 64)).projected.requires_grad
    assert all(weight.requires_grad for weight in live.parameters())
    momentum.update(live, 0.0)
    for name, weight in momentum.towers.named_parameters():
        assert torch.equal(weight, live.get_parameter(name))


def test_momentum_state_round_trip():
    live, other = load_towers(ModelConfig(), seed=1), load_towers(ModelConfig(), seed=2)
    momentum = Momentum(live)
    momentum.update(other, 0.5)
    restored = Momentum(other)
    restored.load_state_dict(momentum.state_dict())
    for _ in range(2):
        momentum.update(other, 0.7)
        restored.update(other, 0.7)
    for name, weight in momentum.state_dict().items():
        assert torch.equal(weight, restored.state_dict()[name]), name
