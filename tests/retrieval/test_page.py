"""The page to search from, in a browser: a sentence, what is found, a click, what drove the match."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from served import Served

import huecry
from huecry import api

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="no Chromium to open the page with"),
]
ALONE = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking")
CAPTION = "A person in a <b>red</b> coat & 'yellow' trousers"


@pytest.fixture(scope="module")
def place(make_photos: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of a drawn set of which one caption looks like HTML."""
    folder = shutil.copytree(make_photos(), tmp_path_factory.mktemp("page") / "drawn")
    table = folder / "metadata.jsonl"
    rows = [json.loads(line) for line in table.read_text().splitlines()]
    for row in rows:
        row["captions"] = [CAPTION]
    table.write_text("\n".join(json.dumps(row) for row in rows))
    place = folder.parent / "photos.safetensors"
    api.index("tiny", str(folder), "data.workers=0", "train.cpu_threads=1", out=str(place))
    return place


@pytest.fixture
def page(served: Served) -> Iterator[Any]:
    """The page as it opens; no request may leave this machine, and no script may fail."""
    from playwright.sync_api import sync_playwright

    asked: list[str] = []
    errors: list[str] = []
    with sync_playwright() as player:
        browser = player.chromium.launch(executable_path=BROWSER, args=[*ALONE])
        page = browser.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(served.address)
        page.get_by_label("Describe the person").wait_for()
        yield page
        browser.close()
    assert errors == []
    assert [url for url in asked if not url.startswith((served.address, "data:", "blob:"))] == []


def search(page: Any, sentence: str) -> Any:
    """The pictures found, once they are there."""
    page.get_by_label("Describe the person").fill(sentence)
    page.keyboard.press("Enter")
    page.get_by_text(" pictures in ").wait_for()
    return page.locator(".thumbnail-item")


def test_a_sentence_a_click_and_its_reasons(page, place) -> None:
    pictures = search(page, "someone in a red coat <i>")
    found = huecry.Index.open(place).search("someone in a red coat <i>", k=12)
    assert [one.split(" · ") for one in pictures.all_inner_texts()] == [
        [str(rank), f"{one.score:.3f}"] for rank, one in enumerate(found, 1)
    ]
    assert all(page.evaluate("[...document.querySelectorAll('.thumbnail-item img')].map(one => one.naturalWidth)"))
    pictures.nth(2).click()
    page.locator(".said").wait_for()
    assert page.locator(".said").inner_text() == "someone in a red coat <i>"
    assert page.locator(".said span").all_inner_texts() == ["someone", "in", "a", "red", "coat", "i"]
    assert all(re.fullmatch(r"[+-]\d\.\d{3}", one.get_attribute("title")) for one in page.locator(".said span").all())
    names = page.locator(".where figcaption").all_inner_texts()
    assert names[:2] == [f"score {found[2].score:.3f}", "the sentence"]
    assert {name.strip("“”") for name in names[2:]} <= {"someone", "in", "a", "red", "coat", "i"}
    told = page.locator(".told").all_inner_texts()
    assert told[-1].splitlines() == [found[2].path, f"“{CAPTION}”"]


def test_attributes_write_the_sentence(page) -> None:
    page.get_by_text("Describe by attributes").click()
    for menu, choice in (("upper: colour", "red"), ("bag: thing", "backpack")):
        page.get_by_label(menu).click()
        page.get_by_role("option", name=choice, exact=True).click()
    page.get_by_role("button", name="Write the sentence").click()
    box = page.get_by_label("Describe the person")
    page.wait_for_function("box => box.value !== ''", arg=box.element_handle())
    assert box.input_value() == "a person wearing a red top and carrying a backpack"


def test_what_cannot_be_asked_is_said(page) -> None:
    page.get_by_role("button", name="Search").click()
    page.get_by_text("an empty sentence finds nothing; describe the person").wait_for()
    page.get_by_label("Describe the person").fill("a red coat " * 100)
    page.keyboard.press("Enter")
    page.get_by_text("a sentence of 1,100 characters; describe the person in at most 1,000").wait_for()
    page.get_by_text("Describe by attributes").click()
    page.get_by_label("other: colour").click()
    page.get_by_role("option", name="red", exact=True).click()
    page.get_by_role("button", name="Write the sentence").click()
    page.get_by_text("other: choose a thing beside the colour").wait_for()
    assert page.locator(".thumbnail-item").count() == 0


def test_what_is_not_read_is_marked(page) -> None:
    search(page, " ".join(["a red coat and a hat"] * 20)).first.click()
    page.locator(".said").wait_for()
    assert len(page.locator(".said span").all()) == 75
    assert page.locator(".said s").inner_text().split() == (["a", "red", "coat", "and", "a", "hat"] * 20)[75:]


def test_a_picture_that_has_gone(page, place) -> None:
    """It stands as missing among the others, and a click on it is answered."""
    gone = huecry.Index.open(place).search("a red coat", k=1)[0].path
    (place.parent / "drawn" / gone).unlink()
    pictures = search(page, "a red coat")
    assert pictures.count() == 12
    pictures.first.click()
    page.get_by_text(f"{gone}: gone, changed or unreadable; bring the index up to date").wait_for()
