"""What tasks over photographs and their captions share: the caption view they read, and checks of their stanzas."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from huecry.data.views import TEXT_VIEWS
from huecry.errors import UserError
from huecry.training.task import Task, TaskConfig


@dataclass
class PairConfig(TaskConfig):
    """text_view: `text`, or `text_aug` for captions with masked words.

    scale: a fixed factor of the cosines; what null means is the task's to say.
    """

    text_view: str = "text"
    scale: float | None = None


class PairTask(Task):
    """A task that reads the photograph and one view of its caption."""

    Config = PairConfig

    @classmethod
    def reads(cls, config: Any) -> frozenset[str]:
        return frozenset({"rgb", config.text_view})

    @classmethod
    def check(cls, name: str, config: Any) -> None:
        super().check(name, config)
        if config.text_view not in TEXT_VIEWS:
            known = ", ".join(sorted(TEXT_VIEWS))
            raise UserError(f"tasks.{name}.text_view={config.text_view}: no view of a caption; choose one of {known}")
        if config.scale is not None and config.scale <= 0:
            raise UserError(f"tasks.{name}.scale={config.scale}: must be above 0")
