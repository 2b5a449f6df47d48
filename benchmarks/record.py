"""Result files: figures with the machine, the versions and the date that they were measured on."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import os
import platform
import resource
from pathlib import Path
from typing import Any

PACKAGES = ("torch", "transformers", "open_clip_torch", "accelerate", "numpy")


def peak_gb() -> float:
    """Largest resident memory of this process so far, in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def machine() -> dict[str, Any]:
    """What a figure depends on besides the code."""
    model = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "processor": model[0].partition(":")[2].strip() if model else platform.processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in PACKAGES},
    }


def record(path: Path, command: str, figures: Any) -> None:
    """Write figures to a JSON file, with the command that measures them again."""
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    content = {"command": command, "date": date, "machine": machine(), "figures": figures}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n")
    print(f"written: {path}")
