"""`huecry export`: the towers of a model as one folder for three libraries, checked before it is there.

Heads, queues and the colour branch stay behind. What another library computes from the folder is compared with our own
features on random photographs and sentences; a folder that fails the check is not left.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch.nn.functional import cosine_similarity

from huecry.errors import UserError
from huecry.files import write_folder
from huecry.publish import FORMATS
from huecry.publish.card import write_card
from huecry.publish.check import check, difference, features, random_inputs
from huecry.publish.formats import CARD, DTYPES, write_formats
from huecry.publish.story import story_of
from huecry.towers import ModelConfig, Towers, load_branches, load_towers
from huecry.towers.branches import BRANCHES_FILE


def export(
    model: str, out: str, *, formats: Sequence[str] = FORMATS, square: bool = False, dtype: str | None = None
) -> dict[str, Any]:
    """Write the towers of a model into a new folder, with a model card.

    model: what `model.source` takes. formats: `transformers`, `open_clip`, `sentence_transformers`. square: resize the
    positions to a square of the longer side, for pipelines that know no rectangles; features are then others.
    dtype: `bf16` or `fp16` to store matrices in half precision.
    Returns {"image_size", "differences": {format: largest difference of features, None where the library is not
    installed}, "rounding": None or {"largest", "cosine"}: what half precision does to the features}.
    Raises UserError for a folder that is there and not empty, a model that cannot be exported, and a library that does
    not compute our features from what was written, of which nothing stays.
    """
    target = Path(out).expanduser().resolve()
    if target.exists() and not target.is_dir():
        raise UserError(f"{out}: a file, not a folder; name a new folder")
    if target.is_dir() and any(target.iterdir()):
        raise UserError(f"{out}: not empty; name a new folder")
    result = write_export(model, target, formats=formats, square=square, dtype=dtype)
    print("\n".join(in_lines(out, result)))
    return result


def write_export(
    model: str,
    target: Path,
    *,
    formats: Sequence[str] = FORMATS,
    square: bool = False,
    dtype: str | None = None,
    name: str | None = None,
) -> dict[str, Any]:
    """As `export`, in the place of what lies at `target`. name: the card's, by default that of the folder."""
    for one in formats:
        if one not in FORMATS:
            raise UserError(f"formats={one}: choose among {', '.join(FORMATS)}")
    if dtype is not None and dtype not in DTYPES:
        raise UserError(f"dtype={dtype}: choose one of {', '.join(DTYPES)}")
    if not formats:
        raise UserError(f"formats: none given; choose among {', '.join(FORMATS)}")
    if load_branches(model) is not None:
        raise UserError(
            f"{model}: ranks by three branches (tasks.grayscale.export=concat), which no other library computes; for "
            f"its towers alone, whose figures are others, give a copy of its model folder without {BRANCHES_FILE}"
        )
    towers = load_towers(ModelConfig(source=model)).eval()
    story, before = story_of(model), None
    height, width = towers.image_size
    if square and height != width:
        before, side = (height, width), max(height, width)
        towers = load_towers(ModelConfig(source=model, image_size=[side, side])).eval()
    result: dict[str, Any] = {}

    def fill(folder: Path) -> None:
        stored = write_formats(folder, towers, formats, DTYPES[dtype] if dtype else None)
        result["image_size"] = list(stored.image_size)
        result["differences"] = check(folder, stored, formats)
        result["rounding"] = _rounding(towers, stored) if dtype else None
        card = write_card(name or target.name, story, stored, formats, dtype, before)
        (folder / CARD).write_text(card, encoding="utf-8")

    write_folder(target, fill, "nothing was exported")
    return result


def _rounding(towers: Towers, stored: Towers) -> dict[str, float]:
    """What half precision does: the largest difference of features, and the least cosine between old and new."""
    inputs = random_inputs(towers.image_size)
    exact, now = features(towers, *inputs), features(stored, *inputs)
    cosine = min(float(cosine_similarity(one, two, dim=1).min()) for one, two in zip(exact, now, strict=True))
    return {"largest": difference(now, exact), "cosine": cosine}


def in_lines(out: str, result: dict[str, Any]) -> list[str]:
    """What was written and how it was checked, to print."""
    height, width = result["image_size"]
    lines = [f"{out}: towers for photographs of {height}x{width}, and a card, {CARD}"]
    for name, largest in result["differences"].items():
        checked = "not checked, it is not installed here" if largest is None else f"our features within {largest:.1e}"
        lines.append(f"{name}: {checked}")
    if result["rounding"]:
        lines.append(
            "half precision: features move by {largest:.1e}, cosines by {0:.1e} at most".format(
                1 - result["rounding"]["cosine"], **result["rounding"]
            )
        )
    return lines
