"""The model card: the README.md of an exported folder, with its results as metadata, and code that loads it.

Every figure in it comes from a file of the run. `address` gives the card the name under which it lies on the Hub.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from textwrap import fill
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from huecry.publish.story import METRICS, Story
from huecry.towers import Towers
from huecry.training.provenance import Stage

NAMES = {
    "R1": ("recall_at_1", "Recall@1, percent"),
    "R5": ("recall_at_5", "Recall@5, percent"),
    "R10": ("recall_at_10", "Recall@10, percent"),
    "mAP": ("mean_average_precision", "mAP, percent"),
    "mINP": ("mean_inverse_negative_penalty", "mINP, percent"),
}
"""Type and name of a figure in the metadata."""
LIBRARIES = {
    "transformers": "transformers",
    "open_clip": "open_clip",
    "sentence_transformers": "sentence-transformers",
}
SNIPPETS = {
    "transformers": """\
import torch
from PIL import Image
from transformers import CLIPModel, CLIPProcessor

name = "."  # this folder
model, processor = CLIPModel.from_pretrained(name), CLIPProcessor.from_pretrained(name, backend="pil")

photographs = [Image.open("photo.jpg").convert("RGB")]
sentences = ["a woman in a red coat", "a man with a blue backpack"]
inputs = processor(text=sentences, images=photographs, padding=True, truncation=True, return_tensors="pt")
with torch.no_grad():
    images = model.get_image_features(inputs["pixel_values"]{RECTANGLE}).pooler_output
    texts = model.get_text_features(inputs["input_ids"], inputs["attention_mask"]).pooler_output
print(torch.cosine_similarity(texts[:, None], images[None], dim=2))  # [sentences, photographs]
""",
    "open_clip": """\
import open_clip
import torch
from PIL import Image

name = "local-dir:."  # this folder
model, _, preprocess = open_clip.create_model_and_transforms(name)
tokenizer = open_clip.get_tokenizer(name)
model.eval()

photographs = [Image.open("photo.jpg").convert("RGB")]
sentences = ["a woman in a red coat", "a man with a blue backpack"]
with torch.no_grad():
    images = model.encode_image(torch.stack([preprocess(photograph) for photograph in photographs]))
    texts = model.encode_text(tokenizer(sentences))
print(torch.cosine_similarity(texts[:, None], images[None], dim=2))  # [sentences, photographs]
""",
    "sentence_transformers": """\
from PIL import Image
from sentence_transformers import SentenceTransformer

name = "."  # this folder
model = SentenceTransformer(name)

