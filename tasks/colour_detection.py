"""Colour detection: some colours of the caption are wrong, and the photograph tells which.

Source: the token detection of RaSa (Bai et al., IJCAI 2023), on colours alone, which is ours; the head is that of
    `colour_words`.
Formula: z_m = w . head(caption with swapped colours, photograph) at the last token of colour m;
    L = mean_m BCE(z_m, y_m), y_m = 1 where m was swapped.
Deviations: RaSa samples replacements of any word from a momentum model; here every colour is swapped with probability
    `views.text_swapped` for a hue that nobody takes for the right one, half of the time one of the same caption.
Shapes: caption tokens [B, L, D] and photograph tokens [B, 1+P, D], projected; at most 16 colours a caption.
Cost: one text pass, of the view `text_swapped`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from huecry.errors import UserError
from huecry.processes import global_mean
from huecry.tasks.colour_words import inside
from huecry.tasks.heads import CrossHead
from huecry.tasks.similarity import full_precision, widened
from huecry.training.encode import Encode
from huecry.training.task import Facts, Task, TaskConfig


@dataclass
class ColourDetectionConfig(TaskConfig):
    """blocks: of the head."""

    weight: float = 0.5
    blocks: int = 2


class ColourDetection(Task):
    """Is this the right colour?"""

    Config = ColourDetectionConfig
    views = frozenset({"rgb", "text_swapped", "swapped"})
    use = "completion"

    def __init__(self, config: Any, facts: Facts) -> None:
        super().__init__(config, facts)
        self.head = CrossHead(facts.embed_dim, config.blocks)
        self.wrong = nn.Linear(facts.embed_dim, 1)

    @classmethod
    def check(cls, name: str, config: Any) -> None:
        super().check(name, config)
        if config.blocks < 1:
            raise UserError(f"tasks.{name}.blocks={config.blocks}: must be at least 1")

    def forward(self, encode: Encode, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        text = encode("text_swapped")
        most = max(int((batch["swapped"][..., 0] >= 0).sum(dim=1).max()), 1)
        position, swapped = batch["swapped"][:, :most].unbind(dim=2)
        known = inside(position, text.valid)
        at = position.clamp(min=0, max=text.valid.shape[1] - 1)
        state = self.head(text.projected, text.valid, encode("rgb").projected, at)
        with full_precision(state):
            logits = self.wrong(widened(state))[..., 0]
            target = swapped.clamp(min=0).to(logits.dtype)
            hit = global_mean(((logits > 0) == (swapped > 0)).to(logits.dtype), known).detach()
            losses = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
            return global_mean(losses, known), {"accuracy": hit}
