"""When a run pushes its model to the Hub: between epochs, and at its end."""

from __future__ import annotations

from collections.abc import Callable

from accelerate import Accelerator
from huggingface_hub import get_token

from huecry.config import Recipe
from huecry.training.trainer import EpochContext


class Pushes:
    """Pushes as `train.push_to_hub` and `train.push_every` say; without them it does nothing.

    The main process pushes while the others wait. Nothing that goes wrong ends the run.
    """

    def __init__(self, recipe: Recipe, accelerator: Accelerator) -> None:
        self.recipe, self.accelerator = recipe, accelerator
        self._last: int | None = None
        repo = recipe.train.push_to_hub
        if repo is not None and get_token() is None:
            accelerator.print(f"train.push_to_hub={repo}: no token for the Hub yet: log in with `hf auth login`")

    def __call__(self, unless_pushed: bool = False) -> None:
        """Push the run's model, with the results that are there by now. unless_pushed: only one that is new."""
        repo, model = self.recipe.train.push_to_hub, self.recipe.folder / "model"
        if repo is not None and self.accelerator.is_main_process:
            made = model.stat().st_mtime_ns if model.is_dir() else None
            if not unless_pushed or made != self._last:
                from huecry.publish.push import push_from_run

                push_from_run(self.recipe.folder, repo)
            self._last = made
        self.accelerator.wait_for_everyone()

    def between(self, before_epoch: Callable[[EpochContext], None] | None) -> Callable[[EpochContext], None] | None:
        """The hook of a stage, preceded every so many epochs by a push of a model that is new."""
        every = self.recipe.train.push_every
        if every is None:
            return before_epoch

        def hook(context: EpochContext) -> None:
            if context.epoch and context.epoch % every == 0:
                self(unless_pushed=True)
            if before_epoch is not None:
                before_epoch(context)

        return hook
