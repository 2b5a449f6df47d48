"""What tasks over photographs and their captions share: the caption view they read, and checks of their stanzas."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from huecry.data.views import TEXT_VIEWS
from huecry.errors import UserError
from huecry.tasks.similarity import cosines
from huecry.training.encode import Encode
from huecry.training.task import Task, TaskConfig


@dataclass
class PairConfig(TaskConfig):
    """text_view: `text`, or `text_aug` for captions with masked words."""

    text_view: str = "text"


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

    def both_ways(self, encode: Encode, image: str = "rgb", text: str | None = None) -> tuple[Tensor, Tensor]:
        """Cosines [B, W*B] of photographs with captions and of captions with photographs."""
        text = text or self.config.text_view
        photos, captions = (cosines(encode(a).pooled, encode.gather(b)) for a, b in ((image, text), (text, image)))
        return photos, captions


@dataclass
class ScaledConfig(PairConfig):
    """scale: a fixed factor of the cosines; what null means is the task's to say."""

    scale: float | None = None


class ScaledTask(PairTask):
    """A task that multiplies cosines before it compares them."""

    Config = ScaledConfig

    @classmethod
    def check(cls, name: str, config: Any) -> None:
        super().check(name, config)
        if config.scale is not None and config.scale <= 0:
            raise UserError(f"tasks.{name}.scale={config.scale}: must be above 0")

    def scale(self, encode: Encode) -> Tensor | float:
        """The factor of the cosines: that of the stanza, or where it has none the one that the towers learn."""
        return encode.scale if self.config.scale is None else self.config.scale
