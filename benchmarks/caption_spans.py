"""How well are the colours of real captions found? Coverage, speed, and precision and recall against annotations.

    python benchmarks/caption_spans.py DATA [--annotations benchmarks/annotations/spans_dev.json ...]
        [--json benchmarks/results/caption_spans.json]

DATA is the folder with `cuhk_pedes_captions/caption_val_new.json`, `cuhk01/reid_raw.json` and
`cuhk03_persons/metadata.jsonl`; what is not there is left out. An annotation file names its source under DATA and
holds rows of {"row", "caption", "spans": [[start, end, hue or null, modifier, scored], ...]}: offsets, no text.

A span is right if start, end, hue and scored are; precision and recall carry the 95 % range of 2,000 bootstrap draws
of captions. `scored_only` counts the spans that give a target. Hue and modifier are also counted over the spans found
at the right place. Captions never leave DATA: the result file holds counts and single words.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from record import record

from huecry.data.captions import Span, find_spans
from huecry.data.lexicon import ADJECTIVES, LEXICON, NOUNS, PLAIN, STOPS, slips, spelling

SOURCES = ("cuhk_pedes_captions/caption_val_new.json", "cuhk01/reid_raw.json", "cuhk03_persons/metadata.jsonl")
DRAWS = 2000


def captions_of(record: dict[str, Any]) -> list[str]:
    """The captions of one record, whether it holds one or several."""
    return list(record["captions"]) if isinstance(record["captions"], list) else [record["captions"]]


def read_records(path: Path) -> list[dict[str, Any]]:
    """The records of a JSON list or of a file with one record a line."""
    text = path.read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()] if path.suffix == ".jsonl" else json.loads(text)


def coverage(captions: Sequence[str]) -> dict[str, Any]:
    """Share of captions with a scored span, spans a caption, and what kinds of spans there are."""
    spans = [span for caption in captions for span in find_spans(caption)]
    return {
        "captions": len(captions),
        "with_scored_span": sum(any(span.scored for span in find_spans(c)) for c in captions) / len(captions),
        "spans_per_caption": len(spans) / len(captions),
        "scored": sum(span.scored for span in spans) / len(spans),
        "with_noun": sum(span.noun is not None for span in spans) / len(spans),
        "hues": dict(Counter(str(span.hue) for span in spans).most_common()),
        "tags": dict(Counter(span.tag for span in spans).most_common()),
    }


def speed(captions: Sequence[str]) -> float:
    """Captions a second of one process, nothing remembered."""
    find_spans.cache_clear()
    start = time.process_time()
    for caption in captions:
        find_spans.__wrapped__(caption)
    return len(captions) / (time.process_time() - start)


def colour_like(captions: Sequence[str]) -> list[tuple[str, int]]:
    """Words outside every span that look like colours, by frequency.

    Those before "colored" unless the lexicon has them, and those unknown to the vocabulary too that hold the name of a
    hue or stand at one slip's distance from a short one.
    """
    known = spelling()[0]
    told = {*STOPS, *NOUNS, *ADJECTIVES, *LEXICON["fillers"], *LEXICON["modifiers"]}
    hues = re.compile("|".join(hue for hue in PLAIN if len(hue) >= 4))
    near = {slip for hue in ("blue", "gray", "grey", "pink", "navy", "teal", "green") for slip in slips(hue)}
    found: Counter[str] = Counter()
    for caption in captions:
        spans = find_spans(caption)
        for match in re.finditer(r"[^\W\d_]+", caption):
            word = match.group().lower()
            if any(span.start < match.end() and match.start() < span.end for span in spans):
                continue
            named = re.match(r"[ -]colou?r(?:ed)?\b", caption[match.end() :].lower()) is not None
            strange = len(word) > 3 and (word in near or hues.search(word) is not None)
            if (named and word not in told) or (strange and word not in known):
                found[word] += 1
    return found.most_common()


def judge(captions: Sequence[str], gold: Sequence[list[list[Any]]]) -> dict[str, Any]:
    """Precision and recall of the spans found in captions against their annotations."""
    counts: list[tuple[int, int, int]] = []
    targets: list[tuple[int, int, int]] = []
    kinds: Counter[str] = Counter()
    for caption, rows in zip(captions, gold, strict=True):
        right = {(start, end, hue, scored) for start, end, hue, _, scored in rows}
        found = {(span.start, span.end, span.hue, span.scored) for span in find_spans(caption)}
        counts.append((len(right & found), len(found), len(right)))
        right, found = ({row for row in side if row[3]} for side in (right, found))
        targets.append((len(right & found), len(found), len(right)))
        for span, row in matches(find_spans(caption), rows):
            kinds["places"] += 1
            kinds["hue"] += span.hue == row[2]
            kinds["modifier"] += span.modifier == row[3]
            kinds["scored"] += span.scored == row[4]
    generator = random.Random(0)
    draws = [ratios(generator.choices(counts, k=len(counts))) for _ in range(DRAWS)]
    figures: dict[str, Any] = {"captions": len(captions), "annotated": sum(count[2] for count in counts)}
    for index, name in enumerate(("precision", "recall")):
        ordered = sorted(draw[index] for draw in draws)
        figures[name] = ratios(counts)[index]
        figures[f"{name}_range"] = [ordered[round(0.025 * DRAWS)], ordered[round(0.975 * DRAWS) - 1]]
        figures[f"{name}_scored_only"] = ratios(targets)[index]
    return figures | {f"{name}_at_right_place": kinds[name] / kinds["places"] for name in ("hue", "modifier", "scored")}


def matches(spans: Sequence[Span], rows: Sequence[list[Any]]) -> Iterator[tuple[Span, list[Any]]]:
    """The spans that stand where an annotated one does, with it."""
    places = {(row[0], row[1]): row for row in rows}
    return ((span, places[span.start, span.end]) for span in spans if (span.start, span.end) in places)


def ratios(counts: Sequence[tuple[int, int, int]]) -> tuple[float, float]:
    """Precision and recall over captions, from (right, found, annotated) of each."""
    right, found, annotated = (sum(column) for column in zip(*counts, strict=True))
    return right / max(found, 1), right / max(annotated, 1)


def main() -> None:
    """Measure all, print it, and write the result file."""
    parser = argparse.ArgumentParser(description="Colour spans of real captions.")
    parser.add_argument("data", type=Path)
    parser.add_argument(
        "--annotations", type=Path, nargs="+", default=sorted(Path("benchmarks/annotations").glob("spans_*.json"))
    )
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/caption_spans.json"))
    arguments = parser.parse_args()
    figures: dict[str, Any] = {"coverage": {}, "annotations": {}}
    everything: dict[str, None] = {}  # cuhk03 repeats a person's captions with each of its photographs
    for source in SOURCES:
        if (arguments.data / source).is_file():
            captions = list(dict.fromkeys(c for row in read_records(arguments.data / source) for c in captions_of(row)))
            figures["coverage"][source] = coverage(captions)
            everything |= dict.fromkeys(captions)
            print(f"{source}: {100 * figures['coverage'][source]['with_scored_span']:.1f} % with a scored span")
    figures["captions_per_second"] = speed(list(everything))
    unknown = colour_like(list(everything))
    figures["unknown"] = dict(unknown)
    print(f"{figures['captions_per_second']:.0f} captions a second")
    print("unknown:", ", ".join(f"{word} {count}" for word, count in unknown))
    for path in arguments.annotations:
        content = json.loads(path.read_text(encoding="utf-8"))
        records = read_records(arguments.data / content["source"])
        captions = [captions_of(records[row["row"]])[row["caption"]] for row in content["rows"]]
        found = judge(captions, [row["spans"] for row in content["rows"]])
        figures["annotations"][path.stem] = found
        for name in ("precision", "recall"):
            low, high = found[f"{name}_range"]
            print(f"{path.stem}: {name} {found[name]:.3f} ({low:.3f} to {high:.3f})")
    record(arguments.json, "python benchmarks/caption_spans.py ../shared/data", figures)


if __name__ == "__main__":
    main()
