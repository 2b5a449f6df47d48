"""Features of a whole split, and the retrieval metrics over them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from huecry.data.captions import mask_colours
from huecry.data.colour import luma
from huecry.data.loader import GalleryPhotos, caption_batches, checked, leave_signals, stack_gallery
from huecry.data.records import UNKNOWN, PhotoSet
from huecry.data.tokens import pack
from huecry.errors import UserError
from huecry.processes import gather, world
from huecry.retrieval.metrics import QueryFigures, rank_queries
from huecry.towers import Towers


@dataclass
class EvalConfig:
    """How a split is evaluated.

    every: epochs between evaluations of the selection split while training. select_on: the split that chooses the kept
    model (`test` exists to compare with published code, and is stamped into the results). metric: what is compared.
    batch_size: pictures a forward pass, on each process. ap: `step` or `trapezoid`, see `rank_metrics`.
    """

    every: int = 1
    select_on: str = "val"
    metric: str = "mAP"
    batch_size: int = 128
    ap: str = "step"


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


def retrieval_queries(features: Features, photos: PhotoSet, ap: str = "step") -> QueryFigures:
    """As `retrieval_metrics`, query by query; `query` holds dataset rows, `person` what `identities` gives."""
    check_captions(photos)
    ids = torch.from_numpy(identities(photos))
    queries = features.readable[torch.from_numpy(photos.row_image)]
    if not queries.any():
        raise UserError(f"split {photos.split}: no photograph with a caption is readable; mend the pictures")
    found = rank_queries(
        features.texts[queries],
        features.images[features.readable],
        ids[torch.from_numpy(photos.row_image)][queries],
        ids[features.readable],
        ap=ap,
    )
    return replace(found, query=queries.nonzero().squeeze(1).numpy()[found.query])


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
    features = extract(
        model,
        photos,
        size=towers.image_size,
        context=towers.context,
        batch_size=config.batch_size,
        workers=workers,
        on_bad_image=on_bad_image,
        progress=progress,
    )
    return retrieval_queries(features, photos, config.ap)


def in_words(metrics: dict[str, float]) -> str:
    """`R1 31.20  R5 60.10  R10 72.00  mAP 28.40` for people to read."""
    return "  ".join(f"{key} {metrics[key]:.2f}" for key in ("R1", "R5", "R10", "mAP"))
