"""How long should torch's threads spin before they sleep? Steps of the demo's pretraining, in turns, in one run.

    python benchmarks/thread_wait.py [--rounds 3] [--steps 30] [--json benchmarks/results/thread_wait.json]

Every turn is a pretraining of its own, since the setting is read as torch is imported: `huecry` (what the commands
set), `asleep at once`, and `spinning` (what libgomp does by itself). Its first ten steps warm up; the median seconds of
a step count, and their ratio to that of `huecry` in the same round.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from record import record

WARM = 10
SETTINGS: dict[str, dict[str, str]] = {
    "huecry": {},
    "asleep at once": {"GOMP_SPINCOUNT": "0"},
    "spinning": {"GOMP_SPINCOUNT": "300000"},
}


def seconds(setting: dict[str, str], steps: int) -> float:
    """Median seconds of a training step, the data worker at work."""
    inherited = {name: value for name, value in os.environ.items() if name not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        changes = [f"run.dir={run}", f"train.max_steps={WARM + steps}", "train.log_every=1"]
        command = [sys.executable, "-m", "huecry.cli", "pretrain", *changes]
        subprocess.run(command, env={**inherited, **setting}, check=True, capture_output=True)
        lines = [json.loads(line) for line in (run / "timing.jsonl").read_text().splitlines()]
    return statistics.median(line["seconds"] for line in lines if line["step"] > WARM)


def main() -> None:
    """Measure and print; write the figures."""
    parser = argparse.ArgumentParser(description="Threads that spin, and threads that sleep.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/thread_wait.json"))
    arguments = parser.parse_args()
    times: dict[str, list[float]] = {name: [] for name in SETTINGS}
    for turn in range(arguments.rounds):
        names = list(SETTINGS)
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            times[name].append(seconds(SETTINGS[name], arguments.steps))
    figures = {}
    for name, own in times.items():
        ratios = [a / b for a, b in zip(own, times["huecry"], strict=True)]
        figures[name] = {
            "seconds_a_step": statistics.median(own),
            "times_huecry": statistics.median(ratios),
            "range": [min(ratios), max(ratios)],
        }
        print(f"{name:18}{figures[name]['seconds_a_step']:8.3f} s{figures[name]['times_huecry']:8.2f} x")
    record(
        arguments.json,
        f"python benchmarks/thread_wait.py --rounds {arguments.rounds} --steps {arguments.steps}",
        figures,
    )


if __name__ == "__main__":
    main()