photographs = [Image.open("photo.jpg").convert("RGB")]
sentences = ["a woman in a red coat", "a man with a blue backpack"]
images = model.encode(photographs{RECTANGLE})
texts = model.encode(sentences)
print(model.similarity(texts, images))  # [sentences, photographs]
""",
}
"""One a format, run as they stand in a folder that also holds photo.jpg; RECTANGLE is filled in."""
RESPONSIBLE = (
    "**A similarity is not an identification.** The first photograph found may show somebody else, and always shows "
    "somebody, even where the person sought is in none of them. Decide nothing about a person by a rank or a score "
    "alone.",
    "**Consent and law.** Search where the people in the photographs would expect it, and where the law allows it. "
    "Mass or covert surveillance, following individuals, and searches by what is protected (origin, religion, "
    "politics, health and the like) are outside what this model is meant for.",
    "**Bias.** It learnt from captions that some people wrote of others, in the places where its data were taken. It "
    "may find some groups, clothes and places less well than others; that was not measured. Measure it on your own "
    "photographs before you rely on it.",
)
LICENCE = (
    "Whoever publishes these weights states their licence here and in the metadata above. Mind what they were learnt "
    "from: public benchmarks of person search are for research only, and the weights that a model begins from have "
    "terms of their own."
)
LABELS = (
    "**Words that describe people.** No auxiliary label of the training names age, ethnicity or skin. Captions may all "
    "the same contain such words, and the text tower has learnt what they go with."
)


def write_card(
    name: str, story: Story, towers: Towers, formats: Sequence[str], dtype: str | None, squared: tuple[int, int] | None
) -> str:
    """The card as a page of Markdown with metadata.

    name: of the model. formats: those that the folder is written for. dtype: `bf16`, `fp16` or None. squared: height
    and width of the photographs before the model was made square, or None.
    """
    measured = {} if squared else story.results
    data = ModelCardData(
        language="en",
        library_name=LIBRARIES[formats[0]],
        pipeline_tag="feature-extraction",
        tags=["clip", "text-based-person-retrieval", "image-text-retrieval", *(LIBRARIES[one] for one in formats)],
        base_model=story.origin["base"],
        datasets=[one.removeprefix("hf:") for stage in story.stages for one in stage.data if one.startswith("hf:")]
        or None,
        model_name=name,
        eval_results=_eval_results(story.stages[-1].data, measured) if measured else None,
    )
    if not measured:
        data.model_name = None  # without results it would stand there by itself
    parts = [
        f"# {name}\n\n{_intro(story, towers, dtype)}",
        f"## Results\n\n{_results(story, towers, squared)}",
        f"## Training\n\n{_training(story)}",
        f"## Use\n\n{_use(towers, formats)}",
        f"## Limits\n\n{_limits(story, towers)}",
        f"## Responsible use\n\n{_responsible(story)}",
        f"## Licence\n\n{_paragraph(LICENCE)}",
    ]
    return f"---\n{data.to_yaml()}\n---\n\n" + "\n".join(parts)


def write_snapshot_card(repo: str, story: Story, step: int) -> str:
    """The card of a run's snapshot, taken at an optimiser step, to go on from."""
    data = ModelCardData(
        language="en",
        library_name="huecry",
        tags=["clip", "text-based-person-retrieval", "training-snapshot"],
        base_model=story.origin["base"],
    )
    recipe = story.stages[-1].recipe or ""
    stage = "finetune" if recipe.startswith("finetune/") else "pretrain"
    name = recipe if recipe.startswith(("pretrain/", "finetune/")) else f"{stage}/people"
    parts = [
        f"# {repo.partition('/')[2]}\n\n"
        + _paragraph(
            f"A training run of huecry to go on from, as it stood after {step:,} optimiser steps: the two towers, "
            "the heads, queues and momentum towers of its objectives, and the state of its optimiser. It is no model "
            "for use in other libraries. Weights are safetensors; the optimiser's state is a torch file of tensors and "
            "numbers, which huecry reads with `weights_only`."
        ),
        f"## Training so far\n\n{_training(story)}",
        "## Go on\n\n"
        + _paragraph("A new run, with its own data, recipe and schedule, takes up towers, heads and queues:")
        + f"\n```bash\nhuecry {stage} --config {name} model.source=hf:{repo} data.source=PATH/TO/DATA\n```\n\n"
        + _paragraph("The same run, on the same training data, goes on where it stood:")
        + f"\n```bash\nhf download {repo} --local-dir runs/resumed\nhuecry {stage} --config runs/resumed/config.yaml "
        "run.dir=runs/resumed train.resume=true data.source=PATH/TO/DATA\n```\n",
        f"## Responsible use\n\n{_responsible(story)}",
        f"## Licence\n\n{_paragraph(LICENCE)}",
    ]
    return f"---\n{data.to_yaml()}\n---\n\n" + "\n".join(parts)


def address(card: str, repo: str) -> str:
    """The card with its title and the lines `name = ...` of its code changed to a repository's; nothing else."""
    card = re.sub(r'^name = "(?:local-dir|hf-hub):[^"]*".*$', f'name = "hf-hub:{repo}"', card, flags=re.MULTILINE)
    card = re.sub(r'^name = "(?!hf-hub:)[^"]*".*$', f'name = "{repo}"', card, flags=re.MULTILINE)
    return re.sub(r"^# .*$", f"# {repo.partition('/')[2]}", card, count=1, flags=re.MULTILINE)


def _eval_results(data: Sequence[str], results: dict[str, dict[str, Any]]) -> list[EvalResult]:
    return [
        EvalResult(
            task_type="image-text-retrieval",
            task_name="Text-based person retrieval",
            dataset_type=" ".join(data).removeprefix("hf:"),
            dataset_name=", ".join(data),
            dataset_split=split,
            dataset_args={"selected_on": figures["selected_on"] or "nothing"},
            metric_type=NAMES[key][0],
            metric_name=NAMES[key][1],
            metric_value=round(figures[key], 2),
        )
        for split, figures in results.items()
        for key in METRICS
        if key in figures
    ]


def _paragraph(text: str, bullet: str = "") -> str:
    return fill(text, 110, initial_indent=bullet, subsequent_indent=" " * len(bullet), break_long_words=False) + "\n"


