"""The Python face of the command line: one function a sub-command, same name, same arguments."""

from __future__ import annotations

import json as json_format
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from huecry.errors import UserError


def pretrain(config: str = "pretrain/people", *overrides: str, dry_run: bool = False) -> dict[str, Any] | None:
    """Pretrain by a recipe; see `huecry.pretrain.run.pretrain`."""
    from huecry.pretrain.run import pretrain

    return pretrain(config, *overrides, dry_run=dry_run)


def finetune(config: str = "finetune/people", *overrides: str, dry_run: bool = False) -> dict[str, Any] | None:
    """Fine-tune by a recipe; see `huecry.finetune.run.finetune`."""
    from huecry.finetune.run import finetune

    return finetune(config, *overrides, dry_run=dry_run)


def evaluate(
    model: str,
    data: str,
    *overrides: str,
    split: str = "test",
    rerank: Sequence[str] = (),
    strata: bool = False,
    json: str | None = None,
) -> dict[str, Any]:
    """Text-to-image retrieval of a model on a split of a data set, in percent.

    model, data: what `model.source` and `data.source` take. rerank: `rvn`, `kreciprocal`; their figures are apart,
    under `reranked` by name, with the settings of `eval.rerank`. strata: also print what is under `strata` and
    `colour_erased`, see `split_figures`. json: a file that also gets the result. With `data.exclude=FILE` the figures
    are still over all pairs, those without the list's are under `clean`, and those it names are a stratum, `flagged`.
    Raises UserError for a model, data set, split, list or re-ranking that is not there.
    """
    from huecry.config import build_recipe
    from huecry.data.pair_lists import read_pair_lists
    from huecry.data.readers import describe, read
    from huecry.files import write_file
    from huecry.processes import join, world
    from huecry.retrieval.evaluate import entry, in_lines, split_figures
    from huecry.retrieval.rerank import RERANKINGS
    from huecry.towers import load_branches, load_towers
    from huecry.training.bundle import Bundle
    from huecry.training.labels import LabelTable
    from huecry.training.runs import selected_on

    for name in rerank:
        if name not in RERANKINGS:
            raise UserError(f"rerank={name}: choose among {', '.join(RERANKINGS)}")
    recipe = build_recipe("evaluate", {"model": {"source": model}, "data": {"source": data}}, overrides, {})
    splits = read(recipe.data.source, recipe.data)
    if split not in splits:
        raise UserError(f"--split {split}: {data} has {', '.join(splits)}")
    exclude = read_pair_lists(recipe.data.exclude, None, recipe.data.exclude_sha256, None).exclude
    if exclude is not None:
        exclude.check(splits)
    device = join()
    main = world()[0] == 0
    if main:
        print("\n".join(describe(recipe.data.source, {split: splits[split]})))
    towers = load_towers(recipe.model, recipe.run.seed)
    bundle = Bundle(towers, {}, LabelTable(splits[split], recipe.data.labels), load_branches(model)).to(device)
    metrics = split_figures(
        bundle,
        towers,
        splits[split],
        recipe.eval,
        exclude,
        rerank=rerank,
        workers=recipe.data.workers,
        on_bad_image=recipe.data.on_bad_image,
        progress=True,
    )
    result = entry(split, metrics, selected_on(model))
    if main:
        print("\n".join(in_lines(metrics, strata=strata)))
    if main and json is not None:
        write_file(Path(json), json_format.dumps(result, indent=1) + "\n")
    return result


def compare(
    models: Sequence[str], *overrides: str, data: Sequence[str], split: str = "test", json: str | None = None
) -> dict[str, Any]:
    """Models beside each other on one or several data sets; see `huecry.finetune.compare_models.compare`."""
    from huecry.finetune.compare_models import compare

    return compare(models, overrides, data=data, split=split, json_file=json)


def probe(model: str, data: str, *overrides: str, out: str, split: str = "val") -> dict[str, Any]:
    """Does it look at the image? Figures, pictures and a page in a folder; see `huecry.pretrain.probes.probe`."""
    from huecry.pretrain.probes import probe

    return probe(model, data, overrides, out=out, split=split)


