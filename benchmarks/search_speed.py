"""Indexing beside what it is made of, and search in a large gallery, exact and through faiss.

    python benchmarks/search_speed.py [--pictures 20000] [--vectors 1000000] [--turns 5] [--json FILE]

Indexing: drawn people with `tiny`, everything that `huecry index` does after its imports, model and file included. A
picture forward alone (batches of 128, all cores) and decoded alone (one core) are timed before and after, in turns;
the ratio is that of the pictures a second to 1 / (forward + decode). Search: features of 512 around random centres,
themselves around fewer ones, asked one by one; recall is the share of the exact first ten that faiss finds.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the commands do, before torch is imported
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

import torch
from record import record
from torch.nn.functional import normalize

from huecry import api, load
from huecry.data.augment import pixels_of
from huecry.data.people import PHOTOS, cached_people
from huecry.data.readers import read
from huecry.data.records import Record
from huecry.retrieval.encoder import BATCH, Encoder
from huecry.retrieval.index_file import About, IndexFile
from huecry.retrieval.search_faiss import K, make_cells

FEATURES, QUERIES = 512, 100
PARTS = 20 * BATCH
"""Pictures that forward and decoding are timed on at each turn."""


def parts(model: Encoder, records: Sequence[Record]) -> tuple[float, float]:
    """Seconds of a picture: forward, decoded."""
    start = time.perf_counter()
    pixels = torch.stack([pixels_of(one.open(), model.size) for one in records])
    decoded = time.perf_counter()
    for batch in pixels.split(BATCH):
        model.encode_pixels(batch)
    return (time.perf_counter() - decoded) / len(records), (decoded - start) / len(records)


def indexing(pictures: int, turns: int) -> dict[str, Any]:
    """Pictures a second, seconds of the parts, and their ratio turn by turn."""
    folder = cached_people(-(-pictures // PHOTOS), 0)
    records = read(folder)["train"].records
    model = load("tiny")
    parts(model, records[:BATCH])
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        before = parts(model, records[:PARTS])
        for turn in range(turns):
            start = time.perf_counter()
            made = api.index("tiny", str(folder), "data.workers=1", split="train", out=f"{scratch}/{turn}.safetensors")
            seconds = (time.perf_counter() - start) / made["pictures"]
            after = parts(model, records[:PARTS])
            forward, decode = ((one + other) / 2 for one, other in zip(before, after, strict=True))
            rows.append((1 / seconds, forward, decode, (forward + decode) / seconds))
            before = after
    speeds, forwards, decodes, ratios = zip(*rows, strict=True)
    return {
        "pictures": len(records),
        "pictures_per_second": statistics.median(speeds),
        "forward_ms": 1000 * statistics.median(forwards),
        "decode_ms": 1000 * statistics.median(decodes),
        "ratio": statistics.median(ratios),
        "ratio_range": [min(ratios), max(ratios)],
    }


def gallery(vectors: int) -> tuple[IndexFile, torch.Tensor]:
    """Features in groups of groups, and queries of the same kind."""
    torch.manual_seed(0)
    count = vectors + QUERIES
    fields = torch.randn(max(1, vectors // 1000), FEATURES)
    persons = fields[torch.randint(len(fields), (max(1, vectors // 5),))] + 0.7 * torch.randn(
        max(1, vectors // 5), FEATURES
    )
    features = torch.empty(count, FEATURES)
    for rows in torch.arange(count).split(1 << 16):
        whom = torch.randint(len(persons), (len(rows),))
        features[rows] = normalize(persons[whom] + 0.7 * torch.randn(len(rows), FEATURES), dim=1)
    hashes = torch.zeros(vectors, 32, dtype=torch.uint8)
    hashes[:, :8] = torch.arange(vectors).view(torch.uint8).view(vectors, 8)
    about = About({"source": "none"}, "", "", {}, None, None)
    stamps = torch.zeros(vectors, 2, dtype=torch.int64)
    return IndexFile(about, [str(one) for one in range(vectors)], features[:vectors], hashes, stamps), features[
        vectors:
    ]


def search(vectors: int) -> dict[str, Any]:
    """Milliseconds of a query, exact and through faiss, and what faiss finds."""
    file, queries = gallery(vectors)
    start = time.perf_counter()
    cells, worth = make_cells(file, queries)
    return {
        "vectors": vectors,
        "features": FEATURES,
        "exact_ms": cells.exact_milliseconds,
        "faiss_ms": cells.milliseconds,
        f"recall_at_{K}": cells.recall,
        "cells": cells.index.nlist,
        "probes": cells.probes,
        "seconds_to_make_cells": time.perf_counter() - start,
        "worth_it": worth,
    }


def main() -> None:
    """Measure both and print; write the figures."""
    parser = argparse.ArgumentParser(description="Indexing and search.")
    parser.add_argument("--pictures", type=int, default=20_000)
    parser.add_argument("--vectors", type=int, default=1_000_000)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/search_speed.json"))
    arguments = parser.parse_args()
    figures = {"indexing": indexing(arguments.pictures, arguments.turns), "search": search(arguments.vectors)}
    for name, found in figures.items():
        print(f"{name}: " + "  ".join(f"{key} {value}" for key, value in found.items()))
    sizes = f"--pictures {arguments.pictures} --vectors {arguments.vectors} --turns {arguments.turns}"
    record(arguments.json, f"python benchmarks/search_speed.py {sizes}", figures)


if __name__ == "__main__":
    main()
