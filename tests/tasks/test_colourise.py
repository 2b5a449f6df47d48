"""Text-guided colourisation: losses against slow twins, leaks, and what the caption does to the colours."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from torch.nn import functional as F

from huecry.data.colour import PROTOTYPES, lab_to_rgb, rgb_to_lab
from huecry.data.records import PhotoSet, Record
from huecry.data.tokens import tokenize
from huecry.data.views import Sample
from huecry.tasks.colourise import AB, Colourise, ColouriseConfig, WordMixture, prepare
from huecry.towers import Encoded
from huecry.training.encode import Encode, Step
from huecry.training.task import Facts

ROWS = 12
FORMS = [{}, {"loss": "bins", "unnamed": 0.3}, {"hide": "channels"}, {"foreground": True, "uncoloured": 0.25}]


def predicted(bundle: Any, batch: Any) -> torch.Tensor:
    """Colours ab [B, 2, h, w] of the batch."""
    task = bundle.tasks["colourise"]
    encode = Encode(Step(bundle, batch), "colourise", task.reads(task.config), False)
    with torch.no_grad():
        return task.predict(encode(task.input), encode("text"), batch.views.get("hidden"))


def raw(bundle: Any, batch: Any) -> torch.Tensor:
    task = bundle.tasks["colourise"]
    encode = Encode(Step(bundle, batch), "colourise", task.reads(task.config), False)
    with torch.no_grad():
        return task.decoder(encode(task.input), encode("text"), batch.views.get("hidden")).double()


def nearest(lab: torch.Tensor) -> int:
    """Index of the prototype that a Lab colour [3] is nearest to, lightness counting half."""
    ways = [sum(((0.5, 1, 1)[i] * (float(lab[i]) - p[i])) ** 2 for i in range(3)) for p in PROTOTYPES.values()]
    return ways.index(min(ways))


@pytest.mark.parametrize("config", FORMS)
def test_loss(config: dict[str, Any], drawn: Any) -> None:
    bundle, batch = drawn({"colourise": config})
    task = bundle.tasks["colourise"]
    batch.views["ab"][0, 3, 40:60, 10:30] = 0  # erased
    batch.inputs["colourise"]["coloured"][1] = False
    loss, _ = bundle(batch)
    step = 16 // 2**task.doublings
    out, total, mass = raw(bundle, batch), 0.0, 0.0
    for row in range(4):
        for y in range(out.shape[2]):
            for x in range(out.shape[3]):
                cell = batch.views["ab"][row, :, y * step : (y + 1) * step, x * step : (x + 1) * step].double()
                if not bool((cell[3] == 1).all()):
                    continue
                weight = 1.0 if batch.inputs["colourise"]["coloured"][row] else config.get("uncoloured", 0.0)
                if config.get("foreground"):
                    weight *= math.exp(-(((x / (out.shape[3] - 1) - 0.5) * 3) ** 2))
                rgb = cell[:3].mean(dim=(1, 2)) / 255
                lab = rgb_to_lab(rgb[:, None, None])[:, 0, 0]
                ab = lab[1:]
                if not batch.inputs["colourise"]["named"][row, nearest(lab)]:
                    weight *= config.get("unnamed", 1.0)
                values = out[row, :, y, x]
                if config.get("loss") == "bins":
                    index, shares = task.bins.encode(ab.float())
                    logs = torch.log_softmax(values, dim=0)
                    cost = -sum(float(s) * float(logs[i]) for i, s in zip(index, shares, strict=True))
                    total, mass = total + weight * float(task.bins.weights[index[0]]) * cost, mass + weight
                elif config.get("hide") == "channels":
                    for channel in range(3):
                        if batch.views["hidden"][row, channel]:
                            wrong = math.tanh(values[channel]) - (2 * float(rgb[channel]) - 1)
                            total, mass = total + weight * math.sqrt(wrong**2 + 1e-6), mass + weight
                else:
                    wrong = [math.tanh(v) - float(t) / AB for v, t in zip(values, ab, strict=True)]
                    total, mass = total + weight * math.sqrt(sum(w * w for w in wrong) + 1e-6), mass + weight
    # the twin sees four rows of the batch: it is given only these
    for name, tensor in batch.views.items():
        batch.views[name] = tensor[:4]
    batch.inputs["colourise"] = {name: tensor[:4] for name, tensor in batch.inputs["colourise"].items()}
    batch.row, batch.image, batch.person = batch.row[:4], batch.image[:4], batch.person[:4]
    assert bundle(batch)[0].item() == pytest.approx(0.1 * total / mass, rel=2e-3)
    assert loss.isfinite()


@pytest.mark.parametrize("config", FORMS[:2])
def test_a_turned_hue_changes_nothing(config: dict[str, Any], drawn: Any) -> None:
    """The colour view beside it cannot leak: what is coloured depends on luma and caption alone."""
    bundle, batch = drawn({"colourise": config, "contrastive": {}})
    before = predicted(bundle, batch)
    batch.views["rgb"] = batch.views["rgb"].flip(1)
    batch.views["ab"] = batch.views["ab"].flip(2)
    assert torch.equal(predicted(bundle, batch), before)
    with pytest.raises(KeyError, match="rgb"):
        Encode(Step(bundle, batch), "colourise", bundle.tasks["colourise"].reads(ColouriseConfig()), False)("rgb")


@pytest.mark.parametrize("config", FORMS)
def test_erased_pixels_and_captions_without_colour_ask_for_nothing(config: dict[str, Any], drawn: Any) -> None:
    bundle, batch = drawn({"colourise": config | {"uncoloured": 0.0}})
    batch.views["ab"][:, 3, :64] = 0
    batch.inputs["colourise"]["coloured"][0] = False
    before = bundle(batch)[0]
    batch.views["ab"][:, :3, :64] = 17
    batch.views["ab"][0, :3] = 200
    assert torch.equal(bundle(batch)[0], before)


@pytest.mark.parametrize("config", FORMS)
def test_a_batch_that_asks_for_nothing(config: dict[str, Any], drawn: Any) -> None:
    bundle, batch = drawn({"colourise": config | {"uncoloured": 0.0}})
    batch.inputs["colourise"]["coloured"][:] = False
    loss, _ = bundle(batch)
    loss.backward()
    assert loss == 0
    for name, weight in bundle.named_parameters():
        if weight.requires_grad and name != "towers.logit_scale":
            assert weight.grad is not None, name
            assert not weight.grad.any(), name


@pytest.mark.parametrize("config", FORMS)
def test_grey_pictures_are_finite_and_gradients_reach_both_towers(config: dict[str, Any], drawn: Any) -> None:
    bundle, batch = drawn({"colourise": config})
    batch.views["ab"][:, :3] = 128
    batch.views[bundle.tasks["colourise"].input][:] = 128
    loss, _ = bundle(batch)
    loss.backward()
    assert loss.isfinite()
    for tower in (bundle.towers.image.patch, bundle.towers.text.words):
        assert tower.weight.grad.isfinite().all()
        assert tower.weight.grad.abs().max() > 0


def test_bins_are_counted_after_the_backward_pass(drawn: Any) -> None:
    bundle, batch = drawn({"colourise": {"loss": "bins"}})
    bundle(batch)
    counts = bundle.tasks["colourise"].bins.counts
    assert counts.sum() == 0
    bundle.after_backward()
    cells = batch.views["ab"][:, 3].reshape(ROWS, 16, 8, 8, 8)
    assert counts.sum() == (cells.amin(dim=(2, 4)) == 1).sum() > 0


@pytest.mark.parametrize("grid", [(24, 8), (16, 8), (14, 14)])
@pytest.mark.parametrize("config", [ColouriseConfig(), ColouriseConfig(loss="bins"), ColouriseConfig(hide="channels")])
def test_shapes(grid: tuple[int, int], config: ColouriseConfig) -> None:
    facts = Facts(embed_dim=64, image_width=48, text_width=32, grid=grid, persons=0, images=2, rows=2)
    task = Colourise(config, facts)
    patches = grid[0] * grid[1]
    image, text = (
        Encoded(
            torch.zeros(2, 64), torch.randn(2, count, width), torch.ones(2, count).bool(), lambda x: x, torch.Tensor
        )
        for count, width in ((1 + patches, 48), (8, 32))
    )
    hidden = torch.tensor([[1, 0, 0], [1, 0, 1]]) if config.hide == "channels" else None
    factor = 2 if config.loss == "bins" else 4
    assert task.predict(image, text, hidden).shape == (2, 2, factor * grid[0], factor * grid[1])


def test_named_colours() -> None:
    def named(caption: str) -> set[str]:
        sample = Sample(0, 0, 0, coats().records[0], caption, Image.new("RGB", (8, 16)))
        found = prepare(sample, np.random.default_rng(0))["named"]
        return {name for name, here in zip(PROTOTYPES, found, strict=True) if here}

    assert named("A man in a red coat, no green hat") == {"red", "maroon", "pink", "orange"}
    assert named("A black man near a traffic light") == set()
    assert named("A colorful skirt") == set(PROTOTYPES)


@torch.no_grad()
def test_a_mixture_over_the_words() -> None:
    """Against loops; a padded word has no say."""
    torch.manual_seed(0)
    mixture = WordMixture(32, 5)
    words, cells = torch.randn(2, 4, 32), torch.randn(2, 32, 2, 3)
    valid = torch.tensor([[True] * 4, [True, True, False, False]])
    logs = mixture(cells, words, valid)
    assert logs.shape == (2, 5, 4, 6)
    grown = F.pixel_shuffle(mixture.query(cells), 2)
    for row, count in enumerate((4, 2)):
        for y, x in ((0, 0), (3, 5), (1, 2)):
            scores = [
                math.exp(4.4816890703 * float(F.cosine_similarity(grown[row, :, y, x], mixture.key(word), dim=0)))
                for word in words[row, :count]
            ]
            shares = sum(
                score / sum(scores) * torch.softmax(mixture.classes(word), dim=0)
                for score, word in zip(scores, words[row], strict=False)
            )
            assert torch.allclose(logs[row, :, y, x].exp(), shares, atol=1e-6)
    words[1, 2:] = 9
    assert torch.equal(mixture(cells, words, valid), logs)


HUES = ("red", "green", "blue", "yellow", "purple", "orange")


def cloth(hue: str) -> torch.Tensor:
    """An sRGB colour [3] of the hue, all of one luma, so that the grey picture does not tell them apart."""
    rgb = lab_to_rgb(torch.tensor([50.0, *PROTOTYPES[hue][1:]])[:, None, None])[:, 0, 0]
    return 0.47 + 0.6 * (rgb - rgb @ torch.tensor([0.299, 0.587, 0.114]))


def coats() -> PhotoSet:
    """64 people of grey tones alike, whose captions alone tell the colours of coat and trousers."""
    records = []
    for number in range(64):
        top, legs = HUES[number % 6], HUES[(number // 6 + 1 + number) % 6]
        picture = Image.new("RGB", (64, 128), (120, 120, 120))
        pen = ImageDraw.Draw(picture)
        for hue, box in ((top, (12, 20, 51, 63)), (legs, (16, 64, 47, 112))):
            pen.rectangle(box, fill=tuple(int(c) for c in (cloth(hue) * 255).round()))
        caption = f"A person in a {top} coat and {legs} trousers"
        records.append(Record(_Memory(picture), (caption,), str(number), f"{number}.png"))  # type: ignore[arg-type]
    return PhotoSet("train", records)


class _Memory:
    """A picture that was never written, opened as a data set's would be."""

    def __init__(self, picture: Image.Image) -> None:
        self.dataset, self.index, self.column = [{"image": picture}], 0, "image"


