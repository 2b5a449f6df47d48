"""Compound ranking against a slow twin."""

from __future__ import annotations

from typing import Any

import pytest
import torch

ROWS = 12


@pytest.mark.parametrize("warm", [True, False])
def test_compound_ranking(warm: bool, step: Any, twin: Any) -> None:
    stanza = {"mining": "all", "warmup": 5, "least": 0.9, "reduction": "sum"}
    bundle, batch, images, texts, labels = step({"compound_ranking": stanza})
    bundle.step = 0 if warm else 5
    loss, logs = bundle(batch)
    others = bundle({"text": batch.views["text_other"]}, mode="encode")["text"].detach()
    strong, weak = twin.cosines(images, texts), twin.cosines(images, others)
    total, used = 0.0, 0
    for i in range(ROWS):
        share = min(1.0, abs(weak[i][i]) / abs(strong[i][i]))
        margins = [(strong, 1.0, 0.2)]
        told = bool((batch.views["text_other"][i] != batch.views["text"][i]).any())
        if told and (warm or share >= 0.9):
            used += 1
            margins.append((weak, 0.1, 0.1 if warm else (share + 1) * 0.1))
        negatives = [j for j in range(ROWS) if not twin.match(batch, labels, i, j)]
        for cosines, weight, margin in margins:
            for row in (cosines[i], [line[i] for line in cosines]):
                total += weight * sum(max(margin + row[j] - row[i], 0.0) for j in negatives) / len(negatives)
    assert 0 < used < ROWS
    assert logs["compound_ranking/weak"].item() == pytest.approx(used / ROWS)
    assert loss.item() == pytest.approx(total, rel=1e-4)


def test_the_other_caption_is_one_of_another_photograph_of_the_person(step: Any) -> None:
    bundle, batch, *_ = step({"compound_ranking": {}})
    photos = bundle.photos
    for i, row in enumerate(batch.row.tolist()):
        candidates = [
            other
            for other in range(len(photos.row_image))
            if photos.row_person[other] == photos.row_person[row] >= 0
            and photos.row_image[other] != photos.row_image[row]
        ] or [row]
        assert photos.other_captions(row) == [photos.caption(other) for other in candidates if other != row]
        plain = {photos.caption(other) for other in candidates}
        assert any(torch.equal(batch.views["text_other"][i], ids) for ids in both_sides(plain))


def both_sides(captions: set[str]) -> list[torch.Tensor]:
    from huecry.data.augment import swap_sides
    from huecry.data.tokens import tokenize

    everything = sorted(captions | {swap_sides(caption) for caption in captions})
    return list(torch.as_tensor(tokenize(everything, 77), dtype=torch.int64))