def audit(
    data: str,
    *overrides: str,
    out: str,
    model: str | None = None,
    write_exclude: str | None = None,
    rules: Sequence[str] = (),
) -> dict[str, Any]:
    """What is wrong with a data set? Findings, counts and a page in a folder; see `huecry.finetune.audit.audit`."""
    from huecry.finetune.audit import audit

    return audit(data, overrides, out=out, model=model, write_exclude=write_exclude, rules=rules)


def ablate(
    config: str = "pretrain/people",
    *overrides: str,
    finetune: str = "finetune/people",
    out: str,
    seeds: int = 3,
    labelled: Sequence[float] = (0.1, 0.3),
    split: str = "val",
    pretrained: str | None = None,
) -> dict[str, Any]:
    """Run the on/off grid over pretraining tasks and seeds; see `huecry.finetune.ablate.ablate`."""
    from huecry.finetune.ablate import ablate

    return ablate(
        config,
        *overrides,
        finetune=finetune,
        out=out,
        seeds=seeds,
        labelled=labelled,
        split=split,
        pretrained=pretrained,
    )


def index(model: str, data: str, *overrides: str, out: str, split: str | None = None) -> dict[str, Any]:
    """Features of a folder's or data set's pictures in one file; see `huecry.retrieval.indexing.index`."""
    from huecry.retrieval.indexing import index

    return index(model, data, overrides, out=out, split=split)


def search(
    index: str,
    *sentences: str,
    image: str | None = None,
    weight: float = 1.0,
    attr: Sequence[str] = (),
    k: int = 10,
    sheet: str | None = None,
    json: bool = False,
    model: str | None = None,
    exact: bool = False,
) -> dict[str, Any]:
    """Find pictures of an index from sentences, a picture or attributes; see `huecry.retrieval.search.search`.

    To search again and again, open the index once: `huecry.Index`.
    """
    from huecry.retrieval.search import search

    return search(
        index, sentences, image=image, weight=weight, attr=attr, k=k, sheet=sheet, json=json, model=model, exact=exact
    )


def serve(index: str, *, host: str = "127.0.0.1", port: int | None = None, model: str | None = None) -> None:
    """Show a page to search an index from, until it is interrupted; see `huecry.retrieval.serve.serve`."""
    from huecry.retrieval.serve import serve

    serve(index, host=host, port=port, model=model)


def export(
    model: str,
    out: str,
    *,
    formats: Sequence[str] | None = None,
    square: bool = False,
    dtype: str | None = None,
) -> dict[str, Any]:
    """Write a model as one folder for three libraries, or for `formats`; see `huecry.publish.export.export`."""
    from huecry.publish import FORMATS
    from huecry.publish.export import export

    return export(model, out, formats=FORMATS if formats is None else formats, square=square, dtype=dtype)


def push(
    model: str, repo: str, *, checkpoint: bool = False, private: bool = False, dry_run: bool = False
) -> str | None:
    """Upload a model, or a run's snapshot, to the Hub; see `huecry.publish.push.push`."""
    from huecry.publish.push import push

    return push(model, repo, checkpoint=checkpoint, private=private, dry_run=dry_run)


def people(out: str, persons: int = 1000, seed: int = 0) -> None:
    """Write the embedded set of drawn pedestrians as a folder of pictures with `metadata.jsonl`.

    Raises UserError for a folder that is not empty or cannot be written, or fewer than two persons.
    """
    from tqdm import tqdm

    from huecry.data.people import write_people

    try:
        write_people(Path(out), persons, seed, progress=lambda items: tqdm(items, unit=" pictures", disable=None))
    except OSError as error:
        raise UserError(f"{out}: cannot be written ({error.strerror or error}); name another folder") from error


def recipes() -> dict[str, str]:
    """Every recipe by name, with what it implements and what it was verified against."""
    from huecry.config import CONFIGS, recipe_names

    return {name: _heading((CONFIGS / f"{name}.yaml").read_text()) for name in recipe_names()}


def _heading(text: str) -> str:
    """The comment that opens a recipe, without the command on its first line."""
    lines = []
    for line in text.splitlines()[1:]:
        if not line.startswith("#"):
            break
        lines.append(line.removeprefix("#").strip())
    return " ".join(lines).strip()
