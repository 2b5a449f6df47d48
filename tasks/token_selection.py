"""Features of the tokens that a tower looks at most, beside its pooled one.

Source: RDE (Qin et al., CVPR 2024), "token selection embedding", and its published code.
Formula: the share of tokens with the highest attention from CLS (of a caption: from its end) in the last layer, without
    CLS (start and end); x = unit(token): max over tokens of linear(x) + MLP(x), element by element.
Deviations: the norm inside the MLP is over features, not over the batch, so that processes need not agree on it. A
    caption with fewer words than that gives them all, as published. It guides the towers in training and is not
    exported, while RDE ranks by the mean of both features.
Shapes: projected tokens [B, N, D] -> [B, 2 D].
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from huecry.data.tokens import CONTEXT
from huecry.tasks.similarity import widened
from huecry.towers import Encoded


class TokenSelection(nn.Module):
    """One embedding for photographs, one for captions."""

    def __init__(self, width: int, share: float) -> None:
        super().__init__()
        self.share = share
        self.image, self.text = _Embedding(width), _Embedding(width)

    def forward(self, encoded: Encoded, text: bool) -> Tensor:
        """Features [B, 2 D] of photographs, or of captions where `text`."""
        attention, valid = encoded.attention, encoded.valid.clone()
        valid[:, 0] = False
        if text:
            end = encoded.valid.sum(dim=1, keepdim=True) - 1
            valid.scatter_(1, end, False)
        tokens = CONTEXT - 2 if text else valid.shape[1] - 1
        count = min(max(int(tokens * self.share), 1), valid.shape[1])
        chosen = attention.masked_fill(~valid, -1.0).topk(count, dim=1).indices
        picked = encoded.projected.gather(1, chosen[..., None].expand(-1, -1, encoded.projected.shape[2]))
        embedded = (self.text if text else self.image)(F.normalize(widened(picked), dim=2))
        kept = valid.gather(1, chosen)[..., None]
        pooled = embedded.masked_fill(~kept, float("-inf")).amax(dim=1)
        return torch.where(kept.any(dim=1), pooled, 0.0 * embedded.sum(dim=1))  # a caption without a word


class _Embedding(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, 2 * width)
        self.mlp = nn.Sequential(nn.Linear(width, width), nn.LayerNorm(width), nn.ReLU(), nn.Linear(width, 2 * width))

    def forward(self, tokens: Tensor) -> Tensor:
        return self.linear(tokens) + self.mlp(tokens)
