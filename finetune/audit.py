"""What is wrong with a data set? Findings, one a line, counts, and a page to look at them.

`huecry audit DATA [--model MODEL] --out DIR [--write-exclude FILE --rules A,B] [key=value ...]`. The folder:

    findings.jsonl   a line a finding, see `huecry.finetune.findings.Finding`, the gravest rules first
    audit.json       {"data", "model", "splits": {split: {photographs, persons, captions}},
                     "counts": {rule: {split: n}}, "left_out": {rule: why}, "unknown_words": {word: count}}
    index.html       the counts and up to 24 findings a rule, with the photographs inside: opens without a network

Words and pictures are looked at without a model; with one, of any kind that `model.source` takes, each split is also
asked whether captions and photographs belong together. Nothing is changed or left out: that is what `data.exclude` and
`data.weights` are for, see `huecry.data.pair_lists`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from huecry.config import Recipe, build_recipe
from huecry.data.readers import describe, read
from huecry.data.records import PhotoSet
from huecry.data.tokens import CONTEXT
from huecry.errors import UserError
from huecry.files import own_folder, write_file, write_folder
from huecry.finetune.audit_duplicates import near_duplicates
from huecry.finetune.audit_glances import Observer
from huecry.finetune.audit_model import model_findings
from huecry.finetune.audit_page import page
from huecry.finetune.audit_pictures import no_person_findings, picture_findings
from huecry.finetune.audit_spelling import WordCounts, spelling_findings
from huecry.finetune.audit_text import caption_findings
from huecry.finetune.findings import MODEL_RULES, RULES, Finding, counts
from huecry.towers import Towers, load_branches, load_towers

FILES = frozenset({"findings.jsonl", "audit.json", "index.html"})
"""Everything that an audit writes into its folder."""
MOST_WORDS = 200
"""Unknown words that `audit.json` lists."""


def audit(
    data: str,
    overrides: Sequence[str] = (),
    *,
    out: str,
    model: str | None = None,
    write_exclude: str | None = None,
    rules: Sequence[str] = (),
) -> dict[str, Any]:
    """Audit every split of a data set into the folder `out`; returns what `audit.json` holds.

    model: anything that `model.source` takes; None leaves out the rules that ask one. write_exclude: a file that gets
    the findings of `rules`, to be given as `data.exclude`. overrides: `key=value` of model.*, data.* and eval.*.

    Raises UserError for a data set or model that is not there, a folder that holds anything but a former audit, and
    for rules that do not exist.
    """
    _check_rules(write_exclude, rules, model)
    folder = own_folder(Path(out), "audit", FILES)
    given = {"data": {"source": data}, **({"model": {"source": model}} if model is not None else {})}
    recipe = build_recipe("audit", given, overrides, {})
    towers = None if model is None else load_towers(recipe.model, recipe.run.seed)
    splits = read(recipe.data.source, recipe.data)
    print("\n".join(describe(recipe.data.source, splits)))
    findings, broken = picture_findings(splits, _bar("pictures"))
    words = WordCounts(caption for photos in splits.values() for caption in photos.captions)
    for photos in splits.values():
        findings += caption_findings(photos, CONTEXT if towers is None else towers.context)
        findings += spelling_findings(photos, words)
    findings += near_duplicates(splits)
    left_out = dict.fromkeys(MODEL_RULES, "no --model was given")
    if towers is not None:
        asked, left_out = _ask(towers, recipe, splits, broken)
        findings += asked
    order = {rule: number for number, rule in enumerate(RULES)}
    findings.sort(key=lambda one: order[one.rule])  # stable: within a rule in the order of the data set
    unknown = dict(list(words.unknown.items())[:MOST_WORDS])
    result = _result(data, model, splits, findings, left_out, unknown)
    title, note = (
        f"Audit of {data}",
        f"Asked: {'words and pictures alone' if model is None else f'words, pictures and {model}'}.",
    )

    def fill(path: Path) -> None:
        (path / "findings.jsonl").write_text(_lines(findings), encoding="utf-8")
        (path / "audit.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        (path / "index.html").write_text(
            page(title, note, findings, splits, left_out), encoding="utf-8", errors="replace"
        )

    write_folder(folder, fill)
    print(table(result))
    if write_exclude is not None:
        listed = [finding for finding in findings if finding.rule in rules]
        write_file(Path(write_exclude).expanduser(), _lines(listed))
        print(f"{write_exclude}: {len(listed):,} lines for data.exclude")
    print(f"page: {folder / 'index.html'}")
    return result


def _check_rules(write_exclude: str | None, rules: Sequence[str], model: str | None) -> None:
    if (write_exclude is None) != (not rules):
        raise UserError(
            "--write-exclude and --rules: give both, the file and the rules whose findings it gets, or neither"
        )
    for rule in rules:
        if rule not in RULES:
            raise UserError(f"--rules {rule}: no such rule; there are {', '.join(RULES)}")
        if rule in MODEL_RULES and model is None:
            raise UserError(f"--rules {rule}: asks a model; name one with --model")


def _bar(name: str) -> Any:
    return lambda items: tqdm(items, desc=name, unit=" pictures", disable=None, leave=False)


def _ask(
    towers: Towers, recipe: Recipe, splits: Mapping[str, PhotoSet], broken: Mapping[str, set[int]]
) -> tuple[list[Finding], dict[str, str]]:
    """The findings of the rules that ask a model, split by split, and what no split could be asked."""
    options = {"batch_size": recipe.eval.batch_size, "workers": recipe.data.workers}
    observer = Observer(towers, load_branches(recipe.model.source), options)
    findings: list[Finding] = []
    reasons: dict[str, dict[str, str]] = {rule: {} for rule in MODEL_RULES}
    asked = 0
    for split, photos in splits.items():
        whole = [image for image in range(len(photos)) if image not in broken[split]]
        seen = PhotoSet(split, [photos[image] for image in whole])
        if not len(seen) or not len(seen.row_image):
            continue

        features, textures = observer.see(seen)
        backdrops = observer.backdrops(seen, textures, recipe.run.seed)
        found, left_out = model_findings(seen, features, float(towers.scale.detach()), backdrops, recipe.run.seed)
        nobody, why = no_person_findings(seen, features, lambda shown: observer.see(shown)[0])
        if why is None:
            left_out.pop("no_person", None)
        known = {finding.image for finding in found if finding.rule == "no_person"}
        found += [finding for finding in nobody if finding.image not in known]
        findings += [replace(finding, image=whole[finding.image]) for finding in found]
        asked += 1
        for rule, reason in left_out.items():
            reasons[rule][split] = reason
    everywhere = {}
    for rule, by_split in reasons.items():
        if len(by_split) == asked:
            everywhere[rule] = next(iter(by_split.values()), "no split has captions")
        else:
            for split, reason in by_split.items():
                print(f"left out in {split}: {rule}: {reason}")
    return findings, everywhere


def _lines(findings: Iterable[Finding]) -> str:
    return "".join(json.dumps(finding.as_line()) + "\n" for finding in findings)


def _result(
    data: str,
    model: str | None,
    splits: Mapping[str, PhotoSet],
    findings: Sequence[Finding],
    left_out: Mapping[str, str],
    unknown: Mapping[str, int],
) -> dict[str, Any]:
    sizes = {
        split: {"photographs": len(photos), "persons": len(photos.persons), "captions": len(photos.row_image)}
        for split, photos in splits.items()
    }
    return {
        "data": data,
        "model": model,
        "splits": sizes,
        "counts": counts(findings, list(splits)),
        "left_out": dict(left_out),
        "unknown_words": dict(unknown),
    }


def table(result: Mapping[str, Any]) -> str:
    """The counts of an audit for a terminal, a line a rule; rules without a finding are named in one line."""
    splits = list(result["splits"])
    rows = [("rule", "severity", *splits)]
    for rule, numbers in result["counts"].items():
        if any(numbers.values()):
            rows.append((rule, RULES[rule].severity, *(f"{numbers[split]:,}" for split in splits)))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(
            cell.ljust(width) if column < 2 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    silent = [
        rule
        for rule, numbers in result["counts"].items()
        if not any(numbers.values()) and rule not in result["left_out"]
    ]
    lines += [f"nothing found: {', '.join(silent)}"] if silent else []
    reasons: dict[str, list[str]] = {}
    for rule, why in result["left_out"].items():
        reasons.setdefault(why, []).append(rule)
    return "\n".join([*lines, *(f"left out: {', '.join(rules)}: {why}" for why, rules in reasons.items())])
