"""The page to search from: a sentence, what it finds, and of a chosen picture what drove the match. Imports gradio.

It asks nothing of other hosts, and shows pictures of the index and no other file.
"""

from __future__ import annotations

import base64
import functools
import html
import io
import time
from collections.abc import Callable
from typing import Any

import gradio as gr
from PIL import Image

from huecry.errors import UserError
from huecry.retrieval.explain import Explanation, explain, spotlit
from huecry.retrieval.index import Found, Index
from huecry.retrieval.index_file import shown
from huecry.retrieval.search import picture_of
from huecry.retrieval.search_attributes import ATTRIBUTES, colours_of, compose

MOST, USUAL = 60, 12
"""Pictures shown at once: at most, and if nothing else is asked for."""
LONGEST = 1000
"""Characters of a sentence; the text tower reads some 300."""
WAITING = 64
"""Requests that may wait for their turn."""
HOUR = 3600
"""Seconds after which copies of pictures that nobody asked for again are deleted."""
SIZE = (320, 480)
"""Width and height within which a picture reaches the browser."""
STRONGEST = 3
"""Words whose place in the picture is shown."""
ACROSS = 5
"""Attributes beside each other."""
CSS = """
.gradio-container { max-width: 1500px !important; width: 100% !important; margin: auto; }
.photographs .thumbnail-lg { aspect-ratio: 2 / 3; background: var(--background-fill-secondary); }
.photographs .thumbnail-lg > img { object-fit: contain; }
.told { font-size: .9rem; opacity: .8; overflow-wrap: anywhere; }
.said { font-size: 1.2rem; line-height: 1.9; }
.said span { padding: .15em 0; border-radius: .2em; }
.where { display: flex; flex-wrap: wrap; gap: .6rem; margin: .8rem 0; }
.where figure { margin: 0; flex: 1 1 90px; max-width: 130px; }
.where img { width: 100%; border-radius: .3em; }
.where figcaption { font-size: .85rem; text-align: center; }
"""
LAUNCH: dict[str, Any] = {
    "theme": gr.themes.Base(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]),
    "css": CSS,
    "quiet": True,
    "share": False,
    "ssr_mode": False,
    "mcp_server": False,
    "enable_monitoring": False,
    "run_history": False,
    "footer_links": [],
    "state_session_capacity": 500,
}
"""How gradio serves the page: from this process alone, with the fonts that the machine has."""
Answer = tuple[str, list[Found]]
"""A sentence and what it found."""


def build_page(index: Index) -> gr.Blocks:
    """The page of an index, not yet launched; its model is loaded. Raises UserError where that cannot be."""
    encoder = index.encoder
    index.check_pictures()

    @_told
    def search(sentence: str, count: float) -> tuple[Answer, Any, str, str]:
        begun, sentence = time.perf_counter(), sentence or ""
        if len(sentence) > LONGEST:
            raise UserError(f"a sentence of {len(sentence):,} characters; describe the person in at most {LONGEST:,}")
        found = index.search(sentence, k=max(1, min(int(count), MOST)))
        pictures = [(_small(picture_of(index, one)), f"{rank} · {one.score:.3f}") for rank, one in enumerate(found, 1)]
        took = time.perf_counter() - begun
        told = f"{len(found)} of {len(index):,} pictures in {took:.2f} s. Choose one to see what drove the match."
        return (sentence, found), gr.Gallery(pictures, selected_index=None), told, ""

    @_told
    def choose(answer: Answer, event: gr.SelectData) -> str:
        sentence, found = answer
        if event.index not in range(len(found)):
            raise UserError("search first, then choose a picture")
        chosen = found[event.index]
        try:
            picture = index.picture(chosen.path)
        except UserError as error:  # which names folders of this machine
            raise UserError(f"{chosen.path}: gone, changed or unreadable; bring the index up to date") from error
        told = explain(encoder, sentence, picture)
        return _words(sentence, told) + _maps(sentence, _small(picture), told) + _about(chosen)

    @_told
    def write(*chosen: str) -> str:
        told = []
        for (key, attribute), colour, thing in zip(ATTRIBUTES.items(), chosen[::2], chosen[1::2], strict=True):
            if colour and not thing and attribute.noun is None:
                raise UserError(f"{key}: choose a thing beside the colour")
            if colour or thing:
                told.append(f"{key}={' '.join(filter(None, (colour, thing)))}")
        if not told:
            raise UserError("choose a colour or a thing first")
        return compose(told)

    with gr.Blocks(title="huecry", analytics_enabled=False, delete_cache=(HOUR, HOUR)) as page:
        answer = gr.State(("", []))
        with gr.Row():
            example = "a woman in a dark blue coat with a red backpack"
            sentence = gr.Textbox(label="Describe the person", placeholder=example, autofocus=True, scale=6)
            most = min(MOST, len(index))
            count = gr.Slider(1, most, min(USUAL, most), step=1, label="Pictures", scale=2)
            button = gr.Button("Search", variant="primary", scale=1, min_width=100)
        with gr.Accordion("Describe by attributes", open=False):
            menus = []
            for start in range(0, len(ATTRIBUTES), ACROSS):
                with gr.Row():
                    menus += [menu for key in [*ATTRIBUTES][start : start + ACROSS] for menu in _menus(key)]
            writer = gr.Button("Write the sentence", size="sm")
        told = gr.HTML(f"{len(index):,} pictures", elem_classes="told")
        with gr.Row():
            with gr.Column(scale=5):
                gallery = gr.Gallery(
                    columns=6,
                    height="auto",
                    show_label=False,
                    container=False,
                    allow_preview=False,
                    buttons=[],
                    elem_classes="photographs",
                )
            with gr.Column(scale=4):
                reasons = gr.HTML()
        asked: dict[str, Any] = {"inputs": [sentence, count], "outputs": [answer, gallery, told, reasons]}
        chosen = gallery.select(choose, answer, reasons, api_visibility="private", show_progress_on=reasons)
        button.click(search, **asked, api_name="search", show_progress_on=gallery, cancels=[chosen])
        sentence.submit(search, **asked, api_visibility="private", show_progress_on=gallery, cancels=[chosen])
        writer.click(write, menus, sentence, api_visibility="private")
    return page.queue(api_open=False, max_size=WAITING)