def learnt(make_batch: Any, steps: int, reads_caption: bool = True) -> Any:
    """(bundle, batch) after learning the 64 by heart; without the caption where cross-attention is cut."""
    bundle, batch = make_batch({"colourise": {"weight": 1.0}}, 64, 99, coats())
    if not reads_caption:
        for block in bundle.tasks["colourise"].decoder.blocks:
            torch.nn.init.zeros_(block.cross_attention.output.weight)
            block.cross_attention.output.requires_grad_(False)
    optimiser = torch.optim.AdamW([weight for weight in bundle.parameters() if weight.requires_grad], lr=1e-3)
    for _ in range(steps):
        optimiser.zero_grad()
        bundle(batch)[0].backward()
        optimiser.step()
    return bundle, batch


def text_gain(bundle: Any, batch: Any) -> float:
    """How much further off the colours are under another's caption, in units of ab."""
    target, _ = bundle.tasks["colourise"].target(batch.views["ab"])
    truth = rgb_to_lab(target)[:, 1:]
    own = float((predicted(bundle, batch) - truth).norm(dim=1).mean())
    batch.views["text"] = batch.views["text"].roll(1, dims=0)
    return float((predicted(bundle, batch) - truth).norm(dim=1).mean()) - own


def test_a_decoder_that_cannot_read_gains_nothing(make_batch: Any) -> None:
    assert text_gain(*learnt(make_batch, 3, reads_caption=False)) == 0


@pytest.mark.slow
def test_colours_follow_the_caption(make_batch: Any) -> None:
    """Learnt by heart, then swapped in the caption: the coat must take the new colour."""
    bundle, batch = learnt(make_batch, 250)
    worn = [HUES[number % 6] for number in range(64)]
    words = [HUES[(number + 2) % 6] for number in range(64)]
    captions = [
        batch_caption.replace(f"{old} coat", f"{new} coat")
        for batch_caption, old, new in zip(
            [coats().caption(int(row)) for row in batch.row],
            [worn[int(row)] for row in batch.row],
            [words[int(row)] for row in batch.row],
            strict=True,
        )
    ]
    plain = batch.views["text"]
    batch.views["text"] = tokenize(captions)
    found = predicted(bundle, batch)[:, :, 8:14, 5:11].mean(dim=(2, 3))
    near = torch.cdist(found, rgb_to_lab(torch.stack([cloth(hue) for hue in HUES]).T[:, None])[1:, 0].T).argmin(dim=1)
    wanted = torch.tensor([HUES.index(words[int(row)]) for row in batch.row])
    assert (near == wanted).float().mean() > 0.9
    batch.views["text"] = plain
    assert text_gain(bundle, batch) > 5
