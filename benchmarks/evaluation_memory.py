"""Time and memory of the metrics at the size of a large gallery: 6,156 queries on 100,000 photographs of 512 features.

python benchmarks/evaluation_memory.py [--json benchmarks/results/evaluation_memory.json]
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
from record import peak_gb, record

from huecry.retrieval.metrics import rank_metrics

QUERIES, GALLERY, FEATURES, PERSONS = 6_156, 100_000, 512, 30_000


def main() -> None:
    """Rank once and print seconds and growth."""
    parser = argparse.ArgumentParser(description="Time and memory of the metrics.")
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/evaluation_memory.json"))
    arguments = parser.parse_args()
    generator = torch.Generator().manual_seed(0)
    gallery = torch.randn(GALLERY, FEATURES, generator=generator)
    gallery_ids = torch.arange(GALLERY) % PERSONS
    chosen = torch.randperm(GALLERY, generator=generator)[:QUERIES]
    queries = gallery[chosen] + torch.randn(QUERIES, FEATURES, generator=generator)
    rank_metrics(queries[:64], gallery[:256], gallery_ids[chosen[:64]] * 0, gallery_ids[:256] * 0)
    before, start = peak_gb(), time.perf_counter()
    rank_metrics(queries, gallery, gallery_ids[chosen], gallery_ids)
    figures = {"seconds": time.perf_counter() - start, "gb_beyond_the_features": peak_gb() - before}
    print("  ".join(f"{key} {value:.2f}" for key, value in figures.items()))
    record(arguments.json, "python benchmarks/evaluation_memory.py", figures)


if __name__ == "__main__":
    main()