def _told(work: Callable[..., Any]) -> Callable[..., Any]:
    """A handler whose UserError is shown beside the page, which stays as it is."""

    @functools.wraps(work)
    def handler(*arguments: Any) -> Any:
        try:
            return work(*arguments)
        except UserError as error:
            gr.Warning(html.escape(" ".join(str(error).split())), title="")
            return gr.skip()

    return handler


def _menus(key: str) -> tuple[gr.Dropdown, gr.Dropdown]:
    """What may be chosen of an attribute: its colour, and the thing."""
    with gr.Column(min_width=160):
        choices = {"colour": colours_of(key), "thing": ATTRIBUTES[key].nouns}
        colour, thing = (
            gr.Dropdown([("any", ""), *known], value="", label=f"{key}: {name}") for name, known in choices.items()
        )
    return colour, thing


def _small(picture: Image.Image) -> Image.Image:
    """The picture itself, made small."""
    picture.thumbnail(SIZE)
    return picture


def _words(sentence: str, told: Explanation) -> str:
    """The sentence, each word shaded by what it did for the match."""
    most = max((abs(word.effect) for word in told.words), default=0.0) or 1.0
    parts, end = [], 0
    for word in told.words:
        colour = "64, 120, 255" if word.effect > 0 else "230, 90, 60"
        style = f"background: rgba({colour}, {0.75 * abs(word.effect) / most:.2f})"
        parts.append(html.escape(sentence[end : word.start]))
        parts.append(f'<span style="{style}" title="{word.effect:+.3f}">{html.escape(sentence[word.slice])}</span>')
        end = word.end
    return (
        f'<p class="said">{"".join(parts)}{html.escape(sentence[end : told.read])}'
        f'<s title="not read: too long">{html.escape(sentence[told.read :])}</s></p>'
        '<p class="told">The bluer a word, the further the score falls without it; without a red one it would rise.</p>'
    )


def _maps(sentence: str, picture: Image.Image, told: Explanation) -> str:
    """The picture, and where in it the sentence and its strongest words were found."""
    shown_of = [(f"score {told.score:.3f}", picture), ("the sentence", spotlit(picture, told.heat))]
    shown_of += [(f"“{sentence[word.slice]}”", spotlit(picture, word.heat)) for word in told.strongest(STRONGEST)]
    figures = (
        f'<figure><img src="{_inline(drawn)}" alt=""><figcaption>{html.escape(name)}</figcaption></figure>'
        for name, drawn in shown_of
    )
    return (
        f'<div class="where">{"".join(figures)}</div>'
        '<p class="told">Colour is left where the score, or what a word adds to it, falls if that part is covered.</p>'
    )


def _about(found: Found) -> str:
    """What is known of a picture."""
    captions = "".join(f"<br>“{html.escape(caption)}”" for caption in found.captions)
    return f'<p class="told"><b>{html.escape(shown(found.path))}</b>{captions}</p>'


def _inline(picture: Image.Image) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=90)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
