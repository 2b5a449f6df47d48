"""Models beside each other, on one data set or on several: does a recipe help, and does it carry over?

`huecry compare MODEL [MODEL ...] --data DATA [DATA ...] [--split test] [--json FILE] [key=value ...]`

A row a recipe, a column a data set. Runs whose recipes differ in the seed alone are one row: mean and sample standard
deviation over the seeds, and a 95 % bootstrap interval over persons and seeds. Any other model is a row of its own. The
first row is the base: every other row has its difference to it, seed by seed, with an interval, see
`huecry.finetune.compare`. The result, which `--json` writes:

    {"split", "base", "data": {name: {"source", "photographs", "persons", "captions"}}, "notes": [...],
     "rows": [{"row", "models", "seeds", "trained_on", "selected_on",
               "cells": {name: {"selected_on", "R1", "R10", "mAP", "interval", "difference"}}}]}

`trained_on` lists the data of all stages of a run, the first stage first; `selected_on` says what chose the model, as
`val of DATA`, and is null where nothing did or nobody knows.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from accelerate import PartialState

from huecry.config import Recipe, build_recipe
from huecry.data.layouts import recognise
from huecry.data.pair_lists import read_pair_lists
from huecry.data.readers import describe, read, short_names
from huecry.data.records import PhotoSet
from huecry.errors import UserError
from huecry.files import write_file
from huecry.finetune.compare import DRAWS, KEYS, LEVEL, PRIMARY, gap_in_words, markdown, mean_and_spread, summarise
from huecry.retrieval.evaluate import (
    average_by_person,
    check_captions,
    clean_queries,
    in_words,
    retrieval_queries,
    split_features,
)
from huecry.retrieval.metrics import QueryFigures
from huecry.towers import load_branches, load_towers
from huecry.training.bundle import Bundle
from huecry.training.labels import LabelTable
from huecry.training.runs import recipes_of, selected_on
from huecry.training.stage import changed_key

ORIGINS = {
    "cuhk_pedes": ("CUHK01", "CUHK03", "Market-1501", "SSM", "VIPeR"),
    "icfg_pedes": ("MSMT17",),
    "rstpreid": ("MSMT17",),
}
"""Layout of a public set -> the sets that its photographs were taken from."""


@dataclass(frozen=True)
class Entrant:
    """A model of the table. recipes: of a run's stages, the last first. split: what chose it, None if nobody knows."""

    model: str
    recipes: Sequence[dict[str, Any]]
    split: str | None

    @property
    def seed(self) -> int | None:
        """The run's; None for any other model."""
        return self.recipes[0]["run"]["seed"] if self.recipes else None

    @property
    def stages(self) -> list[list[str]]:
        """The data of each stage, the first stage first."""
        sources = [recipe["data"]["source"] for recipe in reversed(self.recipes)]
        return [source if isinstance(source, list) else [source] for source in sources]

    def like(self, other: Entrant) -> bool:
        """Whether both are runs of one recipe, at any seeds."""
        if not self.recipes or len(self.recipes) != len(other.recipes):
            return False
        return all(changed_key(*pair) is None for pair in zip(_seedless(self), _seedless(other), strict=True))


def _seedless(entrant: Entrant) -> list[dict[str, Any]]:
    """The recipes without their seeds, and without the runs that they start from."""
    recipes = [{**recipe, "run": None} for recipe in entrant.recipes]
    return [*({**one, "model": {**one["model"], "source": None}} for one in recipes[:-1]), recipes[-1]]


