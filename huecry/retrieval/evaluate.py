"""Features of a whole split, and the retrieval metrics over them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from huecry.data.captions import mask_colours
from huecry.data.colour import luma
from huecry.data.loader import GalleryPhotos, caption_batches, checked, leave_signals, stack_gallery
from huecry.data.pair_lists import PairList
from huecry.data.records import UNKNOWN, PhotoSet
from huecry.data.tokens import pack
from huecry.errors import UserError
from huecry.processes import gather, world
from huecry.retrieval.metrics import QueryFigures, score_blocks, score_queries
from huecry.retrieval.rerank import RERANKINGS, RerankConfig
from huecry.towers import Towers

PARTS = ("image_to_text", "reranked", "clean")
"""Keys of a split's figures that hold figures of their own."""


@dataclass
class EvalConfig:
    """How a split is evaluated.

    every: epochs between evaluations of the selection split while training. select_on: the split that chooses the kept
    model (`test` exists to compare with published code, and is stamped into the results). metric: what is compared.
    batch_size: pictures a forward pass, on each process. ap: `step` or `trapezoid`, see `rank_metrics`. rerank: the
    settings of what `huecry evaluate --rerank` adds.
    """

    every: int = 1
    select_on: str = "val"
    metric: str = "mAP"
    batch_size: int = 128
    ap: str = "step"
    rerank: RerankConfig = field(default_factory=RerankConfig)


@dataclass(frozen=True)
class Features:
    """Pooled features of a split on the CPU, fp32, not normalised: images [N, D], texts [R, D]; readable [N] bool."""

    images: Tensor
    texts: Tensor
    readable: Tensor


@torch.no_grad()
def extract(
    model: nn.Module,
    photos: PhotoSet,
    *,
    size: tuple[int, int],
    context: int,
    batch_size: int = 128,
    workers: int = 0,
    on_bad_image: str = "error",
    progress: bool = False,
    gray: bool = False,
    colourless: bool = False,
) -> Features:
    """Every photograph and every caption of a split, each once, shared between the processes.

    model: a Bundle or a wrapper of one, called with mode="encode"; its training mode is restored.
    gray: of the grey photographs. colourless: of the captions with every colour word masked.
    Raises UserError at a photograph that cannot be decoded, unless `on_bad_image` is `skip`.
    """
    captions = photos.captions
    own_captions = _share(len(captions))
    loader = DataLoader(
        GalleryPhotos(photos, size, on_bad_image),
        batch_size=batch_size,
        sampler=_share(len(photos)),
        num_workers=workers,
        collate_fn=stack_gallery,
        worker_init_fn=leave_signals,
        generator=torch.Generator(),  # its own: it would draw from the global one
    )
    own = [captions[i] for i in own_captions]
    texts = list(caption_batches(own, context, batch_size))
    branches = getattr(getattr(model, "module", model), "branches", None) is not None
    masked = pack([mask_colours(caption)[0] for caption in own], context) if branches or colourless else None
    training, device = model.training, next(model.parameters()).device
    model.eval()
    images, readable = [], []
    rows: Tensor | None = None
    with tqdm(
        total=len(loader) + len(texts), desc=photos.split, disable=None if progress else True, leave=False
    ) as bar:
        for pixels, good in map(checked, loader):
            pixels = pixels.to(device)
            images.append(model({"rgb": luma(pixels) if gray else pixels}, mode="encode")["rgb"].float().cpu())
            readable.append(good)
            bar.update()
        for positions, ids in texts:
            words = {"text": ids}
            if masked is not None:
                words["text_nocolour"] = masked[torch.from_numpy(positions)]
                words["text"] = words["text_nocolour"] if colourless else ids
            sent = {view: ids.to(device) for view, ids in words.items()}
            pooled = model(sent, mode="encode")["text"].float().cpu()
            if rows is None:
                rows = pooled.new_zeros(len(own_captions), pooled.shape[1])
            rows[torch.from_numpy(positions)] = pooled
            bar.update()
    model.train(training)
    return Features(
        _interleave(torch.cat(images), len(photos), device),
        _interleave(rows if rows is not None else torch.zeros(0, images[0].shape[1]), len(captions), device),
        _interleave(torch.cat(readable).int(), len(photos), device).bool(),
    )


