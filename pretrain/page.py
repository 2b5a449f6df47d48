"""What a probe's figures mean, in a sentence each, and the page and the lines that show them."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple


class Line(NamedTuple):
    """A figure: its key in `probe.json`, what to call it, its format, its unit, and what it means."""

    key: str
    name: str
    format: str
    unit: str
    meaning: str


class Section(NamedTuple):
    """Figures that belong together, with their pictures: (file, alternative text)."""

    title: str
    question: str
    lines: Sequence[Line]
    pictures: Sequence[tuple[str, str]]


_TAGS = {
    "garment": "clothes",
    "hair": "hair and beards",
    "accessory": "bags, hats and the like",
    "scene": "the surroundings",
    "unknown": "what the lexicon does not know",
}
_ZONES = {"upper": "the upper body", "lower": "the lower body", "feet": "the feet", "hair": "the hair"}


def _counterfactual(suffix: str, where: str) -> list[Line]:
    accuracy, chance, count = (
        f"{stem}{suffix}" for stem in ("counterfactual_accuracy", "counterfactual_chance", "counterfactuals")
    )
    name = f"Counterfactual accuracy{f', {suffix[1:]}' if suffix else ''}"
    return [
        Line(accuracy, name, ".3f", "", f"Share of swapped colour words of {where} that bring the new colour there."),
        Line(
            chance,
            f"{name}, unchanged caption",
            ".3f",
            "",
            "Share that has that colour although the caption is unchanged.",
        ),
        Line(count, f"{name}, swaps", ",d", "", "How many colour words were swapped, one at a time."),
    ]


WORDS = Section(
    "Naming masked colours",
    "Every colour word of a caption is masked: does the head read it off the photograph?",
    [
        Line("visual_gain", "Visual gain", "+.2f", "points", "Macro accuracy that comes from seeing the right person."),
        Line("visual_gain_low", "Visual gain, low", "+.2f", "points", "Lower end of its 95 % interval over persons."),
        Line("visual_gain_high", "Visual gain, high", "+.2f", "points", "Upper end of its 95 % interval over persons."),
        Line("accuracy", "Accuracy", ".2f", "%", "Masked colours named right."),
        Line("macro_accuracy", "Macro accuracy", ".2f", "%", "Masked colours named right, every class counting alike."),
        Line(
            "blind_accuracy",
            "Blind accuracy",
            ".2f",
            "%",
            "Masked colours named right beside somebody else's photograph.",
        ),
        Line(
            "blind_macro_accuracy",
            "Blind macro accuracy",
            ".2f",
            "%",
            "Macro accuracy beside somebody else's photograph.",
        ),
        *(
            Line(f"accuracy_{tag}", f"Accuracy, {tag}", ".2f", "%", f"Accuracy over the colours of {what}.")
            for tag, what in _TAGS.items()
        ),
        Line("modifier_accuracy", "Modifier accuracy", ".2f", "%", "None, light, dark or bright named right."),
        Line("spans", "Masked colours", ",d", "", "How many were asked for."),
        Line("coverage", "Coverage", ".1f", "%", "Captions with at least one colour that counts."),
    ],
    [
        ("confusion.png", "Table of counts: the colour in the caption by row, the one named by the head by column"),
        ("attention.png", "Photographs under the heat of where the head looked for each masked colour"),
    ],
)
COLOURS = Section(
    "Colouring grey pictures",
    "The picture is grey: does the head take its colours from the caption?",
    [
        Line(
            "text_gain", "Text gain", "+.2f", "Delta-E", "How much nearer the colours are than under a wrong caption."
        ),
        Line("text_gain_low", "Text gain, low", "+.2f", "Delta-E", "Lower end of its 95 % interval over persons."),
        Line("text_gain_high", "Text gain, high", "+.2f", "Delta-E", "Upper end of its 95 % interval over persons."),
        *_counterfactual("", "upper and lower body"),
        *(line for zone, where in _ZONES.items() for line in _counterfactual(f"_{zone}", where)),
        Line("delta_e76", "Delta-E 76", ".2f", "", "Mean distance in ab from the true colours; less is better."),
        Line(
            "delta_e76_shuffled",
            "Delta-E 76, wrong caption",
            ".2f",
            "",
            "Mean distance in ab under somebody else's caption.",
        ),
        Line(
            "delta_e76_gray",
            "Delta-E 76, left grey",
            ".2f",
            "",
            "Mean distance in ab of the grey picture: to be undercut.",
        ),
        Line("delta_e2000", "CIEDE2000", ".2f", "", "Mean difference by a measure nearer to what people see."),
        Line("psnr", "PSNR", ".2f", "dB", "Likeness to the true picture in RGB; more is better."),
        Line("within_10", "Within 10", ".1f", "%", "Pixels whose ab is less than 10 from the truth."),
        Line("within_20", "Within 20", ".1f", "%", "Pixels whose ab is less than 20 from the truth."),
        Line("colourfulness_ratio", "Colourfulness", ".2f", "", "Painted over true colourfulness; below 1 is pale."),
        Line("painted", "Pictures", ",d", "", "Photographs whose caption names a colour."),
    ],
    [("colourised.png", "Photographs in grey, painted, with one colour word swapped, without a caption, and in truth")],
)
_RELIANCE = {
    "": "with everything there",
    "_colourless_queries": "with the colour words masked",
    "_gray_gallery": "before grey photographs",
    "_both": "without colour on either side",
}
TOWERS = Section(
    "Reliance of the towers on colour",
    "What is left of the retrieval without colour, and does a wrong colour word push the photograph away?",
    [
        *(
            Line(
                f"{key}{suffix}",
                f"{key}{', ' if suffix else ''}{suffix[1:].replace('_', ' ').replace('gray', 'grey')}",
                ".2f",
                "%",
                meaning,
            )
            for suffix, where in _RELIANCE.items()
            for key, meaning in (
                ("R1", f"Captions whose first hit is the person, {where}."),
                ("mAP", f"Mean average precision, {where}."),
            )
        ),
        Line("swap_drop", "Swap drop", "+.4f", "cosine", "Similarity lost when every colour word is a wrong one."),
        Line("swap_preferred", "Swap preferred", ".1f", "%", "Captions nearer to their photograph than the wrong one."),
        Line("swaps", "Swapped captions", ",d", "", "Captions with a colour that counts."),
        Line("queries", "Queries", ",d", "", "Captions searched with."),
        Line("gallery", "Gallery", ",d", "", "Photographs searched."),
        Line("persons", "Persons", ",d", "", "Persons searched for."),
    ],
    [("reliance.png", "Bars of R1 and mAP: with colour, without colour words, before a grey gallery, without either")],
)
SECTIONS = (WORDS, COLOURS, TOWERS)
FILES = frozenset({"probe.json", "index.html", *(file for section in SECTIONS for file, _ in section.pictures)})
"""Everything that a probe writes into its folder."""
HEADLINES = (
    *("visual_gain", "macro_accuracy", "blind_macro_accuracy", "text_gain", "delta_e76", "counterfactual_accuracy"),
    *("counterfactual_chance", "mAP", "R1", "R1_colourless_queries", "R1_gray_gallery", "R1_both", "swap_preferred"),
)

_STYLE = """
:root { color-scheme: light dark; --ink: #1d2733; --faint: #5b6775; --line: #d8dde3; --paper: #fff; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e8ec; --faint: #9aa5b1; --line: #39424c; --paper: #171b20; } }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 62rem;
  margin: 2rem auto; padding: 0 1.25rem; }