def compare(
    models: Sequence[str],
    overrides: Sequence[str] = (),
    *,
    data: Sequence[str],
    split: str = "test",
    json_file: str | None = None,
) -> dict[str, Any]:
    """Evaluate every model on a split of every data set, print the table, and return what `--json` writes.

    models, data: what `model.source` and `data.source` take. overrides: `key=value` of model.*, data.* and eval.*, for
    all. Raises UserError for a model, data set or split that is not there, before anything is evaluated, and for two
    models of one recipe and seed.
    """
    twice = next((model for model in models if models.count(model) > 1), None)
    if twice is not None:
        raise UserError(f"{twice}: listed twice; leave one out")
    for override in overrides:
        if override.startswith(("model.source=", "data.source=")):
            raise UserError(f"{override}: name models before --data, and data sets behind it")
    recipe = build_recipe("compare", {}, overrides, {})
    if recipe.data.exclude is not None:
        raise UserError("data.exclude: a list belongs to one data set; give it to `huecry evaluate`, model by model")
    sources = short_names(data)
    sets = {name: _photos(source, recipe, split) for name, source in sources.items()}
    rows = _rows([Entrant(model, recipes_of(model), selected_on(model)) for model in models])
    for row in rows.values():
        for entrant in row:  # a mistake in the last model is found before the first is evaluated
            load_towers(replace(recipe.model, source=entrant.model), recipe.run.seed)
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in sets}
    for name, entrants in rows.items():
        for entrant in entrants:
            for column, photos in sets.items():
                figures = evaluate_run(entrant.model, recipe, photos)
                results[column].append({"row": name, "labelled": 1, "seed": entrant.seed, **figures})
                print(f"{entrant.model} on {column}: {in_words(figures)}")
    report = _report(rows, sets, sources, results, split)
    print("\n" + table(report))
    if json_file is not None:
        write_file(Path(json_file).expanduser(), json.dumps(report, indent=1) + "\n")
    return report


def evaluate_run(model: str | Path, recipe: Recipe, photos: PhotoSet) -> dict[str, Any]:
    """Flat metrics of a model, such as the selected one of a run, and the average precision of each person's queries.

    recipe: how to evaluate; its `model.source` is not read. With `data.exclude` the same without the list's pairs is
    under `clean`.
    """
    towers = load_towers(replace(recipe.model, source=str(model)), recipe.run.seed)
    bundle = Bundle(towers, {}, LabelTable(photos, "given"), load_branches(str(model))).to(PartialState().device)
    features = split_features(
        bundle,
        towers,
        photos,
        recipe.eval,
        workers=recipe.data.workers,
        on_bad_image=recipe.data.on_bad_image,
        progress=PartialState().is_main_process,
    )
    figures = _by_person(retrieval_queries(features, photos, recipe.eval.ap), photos)
    exclude = read_pair_lists(recipe.data.exclude, None, recipe.data.exclude_sha256, None).exclude
    if exclude is not None:
        found, left_out = clean_queries(features, photos, exclude, recipe.eval.ap)
        figures["clean"] = {**_by_person(found, photos), **left_out}
    return figures


def _by_person(found: QueryFigures, photos: PhotoSet) -> dict[str, Any]:
    persons = average_by_person(found, photos)
    return {
        **found.summary(),
        "person_ap": {name: precision for name, (precision, _) in persons.items()},
        "person_queries": {name: queries for name, (_, queries) in persons.items()},
    }


def _photos(source: str, recipe: Recipe, split: str) -> PhotoSet:
    splits = read(source, recipe.data)
    if split not in splits:
        raise UserError(f"--split {split}: {source} has {', '.join(splits)}")
    print("\n".join(describe(source, {split: splits[split]})))
    check_captions(splits[split])
    return splits[split]


def _rows(entrants: Sequence[Entrant]) -> dict[str, list[Entrant]]:
    """The models by row, in the order given. Raises UserError for two of one recipe and seed."""
    groups: list[list[Entrant]] = []
    for entrant in entrants:
        group = next((group for group in groups if entrant.like(group[0])), None)
        if group is None:
            groups.append(group := [])
        for other in group:
            if other.seed == entrant.seed:
                raise UserError(
                    f"{entrant.model}: of the same recipe and seed ({entrant.seed}) as {other.model}; leave one out"
                )
        group.append(entrant)
    rows: dict[str, list[Entrant]] = {}
    for group in groups:
        group.sort(key=lambda entrant: entrant.seed or 0)
        models = [entrant.model for entrant in group]
        name = _pattern(models)
        rows[name if name not in rows else ", ".join(models)] = group
    return rows


def _pattern(models: Sequence[str]) -> str:
    """`runs/irra-*` for runs/irra-0 and runs/irra-1: what the names share, part by part of the path."""
    parts = [Path(model).parts for model in models]
    if len(models) == 1 or len({len(one) for one in parts}) > 1:
        return ", ".join(models)
    return str(Path(*(_beginning(names) for names in zip(*parts, strict=True))))


