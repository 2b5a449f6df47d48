"""Heads that read a caption and its photograph together, for the tasks that ask about single words.

Both give the states of the words asked about and compute no others in their last block. `CrossHead` is ours; `IrraHead`
is the interaction encoder of IRRA (Jiang and Ye, CVPR 2023), which as published attends to padding; here it does not.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from huecry.tasks.attention import Attention, Block, pick
from huecry.towers.model import QuickGELU
from huecry.towers.packing import packing_of


class CrossHead(nn.Module):
    """Caption tokens read each other in both directions, then the photograph."""

    def __init__(self, width: int, blocks: int) -> None:
        super().__init__()
        self.context_norm = nn.LayerNorm(width)
        self.blocks = nn.ModuleList(Block(width, blocks) for _ in range(blocks))
        self.norm = nn.LayerNorm(width)

    def forward(self, text: Tensor, valid: Tensor, image: Tensor, at: Tensor) -> Tensor:
        """The states [B, M, d] of the positions `at` [B, M]; text: [B, L, d], valid: [B, L], image: [B, N, d]."""
        context, packing = self.context_norm(image), packing_of(valid)
        hidden = packing.pack(text)
        for block in self.blocks:
            hidden = block(hidden, packing, context, at=at if block is self.blocks[-1] else None)
        return self.norm(hidden)

    @torch.no_grad()
    def look(self, text: Tensor, valid: Tensor, image: Tensor, at: Tensor) -> Tensor:
        """Where the last block looks from the positions `at`: [B, M, N] over the photograph's tokens."""
        context, packing = self.context_norm(image), packing_of(valid)
        hidden = packing.pack(text)
        for block in self.blocks[:-1]:
            hidden = block(hidden, packing, context)
        return self.blocks[-1].look(hidden, packing, context, at)  # type: ignore[operator]


class IrraHead(nn.Module):
    """Cross-attention whose queries are not added to what they read, then blocks, then a small MLP."""

    def __init__(self, width: int, blocks: int = 4) -> None:
        super().__init__()
        self.text_norm, self.image_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.cross = Attention(width, blocks)
        self.blocks = nn.ModuleList(Block(width, blocks, cross=False, activation=QuickGELU) for _ in range(blocks))
        self.norm, self.out_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.linear, self.activation = nn.Linear(width, width), QuickGELU()
        nn.init.normal_(self.linear.weight, std=(2 * width) ** -0.5)

    def forward(self, text: Tensor, valid: Tensor, image: Tensor, at: Tensor) -> Tensor:
        """As `CrossHead.forward`."""
        packing = packing_of(valid)
        hidden = self.cross(self.text_norm(packing.pack(text)), self.image_norm(image), packing)
        for block in self.blocks:
            hidden = block(hidden, packing, at=at if block is self.blocks[-1] else None)
        return self.out_norm(self.activation(self.linear(self.norm(hidden))))

    @torch.no_grad()
    def look(self, text: Tensor, valid: Tensor, image: Tensor, at: Tensor) -> Tensor:
        """As `CrossHead.look`, for its one cross-attention."""
        return pick(self.cross.weights(self.text_norm(text), self.image_norm(image)), at)
