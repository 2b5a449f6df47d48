"""How much do the towers rely on colour?

Retrieval with the colour words masked, before a grey gallery, and both; and whether the photograph is nearer to its
caption than to the same one with wrong colours.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from huecry.data.captions import find_spans, replace_colour
from huecry.data.colour import PROTOTYPES
from huecry.data.records import PhotoSet
from huecry.retrieval.evaluate import EvalConfig, Features, extract, extract_texts, retrieval_metrics
from huecry.training.bundle import Bundle

CONDITIONS = ("", "_colourless_queries", "_gray_gallery", "_both")


def tower_figures(
    bundle: Bundle, photos: PhotoSet, config: EvalConfig, *, seed: int, workers: int, on_bad_image: str
) -> dict[str, Any]:
    """R1 and mAP in percent under all `CONDITIONS` of the whole split, and the figures of swapped colours."""
    towers = bundle.towers
    options: dict[str, Any] = {"size": towers.image_size, "context": towers.context, "batch_size": config.batch_size}
    options |= {"workers": workers, "on_bad_image": on_bad_image}
    full = extract(bundle, photos, **options)
    bare = extract(bundle, photos, gray=True, colourless=True, **options)
    figures: dict[str, Any] = {}
    for condition, images, texts in zip(CONDITIONS, (full, full, bare, bare), (full, bare, full, bare), strict=True):
        metrics = retrieval_metrics(Features(images.images, texts.texts, full.readable), photos, config.ap)
        figures |= {f"{key}{condition}": metrics[key] for key in ("mAP", "R1")}
        figures |= {key: int(metrics[key]) for key in ("queries", "gallery", "persons")}
    return figures | _swap_figures(bundle, photos, full, config.batch_size, seed)


def wrong_colours(caption: str, generator: np.random.Generator) -> str | None:
    """The caption with the plain word of another class, by lot, for every scored colour; None where it has none.

    The words are those of the classes of cloth that can be told at a glance: not `multi`, and not `blond`.
    """
    scored = [span for span in find_spans(caption) if span.scored]
    for span in reversed(scored):  # from the end, so that the places of the others stay
        caption = replace_colour(caption, span, str(generator.choice([hue for hue in PROTOTYPES if hue != span.hue])))
    return caption if scored else None


def _swap_figures(bundle: Bundle, photos: PhotoSet, features: Features, batch_size: int, seed: int) -> dict[str, Any]:
    generator = np.random.default_rng([seed, len(photos.row_image)])
    wrong = [wrong_colours(caption, generator) for caption in photos.captions]
    images = torch.from_numpy(photos.row_image)
    asked = torch.tensor([caption is not None for caption in wrong]) & features.readable[images]
    if not asked.any():
        return {}
    captions = [caption for caption in wrong if caption is not None]
    swapped = extract_texts(bundle, captions, context=bundle.towers.context, batch_size=batch_size)
    kept = asked[torch.tensor([caption is not None for caption in wrong])]
    image = F.normalize(features.images[images[asked]], dim=1)
    right = (F.normalize(features.texts[asked], dim=1) * image).sum(dim=1)
    drop = right - (F.normalize(swapped[kept], dim=1) * image).sum(dim=1)
    return {
        "swap_drop": float(drop.double().mean()),
        "swap_preferred": 100 * float((drop > 0).double().mean()),
        "swaps": len(drop),
    }