def _share(count: int) -> list[int]:
    """This process's items: every W-th. With more processes than items, one that `_interleave` leaves out again."""
    rank, size = world()
    return list(range(rank, count, size)) or [0][:count]


def _interleave(local: Tensor, count: int, device: torch.device) -> Tensor:
    """Join the processes' shares (rank, rank + W, ...) in order, [count, ...]."""
    _, size = world()
    if size == 1:
        return local
    longest = -(-count // size)
    padded = torch.cat([local, local.new_zeros(longest - len(local), *local.shape[1:])])
    joined = gather(padded.to(device)).cpu().unflatten(0, (size, longest))
    return joined.transpose(0, 1).flatten(0, 1)[:count]


def identities(photos: PhotoSet) -> np.ndarray:
    """Identity [N] of each photograph for evaluation: its person's, or its own where the person is unknown."""
    alone = len(photos.persons) + np.arange(len(photos))
    return np.where(photos.image_person == UNKNOWN, alone, photos.image_person)


def check_captions(photos: PhotoSet) -> None:
    """Raises UserError for a split that nothing can be asked of."""
    if not len(photos.row_image):
        raise UserError(f"split {photos.split}: no caption to search with; write captions or leave the split out")


def retrieval_metrics(features: Features, photos: PhotoSet, ap: str = "step") -> dict[str, float]:
    """Text-to-image metrics of a split: every caption is a query, every readable photograph is in the gallery.

    Raises UserError where the split has no caption, or none whose photograph could be read.
    """
    return retrieval_queries(features, photos, ap).summary()


def retrieval_queries(
    features: Features,
    photos: PhotoSet,
    ap: str = "step",
    rows: np.ndarray | None = None,
    compare: Callable[[Tensor, Tensor], Iterable[Tensor]] = score_blocks,
) -> QueryFigures:
    """As `retrieval_metrics`, query by query; `query` holds dataset rows, `person` what `identities` gives.

    rows [R] bool: the captions that ask; None for all. compare: gives blocks of scores [b, G] of consecutive queries
    [Q, D] with a gallery [G, D]; their cosines.
    """
    check_captions(photos)
    ids = torch.from_numpy(identities(photos))
    queries = features.readable[torch.from_numpy(photos.row_image)]
    if rows is not None:
        queries &= torch.from_numpy(rows)
    if not queries.any():
        raise UserError(f"split {photos.split}: no photograph with a caption is readable; mend the pictures")
    found = score_queries(
        compare(features.texts[queries], features.images[features.readable]),
        ids[torch.from_numpy(photos.row_image)][queries],
        ids[features.readable],
        ap=ap,
    )
    return replace(found, query=queries.nonzero().squeeze(1).numpy()[found.query])


def image_to_text_metrics(features: Features, photos: PhotoSet, ap: str = "step") -> dict[str, float]:
    """The other way round: every readable photograph asks, and the captions of its person are what it should find.

    Photographs of whose person nobody said anything do not ask.
    """
    ids = torch.from_numpy(identities(photos))
    told = features.readable[torch.from_numpy(photos.row_image)]
    said = ids[torch.from_numpy(photos.row_image)][told]
    asking = features.readable & torch.isin(ids, said)
    blocks = score_blocks(features.images[asking], features.texts[told])
    return score_queries(blocks, ids[asking], said, ap=ap).summary()


def check_clean(photos: PhotoSet, exclude: PairList | None) -> None:
    """Raises UserError for an exclusion list that leaves a split no query."""
    if exclude is not None and not (exclude.row_weights(photos) > 0).any():
        raise UserError(f"data.exclude={exclude.path}: leaves split {photos.split} no caption; shorten the list")


def clean_metrics(features: Features, photos: PhotoSet, exclude: PairList, ap: str = "step") -> dict[str, Any]:
    """Text-to-image metrics without the pairs of an exclusion list, beside those of `retrieval_metrics` over all.

    Excluded captions do not ask; photographs excluded as a whole are not in the gallery either. Also `excluded`, the
    captions left out, `excluded_photographs`, and `exclude_sha256` of the list. Raises UserError as `check_clean`.
    """
    check_clean(photos, exclude)
    rows, gone = exclude.row_weights(photos) > 0, exclude.images(photos)
    features = replace(features, readable=features.readable & torch.from_numpy(~gone))
    return {
        **retrieval_queries(features, photos, ap, rows).summary(),
        "excluded": int((~rows).sum()),
        "excluded_photographs": int(gone.sum()),
        "exclude_sha256": exclude.digest,
    }


def average_by_person(found: QueryFigures, photos: PhotoSet) -> dict[str, tuple[float, int]]:
    """The mean average precision of each person's queries, in percent, and how many they are, by the person's name.

    found: of this split, from `retrieval_queries`. A photograph of an unknown person is a person of its own here too,
    by the name `photograph <name>`. The means, weighted by the counts, average to the split's mAP.
    """
    persons = {}
    for number in np.unique(found.person):
        alone = int(number) - len(photos.persons)
        name = photos.persons[number] if alone < 0 else f"photograph {photos[alone].name}"
        own = found.precision[found.person == number]
        persons[name] = (100 * float(own.mean()), len(own))
    return persons


def evaluate_split(
    model: nn.Module,
    towers: Towers,
    photos: PhotoSet,
    config: EvalConfig,
    *,
    workers: int = 0,
    on_bad_image: str = "error",
    progress: bool = False,
) -> QueryFigures:
    """Extract and rank one split with a model that holds the towers; the same figures on every process."""
    check_captions(photos)
    options: dict[str, Any] = {"workers": workers, "on_bad_image": on_bad_image, "progress": progress}
    return retrieval_queries(_extract(model, towers, photos, config, options), photos, config.ap)


def evaluate_with_clean(
    model: nn.Module,
    towers: Towers,
    photos: PhotoSet,
    config: EvalConfig,
    exclude: PairList | None,
    *,
    rerank: Sequence[str] = (),
    workers: int = 0,
    on_bad_image: str = "error",
    progress: bool = False,
) -> dict[str, Any]:
    """The metrics of one split over all pairs; under `image_to_text` those of the other way round.

    Under `clean` are those of `clean_metrics` where there is a list, under `reranked` by name those of the `RERANKINGS`
    that `rerank` names.
    """
    check_captions(photos)
    check_clean(photos, exclude)
    options: dict[str, Any] = {"workers": workers, "on_bad_image": on_bad_image, "progress": progress}
    features = _extract(model, towers, photos, config, options)
    metrics: dict[str, Any] = retrieval_metrics(features, photos, config.ap)
    metrics["image_to_text"] = image_to_text_metrics(features, photos, config.ap)
    if exclude is not None:
        metrics["clean"] = clean_metrics(features, photos, exclude, config.ap)
    if rerank:
        again = {name: partial(RERANKINGS[name], config=config.rerank) for name in rerank}
        found = {name: retrieval_queries(features, photos, config.ap, compare=one) for name, one in again.items()}
        metrics["reranked"] = {name: one.summary() for name, one in found.items()}
    return metrics


def _extract(
    model: nn.Module, towers: Towers, photos: PhotoSet, config: EvalConfig, options: dict[str, Any]
) -> Features:
    return extract(
        model, photos, size=towers.image_size, context=towers.context, batch_size=config.batch_size, **options
    )


def entry(split: str, metrics: dict[str, Any], selected_on: str | None) -> dict[str, Any]:
    """What `results.json` holds of a split: the figures of `evaluate_with_clean`, those of its parts at the end."""
    parts = {key: metrics[key] for key in PARTS if key in metrics}
    flat = {key: value for key, value in metrics.items() if key not in parts}
    return {"split": split, **flat, "selected_on": selected_on, **parts}


def in_lines(metrics: dict[str, Any]) -> Iterator[str]:
    """The figures of `evaluate_with_clean` for people to read, the main ones first."""
    yield in_words(metrics)
    yield f"image to text: {in_words(metrics['image_to_text'])}"
    for name, figures in metrics.get("reranked", {}).items():
        yield f"{name}: {in_words(figures)}"
    if clean := metrics.get("clean"):
        counts = f"{clean['excluded']:,} captions and {clean['excluded_photographs']:,} photographs"
        yield f"clean, without {counts}: {in_words(clean)}"


def in_words(metrics: dict[str, float]) -> str:
    """`R1 31.20  R5 60.10  R10 72.00  mAP 28.40` for people to read."""
    return "  ".join(f"{key} {metrics[key]:.2f}" for key in ("R1", "R5", "R10", "mAP"))
