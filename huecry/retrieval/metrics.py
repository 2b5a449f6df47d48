"""Rank-k, mAP and mINP of a retrieval, exact and with a stated order for ties.

Gallery items are ranked by similarity, highest first; equal similarities by their index in the gallery. So
the rank of an item is 1 + #(items scored higher) + #(items scored the same that stand before it), and only
the ranks of relevant items are computed: by counting for the few that a person usually has, in one sorted
copy of the row for many. Nothing of the size [Q, G] is ever held.

Equal gallery vectors get exactly equal scores: a matrix product may round the same vector differently in
different columns, hence each distinct vector is multiplied once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from huecry.errors import UserError

BLOCK_SCORES = 1 << 24
COUNT_AT_MOST = 24


@dataclass(frozen=True)
class QueryFigures:
    """What was found for each of the Q queries that were evaluated, in the order asked.

    query [Q] int64: which of the queries given. person [Q] int64: whom it asks for.
    first [Q] int64: the rank of the best relevant item, from 1.
    precision, penalty [Q] float64, 0..1: the average precision; relevant items over the rank of the last.
    tied [Q] bool: the best relevant item has exactly the score of an irrelevant one.
    gallery: items ranked. skipped: queries left out for want of a match; None where that is an error.
    """

    query: NDArray[np.int64]
    person: NDArray[np.int64]
    first: NDArray[np.int64]
    precision: NDArray[np.float64]
    penalty: NDArray[np.float64]
    tied: NDArray[np.bool_]
    gallery: int
    skipped: int | None = None

    def part(self, chosen: NDArray[np.bool_]) -> QueryFigures:
        """The figures of some of the queries, chosen [Q]; the gallery is the same."""
        names = ("query", "person", "first", "precision", "penalty", "tied")
        return replace(self, **{name: getattr(self, name)[chosen] for name in names})

    def summary(self) -> dict[str, float]:
        """The means over queries; the keys of `score_metrics`."""
        result: dict[str, float] = {f"R{k}": 100 * float((self.first <= k).mean()) for k in (1, 5, 10)}
        result |= {"mAP": 100 * float(self.precision.mean()), "mINP": 100 * float(self.penalty.mean())}
        result |= {"tie_share": float(self.tied.mean())}
        result |= {"queries": len(self.query), "gallery": self.gallery, "persons": len(np.unique(self.person))}
        return result if self.skipped is None else {**result, "skipped": self.skipped}


def rank_metrics(
    queries: Tensor,
    gallery: Tensor,
    query_ids: Tensor,
    gallery_ids: Tensor,
    *,
    ap: str = "step",
    block: int | None = None,
    on_no_match: str = "error",
) -> dict[str, float]:
    """Retrieval metrics of the cosine similarity between queries and gallery.

    queries [Q, D], gallery [G, D]: features of any float type, on any one device; normalised here, in fp32.
    query_ids [Q], gallery_ids [G]: int64 person ids. A negative id is an unknown person and matches nobody.
    block: queries a matrix product, by default as many as make 64 MB of scores.

    For image to text, swap the two sides. For ``ap``, ``on_no_match``, the keys and the errors, see
    `score_metrics`. Raises UserError also where a feature is not finite: a NaN would rank first.
    """
    return rank_queries(queries, gallery, query_ids, gallery_ids, ap=ap, block=block, on_no_match=on_no_match).summary()


def rank_queries(
    queries: Tensor,
    gallery: Tensor,
    query_ids: Tensor,
    gallery_ids: Tensor,
    *,
    ap: str = "step",
    block: int | None = None,
    on_no_match: str = "error",
) -> QueryFigures:
    """As `rank_metrics`, query by query."""
    if len(query_ids) != len(queries) or len(gallery_ids) != len(gallery):
        raise ValueError(
            f"{len(queries)} queries with {len(query_ids)} ids, "
            f"{len(gallery)} gallery items with {len(gallery_ids)} ids"
        )
    blocks = score_blocks(queries, gallery, block)
    return score_queries(blocks, query_ids, gallery_ids, ap=ap, on_no_match=on_no_match)


def score_metrics(
    scores: Iterable[Tensor],
    query_ids: Tensor,
    gallery_ids: Tensor,
    *,
    ap: str = "step",
    on_no_match: str = "error",
) -> dict[str, float]:
    """Retrieval metrics of scores that come from elsewhere, such as a re-ranking.

    scores: blocks [b, G] of consecutive queries, higher is better, Q rows in all; one matrix is ``[matrix]``.
    ap: "step", the mean over relevant items of (hits so far) / rank; "trapezoid" averages the precision just
        before and at each hit, as SSAN's code does, and is lower.
    on_no_match: what to do with a query whose person is not in the gallery: "error", or "skip" to leave it
        out of every mean and report how many under the key ``skipped``.

    Returns R1, R5, R10, mAP and mINP in percent; tie_share (0..1), the share of queries whose best relevant
    item has exactly the score of an irrelevant one, so that its rank hangs on the order of the gallery; and
    the counts queries, gallery and persons (distinct persons asked for) over what was evaluated.

    Raises UserError on an empty side, on a score that is NaN, and for queries without a match.
    """
    return score_queries(scores, query_ids, gallery_ids, ap=ap, on_no_match=on_no_match).summary()


def score_queries(
    scores: Iterable[Tensor],
    query_ids: Tensor,
    gallery_ids: Tensor,
    *,
    ap: str = "step",
    on_no_match: str = "error",
) -> QueryFigures:
    """As `score_metrics`, query by query."""
    if ap not in ("step", "trapezoid"):
        raise UserError(f"ap={ap!r} is not known; choose step or trapezoid")
    people = query_ids.cpu().numpy()
    partners = _partners(query_ids, gallery_ids, on_no_match)
    query, first, precision, penalty, tied = [], [], [], [], []
    row = 0
    for scored in scores:
        if scored.shape[1] != len(gallery_ids) or row + len(scored) > len(people):
            raise ValueError(
                f"scores {tuple(scored.shape)} from row {row} on, for {len(people)} x {len(gallery_ids)} ids"
            )
        if scored.isnan().any():
            raise UserError(f"a score in rows {row} to {row + len(scored) - 1} is not a number: nothing can be ranked")
        for line in scored.detach().float().cpu().numpy():
            relevant = partners.get(int(people[row]))
            row += 1
            if relevant is None:
                continue
            ranks, at_tie = _ranks(line, relevant)
            hits = np.arange(1, len(ranks) + 1)
            at_hit = hits / ranks
            if ap == "trapezoid":
                before = np.divide(hits - 1, ranks - 1, out=np.ones(len(ranks)), where=ranks > 1)
                at_hit = (before + at_hit) / 2
            query.append(row - 1)
            first.append(ranks[0])
            precision.append(at_hit.mean())
            penalty.append(len(ranks) / ranks[-1])
            tied.append(at_tie)
    if row != len(people):
        raise ValueError(f"{row} rows of scores for {len(people)} query ids")
    return QueryFigures(
        query=np.array(query, dtype=np.int64),
        person=people[query],
        first=np.array(first, dtype=np.int64),
        precision=np.array(precision),
        penalty=np.array(penalty),
        tied=np.array(tied),
        gallery=len(gallery_ids),
        skipped=len(people) - len(query) if on_no_match == "skip" else None,
    )


def rank_top(queries: Tensor, gallery: Tensor, k: int, block: int | None = None) -> tuple[Tensor, Tensor]:
    """The k best gallery items of each query, in the order that the metrics use.

    queries [Q, D], gallery [G, D]: features, normalised here. Returns, on the CPU, cosine similarities fp32
    [Q, K] and gallery indices int64 [Q, K] with K = min(k, G).

    Raises UserError for k below 1, an empty side, or a feature that is not finite.
    """
    if k < 1:
        raise UserError(f"k={k}: ask for at least one result")
    found = [top_scores(scores, k) for scores in score_blocks(queries, gallery, block)]
    return torch.cat([scores for scores, _ in found]), torch.cat([index for _, index in found])


def top_scores(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k best of each row of scores [b, G], highest first and equal ones by their column, on the CPU.

    Returns scores [b, K] and columns int64 [b, K] with K = min(k, G).
    """
    k = min(k, scores.shape[1])
    least = scores.topk(k, dim=1).values[:, -1].cpu().numpy()
    found_scores, found_index = [], []
    for line, bound in zip(scores.cpu().numpy(), least, strict=True):
        candidates = np.flatnonzero(line >= bound)
        chosen = candidates[np.argsort(-line[candidates], kind="stable")[:k]]
        found_scores.append(line[chosen])
        found_index.append(chosen)
    return torch.from_numpy(np.stack(found_scores)), torch.from_numpy(np.stack(found_index))


