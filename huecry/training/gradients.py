"""How strongly each task pulls at the shared towers, and whether two tasks pull the same way."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import torch

from huecry.data.loader import Batch
from huecry.training.task import weight_at

if TYPE_CHECKING:
    from huecry.training.bundle import Bundle


def task_gradients(bundle: Bundle, batch: Batch) -> dict[str, float]:
    """Norms and cosines of the tasks' weighted gradients on this process's batch, over all weights of the towers.

    Keys: `norm/<task>` and `cosine/<task>~<task>`; a task without weight, or without a gradient, has cosine 0. Costs
    one forward pass and a backward pass a task; gradients in use are left alone.
    """
    weights = [parameter for parameter in bundle.towers.parameters() if parameter.requires_grad]
    pulls: dict[str, torch.Tensor] = {}
    for name, (loss, _) in bundle.task_losses(batch).items():
        scaled = weight_at(bundle.task_list[name].config, bundle.step) * loss
        parts = torch.autograd.grad(scaled, weights, retain_graph=True, allow_unused=True, materialize_grads=True)
        pulls[name] = torch.cat([part.flatten() for part in parts])
    bundle.forget()
    norms = {name: pull.norm() for name, pull in pulls.items()}
    found = {f"norm/{name}": float(norm) for name, norm in norms.items()}
    for first, second in combinations(pulls, 2):
        cosine = pulls[first] @ pulls[second] / (norms[first] * norms[second]).clamp(min=1e-20)
        found[f"cosine/{first}~{second}"] = float(cosine)
    return found
