"""Captions without their padding: nothing is lost, nothing is read across captions, and gradients are the same."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from huecry.data.tokens import tokenize
from huecry.towers import ModelConfig, load_towers
from huecry.towers.packing import Packing, packed_attention

IDS = tokenize(["a man", "a woman in a dark blue coat with a red backpack", "somebody in green"])
VALID = torch.tensor([[True, True, False], [True, False, False], [True, True, True]])


def test_pack_keeps_the_real_tokens_in_order_and_unpack_puts_zeros_between():
    packing = Packing(VALID, 6)
    padded = torch.arange(18.0).view(3, 3, 2)
    packed = packing.pack(padded)
    assert torch.equal(packed, padded[VALID])
    assert torch.equal(packing.unpack(packed), padded * VALID[..., None])


def test_attention_is_causal_within_each_caption():
    generator = torch.Generator().manual_seed(0)
    packing = Packing(VALID, 6)
    query, key, value = (torch.randn(1, 2, 6, 4, generator=generator) for _ in range(3))
    found, _ = packed_attention(torch.nn.Identity(), query, key, value, None, packing=packing, scaling=0.3)
    start = 0
    for length in VALID.sum(dim=1).tolist():
        own = slice(start, start + length)
        scores = 0.3 * query[0, :, own] @ key[0, :, own].mT
        scores = scores.masked_fill(~torch.ones(length, length).tril().bool(), float("-inf"))
        torch.testing.assert_close(found[0, own].transpose(0, 1), F.softmax(scores, dim=-1) @ value[0, :, own])
        start += length


def test_a_batch_has_the_features_and_gradients_of_its_captions_alone():
    towers = load_towers(ModelConfig())
    weights = dict(towers.text.named_parameters())
    together = towers.encode_text(IDS).pooled
    found = torch.autograd.grad(together.square().mean(), list(weights.values()))
    alone = torch.cat([towers.encode_text(ids[None]).pooled for ids in IDS])
    torch.testing.assert_close(together, alone)
    expected = torch.autograd.grad(alone.square().mean(), list(weights.values()))
    for name, one, other in zip(weights, found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4, msg=name)
