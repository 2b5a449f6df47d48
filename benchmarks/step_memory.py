"""Peak memory of training ViT-B/16 at 384x128 with batch 8 on a CPU, through the trainer itself.

    python benchmarks/step_memory.py [--json benchmarks/results/step_memory.json]

Random weights in transformers' format at 224x224, resized on loading; three optimiser steps of `finetune/cuhk_pedes` in
fp32 on drawn photographs.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from record import peak_gb, record
from transformers import CLIPConfig, CLIPModel

from huecry.api import finetune, people


def main() -> None:
    """Train three steps and print the peak."""
    parser = argparse.ArgumentParser(description="Peak memory of a ViT-B/16 step.")
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/step_memory.json"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model, data = Path(folder) / "clip", Path(folder) / "drawn"
        CLIPModel(CLIPConfig(projection_dim=512, vision_config={"patch_size": 16}, text_config={})).save_pretrained(
            model
        )
        people(str(data), persons=8)
        kept = [line for line in (data / "metadata.jsonl").read_text().splitlines() if '"train"' in line]
        (data / "metadata.jsonl").write_text("\n".join(kept) + "\n")
        finetune(
            "finetune/cuhk_pedes",
            f"model.source={model}",
            f"data.source={data}",
            "data.workers=0",
            "train.mixed_precision=no",
            "train.batch_size=8",
            "train.max_steps=3",
            f"run.dir={Path(folder) / 'run'}",
        )
    figures = {"peak_gb": peak_gb()}
    print(f"peak_gb {figures['peak_gb']:.2f}")
    record(arguments.json, "python benchmarks/step_memory.py", figures)


if __name__ == "__main__":
    main()
