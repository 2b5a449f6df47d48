"""The page of an audit: counts, and a contact sheet of findings by rule. One file that needs nothing else."""

from __future__ import annotations

import base64
import html
import io
from collections import defaultdict
from collections.abc import Mapping, Sequence

from PIL import Image

from huecry.data.records import PhotoSet
from huecry.errors import UserError
from huecry.finetune.findings import RULES, Finding, counts
from huecry.pretrain.page import page_head

SHOWN = 24
"""Findings of a rule that the page shows."""
CELL = (96, 192)
LONGEST = 600
"""Characters of a caption that the page shows."""

_STYLE = """
ul.sheet { list-style: none; padding: 0; display: grid; gap: 1rem;
  grid-template-columns: repeat(auto-fill, minmax(20rem, 1fr)); }
ul.sheet li { display: flex; gap: 0.75rem; border-top: 1px solid var(--line); padding-top: 0.75rem; }
ul.sheet li > div { overflow-wrap: anywhere; } ul.sheet p { margin: 0 0 0.4rem; }
ul.sheet img, ul.sheet div.none { width: 96px; height: 192px; object-fit: contain; flex: none;
  background: var(--line); }
th { text-align: left; font-weight: 600; } th.value { text-align: right; } td.error { color: #d73027; }
mark { background: #ffd54d; color: #1d2733; } p.name { font-size: 0.85rem; color: var(--faint); }
"""


def page(
    title: str,
    note: str,
    findings: Sequence[Finding],
    splits: Mapping[str, PhotoSet],
    left_out: Mapping[str, str],
) -> str:
    """The page as HTML; photographs are embedded, made small, and every text is escaped.

    note: a sentence on what was audited. left_out: rules that could not be asked, with the reason.
    """
    parts = [
        *page_head(title, note, _STYLE),
        _table(findings, list(splits), left_out),
    ]
    by_rule: dict[str, list[Finding]] = defaultdict(list)
    for finding in findings:
        by_rule[finding.rule].append(finding)
    for rule, own in ((rule, by_rule[rule]) for rule in RULES if by_rule[rule]):
        shown = own[:: max(1, len(own) // SHOWN)][:SHOWN]
        some = f"{len(own):,} findings" if len(own) == len(shown) else f"{len(shown)} of {len(own):,} findings"
        parts += [f'<h2 id="{rule}">{html.escape(RULES[rule].title)}</h2>']
        parts += [f'<p class="note">{html.escape(RULES[rule].meaning)} {some}.</p>\n<ul class="sheet">']
        parts += [_item(finding, splits[finding.split]) for finding in shown]
        parts += ["</ul>"]
    return "\n".join([*parts, "</body>\n</html>\n"])


def _table(findings: Sequence[Finding], splits: Sequence[str], left_out: Mapping[str, str]) -> str:
    heads = "".join(f'<th class="value">{html.escape(split)}</th>' for split in splits)
    lines = [f"<table>\n<tr><th>Rule</th><th>Severity</th>{heads}<th>What it means</th></tr>"]
    for rule, numbers in counts(findings, splits).items():
        severity, title, meaning = RULES[rule]
        name = f'<a href="#{rule}">{html.escape(title)}</a>' if any(numbers.values()) else html.escape(title)
        cells = "".join(f'<td class="value">{numbers[split]:,}</td>' for split in splits)
        if rule in left_out:
            cells, meaning = "".join('<td class="value">–</td>' for _ in splits), f"Left out: {left_out[rule]}."
        lines.append(
            f'<tr><td>{name}</td><td class="{severity}">{severity}</td>{cells}'
            f'<td class="meaning">{html.escape(meaning)}</td></tr>'
        )
    return "\n".join([*lines, "</table>"])


def _item(finding: Finding, photos: PhotoSet) -> str:
    record = photos[finding.image]
    who = "person unknown" if finding.person is None else f"person {finding.person}"
    lines = [f'<p class="name">{html.escape(f"{finding.split}: {finding.file}, {who}")}</p>']
    lines += [f"<p>{html.escape(finding.evidence[:LONGEST])}</p>"]
    told = range(len(record.captions)) if finding.caption is None else [finding.caption]
    for number in told:
        lines.append(f'<p class="name">{number}: {_caption(record.captions[number], finding)}</p>')
    return f"<li>{_picture(photos, finding.image)}<div>{''.join(lines)}</div></li>"


def _caption(caption: str, finding: Finding) -> str:
    """A caption, shortened, with the characters of the finding marked."""
    if finding.caption is None or finding.span is None:
        return html.escape(caption[:LONGEST])
    first, last = finding.span
    before, told, after = caption[:first], caption[first:last], caption[last:]
    return f"{html.escape(before)}<mark>{html.escape(told)}</mark>{html.escape(after[:LONGEST])}"


def _picture(photos: PhotoSet, image: int) -> str:
    name = html.escape(photos[image].name)
    try:
        picture = photos[image].open()
    except UserError:
        return '<div class="none"></div>'
    picture.thumbnail(CELL, Image.Resampling.LANCZOS)
    content = io.BytesIO()
    picture.save(content, format="JPEG", quality=80)
    encoded = base64.b64encode(content.getvalue()).decode("ascii")
    return f'<img src="data:image/jpeg;base64,{encoded}" alt="{name}">'