def _ranks(line: NDArray[np.float32], relevant: NDArray[np.int64]) -> tuple[NDArray[np.signedinteger], bool]:
    """Ranks (ascending, from 1) of the relevant items in one row of scores, and whether the best is tied."""
    own = line[relevant]
    if len(relevant) <= COUNT_AT_MOST:
        pairs = zip(relevant, own, strict=True)
        ahead = [np.count_nonzero(line[:at] >= score) + np.count_nonzero(line[at:] > score) for at, score in pairs]
        ranks = 1 + np.sort(np.array(ahead))
    else:
        ordered = np.sort(line)
        above = np.searchsorted(ordered, own, side="right")
        equal = above - np.searchsorted(ordered, own, side="left")
        ranks = 1 + len(line) - above
        for score in np.unique(own[equal > 1]):
            shared = own == score
            ranks[shared] += np.searchsorted(np.flatnonzero(line == score), relevant[shared])
        ranks.sort()
    best = own.max()
    return ranks, bool(np.count_nonzero(line == best) > np.count_nonzero(own == best))


def _partners(query_ids: Tensor, gallery_ids: Tensor, on_no_match: str) -> dict[int, NDArray[np.int64]]:
    """Gallery indices (ascending) of each known person; complains about queries that have none."""
    if not len(query_ids) or not len(gallery_ids):
        raise UserError(f"{len(query_ids)} queries and {len(gallery_ids)} gallery items: nothing to evaluate")
    if on_no_match not in ("error", "skip"):
        raise UserError(f"on_no_match={on_no_match!r} is not known; choose error or skip")
    shown = gallery_ids.cpu().numpy()
    order = np.argsort(shown, kind="stable")
    persons, starts = np.unique(shown[order], return_index=True)
    groups = zip(persons.tolist(), np.split(order, starts[1:]), strict=True)
    partners = {person: index for person, index in groups if person >= 0}
    lost = np.flatnonzero(~np.isin(query_ids.cpu().numpy(), [*partners]))
    if len(lost) == len(query_ids) or (len(lost) and on_no_match == "error"):
        raise UserError(
            f"{len(lost)} of {len(query_ids)} queries have no photograph of their person in the gallery, "
            f"for example row {lost[0]} (person {int(query_ids[lost[0]])}); "
            + ("check the person ids" if len(lost) == len(query_ids) else "mend the data or set on_no_match=skip")
        )
    return partners


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """fp32 products whatever the caller has set: no autocast, no TF32, no bf16."""
    switches = (torch.backends.cuda.matmul, torch.backends.mkldnn.matmul)  # type: ignore[attr-defined]
    before = [switch.fp32_precision for switch in switches]
    try:
        for switch in switches:
            switch.fp32_precision = "ieee"
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        for switch, precision in zip(switches, before, strict=True):
            switch.fp32_precision = precision


