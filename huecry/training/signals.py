"""Ending a run on request: a signal is noted, the step is finished, all processes stop together."""

from __future__ import annotations

import os
import signal
from types import FrameType

import torch
from torch import distributed

from huecry.processes import world


class Stopped(Exception):  # not a failure: what was done is written, the process ends on request
    """Work ended early because of a signal. status: the process's exit status. advice: what is kept, how to go on."""

    def __init__(self, signum: int, advice: str = "after a snapshot; go on with train.resume=true") -> None:
        super().__init__(signal.Signals(signum).name)
        self.status, self.advice = 128 + signum, advice


class StopSignals:
    """While entered, SIGINT and SIGTERM are noted instead of acted on; a second SIGINT interrupts at once."""

    def __init__(self, device: torch.device) -> None:
        self._device, self._owner = device, os.getpid()
        self._noted = 0

    def __enter__(self) -> StopSignals:
        self._before = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _: FrameType | None) -> None:
        if os.getpid() != self._owner:
            return  # a data worker: it ends with its parent
        if number == signal.SIGINT and self._noted:
            raise KeyboardInterrupt
        self._noted = number

    def noted(self) -> int:
        """The signal to stop on, 0 for none; the same on every process."""
        if world()[1] == 1:
            return self._noted
        flag = torch.tensor(self._noted, device=self._device)
        distributed.all_reduce(flag, op=distributed.ReduceOp.MAX)
        return int(flag)
