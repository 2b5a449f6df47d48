"""Time and memory of clustering without identities: k-reciprocal Jaccard distances, then DBSCAN, on 512 features.

    python benchmarks/clustering_scale.py [--sizes 5000 20000 68000] [--json benchmarks/results/clustering_scale.json]

The rows are random persons of two to ten photographs, and a fifth of strangers seen once. Every size runs in a process
of its own, whose largest resident memory counts, features included. At the first size a dense reference, the published
algorithm on N x N arrays, must find the same clusters.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from record import peak_gb, record
from sklearn.cluster import DBSCAN
from sklearn.metrics import adjusted_rand_score

from huecry.pretrain.pseudo_labels import cluster
from huecry.retrieval.kreciprocal import distances, encodings

FEATURES, K1, K2, EPS, SLACK, LEAST = 512, 30, 6, 0.6, 0.02, 4
NOISE = 0.8
"""Deviation of a photograph's features around its person's, whose own is 1."""


def persons(count: int) -> tuple[torch.Tensor, NDArray[np.int64]]:
    """Features [count, 512] and the person of each."""
    generator = np.random.default_rng(0)
    strangers = count // 5
    sizes = generator.integers(2, 11, size=count)
    person = np.concatenate([np.repeat(np.arange(count), sizes)[: count - strangers], count + np.arange(strangers)])
    person = np.unique(person, return_inverse=True)[1]
    torch.manual_seed(0)
    centres = torch.randn(int(person.max()) + 1, FEATURES)
    return centres[torch.from_numpy(person)] + NOISE * torch.randn(count, FEATURES), person


def sparse(count: int) -> dict[str, Any]:
    """Seconds, largest memory in GB and what was found, at one size; the labels under `labels`."""
    features, person = persons(count)
    start = time.perf_counter()
    weights = encodings(features, K1, K2)
    encoded = time.perf_counter()
    near = distances(weights, EPS + SLACK)
    compared = time.perf_counter()
    labels = cluster(near, EPS, LEAST)
    end = time.perf_counter()
    return {
        "rows": count,
        "seconds": end - start,
        "seconds_encodings": encoded - start,
        "seconds_distances": compared - encoded,
        "seconds_dbscan": end - compared,
        "gb": peak_gb(),
        "entries_a_row": weights.nnz / count,
        "near_a_row": near.nnz / count,
        "clusters": int(labels.max()) + 1,
        "alone": float((labels < 0).mean()),
        "ari": float(adjusted_rand_score(person, np.where(labels < 0, -1 - np.arange(count), labels))),
        "labels": labels.tolist(),
    }


def dense(count: int) -> dict[str, Any]:
    """The same by the published algorithm on N x N arrays."""
    features, _ = persons(count)
    start = time.perf_counter()
    unit = torch.nn.functional.normalize(features, dim=1).numpy()
    squared = 2 - 2 * unit @ unit.T
    np.fill_diagonal(squared, -1)  # a row comes first in its own list
    ranks = np.argsort(squared, axis=1, kind="stable")
    np.fill_diagonal(squared, 0)

    def reciprocal(row: int, k: int) -> NDArray[np.int64]:
        return ranks[row, :k][(ranks[ranks[row, :k], :k] == row).any(axis=1)]

    wide = [reciprocal(row, K1) for row in range(count)]
    narrow = [reciprocal(row, round(K1 / 2) + 1) for row in range(count)]
    weights = np.zeros((count, count), dtype=np.float32)
    for row in range(count):
        members = wide[row]
        for candidate in wide[row]:
            if len(np.intersect1d(narrow[candidate], wide[row])) > 2 / 3 * len(narrow[candidate]):
                members = np.union1d(members, narrow[candidate])
        share = np.exp(-squared[row, members])
        weights[row, members] = share / share.sum()
    weights = np.stack([weights[ranks[row, :K2]].mean(axis=0) for row in range(count)])
    holders = [np.flatnonzero(weights[:, column]) for column in range(count)]
    jaccard = np.empty((count, count), dtype=np.float32)
    for row in range(count):
        shared = np.zeros(count, dtype=np.float32)
        for column in np.flatnonzero(weights[row]):
            who = holders[column]
            shared[who] += np.minimum(weights[row, column], weights[who, column])
        jaccard[row] = 1 - shared / (2 - shared)
    labels = DBSCAN(eps=EPS, min_samples=LEAST, metric="precomputed").fit_predict(jaccard.clip(min=0))
    seconds = time.perf_counter() - start
    return {
        "seconds": seconds,
        "gb": peak_gb(),
        "labels": labels.tolist(),
    }


def alone(kind: str, count: int) -> dict[str, Any]:
    """What `sparse` or `dense` returns, from a process of its own."""
    command = [sys.executable, __file__, "--one", kind, str(count)]
    found: dict[str, Any] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return found


def main() -> None:
    """Measure and print; write the figures."""
    parser = argparse.ArgumentParser(description="Time and memory of clustering.")
    parser.add_argument("--sizes", type=int, nargs="+", default=[5_000, 20_000, 68_000])
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/clustering_scale.json"))
    parser.add_argument("--one", nargs=2, metavar=("KIND", "ROWS"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        kind, count = arguments.one
        print(json.dumps({"sparse": sparse, "dense": dense}[kind](int(count))))
        return
    figures: dict[str, Any] = {}
    for count in arguments.sizes:
        found = figures[f"{count}"] = alone("sparse", count)
        print(f"{count:7,} rows: {found['seconds']:7.1f} s, {found['gb']:.2f} GB, ARI {found['ari']:.3f}", flush=True)
    reference = alone("dense", arguments.sizes[0])
    same = adjusted_rand_score(reference.pop("labels"), figures[f"{arguments.sizes[0]}"]["labels"])
    for found in figures.values():
        del found["labels"]
    figures["dense"] = {**reference, "rows": arguments.sizes[0], "ari_to_sparse": float(same)}
    print(f"dense, {arguments.sizes[0]:,} rows: {reference['seconds']:.1f} s, {reference['gb']:.2f} GB, ARI {same:.6f}")
    sizes = " ".join(map(str, arguments.sizes))
    record(arguments.json, f"python benchmarks/clustering_scale.py --sizes {sizes}", figures)


if __name__ == "__main__":
    main()
