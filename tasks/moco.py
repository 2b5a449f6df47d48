"""A queue of momentum keys: every photograph meets many more captions than a batch holds, and vice versa.

Source: He et al., "Momentum contrast for unsupervised visual representation learning" (MoCo), CVPR 2020; across
    modalities and with identities as in Han et al., "Text-based person search with limited data" (TextReID), BMVC 2021;
    `multi_positive` after RaSa (Bai et al., IJCAI 2023).
Formula: for an anchor x, the key y of its own pair and the queue's keys Q of y's modality, all of unit length,
    l = -log [ exp(x.y / T) / (exp(x.y / T) + sum_{k in Neg} exp(x.Q_k / T)) ];
    L = mean l over photographs + mean l over captions. With `intra` each also meets keys of its own modality, and the
    four count half. negatives `mask`: whatever is not of the anchor's person or photograph. `union`: whatever is not of
    a person or photograph in the batch. `multi_positive`: the candidates are the batch's keys and the queue; the target
    is equality of persons, row-stochastic, blended with the momentum towers' own softmax by `alpha`.
Deviations: the queue holds dataset rows, and persons are looked up as they are known now. A key of the anchor's own
    photograph is never a negative. Empty places are left out, but in `union`, where they are random as published. Keys
    of all processes enter in rank order (TextReID's code does not gather), and the projection has its average too.
Shapes: features [B, D] against the batch's keys [W*B, D] and the queue [K, D].
Cost: one image and one text pass of the momentum towers, without gradient.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from huecry.data.views import IMAGE_VIEWS, TEXT_VIEWS
from huecry.errors import UserError
from huecry.tasks.contrastive import cross_entropy
from huecry.tasks.similarity import full_precision, row_stochastic, unit
from huecry.training.encode import Encode
from huecry.training.task import Facts, Task, TaskConfig, check_choices

NEGATIVES = ("mask", "union", "multi_positive")
EMPTY = -1


@dataclass
class MoCoConfig(TaskConfig):
    """queue_size: keys that a queue holds. temperature: T. negatives: `mask` | `union` | `multi_positive`.

    image_key, text_key: the views that keys are made of. intra: also compare within each modality.
    alpha, alpha_steps: of `multi_positive`: the momentum towers' share in the target, and batches until it is reached.
    """

    weight: float = 0.5
    queue_size: int = 4096
    temperature: float = 0.07
    negatives: str = "mask"
    image_key: str = "rgb"
    text_key: str = "text"
    intra: bool = False
    alpha: float = 0.4
    alpha_steps: int = 0


class MoCo(Task):
    """InfoNCE against queues of momentum keys.

    image_keys, text_keys [K, D]: the queues. rows [K]: the dataset row of each key, -1 where empty. pointer []: the
    next place to be written. batches []: how many were enqueued.
    """

    Config = MoCoConfig
    momentum = True
    use = "key"
    image_keys: Tensor
    text_keys: Tensor
    rows: Tensor
    pointer: Tensor
    batches: Tensor

    def __init__(self, config: Any, facts: Facts) -> None:
        super().__init__(config, facts)
        for name in ("image_keys", "text_keys"):
            self.register_buffer(name, F.normalize(torch.randn(config.queue_size, facts.embed_dim), dim=1))
        self.register_buffer("rows", torch.full((config.queue_size,), EMPTY))
        for name in ("pointer", "batches"):
            self.register_buffer(name, torch.zeros((), dtype=torch.int64))

    @classmethod
    def reads(cls, config: Any) -> frozenset[str]:
        return frozenset({"rgb", "text", config.image_key, config.text_key})

    @classmethod
    def check(cls, name: str, config: Any) -> None:
        super().check(name, config)
        check_choices(name, config, negatives=NEGATIVES)
        for key, views in (("image_key", IMAGE_VIEWS), ("text_key", TEXT_VIEWS)):
            if getattr(config, key) not in views:
                known = ", ".join(sorted(views))
                raise UserError(f"tasks.{name}.{key}={getattr(config, key)}: no such view; choose one of {known}")
        if config.temperature <= 0 or config.queue_size < 1:
            raise UserError(f"tasks.{name}: temperature must be above 0, queue_size at least 1")
        if not 0 <= config.alpha <= 1 or config.alpha_steps < 0:
            raise UserError(f"tasks.{name}: alpha must be in 0..1, alpha_steps 0 or more")
        if config.intra and config.image_key == "rgb":
            raise UserError(
                f"tasks.{name}.intra=true compares a photograph with its own key, which must be another view: "
                f"set tasks.{name}.image_key=rgb2"
            )

    def forward(self, encode: Encode, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        with full_precision(self.image_keys):
            anchors = [unit(encode(view).pooled) for view in ("rgb", "text")]
            views = self.config.image_key, self.config.text_key
            own = [unit(encode(view, momentum=True).pooled) for view in views]
            queues = [self.image_keys.to(own[0].dtype), self.text_keys.to(own[0].dtype)]
            ways = [(0, 1), (1, 0), *(((0, 0), (1, 1)) if self.config.intra else ())]
            if self.config.negatives == "multi_positive":
                keys = [unit(encode.gather(view, momentum=True)) for view in views]
                candidates = [torch.cat(pair) for pair in zip(keys, queues, strict=True)]
                equal = row_stochastic(torch.cat([encode.positives, self._same(encode, batch["image"])], dim=1))
                empty = torch.cat([self.rows.new_zeros(len(keys[0]), dtype=torch.bool), self.rows == EMPTY])[None]
                losses = [self._many(anchors[x], own[x], candidates[y], equal, empty) for x, y in ways]
            else:
                if self.config.negatives == "union":
                    left_out = self._in_batch(encode)[None]
                else:
                    left_out = self._same(encode, batch["image"]) | (self.rows == EMPTY)
                losses = [self._one(anchors[x], own[y], queues[y], left_out) for x, y in ways]
            return 2 * torch.stack(losses).mean(), {"filled": (self.rows != EMPTY).float().mean()}

    def _one(self, anchors: Tensor, own: Tensor, queue: Tensor, left_out: Tensor) -> Tensor:
        """Loss [] of anchors [B, D] against their own keys [B, D] and the queue [K, D] but what is left out [B, K]."""
        positive = (anchors * own).sum(dim=1, keepdim=True)
        negative = (anchors @ queue.T).masked_fill(left_out, float("-inf"))
        logits = torch.cat([positive, negative], dim=1) / self.config.temperature
        return -torch.log_softmax(logits, dim=1)[:, 0].mean()

    def _many(self, anchors: Tensor, own: Tensor, candidates: Tensor, equal: Tensor, empty: Tensor) -> Tensor:
        """Loss [] of anchors [B, D] over candidates [C, D], taught by `equal` [B, C], row-stochastic, and own keys."""
        config = self.config
        alpha = config.alpha * ((self.batches / config.alpha_steps).clamp(max=1) if config.alpha_steps else 1.0)
        scaled = candidates.T / config.temperature
        taught = (own @ scaled).masked_fill(empty, float("-inf")).softmax(dim=1)
        target = alpha * taught + (1 - alpha) * equal.to(taught.dtype)
        return cross_entropy(anchors @ scaled, target, empty).mean()

    def _same(self, encode: Encode, image: Tensor) -> Tensor:
        """[B, K] bool: keys of the anchor's person or photograph; image: [B]."""
        labels = encode.labels_of(self.rows)
        same_person = (encode.labels[:, None] == labels) & (labels >= 0)
        return (same_person | (image[:, None] == encode.images_of(self.rows))) & (self.rows != EMPTY)

    def _in_batch(self, encode: Encode) -> Tensor:
        """[K] bool: keys of a person or photograph that the batch of some process has."""
        labels, images = encode.labels_of(self.rows), encode.images_of(self.rows)
        known = torch.isin(labels, encode.gather_ids("labels")) & (labels >= 0)
        return (known | torch.isin(images, encode.gather_ids("image"))) & (self.rows != EMPTY)

    @torch.no_grad()
    def after_backward(self, encode: Encode, batch: dict[str, Tensor]) -> None:
        rows = encode.gather_ids("row")
        if len(rows) > len(self.rows):
            raise UserError(
                f"tasks.moco.queue_size={len(self.rows)}: less than the {len(rows)} keys of one batch; raise it"
            )
        at = (self.pointer + torch.arange(len(rows), device=rows.device)) % len(self.rows)
        self.rows[at] = rows
        for queue, view in ((self.image_keys, self.config.image_key), (self.text_keys, self.config.text_key)):
            queue[at] = unit(encode.gather(view, momentum=True)).to(queue.dtype)
        self.pointer.copy_((self.pointer + len(rows)) % len(self.rows))
        self.batches += 1
