"""The page: whole HTML that fetches nothing, with every text escaped and the photographs inside."""

from __future__ import annotations

import base64
import io
from pathlib import Path

from pages import Checked
from PIL import Image

from huecry.data.records import PhotoSet, Record
from huecry.finetune.audit_page import SHOWN, page
from huecry.finetune.findings import RULES, found

EVIL = "<b>red</b> & \"blue\" 'x' <img src=http://example.org/x.png onerror=alert(1)>"


def photos(folder: Path, count: int = 3) -> PhotoSet:
    records = []
    for number in range(count):
        path = folder / f"{number}.png"
        Image.new("RGB", (300, 500), (10 * number, 20, 30)).save(path)
        records.append(Record(path, (f"a coat {EVIL}", "a hat"), f"p{EVIL}", f"{number} {EVIL}"))
    return PhotoSet("train", records)


def test_the_page_stands_alone(tmp_path):
    given = photos(tmp_path)
    findings = [
        found("caption_conflict", given, 0, EVIL),
        found("negation", given, 1, EVIL, 0, (2, 6)),
        found("short_caption", given, 2, "a hat", 1),
    ]
    text = page(f"Audit {EVIL}", EVIL, findings, {"train": given}, {"no_person": EVIL})
    checked = Checked(text)
    assert len(checked.images) == 3
    for image in checked.images:
        head, _, content = str(image["src"]).partition(",")
        assert head == "data:image/jpeg;base64"
        assert max(Image.open(io.BytesIO(base64.b64decode(content))).size) <= 192
    assert "http" not in text.replace("http://example.org", "")  # said, and fetched by nobody
    assert text.count("<mark>coat</mark>") == 1
    assert checked.text.count(EVIL) >= 8
    assert all(RULES[rule].title in checked.text for rule in RULES)
    assert f"Left out: {EVIL}" in checked.text


def test_a_rule_shows_so_many_and_says_of_how_many(tmp_path):
    given = photos(tmp_path, 1)
    findings = [found("negation", given, 0, f"evidence {number}", 0, (0, 1)) for number in range(3 * SHOWN)]
    checked = Checked(page("Audit", "", findings, {"train": given}, {}))
    assert len(checked.images) == SHOWN
    assert f"{SHOWN} of {3 * SHOWN} findings" in checked.text


def test_a_photograph_that_cannot_be_read_has_a_place(tmp_path):
    given = photos(tmp_path, 1)
    (tmp_path / "0.png").write_text("not a picture")
    checked = Checked(page("Audit", "", [found("undecodable", given, 0, "cut short")], {"train": given}, {}))
    assert checked.images == []
    assert "cut short" in checked.text
