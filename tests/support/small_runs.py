"""Runs of two steps on a small drawn set, and what tests do to their folders."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

SMALL = ("train.batch_size=8", "train.max_steps=2", "data.workers=0", "train.cpu_threads=1")
SMALL += ("tasks.colour_words=null", "tasks.colourise=null", "tasks.grayscale=null")
"""Two steps of contrastive matching, whichever stage's default recipe they are said to."""


def stage(data: Path, run: Path, *changes: str) -> list[str]:
    """The arguments of a run of two steps."""
    return ["pretrain", f"data.source={data}", f"run.dir={run}", *SMALL, *changes]


def contents(folder: Path) -> dict[str, bytes]:
    """Every file in a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def rewrite(folder: Path, change: Callable[[list[dict[str, Any]]], object]) -> Path:
    """Edit the annotations of a drawn set; returns their file."""
    table = folder / "metadata.jsonl"
    rows = [json.loads(line) for line in table.read_text().splitlines()]
    change(rows)
    table.write_text("\n".join(json.dumps(row) for row in rows) + "\n")
    return table


def kill_again_and_again(command: list[str], run: Path, delay: float) -> tuple[int, int]:
    """Start a run that resumes, and SIGKILL it a time after its next snapshot, three times; then let it finish.

    Returns the exit status and how often it was killed: it may have finished before.
    """
    snapshots, kills = run / "checkpoints", 0
    while True:
        before = sorted(snapshots.glob("*"))
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and (kills == 3 or sorted(snapshots.glob("*")) == before):
            time.sleep(0.005)
        if process.poll() is not None:
            return process.returncode, kills
        time.sleep(delay)
        process.kill()
        process.wait()
        kills += 1