def _beginning(names: Sequence[str]) -> str:
    """What all names begin with and a star, or the name if it is one."""
    if len({*names}) == 1:
        return names[0]
    letters = itertools.takewhile(lambda same: len({*same}) == 1, zip(*names, strict=False))
    return "".join(same[0] for same in letters) + "*"


def _report(
    rows: Mapping[str, Sequence[Entrant]],
    sets: Mapping[str, PhotoSet],
    sources: Mapping[str, str],
    results: Mapping[str, Sequence[dict[str, Any]]],
    split: str,
) -> dict[str, Any]:
    base = next(iter(rows))
    lines: dict[str, dict[str, Any]] = {}
    for name, entrants in rows.items():
        first = entrants[0]
        lines[name] = {
            "row": name,
            "models": [entrant.model for entrant in entrants],
            "seeds": [entrant.seed for entrant in entrants],
            "trained_on": [source for stage in first.stages for source in stage],
            "selected_on": first.split and f"{first.split} of {', '.join(first.stages[-1])}",
            "cells": {},
        }
    for column in sets:
        for entry in summarise(results[column], base):
            line = lines[entry["row"]]
            figures = {key: entry[key] for key in (*KEYS, "interval", "difference")}
            line["cells"][column] = {"selected_on": line["selected_on"], **figures}
    facts = {
        name: {
            "source": sources[name],
            "photographs": len(photos),
            "persons": len(photos.persons),
            "captions": len(photos.row_image),
        }
        for name, photos in sets.items()
    }
    notes = [*dict.fromkeys(_notes({name: entrants[0] for name, entrants in rows.items()}, sources, split))]
    return {"split": split, "base": base, "data": facts, "notes": notes, "rows": [*lines.values()]}


def _notes(entrants: Mapping[str, Entrant], sources: Mapping[str, str], split: str) -> Iterator[str]:
    """What a reader must know: photographs that sets have in common, models chosen on what they are asked."""
    for column, source in sources.items():
        origins = _origins(source)
        if origins:
            yield f"{column}: photographs of {', '.join(sorted(origins))}"
        for row, entrant in entrants.items():
            for trained in (one for stage in entrant.stages for one in stage):
                shared = origins & _origins(trained)
                if shared and not _same(trained, source):
                    yield f"{trained} and {column} both have photographs of {', '.join(sorted(shared))}"
            if entrant.split == split and any(_same(trained, source) for trained in entrant.stages[-1]):
                yield f"{row} on {column}: its epoch was chosen on these very photographs"


def _origins(source: str) -> frozenset[str]:
    """Where the photographs of a data set in the layout of a public one were taken from, as far as that is known."""
    folder = Path(source).expanduser()
    try:
        return frozenset(ORIGINS.get(recognise(folder), ())) if folder.exists() else frozenset()
    except UserError:
        return frozenset()


def _same(first: str, second: str) -> bool:
    return Path(first).expanduser().resolve() == Path(second).expanduser().resolve()


def table(report: Mapping[str, Any]) -> str:
    """A result of `compare` as a Markdown table that also reads well in a terminal, with its notes."""
    rows, columns = report["rows"], [*report["data"]]
    heads = (PRIMARY, "R1", *(["gain"] if len(rows) > 1 else []))
    lines = [["model", "seeds", "trained on", "chosen on", *(f"{name}: {head}" for name in columns for head in heads)]]
    for row in rows:
        seeds = ", ".join("-" if seed is None else str(seed) for seed in row["seeds"])
        line = [row["row"], seeds, ", ".join(dict.fromkeys(row["trained_on"])) or "-", row["selected_on"] or "-"]
        for cell in (row["cells"][name] for name in columns):
            line += ["{} [{low:.2f}, {high:.2f}]".format(mean_and_spread(cell[PRIMARY]), **cell["interval"])]
            line += [mean_and_spread(cell["R1"])]
            if len(rows) > 1:
                line += [gap_in_words(cell["difference"])]
        lines.append(line)
    note = (
        f"Text to image on {report['split']}, percent; ± standard deviation over seeds. In brackets: {100 * LEVEL:g} % "
        f"bootstrap interval ({DRAWS:,} draws) over persons and, where there are several, seeds."
        + (f" Gain: {PRIMARY} minus that of the first row." if len(rows) > 1 else "")
    )
    return "\n".join([*markdown(lines), "", note, *report["notes"]])
