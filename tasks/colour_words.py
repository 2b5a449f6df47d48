"""Masked colour-word completion: every colour of the caption is masked, and the photograph has to say it.

Source: LapsCore (Wu et al., ICCV 2021), the sub-task "image-guided text completion"; the cross-attending head is ours.
    `head: irra` is the interaction encoder of IRRA (Jiang and Ye, CVPR 2023) as in its published code.
Formula: at the mask of each colour expression m, z_m = head(masked caption, photograph);
    L_hue = sum_m w_c(m) CE(z_m, c(m)) / sum_m w_c(m), w_c ~ n_c^-0.5 over the training captions, mean 1;
    L = L_hue + 0.2 CE of the modifier (none, light, dark, bright). Targets are smoothed by 0.1, over the hues that
    annotators confuse with the right one. `target: vocab` predicts the first token of the expression instead.
Deviations: LapsCore poses a question to a bilinear attention network and does not publish its answers' format; here the
    answers are 17 hue classes. Both heads ignore padding, which IRRA's code does not.
Shapes: caption tokens [B, L, D] and photograph tokens [B, 1+P, D], projected; at most 16 expressions a caption.
Cost: one text pass, of the view `text_nocolour`, which `grayscale` shares. Only the masks are followed through the last
    block; the result is that of all tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from huecry.data.captions import HUES, MODIFIERS, NEIGHBOURS, find_spans, mask_colours
from huecry.data.tokens import VOCAB, encode
from huecry.data.views import SPANS, Sample
from huecry.errors import UserError
from huecry.processes import global_mean
from huecry.tasks.heads import CrossHead, IrraHead
from huecry.tasks.similarity import full_precision, widened
from huecry.training.encode import Encode
from huecry.training.task import Facts, Preparer, Task, TaskConfig, check_choices


@dataclass
class ColourWordsConfig(TaskConfig):
    """head: `cross` (default) | `irra`. target: `hue` | `vocab` (the first token of the expression).

    blocks: of the default head. smoothing: of the hue targets. neighbours: smooth over hues that look alike, not all.
    modifier_weight: of the modifier's loss, with target `hue`.
    """

    head: str = "cross"
    target: str = "hue"
    blocks: int = 2
    smoothing: float = 0.1
    neighbours: bool = True
    modifier_weight: float = 0.2


def prepare(sample: Sample, _: np.random.Generator) -> dict[str, np.ndarray]:
    """`position`, `hue`, `modifier`, `word` [16] int64 of a caption's colour expressions; -1 where there is none.

    position: index of the mask among the token ids. hue, modifier: class, -1 where it cannot be told. word: the first
    token of the expression.
    """
    found = np.full((4, SPANS), -1, dtype=np.int64)
    spans, positions = find_spans(sample.caption), mask_colours(sample.caption)[1]
    for number, (span, position) in enumerate(zip(spans[:SPANS], positions, strict=False)):
        known = span.scored and span.hue is not None
        toned = known or (span.hue is None and span.modifier != "none" and not (span.negated or span.bystander))
        found[:, number] = (
            position + 1,  # the start token
            HUES.index(span.hue) if known and span.hue else -1,
            MODIFIERS.index(span.modifier) if toned else -1,
            encode(sample.caption[span.start : span.end])[0] if known else -1,
        )
    return dict(zip(("position", "hue", "modifier", "word"), found, strict=True))


class ColourWords(Task):
    """Completion of masked colour words."""

    Config = ColourWordsConfig
    views = frozenset({"rgb", "text_nocolour"})
    use = "completion"
    class_weight: Tensor
    soft_target: Tensor

    def __init__(self, config: Any, facts: Facts) -> None:
        super().__init__(config, facts)
        width = facts.embed_dim
        self.head = IrraHead(width) if config.head == "irra" else CrossHead(width, config.blocks)
        if config.target == "vocab":
            self.word = nn.Linear(width, VOCAB)
            return
        self.hue, self.modifier = nn.Linear(width, len(HUES)), nn.Linear(width, len(MODIFIERS))
        self.register_buffer("class_weight", class_weights(facts.captions))
        self.register_buffer("soft_target", soft_targets(config.smoothing, config.neighbours), persistent=False)

    @classmethod
    def check(cls, name: str, config: Any) -> None:
        super().check(name, config)
        check_choices(name, config, head=("cross", "irra"), target=("hue", "vocab"))
        if config.blocks < 1:
            raise UserError(f"tasks.{name}.blocks={config.blocks}: must be at least 1")
        if not 0 <= config.smoothing < 1:
            raise UserError(f"tasks.{name}.smoothing={config.smoothing}: must be 0 to below 1")

    @staticmethod
    def preparer(config: Any) -> Preparer:
        return prepare

    def forward(self, encode: Encode, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        text = encode("text_nocolour")
        position = batch["position"]
        most = max(int((position >= 0).sum(dim=1).max()), 1)  # expressions come first, so the rest is padding
        position = position[:, :most]
        state = self.states(text.projected, text.valid, encode("rgb").projected, position)
        gone = ~inside(position, text.valid)
        targets = {name: batch[name][:, :most].masked_fill(gone, -1) for name in ("hue", "modifier", "word")}
        with full_precision(state):
            if self.config.target == "vocab":
                return self._loss(self.word(widened(state)), targets["word"], None)
            loss, logs = self._loss(self.hue(widened(state)), targets["hue"], self.class_weight)
            known = targets["modifier"] >= 0
            logits = self.modifier(widened(state))
            losses = F.cross_entropy(logits.flatten(0, 1), targets["modifier"].clamp(min=0).flatten(), reduction="none")
            return loss + self.config.modifier_weight * global_mean(losses, known.flatten()), logs

    def states(self, text: Tensor, valid: Tensor, image: Tensor, position: Tensor) -> Tensor:
        """The head's states [B, M, d] at the masks; position: [B, M], -1 where there is none (any state)."""
        return self.head(text, valid, image, position.clamp(min=0, max=text.shape[1] - 1))

    def _loss(self, logits: Tensor, target: Tensor, weight: Tensor | None) -> tuple[Tensor, dict[str, Tensor]]:
        known = target >= 0
        index = target.clamp(min=0)
        logs = torch.log_softmax(logits, dim=-1)
        if weight is None:
            losses, weights = -logs.gather(-1, index[..., None])[..., 0], known.to(logs.dtype)
        else:
            losses = -(self.soft_target.to(logs.dtype)[index] * logs).sum(dim=-1)
            weights = weight.to(logs.dtype)[index] * known
        hit = global_mean((logits.argmax(dim=-1) == target).to(logs.dtype), known).detach()
        coverage = known.any(dim=1).to(logs.dtype).mean()
        return global_mean(losses, weights), {"accuracy": hit, "coverage": coverage}


