"""Fine-tuning: `accelerate launch finetune/run.py [--config NAME|PATH] [--dry-run] [key=value ...]`."""

from __future__ import annotations

import sys
from typing import Any

from huecry.training.command import stage_main

DEFAULT = "finetune/people"


def finetune(config: str = DEFAULT, *overrides: str, dry_run: bool = False) -> dict[str, Any] | None:
    """Teach the towers retrieval on labelled photographs, by a recipe and `key=value` changes.

    Returns the results that the run folder holds, or None after a dry run, which only prints.
    Raises UserError for what the user can mend, Stopped when a signal ended training with a snapshot.
    """
    from huecry.config import load_recipe
    from huecry.pretrain.relabel import relabelling
    from huecry.tasks import TASKS
    from huecry.training.stage import stage

    recipe = load_recipe(config, overrides, TASKS)
    return stage(recipe, TASKS, dry_run, relabelling(recipe))


if __name__ == "__main__":
    sys.exit(stage_main(finetune, DEFAULT))