def score_blocks(queries: Tensor, gallery: Tensor, block: int | None = None) -> Iterator[Tensor]:
    """Cosine similarities [b, G] of consecutive queries; equal gallery rows have equal scores."""
    if not len(queries) or not len(gallery):
        raise UserError(f"{len(queries)} queries and {len(gallery)} gallery items: nothing to compare")
    queries = _finite(queries, "queries")
    distinct, column = _distinct_rows(_finite(gallery, "gallery"))
    distinct = torch.nn.functional.normalize(distinct, dim=1)
    queries = torch.nn.functional.normalize(queries, dim=1)
    for rows in queries.split(block or max(1, BLOCK_SCORES // len(gallery))):
        with full_precision(rows.device):
            scores = rows @ distinct.T
        yield scores if column is None else scores[:, column]


def _finite(features: Tensor, side: str) -> Tensor:
    features = features.detach().float().contiguous()
    bad = (~features.isfinite().all(dim=1)).nonzero()
    if len(bad):
        raise UserError(
            f"{side}: {len(bad)} of {len(features)} features are not finite, the first in row {int(bad[0])}; "
            "the model may have diverged: use an earlier checkpoint"
        )
    return features


def _distinct_rows(features: Tensor) -> tuple[Tensor, Tensor | None]:
    """Distinct rows [U, D] and for each row the number of its equal [G], or the rows themselves and None."""
    rows = np.ascontiguousarray(features.cpu().numpy()) + 0.0  # no negative zeros: rows are compared as bytes

    def as_bytes(part: NDArray[Any]) -> NDArray[np.void]:
        return np.ascontiguousarray(part).view(np.dtype((np.void, part.shape[1] * part.itemsize))).ravel()

    # Sorting whole rows is slow; rows that differ in their beginnings differ.
    if len(np.unique(as_bytes(rows[:, :4]))) == len(rows):
        return features, None
    _, first, column = np.unique(as_bytes(rows), return_index=True, return_inverse=True)
    if len(first) == len(rows):
        return features, None
    return features[torch.from_numpy(first).to(features.device)], torch.from_numpy(column).to(features.device)
