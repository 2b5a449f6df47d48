"""What every loss must do: gradients, precision, state."""

from __future__ import annotations

from typing import Any

import pytest
import torch

ROWS = 12


@pytest.mark.parametrize("tasks", [{"contrastive": {"positives": "instance"}}, {"contrastive": {}}, {"sdm": {}}])
def test_gradients_reach_both_towers_and_agree_with_differences(tasks: dict[str, Any], step: Any) -> None:
    bundle, batch, *_ = step(tasks)
    loss, _ = bundle(batch)
    loss.backward()
    for name in ("image.projection.weight", "text.projection.weight"):
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


@pytest.mark.parametrize("tasks", [{"contrastive": {"positives": "instance"}}, {"sdm": {}}, {"identity": {}}])
def test_losses_are_finite_in_bf16_and_near_fp32(tasks: dict[str, Any], step: Any) -> None:
    bundle, batch, *_ = step(tasks)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half, _ = bundle(batch)
    full, _ = bundle(batch)
    assert half.dtype == torch.float32
    assert torch.isfinite(half)
    assert half.item() == pytest.approx(full.item(), rel=0.05)


@pytest.mark.parametrize("tasks", [{"contrastive": {}}, {"sdm": {}}, {"identity": {}}])
def test_state_round_trip(tasks: dict[str, Any], step: Any) -> None:
    bundle, batch, *_ = step(tasks)
    with torch.no_grad():
        for parameter in bundle.parameters():
            parameter.mul_(1.1)
    before = bundle(batch)[0].item()
    other, *_ = step(tasks)
    other.load_state_dict(bundle.state_dict())
    assert other(batch)[0].item() == before
