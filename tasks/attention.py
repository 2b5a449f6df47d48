"""The transformer block of the training heads: tokens read each other, then the other modality.

Pre-norm, heads of 64. Tokens come as [B, N, d], or packed, without their padding, as [T, d] with their packing.
Initialised as IRRA's published code does: input maps with deviation d^-0.5, output maps d^-0.5 (2 layers)^-0.5, the
first layer of the MLP (2 d)^-0.5.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from huecry.towers.packing import Packing

HEAD = 64


class Attention(nn.Module):
    """Multi-head attention of queries over a context, padding left out."""

    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        self.heads = max(width // HEAD, 1)
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.output = nn.Linear(width, width)
        for linear, deviation in (
            (self.query, width**-0.5),
            (self.key_value, width**-0.5),
            (self.output, (width * 2 * layers) ** -0.5),
        ):
            nn.init.normal_(linear.weight, std=deviation)
            nn.init.zeros_(linear.bias)

    def _split(self, tensor: Tensor) -> Tensor:
        return tensor.unflatten(2, (self.heads, -1)).transpose(1, 2)

    def forward(
        self,
        queries: Tensor,
        context: Tensor,
        queries_packing: Packing | None = None,
        context_packing: Packing | None = None,
    ) -> Tensor:
        """What each query reads, in the shape of the queries."""
        query = self._split(padded(self.query(queries), queries_packing))
        key_value = padded(self.key_value(context), context_packing)
        key, value = (self._split(part) for part in key_value.chunk(2, dim=2))
        mask = None if context_packing is None else context_packing.valid[:, None, None, :]
        read = F.scaled_dot_product_attention(query, key, value, attn_mask=mask).transpose(1, 2).flatten(2)
        return self.output(read if queries_packing is None else queries_packing.pack(read))

    @torch.no_grad()
    def weights(self, queries: Tensor, context: Tensor) -> Tensor:
        """Where each query looks, [B, M, N], the mean over heads; for pictures."""
        query = self._split(self.query(queries))
        key = self._split(self.key_value(context).chunk(2, dim=2)[0])
        return (query @ key.mT / query.shape[-1] ** 0.5).softmax(dim=-1).mean(dim=1)


class Block(nn.Module):
    """Self-attention, cross-attention where `cross`, MLP; each added to what came in.

    layers: of the whole head, for the deviations of the initial weights. activation: of the MLP.
    """

    def __init__(self, width: int, layers: int, cross: bool = True, activation: type[nn.Module] = nn.GELU) -> None:
        super().__init__()
        self.self_norm, self.self_attention = nn.LayerNorm(width), Attention(width, layers)
        if cross:
            self.cross_norm, self.cross_attention = nn.LayerNorm(width), Attention(width, layers)
        self.cross = cross
        first, second = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        nn.init.normal_(first.weight, std=(2 * width) ** -0.5)
        nn.init.normal_(second.weight, std=(width * 2 * layers) ** -0.5)
        self.mlp = nn.Sequential(nn.LayerNorm(width), first, activation(), second)

    def forward(
        self,
        hidden: Tensor,
        packing: Packing | None = None,
        context: Tensor | None = None,
        context_packing: Packing | None = None,
        at: Tensor | None = None,
    ) -> Tensor:
        """hidden: [B, N, d] or packed; context: [B, K, d] or packed, normed by the caller.

        at: [B, M] positions whose results are wanted; all others are read but not computed. Returns what is like
        `hidden`, or [B, M, d].
        """
        asked = self._read_each_other(hidden, packing, at)
        if self.cross:
            queries_packing = packing if at is None else None
            asked = asked + self.cross_attention(self.cross_norm(asked), context, queries_packing, context_packing)
        return asked + self.mlp(asked)

    def _read_each_other(self, hidden: Tensor, packing: Packing | None, at: Tensor | None) -> Tensor:
        normed = self.self_norm(hidden)
        if at is None:
            return hidden + self.self_attention(normed, normed, packing, packing)
        queries, asked = (pick(padded(tokens, packing), at) for tokens in (normed, hidden))
        return asked + self.self_attention(queries, normed, context_packing=packing)

    @torch.no_grad()
    def look(self, hidden: Tensor, packing: Packing, context: Tensor, at: Tensor) -> Tensor:
        """Attention [B, M, K] of the positions `at` over the context."""
        return self.cross_attention.weights(self.cross_norm(self._read_each_other(hidden, packing, at)), context)


def padded(tokens: Tensor, packing: Packing | None) -> Tensor:
    """Tokens [B, N, d], unpacked where they come packed."""
    return tokens if packing is None else packing.unpack(tokens)


def pick(tokens: Tensor, at: Tensor) -> Tensor:
    """Tokens [B, M, d] at positions [B, M] of [B, N, d]."""
    return tokens.gather(1, at[..., None].expand(-1, -1, tokens.shape[2]))
