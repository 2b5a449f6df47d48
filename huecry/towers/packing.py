"""Captions without their padding: all tokens of a batch as one row, as wide again only inside attention.

What a transformer computes at a padded position is never read. Linear maps, norms and MLPs therefore see the N real
tokens, [1, N, d]; attention alone needs captions apart, and gets them as [B, heads, L, d / heads].
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AttentionInterface

PACKED = "huecry_packed"
"""The name of the attention in transformers' registry; its layers take `packing=` beside the hidden states."""


class Packing:
    """Where the real tokens lie in a batch; valid: [B, L] bool, `tokens` of them True."""

    def __init__(self, valid: Tensor, tokens: int) -> None:
        self.valid = valid
        self.place = valid.flatten().nonzero_static(size=tokens).squeeze(1)

    def pack(self, padded: Tensor) -> Tensor:
        """[B, L, ...] -> [N, ...]."""
        return padded.flatten(0, 1).index_select(0, self.place)

    def unpack(self, packed: Tensor) -> Tensor:
        """[N, ...] -> [B, L, ...], zero where padding is."""
        padded = packed.new_zeros(self.valid.numel(), *packed.shape[1:]).index_copy(0, self.place, packed)
        return padded.unflatten(0, self.valid.shape)


def packing_of(valid: Tensor) -> Packing:
    """The packing of valid [B, L], whose tokens it counts, for which a GPU is waited for."""
    return Packing(valid, int(valid.sum()))


def packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    packing: Packing,
    scaling: float,
    dropout: float = 0.0,
    **_: Any,
) -> tuple[Tensor, None]:
    """Causal attention within each caption; query, key, value: [1, heads, N, d / heads] -> [1, N, heads, d / heads]."""
    apart = packing.unpack(torch.stack([query[0], key[0], value[0]]).permute(2, 0, 1, 3))
    queries, keys, values = apart.permute(2, 0, 3, 1, 4)
    read = F.scaled_dot_product_attention(queries, keys, values, dropout_p=dropout, is_causal=True, scale=scaling)
    return packing.pack(read.transpose(1, 2))[None], None


AttentionInterface.register(PACKED, packed_attention)