h1 { margin-bottom: 0.2rem; } h2 { margin-top: 2.5rem; } p.note, td.meaning, figcaption { color: var(--faint); }
table { border-collapse: collapse; width: 100%; }
td { border-top: 1px solid var(--line); padding: 0.25rem 0.75rem 0.25rem 0; vertical-align: top; }
td.value { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
figure { margin: 1.5rem 0; } img { max-width: 100%; height: auto; border-radius: 4px; background: #fff; }
"""


def page_head(title: str, note: str, style: str = "") -> list[str]:
    """The lines of a page up to its first section. style: rules beside those of every page."""
    return [
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{html.escape(title)}</title>\n<style>{_STYLE}{style}</style>\n</head>\n<body>",
        f'<h1>{html.escape(title)}</h1>\n<p class="note">{html.escape(note)}</p>',
    ]


def page(title: str, note: str, figures: Mapping[str, Any], there: Iterable[str]) -> str:
    """The page, HTML that needs nothing but the pictures beside it.

    note: a sentence on what was asked. figures: those of `probe.json`. there: the pictures that were drawn. Every text
    is escaped.
    """
    drawn = set(there)
    parts = page_head(title, note)
    for section in SECTIONS:
        lines = [line for line in section.lines if line.key in figures]
        if lines:
            parts += [f"<h2>{html.escape(section.title)}</h2>\n<p>{html.escape(section.question)}</p>\n<table>"]
            parts += [_row(line, figures[line.key]) for line in lines]
            parts += ["</table>"]
            parts += [_figure(file, text) for file, text in section.pictures if file in drawn]
    left_out = figures.get("left_out", {})
    if left_out:
        parts += ["<h2>Left out</h2>\n<ul>"]
        parts += [f"<li>{html.escape(name)}: {html.escape(why)}</li>" for name, why in left_out.items()]
        parts += ["</ul>"]
    return "\n".join([*parts, "</body>\n</html>\n"])


def _row(line: Line, value: Any) -> str:
    name, meaning = html.escape(line.name), html.escape(line.meaning)
    return (
        f'<tr><td>{name}</td><td class="value">{html.escape(_value(line, value))}</td>'
        f'<td class="meaning">{meaning}</td></tr>'
    )


def _figure(file: str, text: str) -> str:
    text = html.escape(text)
    return f'<figure><img src="{html.escape(file)}" alt="{text}"><figcaption>{text}.</figcaption></figure>'


def _value(line: Line, value: Any) -> str:
    return f"{value:{line.format}} {line.unit}".rstrip()


def summary(figures: Mapping[str, Any]) -> str:
    """The main figures for a terminal, a line each."""
    known = {line.key: line for section in SECTIONS for line in section.lines}
    lines = [known[key] for key in HEADLINES if key in figures]
    names = max(len(line.name) for line in lines)
    values = [_value(line, figures[line.key]) for line in lines]
    width = max(map(len, values))
    return "\n".join(
        f"{line.name:<{names}}  {value:>{width}}  {line.meaning}" for line, value in zip(lines, values, strict=True)
    )
