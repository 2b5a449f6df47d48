"""Do the pretraining tasks help retrieval? The on/off grid on the embedded people and on real photographs.

    python benchmarks/ablation.py people
    python benchmarks/ablation.py transfer DATA
    python benchmarks/ablation.py cuhk01 DATA

Runs `huecry ablate` into runs/ablation_<grid> (started again, it goes on) and records its summary in
benchmarks/results/ablation_<grid>.json and its plot in docs/pictures. DATA is the CUHK01 part of CUHK-PEDES. `people`:
both stages on the embedded people, from random weights. `transfer`: the same pretraining with the three colour tasks
alone, fine-tuned on DATA.
`cuhk01`: both stages on DATA; every row pretrains from the same model, which contrastive matching alone made of the
embedded people (the grid `people` leaves it).
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from cuhk01 import ON_IDENTITIES
from record import record

from huecry.api import ablate

PEOPLE = Path("runs/ablation_people")
START = PEOPLE / "runs" / "contrastive-0" / "pretrain"
SHORT = ("pretrain.train.epochs=2", "pretrain.relabel.start=1")
CHANGES = {
    "people": SHORT,
    "transfer": (
        *SHORT,
        *("pretrain.tasks.moco=null", "pretrain.tasks.clustering=null", "pretrain.data.labels=pair"),
        *("finetune.train.epochs=5", "finetune.eval.every=5", "finetune.train.batch_size=64"),
    ),
    "cuhk01": (
        f"pretrain.model.source={START}",
        *("pretrain.train.epochs=4", "pretrain.eval.every=4"),
        *("pretrain.views.rgb.brightness=0.2", "pretrain.views.rgb.contrast=0.2"),
        *("finetune.train.epochs=5", "finetune.eval.every=5", "finetune.train.batch_size=64"),
    ),
}
FINETUNE = {"people": "finetune/people", "transfer": "finetune/cuhk01_tiny", "cuhk01": "finetune/cuhk01_tiny"}
READS = {"people": "", "transfer": "finetune.data.source", "cuhk01": "data.source"}
"""The key that DATA is given to."""


def main() -> None:
    """Run what is missing of a grid, record the summary."""
    parser = argparse.ArgumentParser(description="The on/off grid over pretraining tasks and seeds.")
    parser.add_argument("name", choices=CHANGES)
    parser.add_argument("data", nargs="?", help="in the data set's own layout; none for people")
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    name = arguments.name
    if bool(arguments.data) != bool(READS[name]):
        parser.error("give the data for transfer and cuhk01, and none for people")
    data = (f"{READS[name]}={arguments.data}",) if arguments.data else ()
    out = PEOPLE.with_name(f"ablation_{name}")
    options = {"finetune": FINETUNE[name], "out": str(out), "seeds": arguments.seeds}
    plain = [] if name == "people" else [f"finetune.{change}" for change in ON_IDENTITIES]
    report = ablate("pretrain/all_tiny", *CHANGES[name], *plain, *data, **options)
    shutil.copy(out / "ablation.png", Path("docs/pictures") / f"{out.name}.png")
    command = f"python benchmarks/ablation.py {name}{' CUHK01' if data else ''} --seeds {arguments.seeds}"
    record(Path("benchmarks/results") / f"{out.name}.json", command, report)


if __name__ == "__main__":
    main()
