"""Does it look at the image? Figures, pictures and a page about a model that was taught colour.

`huecry probe MODEL DATA --out DIR [--split val] [key=value ...]`; a pretraining with a colour task ends with one of its
own, in RUN/probe. The folder:

    probe.json   flat figures, with `split`, `step` (null for towers alone), `rows` (captions that the heads were asked
                 about, at most 2,000), `confusion` ({classes, counts}) and `left_out` ({probe: why})
    index.html   the figures with their meaning, and the pictures beside it: confusion.png, attention.png,
                 colourised.png, reliance.png

Shares are percent, differences of shares points; `counterfactual_*` is 0..1, colour differences are Delta-E. What the
figures mean stands in `huecry.pretrain.page`, how they are made in `huecry.pretrain.probe_words`, `probe_colours` and
`probe_towers`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import PartialState
from tqdm import tqdm

from huecry.config import Recipe, build_recipe
from huecry.data.readers import describe, read
from huecry.data.records import PhotoSet
from huecry.errors import UserError
from huecry.files import own_folder, write_folder
from huecry.pretrain import probe_colours, probe_words
from huecry.pretrain.page import FILES, page, summary
from huecry.pretrain.pictures import Looked, Painted, draw_confusion, draw_looked, draw_painted, draw_reliance
from huecry.pretrain.probe_colours import Painter, colour_figures, paintings
from huecry.pretrain.probe_model import HEADS, Probed, load_probed
from huecry.pretrain.probe_rows import Rows, read_rows
from huecry.pretrain.probe_towers import tower_figures
from huecry.pretrain.probe_words import word_figures
from huecry.processes import alone
from huecry.retrieval.evaluate import check_captions
from huecry.towers import ModelConfig
from huecry.training.bundle import Bundle
from huecry.training.labels import LabelTable

SAMPLES = 8
"""Rows of a grid of pictures."""
FOLDER = "probe"
Draw = dict[str, Callable[[Path], None]]
"""File name -> what writes it."""


def probe(model: str, data: str, overrides: Sequence[str] = (), *, out: str, split: str = "val") -> dict[str, Any]:
    """Ask a model on a split of a data set, write the folder `out`, and return what `probe.json` holds.

    model: a run or a checkpoint of it, whose heads are asked too, or anything else that `model.source` takes.
    overrides: `key=value` of model.*, data.* and eval.*; run.seed shuffles. Raises UserError for a model, data set or
    split that is not there, a damaged snapshot, and a folder that holds anything but a former probe.
    """
    folder = own_folder(Path(out), FOLDER, FILES)
    recipe = build_recipe(FOLDER, {"model": {"source": model}, "data": {"source": data}}, overrides, {})
    splits = read(recipe.data.source, recipe.data)
    if split not in splits:
        raise UserError(f"--split {split}: {data} has {', '.join(splits)}")
    print("\n".join(describe(recipe.data.source, {split: splits[split]})))
    return _probe(load_probed(recipe.model, recipe.run.seed), splits[split], recipe, folder)


def probe_run(recipe: Recipe) -> None:
    """Probe a finished pretraining on its val split into RUN/probe: once, by the main process, if it taught colour.

    The run stands whatever becomes of it: what hinders the probe is printed, not raised.
    """
    folder = recipe.folder / FOLDER
    if not HEADS.keys() & recipe.tasks.keys() or not PartialState().is_main_process or (folder / "probe.json").exists():
        return
    try:
        with alone():
            splits = read(recipe.data.source, recipe.data)
            if "val" in splits:
                free = own_folder(folder, FOLDER, FILES)
                _probe(load_probed(ModelConfig(str(recipe.folder))), splits["val"], recipe, free)
    except UserError as error:
        print(f"no probe: {error}")


def _probe(probed: Probed, photos: PhotoSet, recipe: Recipe, folder: Path) -> dict[str, Any]:
    check_captions(photos)
    where = "towers alone" if probed.step is None else f"the heads and towers of step {probed.step:,}"
    print(f"probing {where} on {photos.split}")
    bundle = Bundle(probed.towers, probed.heads, LabelTable(photos, recipe.data.labels), probed.branches)
    bundle.to(PartialState().device).eval()
    figures, draw, rows = _ask_heads(probed, photos, recipe)
    options: dict[str, Any] = {"workers": recipe.data.workers, "on_bad_image": recipe.data.on_bad_image}
    towers = tower_figures(bundle, photos, recipe.eval, seed=recipe.run.seed, **options)
    draw["reliance.png"] = lambda path: draw_reliance(towers, path)
    if "swap_drop" not in towers:
        probed.left_out["colour swap"] = "no caption names a colour that counts"
    confusion = figures.pop("confusion", None)
    result = {"split": photos.split, "step": probed.step, "rows": rows, **figures, **towers}
    result |= {"confusion": confusion} if confusion is not None else {}
    result["left_out"] = dict(probed.left_out)
    asked = f"On {photos.split}: {photos.summary().split(': ')[1]}"
    note = f"{asked}. Asked: {where}" + (f", about {rows:,} of the captions." if rows else ".")

    def fill(path: Path) -> None:
        for name, write in draw.items():
            write(path / name)
        (path / "probe.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        (path / "index.html").write_text(page("Does it look at the image?", note, result, draw), encoding="utf-8")

    write_folder(folder, fill)
    print(summary(result))
    for name, why in probed.left_out.items():
        print(f"left out: {name}: {why}")
    print(f"page: {folder / 'index.html'}")
    return result


def _ask_heads(probed: Probed, photos: PhotoSet, recipe: Recipe) -> tuple[dict[str, Any], Draw, int]:
    """Figures and pictures of the heads that there are, and how many rows they were asked about."""
    words, colours, seed = probed.colour_words, probed.colourise, recipe.run.seed
    if words is None and colours is None:
        return {}, {}, 0
    draw: Draw = {}
    answers, painted, asked = [], [], 0
    generator = np.random.default_rng([seed, 1])
    batches = read_rows(
        photos, probed.towers, seed=seed, workers=recipe.data.workers, on_bad_image=recipe.data.on_bad_image
    )
    bar = tqdm(unit=" captions", desc="heads", disable=None, leave=False)
    with bar:
        for rows in batches:
            coloured = rows.at(np.flatnonzero(rows.inputs["colourise"]["coloured"].cpu().numpy()))
            if words is not None:
                answers.append(probe_words.ask(words, probed.towers, rows))
            if colours is not None and len(coloured):
                painter = Painter(colours, probed.towers, coloured)
                painted.append(paintings(painter, painter.truth, coloured.captions, coloured.owner, generator))
            if len(coloured) and not draw:
                draw = _pictures(probed, photos, coloured)
            asked += len(rows)
            bar.update(len(rows))
    figures: dict[str, Any] = {}
    nobody = "no two persons whose captions name colours that count"
    if words is not None:
        found = probe_words.joined(answers)
        figures |= word_figures(found, seed) if len(found.hue) else {}
        if "confusion" in figures:
            table = figures["confusion"]
            draw["confusion.png"] = lambda path: draw_confusion(table["classes"], table["counts"], path)
        else:
            probed.left_out["colour_words"] = nobody
    if colours is not None:
        whole = probe_colours.joined(painted) if painted else None
        if whole is not None and len(whole.owner):
            figures |= colour_figures(whole, seed)
        else:
            probed.left_out["colourise"] = nobody
    return figures, draw, asked


def _pictures(probed: Probed, photos: PhotoSet, rows: Rows) -> Draw:
    """The grids of a few of these rows, of different photographs and as many persons as can be."""
    draw: Draw = {}
    generator = np.random.default_rng([len(rows), 2])
    if probed.colourise is not None:
        painter = Painter(probed.colourise, probed.towers, rows)
        swappable = {
            swap.row
            for swap in probe_colours.swaps(rows.captions, painter.truth[:, 0], generator)
            if swap.zone in probe_colours.MAIN
        }
        some = rows.at(_samples(rows, swappable))
        painter = Painter(probed.colourise, probed.towers, some)
        shown = [
            Painted(photos[int(image)].open(), painting)
            for image, painting in zip(
                some.image,
                probe_colours.examples(painter, painter.truth, some.captions, generator),
                strict=True,
            )
        ]
        draw["colourised.png"] = lambda path: draw_painted(shown, path)
    if probed.colour_words is not None:
        some = rows.at(_samples(rows, set()))
        found = probe_words.looks(probed.colour_words, probed.towers, some)
        looked = [
            Looked(photos[int(image)].open(), caption, looks)
            for image, caption, looks in zip(some.image, some.captions, found, strict=True)
            if looks
        ]
        if looked:
            draw["attention.png"] = lambda path: draw_looked(looked, path)
    return draw


def _samples(rows: Rows, preferred: set[int]) -> list[int]:
    """Rows to show: the preferred ones first, then those whose person is not shown yet."""
    met: Counter[int] = Counter()
    images: set[int] = set()
    found: list[tuple[bool, int, int]] = []
    for place in sorted(range(len(rows)), key=lambda place: (place not in preferred, place)):
        image, owner = int(rows.image[place]), int(rows.owner[place])
        if image not in images:
            images.add(image)
            found.append((place not in preferred, met[owner], place))
            met[owner] += 1
    return [place for *_, place in sorted(found)[:SAMPLES]]
