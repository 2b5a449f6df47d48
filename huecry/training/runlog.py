"""What a run writes while it trains: metrics without clock values, timings apart, trackers.

`metrics.jsonl` has one line a log step and one an evaluation; two runs that do the same write the same file.
`timing.jsonl` holds seconds and samples a second.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from huecry.files import write_file, writing
from huecry.processes import gather

FILES = ("metrics.jsonl", "timing.jsonl")


class RunLog:
    """Collects logged scalars between lines and writes the lines, on the main process.

    sums, count: totals since the last line and the optimiser steps they stand for.
    """

    def __init__(self, folder: Path, accelerator: Accelerator) -> None:
        self.folder, self.accelerator = folder, accelerator
        self.sums: dict[str, Tensor] = {}
        self.count = 0
        self._clock = time.monotonic()

    def add(self, values: dict[str, Tensor], share: float = 1.0) -> None:
        """Add scalars, each weighing `share` of an optimiser step."""
        for name, value in values.items():
            value = value.detach().float() * share
            self.sums[name] = self.sums[name] + value if name in self.sums else value

    def means(self) -> dict[str, float]:
        """Mean a step, over all processes, of what was added since the last call."""
        names = sorted(self.sums)
        stacked = torch.stack([self.sums[name] for name in names]) / self.count
        self.sums, self.count = {}, 0
        return dict(zip(names, gather(stacked[None]).mean(dim=0).tolist(), strict=True))

    def not_finite(self, names: Sequence[str]) -> str | None:
        """The first of these scalars that was not finite, on any process, since the last line; None where all were."""
        kept = [name for name in names if name in self.sums]
        if not kept:
            return None
        finite = torch.stack([self.sums[name] for name in kept]).isfinite().int()
        everywhere = gather(finite[None]).amin(dim=0).tolist()
        return next((name for name, fine in zip(kept, everywhere, strict=True) if not fine), None)

    def write(self, line: dict[str, Any]) -> None:
        """Append a line with its `step` to the metrics and tell the trackers."""
        self._append("metrics.jsonl", line)
        flat: dict[str, Any] = {}
        for key, value in line.items():
            if isinstance(value, dict):
                flat.update({f"{key}/{name}": inner for name, inner in value.items()})
            else:
                flat[key] = value
        self.accelerator.log(flat, step=line["step"])

    def write_timing(self, step: int, samples: int) -> None:
        """Append how long the samples since the last call took."""
        now = time.monotonic()
        seconds, self._clock = now - self._clock, now
        self._append("timing.jsonl", {"step": step, "seconds": seconds, "samples_per_second": samples / seconds})

    def restart_clock(self) -> None:
        """Leave out of the next timing what was not training."""
        self._clock = time.monotonic()

    def state(self) -> dict[str, Any]:
        """What a snapshot keeps of this process, in plain values."""
        return {"count": self.count, "sums": {name: float(value) for name, value in self.sums.items()}}

    def restore(self, state: dict[str, Any] | None, step: int, epoch: int) -> None:
        """Go back to a snapshot's state at a step: lines written later, or of an epoch from this one on, are cut."""
        if state is not None:
            device = self.accelerator.device
            self.sums = {name: torch.tensor(value, device=device) for name, value in state["sums"].items()}
            self.count = state["count"]
        if self.accelerator.is_main_process:
            for name in FILES:
                _cut(self.folder / name, step, epoch)

    def _append(self, name: str, line: dict[str, Any]) -> None:
        if self.accelerator.is_main_process:
            with writing(self.folder / name), (self.folder / name).open("a") as file:
                file.write(json.dumps(line) + "\n")


def _cut(path: Path, step: int, epoch: int) -> None:
    """Drop the lines written after a step or of an epoch that is not begun, and a last line cut short."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text().splitlines():
        try:
            values = json.loads(line)
            if values["step"] > step or values.get("epoch", -1) >= epoch:
                break
        except ValueError:
            break
        kept.append(line + "\n")
    write_file(path, "".join(kept))
