"""Does colour pretraining help retrieval? The on/off grid on the embedded people and on real photographs.

    python benchmarks/ablation.py people
    python benchmarks/ablation.py cuhk01 DATA

Runs `huecry ablate` into runs/ablation_<set> (started again, it goes on) and records its summary in
benchmarks/results/ablation_<set>.json and its plot in docs/pictures. On people both stages begin from random weights.
On cuhk01, the CUHK01 part of CUHK-PEDES in DATA, every row pretrains from the same model, which contrastive matching
alone made of the embedded people (the grid `people` leaves it).
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from record import record

from huecry.api import ablate

PEOPLE = Path("runs/ablation_people")
START = PEOPLE / "runs" / "contrastive-0" / "pretrain"
CHANGES = {
    "people": ("pretrain.train.epochs=2",),
    "cuhk01": (
        f"pretrain.model.source={START}",
        *("pretrain.train.epochs=6", "pretrain.eval.every=6"),
        *("pretrain.views.rgb.brightness=0.2", "pretrain.views.rgb.contrast=0.2"),
        *("finetune.train.epochs=8", "finetune.train.batch_size=64"),
    ),
}
FINETUNE = {"people": "finetune/people", "cuhk01": "finetune/cuhk01_tiny"}


def main() -> None:
    """Run what is missing of a grid, record the summary."""
    parser = argparse.ArgumentParser(description="The on/off grid over pretraining tasks and seeds.")
    parser.add_argument("name", choices=CHANGES)
    parser.add_argument("data", nargs="?", help="the CUHK01 part of CUHK-PEDES, in that data set's own layout")
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    name = arguments.name
    if (arguments.data is None) == (name == "cuhk01"):
        parser.error("give the data for cuhk01, and none for people")
    data = (f"data.source={arguments.data}",) if arguments.data else ()
    out = PEOPLE.with_name(f"ablation_{name}")
    report = ablate(
        "pretrain/people", *CHANGES[name], *data, finetune=FINETUNE[name], out=str(out), seeds=arguments.seeds
    )
    shutil.copy(out / "ablation.png", Path("docs/pictures") / f"{out.name}.png")
    command = f"python benchmarks/ablation.py {name}{' CUHK01' if data else ''} --seeds {arguments.seeds}"
    record(Path("benchmarks/results") / f"{out.name}.json", command, report)


if __name__ == "__main__":
    main()
