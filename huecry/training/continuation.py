"""A run that begins from a snapshot: besides the towers it takes up heads, queues and momentum towers.

This is a new run, with its own recipe and schedule. The same run goes on by `train.resume=true` instead.
"""

from __future__ import annotations

import json
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from huecry.errors import UserError
from huecry.towers.hub import fetch
from huecry.training.bundle import Bundle
from huecry.training.snapshot import STATE


def take_up(bundle: Bundle, source: str, fingerprint: str) -> str | None:
    """Load into a bundle what the snapshot that its towers came from holds beside them; returns a line to print.

    source: as in `model.source`: a snapshot's folder, or `hf:org/name` of one; of any other nothing is taken, and None
    returned. fingerprint: of the training data. On data other than the snapshot's only parameters are taken up: queues,
    memories and labels are about rows of the old ones. An objective whose tensors are missing there, or of other
    shapes, begins anew as a whole. Raises UserError for a snapshot that cannot be read.
    """
    folder = Path(fetch(source)).expanduser()
    weights = folder / "bundle.safetensors"
    if not (folder / STATE).is_file() or not weights.is_file():
        return None
    try:
        state = json.loads((folder / STATE).read_text(encoding="utf-8"))
        same, step = state["data"] == fingerprint, int(state["step"])
        saved = load_file(weights)
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise UserError(f"{source}: its snapshot cannot be read ({error}); download it again") from error
    parts: dict[str, tuple[str, nn.Module]] = {
        name: (f"tasks.{name}.", task) for name, task in bundle.task_list.items()
    }
    if bundle.momentum is not None:
        parts["momentum towers"] = ("momentum.", bundle.momentum)
    if same:
        parts["labels"] = ("labels.", bundle.labels)
    taken = [name for name, (prefix, part) in parts.items() if _load(part, prefix, saved, same)]
    anew = [name for name, (_, part) in parts.items() if name not in taken and part.state_dict()]
    line = f"{source}: snapshot of step {step}; taken up: {', '.join(['towers', *taken])}"
    line += f"; begun anew: {', '.join(anew)}" if anew else ""
    return line if same else f"{line}; other training data, so queues, memories and labels begin anew"


def _load(part: nn.Module, prefix: str, saved: dict[str, Tensor], buffers: bool) -> bool:
    """Fill a part of the bundle from a snapshot, if all of it is there; whether anything was taken."""
    own = part.state_dict() if buffers else {name: weight.data for name, weight in part.named_parameters()}
    found = {name: saved[prefix + name] for name in own if prefix + name in saved}
    if not own or any(name not in found or found[name].shape != tensor.shape for name, tensor in own.items()):
        return False
    part.load_state_dict(found, strict=False)
    return True
