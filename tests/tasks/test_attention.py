"""The heads' attention and block against torch's own, written out."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from huecry.tasks.attention import Attention, Block, pick
from huecry.tasks.heads import IrraHead
from huecry.towers.packing import packing_of

WIDTH = 128


def tokens(count: int, seed: int) -> torch.Tensor:
    return torch.randn(3, count, WIDTH, generator=torch.Generator().manual_seed(seed))


VALID = torch.arange(7) < torch.tensor([7, 4, 2])[:, None]
PACKING = packing_of(VALID)


def by_torch(own: Attention) -> nn.MultiheadAttention:
    """torch's module with the same weights."""
    theirs = nn.MultiheadAttention(WIDTH, own.heads, batch_first=True)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([own.query.weight, own.key_value.weight]))
        theirs.in_proj_bias.copy_(torch.cat([own.query.bias, own.key_value.bias]))
        theirs.out_proj.weight.copy_(own.output.weight)
        theirs.out_proj.bias.copy_(own.output.bias)
    return theirs


def test_attention_is_torchs() -> None:
    torch.manual_seed(0)
    own = Attention(WIDTH, 2)
    queries, context = tokens(5, 0), tokens(7, 1)
    read, weights = by_torch(own)(queries, context, context, key_padding_mask=~VALID)
    assert torch.allclose(own(queries, context[VALID], context_packing=PACKING), read, atol=1e-6)
    _, weights = by_torch(own)(queries, context, context)
    assert torch.allclose(own.weights(queries, context), weights, atol=1e-6)


def test_a_block_is_what_its_docstring_says() -> None:
    torch.manual_seed(0)
    block = Block(WIDTH, 2)
    hidden, context = tokens(7, 0), tokens(7, 1)
    normed = F.layer_norm(hidden, (WIDTH,))
    expected = hidden + by_torch(block.self_attention)(normed, normed, normed, key_padding_mask=~VALID)[0]
    normed = F.layer_norm(expected, (WIDTH,))
    expected = expected + by_torch(block.cross_attention)(normed, context, context, key_padding_mask=~VALID)[0]
    inner = F.gelu(F.linear(F.layer_norm(expected, (WIDTH,)), block.mlp[1].weight, block.mlp[1].bias))
    expected = expected + F.linear(inner, block.mlp[3].weight, block.mlp[3].bias)
    assert torch.allclose(block(hidden[VALID], PACKING, context[VALID], PACKING), expected[VALID], atol=1e-5)


def test_the_irra_head_is_torchs_layers_with_the_activation_of_clip() -> None:
    def activation(x: torch.Tensor) -> torch.Tensor:
        return x * torch.sigmoid(1.702 * x)

    torch.manual_seed(0)
    head = IrraHead(WIDTH, 2)
    text, image = tokens(7, 0), tokens(5, 1)
    context = F.layer_norm(image, (WIDTH,))
    expected, _ = by_torch(head.cross)(F.layer_norm(text, (WIDTH,)), context, context)
    for block in head.blocks:
        layer = nn.TransformerEncoderLayer(WIDTH, 2, 4 * WIDTH, 0.0, activation, batch_first=True, norm_first=True)
        layer.self_attn = by_torch(block.self_attention)
        layer.linear1, layer.linear2 = block.mlp[1], block.mlp[3]
        expected = layer(expected, src_key_padding_mask=~VALID)
    expected = F.layer_norm(activation(head.linear(F.layer_norm(expected, (WIDTH,)))), (WIDTH,))
    everywhere = torch.arange(7).expand(3, -1)
    assert torch.allclose(head(text, VALID, image, everywhere)[VALID], expected[VALID], atol=1e-5)


def test_tokens_without_padding_are_taken_as_they_are() -> None:
    torch.manual_seed(0)
    block = Block(WIDTH, 2)
    hidden, context = tokens(7, 0), tokens(5, 1)
    everything = torch.ones(3, 7, dtype=torch.bool)
    packed = block(hidden.flatten(0, 1), packing_of(everything), context)
    assert torch.allclose(block(hidden, None, context).flatten(0, 1), packed, atol=1e-6)


@pytest.mark.parametrize("cross", [True, False])
def test_results_at_some_positions_are_those_of_all(cross: bool) -> None:
    torch.manual_seed(0)
    block = Block(WIDTH, 2, cross)
    hidden, context = tokens(7, 0), tokens(5, 1) if cross else None
    at = torch.tensor([[0, 3], [2, 2], [1, 0]])
    whole = pick(PACKING.unpack(block(hidden[VALID], PACKING, context)), at)
    assert torch.allclose(block(hidden[VALID], PACKING, context, at=at), whole, atol=1e-6)
