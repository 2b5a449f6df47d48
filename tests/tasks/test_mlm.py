"""Masked language modelling against a twin that computes every logit."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional as F


@pytest.mark.parametrize("head", ["irra", "cross"])
def test_mlm_is_the_cross_entropy_of_all_logits_with_the_unmasked_ignored(head: str, drawn: Any) -> None:
    bundle, batch = drawn({"mlm": {"head": head, "blocks": 2}})
    loss, _ = bundle(batch)
    task = bundle.tasks["mlm"]
    text = bundle.towers.encode_text(batch.views["text_masked"])
    image = bundle._last.encoded("rgb", False)
    everywhere = torch.arange(text.valid.shape[1]).expand(len(text.valid), -1)
    scores = task.word(task.head(text.projected, text.valid, image.projected, everywhere))
    masked = batch.views["masked"][:, : scores.shape[1]].bool()
    labels = batch.views["text"][:, : scores.shape[1]].masked_fill(~masked, 0)
    assert (masked.sum(dim=1) >= 1).all()
    assert masked.sum() == batch.views["masked"].sum()
    expected = F.cross_entropy(scores.flatten(0, 1), labels.flatten(), ignore_index=0)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_answers_do_not_reach_the_question(drawn: Any) -> None:
    """With other answers at the masks the loss changes, and the logits do not."""
    bundle, batch = drawn({"mlm": {}})
    logits: list[torch.Tensor] = []
    bundle.tasks["mlm"].word.register_forward_hook(lambda _, __, out: logits.append(out.detach()))
    before = bundle(batch)[0].item()
    masked = batch.views["masked"].bool()
    batch.views["text"] = torch.where(masked, 1000, batch.views["text"])
    after = bundle(batch)[0].item()
    assert before != after
    assert torch.equal(*logits)


def test_masks_follow_the_recipe(drawn: Any) -> None:
    _, batch = drawn({"mlm": {}})
    shown, text, masked = (batch.views[name] for name in ("text_masked", "text", "masked"))
    masked = masked.bool()
    words = (text > 0) & (text < 49406)
    assert not (masked & ~words).any()
    assert torch.equal(shown[~masked], text[~masked])
    assert 0.05 < masked.sum() / words.sum() < 0.3
    assert (shown[masked] == 49405).float().mean() > 0.6
