"""Does an audit find what was planted, and are its findings on real captions true?

    python benchmarks/audit.py MODEL [--data DATA ...] [--captions FOLDER] [--json benchmarks/results/audit.json]

MODEL: a model that knows the embedded people, asked about sets of them into which every pitfall was planted; recall and
precision by rule over six such sets. DATA: real data sets whose findings are counted by rule and split, with MODEL.
FOLDER: holds the sources of `benchmarks/annotations/audit_*.json`, in which a person judged findings of the text rules
one by one: rows of {"row", "caption", "rule", "true"} by source, no text. Those still reported are counted.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import tempfile
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from caption_spans import captions_of, read_records
from planted import judge, write_planted
from record import record

from huecry import api
from huecry.data.records import PhotoSet, Record
from huecry.finetune.audit_duplicates import near_duplicates
from huecry.finetune.audit_spelling import WordCounts, spelling_findings
from huecry.finetune.audit_text import caption_findings
from huecry.finetune.findings import Finding

SEEDS = 6
ANNOTATIONS = Path("benchmarks/annotations")


def audited(data: str, model: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What `huecry audit` returns and writes, without what it prints."""
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        out = Path(folder) / "out"
        result = api.audit(data, out=str(out), model=model)
        return result, [json.loads(line) for line in (out / "findings.jsonl").read_text().splitlines()]


def planted_figures(model: str) -> dict[str, Any]:
    """Recall and precision by rule over `SEEDS` planted sets together, and why a rule was `left_out`."""
    sums: dict[str, Counter[str]] = defaultdict(Counter)
    left_out: dict[str, str] = {}
    for seed in range(SEEDS):
        with tempfile.TemporaryDirectory() as folder:
            plan = write_planted(Path(folder) / "set", seed=seed)
            result, findings = audited(str(Path(folder) / "set"), model)
        left_out |= result["left_out"]
        for rule, figures in judge(plan.planted, plan.also, findings).items():
            sums[rule].update({name: int(figures[name]) for name in ("planted", "found", "wrong")})
    return {
        rule: {
            **count,
            "recall": count["found"] / count["planted"],
            "precision": count["found"] / max(count["found"] + count["wrong"], 1),
            **({"left_out": left_out[rule]} if rule in left_out else {}),
        }
        for rule, count in sums.items()
    }


def text_findings(path: Path) -> list[Finding]:
    """The findings of the text rules on an annotation file without its photographs; `image` is the row in the file."""
    records = [
        Record(Path(str(number)), tuple(captions_of(row)), str(row.get("id", row.get("person_id"))), str(number))
        for number, row in enumerate(read_records(path))
    ]
    photos = PhotoSet("train", records)
    findings = [*caption_findings(photos), *spelling_findings(photos, WordCounts(photos.captions))]
    return [*findings, *near_duplicates({"train": photos})]


def judged(folder: Path) -> dict[str, Any]:
    """For each file of judgements: how many there are, how many the rules still report, and the share of true ones."""
    figures: dict[str, Any] = {}
    found: dict[str, set[tuple[int, int | None, str]]] = {}
    for path in sorted(ANNOTATIONS.glob("audit_*.json")):
        counts: Counter[str] = Counter()
        by_rule: dict[str, Counter[str]] = defaultdict(Counter)
        for source, rows in json.loads(path.read_text(encoding="utf-8")).items():
            if source not in found:
                found[source] = {(one.image, one.caption, one.rule) for one in text_findings(folder / source)}
            for row in rows:
                kept = (row["row"], row["caption"], row["rule"]) in found[source]
                true = row["true"]
                counts.update({"judged": 1, "true": true, "reported": kept, "reported_true": kept and true})
                by_rule[row["rule"]].update({"judged": 1, "true": row["true"]})
        figures[path.stem] = {
            **counts,
            "share_true": counts["true"] / counts["judged"],
            "share_true_of_reported": counts["reported_true"] / max(counts["reported"], 1),
            "by_rule": {rule: dict(by_rule[rule]) for rule in sorted(by_rule)},
        }
    return figures


def main() -> None:
    """Measure all, print it, and write the result file."""
    parser = argparse.ArgumentParser(description="Audit: planted pitfalls and real captions.")
    parser.add_argument("model")
    parser.add_argument("--data", nargs="*", default=[])
    parser.add_argument("--captions", type=Path)
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/audit.json"))
    arguments = parser.parse_args()
    figures: dict[str, Any] = {"planted": planted_figures(arguments.model)}
    for rule, values in figures["planted"].items():
        print(f"{rule:24} recall {values['recall']:.2f}  precision {values['precision']:.2f}  of {values['planted']}")
    figures["real"] = {}
    for data in arguments.data:
        result, _ = audited(data, arguments.model)
        figures["real"][Path(data).name] = {key: result[key] for key in ("splits", "counts", "left_out")}
        print(f"{Path(data).name}: {sum(sum(counts.values()) for counts in result['counts'].values()):,} findings")
    if arguments.captions is not None:
        figures["judged"] = judged(arguments.captions)
        for name, values in figures["judged"].items():
            print(f"{name}: {100 * values['share_true']:.0f} % of {values['judged']} findings true")
    command = "python benchmarks/audit.py MODEL --data DATA --captions CAPTIONS"
    record(arguments.json, command, figures)


if __name__ == "__main__":
    main()
