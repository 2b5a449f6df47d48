"""How a run came about, beside its recipe: `provenance.json`, for the card of the model it makes.

It holds no path of this machine.
"""

from __future__ import annotations

import json
import os
import subprocess
from importlib.metadata import version
from pathlib import Path

from huecry.config import Recipe
from huecry.data.records import PhotoSet
from huecry.files import write_file

PROVENANCE = "provenance.json"
LIBRARIES = ("huecry", "torch", "transformers")


def write_provenance(recipe: Recipe, splits: dict[str, PhotoSet]) -> None:
    """Write into the run folder the recipe's name, the data and its sizes, versions, and the commit of the code.

    Raises UserError when the disk refuses.
    """
    source = recipe.data.source
    content = {
        "recipe": recipe.name,
        "data": [data_name(str(one)) for one in (source if isinstance(source, list) else [source])],
        "origin": origin(recipe.model.source),
        "sizes": [photos.summary() for photos in splits.values()],
        "versions": {name: version(name) for name in LIBRARIES},
        "commit": commit(Path(__file__).parents[2]),
    }
    write_file(recipe.folder / PROVENANCE, json.dumps(content, indent=1) + "\n")


def commit(root: Path) -> str | None:
    """The commit that a checkout stands at, with `-dirty` where files differ from it; None outside a checkout."""
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None


def data_name(source: str) -> str:
    """What a data set may be called outside this machine: of a path its last part."""
    named = source == "people" or source.startswith("hf:")
    return source if named else os.path.basename(os.path.realpath(os.path.expanduser(source)))


def origin(source: str) -> dict[str, str | None]:
    """What a model began from. began: as a card says it; base: its name on the Hub, if it is there."""
    if source == "tiny":
        return {"began": "random weights", "base": None}
    if source.startswith("open_clip:"):
        arch, _, rest = source.removeprefix("open_clip:").partition("/")
        return {"began": f"the weights of open_clip's `{arch}`, `{Path(rest).name}`", "base": None}
    if Path(source).expanduser().exists():
        return {"began": f"the weights in a folder `{data_name(source)}`", "base": None}
    name = source.removeprefix("hf:")
    return {"began": f"the weights of [{name}](https://huggingface.co/{name})", "base": name}
