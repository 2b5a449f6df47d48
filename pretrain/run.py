"""Pretraining: `accelerate launch pretrain/run.py [--config NAME|PATH] [--dry-run] [key=value ...]`."""

from __future__ import annotations

import sys
from typing import Any

from huecry.training.command import stage_main

DEFAULT = "pretrain/people"


def pretrain(
    config: str = DEFAULT, *overrides: str, dry_run: bool = False, probe: bool = True
) -> dict[str, Any] | None:
    """Teach the towers before retrieval, by a recipe and `key=value` changes.

    probe: ask a run that taught colour, in the end, what it sees on its val split; see `huecry.pretrain.probes`.
    Returns the results that the run folder holds, or None after a dry run, which only prints.
    Raises UserError for what the user can mend, Stopped when a signal ended training with a snapshot.
    """
    from huecry.config import load_recipe
    from huecry.pretrain.probes import probe_run
    from huecry.pretrain.relabel import relabelling
    from huecry.tasks import TASKS
    from huecry.training.stage import stage

    recipe = load_recipe(config, overrides, TASKS)
    results = stage(recipe, TASKS, dry_run, relabelling(recipe))
    if results is not None and probe:
        probe_run(recipe)
    return results


if __name__ == "__main__":
    sys.exit(stage_main(pretrain, DEFAULT))
