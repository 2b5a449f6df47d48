"""How well do the rules of an audit that read captions do on the words of another hand?

    python benchmarks/audit_words.py [--json benchmarks/results/audit_words.json]

`benchmarks/annotations/captions.json` holds captions by somebody who knew what the rules mean and not how they work: 45
for each rule with its pitfall in them, pairs of one photograph that contradict each other or only seem to, pairs of two
persons that say the same or something else, and 300 with no pitfall at all. Wrong is a finding of a rule on a caption
without any pitfall, or on a pair that only seems to have one. Findings on captions that have another pitfall count
neither way: they may have two.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

from record import record

from huecry.data.records import PhotoSet, Record
from huecry.finetune.audit_duplicates import near_duplicates
from huecry.finetune.audit_spelling import WordCounts, spelling_findings
from huecry.finetune.audit_text import caption_findings

CAPTIONS = Path("benchmarks/annotations/captions.json")
INNOCENT = ""
"""In the place of a rule: nothing should be found."""


def figures() -> tuple[dict[str, Any], list[str]]:
    """Figures by rule, and a line for every miss and every wrong finding."""
    told = json.loads(CAPTIONS.read_text(encoding="utf-8"))
    groups: list[tuple[str, tuple[str, ...]]] = [
        *((rule, (caption,)) for rule, captions in told["planted"].items() for caption in captions),
        *(("caption_conflict", tuple(pair)) for pair in told["conflicts"]),
        *(("near_duplicate_caption", (caption,)) for pair in told["twins"] for caption in pair),
        *((INNOCENT, tuple(pair)) for pair in told["no_conflicts"]),
        *((INNOCENT, (caption,)) for pair in told["not_twins"] for caption in pair),
        *((INNOCENT, (caption,)) for caption in told["clean"]),
    ]
    photos = PhotoSet("train", [Record(Path(str(n)), said, str(n), str(n)) for n, (_, said) in enumerate(groups)])
    found: dict[str, set[int]] = defaultdict(set)
    for one in (
        *caption_findings(photos),
        *spelling_findings(photos, WordCounts(photos.captions)),
        *near_duplicates({"train": photos}),
    ):
        found[one.rule].add(one.image)
    result, lines = {}, []
    for rule in dict.fromkeys(rule for rule, _ in groups if rule):
        planted = {number for number, (own, _) in enumerate(groups) if own == rule}
        wrong = {number for number in found[rule] if groups[number][0] == INNOCENT}
        hits = len(planted & found[rule])
        result[rule] = {
            "planted": len(planted),
            "found": hits,
            "wrong": len(wrong),
            "recall": hits / len(planted),
            "precision": hits / max(hits + len(wrong), 1),
        }
        lines += [f"missed {rule}: {' | '.join(groups[number][1])}" for number in sorted(planted - found[rule])]
        lines += [f"wrong {rule}: {' | '.join(groups[number][1])}" for number in sorted(wrong)]
    return result, lines


def main() -> None:
    """Measure, print every miss and the table, and write the result file."""
    parser = argparse.ArgumentParser(description="Audit: captions of another hand.")
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/audit_words.json"))
    arguments = parser.parse_args()
    result, lines = figures()
    print("\n".join(lines))
    for rule, values in result.items():
        print(f"{rule:24} recall {values['recall']:.2f}  precision {values['precision']:.2f}  of {values['planted']}")
    record(arguments.json, "python benchmarks/audit_words.py", result)


if __name__ == "__main__":
    main()