def inside(position: Tensor, valid: Tensor) -> Tensor:
    """[B, M] bool: there is a mask at the position, and it was not cut off with the end of the caption [B, L]."""
    return (position >= 0) & (position < valid.sum(dim=1, keepdim=True) - 1)


def class_weights(captions: tuple[str, ...]) -> Tensor:
    """[17] weights ~ n_c^-0.5 of the hues that the captions name, mean 1 over those; 1 for a hue never named."""
    counts = np.zeros(len(HUES))
    for caption in captions:
        for span in find_spans(caption):
            if span.scored and span.hue is not None:
                counts[HUES.index(span.hue)] += 1
    seen = counts > 0
    weights = np.ones(len(HUES))
    weights[seen] = counts[seen] ** -0.5
    weights[seen] /= weights[seen].mean() if seen.any() else 1
    return torch.tensor(weights, dtype=torch.float32)


def soft_targets(smoothing: float, neighbours: bool) -> Tensor:
    """[17, 17] row-stochastic targets: 1 - smoothing on the hue, the rest on its neighbours, or evenly on all."""
    targets = torch.eye(len(HUES)) * (1 - smoothing)
    for number, hue in enumerate(HUES):
        others = [HUES.index(other) for other in NEIGHBOURS.get(hue, ())] if neighbours else []
        for other in others or range(len(HUES)):
            targets[number, other] += smoothing / len(others or HUES)
    return targets
