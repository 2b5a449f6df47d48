"""What `huecry search` does with an index: a table, JSON, or a contact sheet of what was found."""

from __future__ import annotations

import json as json_format
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from huecry.errors import UserError
from huecry.retrieval.index import Found, Index
from huecry.retrieval.index_file import shown
from huecry.retrieval.search_attributes import compose
from huecry.retrieval.sheet import (
    CELL_HEIGHT,
    CELL_WIDTH,
    FAINT,
    MOUNT,
    QUERY_SIZE,
    Hit,
    SheetRow,
    contact_sheet,
    load_font,
)


def search(
    index: str | os.PathLike[str],
    sentences: Sequence[str] = (),
    *,
    image: str | os.PathLike[str] | None = None,
    weight: float = 1.0,
    attr: Sequence[str] = (),
    k: int = 10,
    sheet: str | os.PathLike[str] | None = None,
    json: bool = False,
    model: str | None = None,
    exact: bool = False,
) -> dict[str, Any]:
    """Search an index and print a table, or JSON; each sentence has its own results.

    image: a picture that is added to each sentence, or asked for alone; weight: of a sentence beside it. attr:
    `key=value`, which make one sentence, see `huecry.retrieval.search_attributes`. k: results a query. sheet: a PNG
    file that shows what was found. model: where the model is, if not where the index says. exact: leave faiss alone.

    Returns what JSON has: {"index", "root", "gallery", "exact", "recall", "queries": [{"sentence", "image", "results":
    [{"path", "score", "captions"}]}]}. recall: of the exact first ten, as measured; null for exact search.
    Raises UserError as `Index` does, and for attributes that are not known.
    """
    asked = [*sentences, *([compose(attr)] if attr else [])]
    opened = Index.open(index, model)
    queries = opened.queries(asked, image, weight)
    found = opened.nearest(queries, k, exact)
    told: list[str | None] = [*asked] or [None]
    picture = None if image is None else str(image)
    cells = None if exact else opened.cells
    result: dict[str, Any] = {
        "index": str(index),
        "root": opened.file.about.root or opened.file.about.source,
        "gallery": len(opened),
        "exact": cells is None,
        "recall": None if cells is None else cells.recall,
        "queries": [
            {"sentence": sentence, "image": picture, "results": [asdict(one) for one in results]}
            for sentence, results in zip(told, found, strict=True)
        ],
    }
    if json:
        print(json_format.dumps(result, indent=1))
    else:
        print(f"{len(opened):,} pictures in {shown(result['root'])}" + ("" if cells is None else f"; {cells.line}"))
        for query, results in zip(result["queries"], found, strict=True):
            print("\n".join(["", _title(query), *_table(results)]))
    if sheet is not None:
        rows = [
            SheetRow(_title(query), [Hit(picture_of(opened, one), one.score) for one in results])
            for query, results in zip(result["queries"], found, strict=True)
        ]
        contact_sheet(rows, Path(sheet).expanduser())
    return result


def picture_of(index: Index, found: Found) -> Image.Image:
    """The picture, or what stands for one that is gone."""
    try:
        return index.picture(found.path)
    except UserError:
        blank = Image.new("RGB", (CELL_WIDTH, CELL_HEIGHT), MOUNT)
        pen, middle = ImageDraw.Draw(blank), (CELL_WIDTH / 2, CELL_HEIGHT / 2)
        pen.text(middle, "missing", FAINT, load_font(QUERY_SIZE), anchor="mm")
        return blank


def _title(query: dict[str, Any]) -> str:
    parts = [query["sentence"], None if query["image"] is None else f"picture {shown(query['image'])}"]
    return " + ".join(part for part in parts if part is not None)


def _table(results: Sequence[Found]) -> list[str]:
    return [f"{rank:4}  {one.score:6.3f}  {shown(one.path)}" for rank, one in enumerate(results, 1)]
