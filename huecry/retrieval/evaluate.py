"""Features of a whole split, and the retrieval metrics over them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
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
from huecry.retrieval.strata import STRATA, strata_figures
from huecry.towers import Towers

PARTS = ("image_to_text", "strata", "colour_erased", "reranked", "clean")
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
    loader = DataLoader(
        GalleryPhotos(photos, size, on_bad_image),
        batch_size=batch_size,
        sampler=_share(len(photos)),
        num_workers=workers,
        collate_fn=stack_gallery,
        worker_init_fn=leave_signals,
        generator=torch.Generator(),  # its own: it would draw from the global one
    )
    device = next(model.parameters()).device
    images, readable = [], []
    with _evaluating(model), _bar(len(loader), photos.split, progress) as bar:
        for pixels, good in map(checked, loader):
            pixels = pixels.to(device)
            images.append(model({"rgb": luma(pixels) if gray else pixels}, mode="encode")["rgb"].float().cpu())
            readable.append(good)
            bar.update()
    found, captions = _interleave(torch.cat(images), len(photos), device), photos.captions
    options: dict[str, Any] = {"context": context, "batch_size": batch_size, "progress": progress}
    return Features(
        found,
        extract_texts(model, captions, colourless=colourless, **options) if captions else found[:0],
        _interleave(torch.cat(readable).int(), len(photos), device).bool(),
    )


@torch.no_grad()
def extract_texts(
    model: nn.Module,
    captions: Sequence[str],
    *,
    context: int,
    batch_size: int = 128,
    progress: bool = False,
    colourless: bool = False,
) -> Tensor:
    """Pooled features [R, D] of one or more captions, fp32 on the CPU, not normalised; otherwise as `extract`."""
    own = [captions[i] for i in _share(len(captions))]
    batches = list(caption_batches(own, context, batch_size))
    branches = getattr(getattr(model, "module", model), "branches", None) is not None
    masked = pack([mask_colours(caption)[0] for caption in own], context) if branches or colourless else None
    device = next(model.parameters()).device
    rows: Tensor | None = None
    with _evaluating(model), _bar(len(batches), "captions", progress) as bar:
        for positions, ids in batches:
            words = {"text": ids}
            if masked is not None:
                words["text_nocolour"] = masked[torch.from_numpy(positions)]
                words["text"] = words["text_nocolour"] if colourless else ids
            sent = {view: ids.to(device) for view, ids in words.items()}
            pooled = model(sent, mode="encode")["text"].float().cpu()
            if rows is None:
                rows = pooled.new_zeros(len(own), pooled.shape[1])
            rows[torch.from_numpy(positions)] = pooled
            bar.update()
    assert rows is not None
    return _interleave(rows, len(captions), device)


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """The model in evaluation mode; its training mode is restored."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


def _bar(count: int, name: str, progress: bool) -> tqdm:
    return tqdm(total=count, desc=name, disable=None if progress else True, leave=False)


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
    found, left_out = clean_queries(features, photos, exclude, ap)
    return {**found.summary(), **left_out}


def clean_queries(
    features: Features, photos: PhotoSet, exclude: PairList, ap: str = "step"
) -> tuple[QueryFigures, dict[str, Any]]:
    """As `clean_metrics`, query by query, and what was left out."""
    check_clean(photos, exclude)
    rows, gone = exclude.row_weights(photos) > 0, exclude.images(photos)
    features = replace(features, readable=features.readable & torch.from_numpy(~gone))
    left_out = {"excluded": int((~rows).sum()), "excluded_photographs": int(gone.sum())}
    return retrieval_queries(features, photos, ap, rows), {**left_out, "exclude_sha256": exclude.digest}


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
    return retrieval_queries(split_features(model, towers, photos, config, **options), photos, config.ap)


def split_figures(
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
    """The metrics of one split over all pairs, and in parts of their own, by the keys of `PARTS`:

    `image_to_text`: the other way round. `strata`: by name, see `huecry.retrieval.strata`. `colour_erased`: those
    of the captions with every colour word masked, and `R1_drop`, `mAP_drop`, how much worse these are. `reranked`: by
    name, of the `RERANKINGS` that `rerank` names. `clean`: those of `clean_metrics`, where there is a list.
    """
    check_captions(photos)
    check_clean(photos, exclude)
    options: dict[str, Any] = {"workers": workers, "on_bad_image": on_bad_image, "progress": progress}
    features = split_features(model, towers, photos, config, **options)
    found = retrieval_queries(features, photos, config.ap)
    metrics: dict[str, Any] = found.summary()
    metrics["image_to_text"] = image_to_text_metrics(features, photos, config.ap)
    metrics["strata"] = strata_figures(found, photos, exclude)
    erased = extract_texts(
        model,
        photos.captions,
        context=towers.context,
        batch_size=config.batch_size,
        progress=progress,
        colourless=True,
    )
    bare = retrieval_metrics(replace(features, texts=erased), photos, config.ap)
    metrics["colour_erased"] = {**bare, **{f"{key}_drop": metrics[key] - bare[key] for key in ("R1", "mAP")}}
    if exclude is not None:
        metrics["clean"] = clean_metrics(features, photos, exclude, config.ap)
    if rerank:
        again = {name: partial(RERANKINGS[name], config=config.rerank) for name in rerank}
        ranked = {name: retrieval_queries(features, photos, config.ap, compare=one) for name, one in again.items()}
        metrics["reranked"] = {name: one.summary() for name, one in ranked.items()}
    return metrics


def split_features(model: nn.Module, towers: Towers, photos: PhotoSet, config: EvalConfig, **options: Any) -> Features:
    """`extract` with what the towers and the config say; options: the others of `extract`."""
    return extract(
        model, photos, size=towers.image_size, context=towers.context, batch_size=config.batch_size, **options
    )


def entry(split: str, metrics: dict[str, Any], selected_on: str | None) -> dict[str, Any]:
    """What `results.json` holds of a split: the figures of `split_figures`, those of its parts at the end."""
    parts = {key: metrics[key] for key in PARTS if key in metrics}
    flat = {key: value for key, value in metrics.items() if key not in parts}
    return {"split": split, **flat, "selected_on": selected_on, **parts}


def in_lines(metrics: dict[str, Any], strata: bool = False) -> Iterator[str]:
    """The figures of `split_figures` for people to read, the main ones first.

    strata: those of the strata and of the captions without colours too.
    """
    yield in_words(metrics)
    yield f"image to text: {in_words(metrics['image_to_text'])}"
    if strata:
        for name, figures in metrics["strata"].items():
            yield f"{STRATA[name]}, {figures['queries']:,} queries" + (
                f": {in_words(figures)}" if figures["queries"] else ""
            )
        drops = "  ".join(f"{key} {metrics['colour_erased'][f'{key}_drop']:.2f}" for key in ("R1", "mAP"))
        yield f"colour words erased: {in_words(metrics['colour_erased'])}, lost: {drops}"
    for name, figures in metrics.get("reranked", {}).items():
        yield f"{name}: {in_words(figures)}"
    if clean := metrics.get("clean"):
        counts = f"{clean['excluded']:,} captions and {clean['excluded_photographs']:,} photographs"
        yield f"clean, without {counts}: {in_words(clean)}"


def in_words(metrics: dict[str, float]) -> str:
    """`R1 31.20  R5 60.10  R10 72.00  mAP 28.40` for people to read."""
    return "  ".join(f"{key} {metrics[key]:.2f}" for key in ("R1", "R5", "R10", "mAP"))