def _intro(story: Story, towers: Towers, dtype: str | None) -> str:
    height, width = towers.image_size
    millions = sum(weight.numel() for weight in towers.parameters()) / 1e6
    made = "trained with huecry" if story.stages else "brought into these formats by huecry, which did not train it"
    return _paragraph(
        "Finds photographs of a person from a sentence. It is a CLIP: one tower turns a photograph, the other an "
        f"English sentence into {towers.embed_dim} numbers, and the photographs with the largest cosine come first. "
        f"Photographs are resized to {height}x{width} (height x width) whatever their shape; nothing is cropped. "
        f"{millions:.1f} M parameters, {made}." + (f" Its matrices are stored in {dtype}." if dtype else "")
    )


def _results(story: Story, towers: Towers, squared: tuple[int, int] | None) -> str:
    if not story.results:
        return "None were measured.\n"
    head = ["split", *METRICS, "sentences", "photographs", "persons", "model chosen on"]
    lines = [f"| {' | '.join(head)} |", "|" + " --- |" * len(head)]
    for split, figures in story.results.items():
        cells = [split, *(f"{figures[key]:.1f}" if key in figures else "" for key in METRICS)]
        cells += [f"{int(figures[key]):,}" for key in ("queries", "gallery", "persons")]
        lines.append(f"| {' | '.join([*cells, figures['selected_on'] or 'nothing'])} |")
    data = ", ".join(story.stages[-1].data)
    text = (
        f"Text to image on {data}, percent. Ties are broken by the order of the gallery.\n\n" + "\n".join(lines) + "\n"
    )
    if any(split == figures["selected_on"] for split, figures in story.results.items()):
        text += "\nWhere a split chose the model, its own figures flatter it.\n"
    if not story.finished:
        text += "\nTraining was not at its end when this was written.\n"
    if squared:
        text = (
            f"**Not of this model**, but of the one it was made from, at {squared[0]}x{squared[1]}. At "
            f"{towers.image_size[0]}x{towers.image_size[1]} it was not measured.\n\n{text}"
        )
    return text


def _training(story: Story) -> str:
    if not story.stages:
        return f"Not trained by huecry: these are {story.origin['began']}.\n"
    stages = [_paragraph(_stage(stage), f"{number}. ") for number, stage in enumerate(story.stages, 1)]
    return f"From {story.origin['began']}:\n\n" + "".join(stages)


def _stage(stage: Stage) -> str:
    recipe = f"Recipe `{stage.recipe}`" if stage.recipe else "A recipe whose name is not known"
    sizes = f" ({'; '.join(stage.sizes)})" if stage.sizes else ""
    chosen = "" if stage.chosen in (None, stage.steps) else f", of which the model is that of step {stage.chosen:,}"
    weights = ", ".join(f"`{name}` {weight:g}" for name, weight in stage.objectives.items())
    text = f"{recipe} on {', '.join(stage.data)}{sizes}: {stage.steps:,} steps of {stage.samples} samples{chosen}. "
    text += f"Objectives and their weights: {weights}."
    if stage.version:
        text += f" huecry {stage.version}" + (f", commit `{stage.commit}`." if stage.commit else ".")
    return text


def _use(towers: Towers, formats: Sequence[str]) -> str:
    height, width = towers.image_size
    rectangle = "" if height == width else ", interpolate_pos_encoding=True"
    parts = [
        f"With {LIBRARIES[name]}:\n\n```python\n{SNIPPETS[name].replace('{RECTANGLE}', rectangle)}```\n"
        for name in formats
    ]
    if rectangle and {"transformers", "sentence_transformers"} & set(formats):
        parts.append(
            _paragraph(
                "`interpolate_pos_encoding=True` is no choice here: transformers and sentence-transformers store "
                f"positions for squares alone, and by it reach those of {height}x{width}, without loss."
            )
        )
    return "\n".join(parts)


def _limits(story: Story, towers: Towers) -> str:
    lines = [
        f"English sentences of at most {towers.context} tokens; what is longer is cut.",
        "Photographs of one person, cut out of their surroundings: it detects nobody.",
        "It compares looks. Other clothes, another light or a sentence that says little lead elsewhere.",
    ]
    if story.stages and all(one == "people" for stage in story.stages for one in stage.data):
        lines.append("**It saw drawn people only**, no photograph: it serves demonstrations and tests.")
    return "".join(_paragraph(line, "- ") for line in lines)


def _responsible(story: Story) -> str:
    points = "".join(_paragraph(point, "- ") for point in (*RESPONSIBLE, *([LABELS] if story.stages else [])))
    return f"Person search touches real people.\n\n{points}"
