"""Text-guided colourisation: the grey photograph gets its colours back from what the caption says.

Source: LapsCore (Wu et al., ICCV 2021), the sub-task "text-guided image colourisation" and its widening to masked
    channels; binned colours after Zhang et al., ECCV 2016. The decoder on transformer tokens is ours.
Formula: `loss: regression`: mean over valid pixels of sqrt(|ab - ab*|^2 + 0.001^2), ab divided by 110; ab* is the plain
    colour picture, averaged in RGB to the decoder's resolution. `loss: bins`: rebalanced cross-entropy over bins of the
    ab plane, see `huecry.tasks.ab_bins`, of a mixture in which every cell x asks which word w of the caption colours
    it: p(bin | x) = sum_w a(w | x) p(bin | w). `hide: channels`: the picture shows one or two of R, G, B and the loss
    asks for the hidden ones (RGB in -1..1, Charbonnier).
Deviations: LapsCore decodes with a U-Net and gates channels by an LSTM's sentence vector. The mixture over words is
    ours, after the alignment models of Brown et al., Computational Linguistics 1993. Padding and erased pixels, and by
    default photographs whose caption names no colour, are left out of the loss.
Shapes: patch tokens [B, h*w, d_v], caption tokens [B, L, d_t] -> [B, 2 or 3, 4h, 4w] (bins: [B, Q, 2h, 2w]).
Cost: one image pass, of `gray` (or `channels`); `grayscale` shares that of `gray`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from huecry.data.captions import NEIGHBOURS, find_spans
from huecry.data.colour import PROTOTYPES, delta_e76, nearest_name, rgb_to_lab
from huecry.errors import UserError
from huecry.processes import global_mean
from huecry.tasks.ab_bins import Bins
from huecry.tasks.attention import Block
from huecry.tasks.similarity import full_precision, widened
from huecry.towers import Encoded
from huecry.towers.packing import packing_of
from huecry.training.encode import Encode
from huecry.training.task import Facts, Preparer, Task, TaskConfig, check_choices

if TYPE_CHECKING:
    from huecry.data.views import Sample

AB = 110.0
BEND = 1e-3


@dataclass
class ColouriseConfig(TaskConfig):
    """loss: `regression` | `bins`. hide: `colour` (grey in, ab out) | `channels` (any hidden channels of RGB).

    width: of the decoder, null for half the towers' joint size. blocks: of its transformer. uncoloured: weight of a
    photograph whose caption names no colour. unnamed: weight of a pixel whose colour its caption does not name; of
    most of the background. foreground: weigh the middle columns more, where the person stands.
    """

    weight: float = 0.1
    loss: str = "regression"
    hide: str = "colour"
    width: int | None = None
    blocks: int = 2
    uncoloured: float = 0.0
    unnamed: float = 1.0
    foreground: bool = False


def prepare(sample: Sample, _: np.random.Generator) -> dict[str, np.ndarray]:
    """`coloured` [] bool: the caption names a colour that counts; `named` [15] bool: these names of `PROTOTYPES`.

    A name counts with the hues that annotators take it for; a caption that calls something colourful names them all.
    """
    hues = {span.hue for span in find_spans(sample.caption) if span.scored and span.hue is not None}
    alike = hues | {other for hue in hues for other in NEIGHBOURS[hue]}
    named = np.array([name in alike or "multi" in hues for name in PROTOTYPES])
    return {"coloured": np.array(bool(hues)), "named": named}


class Grow(nn.Module):
    """Cells [B, d, h, w] become `outputs` maps of twice the height and width, `doublings` times."""

    def __init__(self, width: int, outputs: int, doublings: int) -> None:
        super().__init__()
        steps: list[nn.Module] = []
        for _ in range(doublings):
            steps += [nn.Conv2d(width, 2 * width, 3, padding=1), nn.PixelShuffle(2), nn.GELU()]
            width //= 2
        self.steps = nn.Sequential(*steps, nn.Conv2d(width, outputs, 1))

    def forward(self, cells: Tensor, words: Tensor, valid: Tensor) -> Tensor:
        """[B, outputs, 2^doublings h, 2^doublings w]; the words were read before."""
        grown: Tensor = self.steps(cells)
        return grown


class WordMixture(nn.Module):
    """Logarithms of p(class | cell) = sum over words of a(word | cell) p(class | word), in twice the resolution.

    a: softmax of cosines. Which class goes with a word is learnt from what occurs together, as in word alignment,
    long before the cells know their words.
    """

    START = 1.5
    """Logarithm of the cosines' factor before training."""

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.query = nn.Conv2d(width, 4 * width, 3, padding=1)
        self.key = nn.Linear(width, width)
        self.classes = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, outputs))
        self.log_scale = nn.Parameter(torch.tensor(self.START))

    def forward(self, cells: Tensor, words: Tensor, valid: Tensor) -> Tensor:
        """[B, outputs, 2h, 2w] of cells [B, d, h, w]; words: [B, L, d]; valid: [B, L]."""
        queries = F.pixel_shuffle(self.query(cells), 2)
        keys, classes = self.key(words), self.classes(words)
        with full_precision(queries):
            cosine = F.normalize(widened(queries).flatten(2).mT, dim=2) @ F.normalize(widened(keys), dim=2).mT
            read = (cosine * self.log_scale.exp()).masked_fill(~valid[:, None], float("-inf")).softmax(dim=2)
            shares = read @ widened(classes).softmax(dim=2)
            return shares.clamp(min=torch.finfo(shares.dtype).tiny).log().mT.unflatten(2, queries.shape[2:])


class Decoder(nn.Module):
    """Patches read each other and the caption; then they grow fourfold (bins: twofold) in each direction."""

    def __init__(self, facts: Facts, width: int, blocks: int, hints: int, head: Grow | WordMixture) -> None:
        super().__init__()
        self.grid = facts.grid
        self.image, self.text = nn.Linear(facts.image_width, width), nn.Linear(facts.text_width, width)
        self.text_norm = nn.LayerNorm(width)
        self.hint = nn.Linear(hints, width, bias=False) if hints else None
        self.blocks = nn.ModuleList(Block(width, blocks) for _ in range(blocks))
        self.head = head

    def forward(self, image: Encoded, text: Encoded, hint: Tensor | None = None) -> Tensor:
        """What the head makes of it; hint: [B, hints]."""
        hidden = self.image(image.tokens[:, 1:])
        if self.hint is not None and hint is not None:
            hidden = hidden + self.hint(hint.to(hidden.dtype))[:, None]
        packing = packing_of(text.valid)
        words = self.text_norm(self.text(packing.pack(text.tokens)))
        for block in self.blocks:
            hidden = block(hidden, None, words, packing)
        painted: Tensor = self.head(hidden.mT.unflatten(2, self.grid), packing.unpack(words), text.valid)
        return painted


class Colourise(Task):
    """Colourisation of the grey (or channel-masked) view under the caption's guidance."""

    Config = ColouriseConfig
    use = "colourise"

    def __init__(self, config: Any, facts: Facts) -> None:
        super().__init__(config, facts)
        width = config.width or max(facts.embed_dim // 2, 32)
        if width % 64 and width != 32:
            raise UserError(f"tasks.colourise.width={width}: give 32 or a multiple of 64")
        binned, channels = config.loss == "bins", config.hide == "channels"
        self.bins = Bins() if binned else None
        self.doublings = 1 if binned else 2
        head = (
            Grow(width, 3 if channels else 2, self.doublings)
            if self.bins is None
            else WordMixture(width, len(self.bins))
        )
        self.decoder = Decoder(facts, width, config.blocks, 3 if channels else 0, head)

    @property
    def input(self) -> str:
        """The view that is coloured."""
        return "channels" if self.config.hide == "channels" else "gray"

    @classmethod
    def reads(cls, config: Any) -> frozenset[str]:
        return frozenset({"ab", "text", *(("channels", "hidden") if config.hide == "channels" else ("gray",))})

    @classmethod
    def check(cls, name: str, config: Any) -> None:
        super().check(name, config)
        check_choices(name, config, loss=("regression", "bins"), hide=("colour", "channels"))
        if config.loss == "bins" and config.hide == "channels":
            raise UserError(f"tasks.{name}.loss=bins: bins are colours, not channels; set tasks.{name}.hide=colour")
        if config.blocks < 1 or (config.width is not None and config.width < 32):
            raise UserError(f"tasks.{name}: blocks must be 1 or more, width 32 or more")
        for key in ("uncoloured", "unnamed"):
            if getattr(config, key) < 0:
                raise UserError(f"tasks.{name}.{key}={getattr(config, key)}: must be 0 or more")

    @staticmethod
    def preparer(config: Any) -> Preparer:
        return prepare

    def forward(self, encode: Encode, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        image, text = encode(self.input), encode("text")
        hidden = batch.get("hidden")
        with full_precision(image.pooled):
            target, valid = self.target(batch["ab"])
            lab = rgb_to_lab(target)
            row = torch.where(batch["coloured"], 1.0, self.config.uncoloured)
            weights = valid * row[:, None, None] * self._foreground(valid) * self._named(lab, batch["named"])
        raw = self.decoder(image, text, hidden)
        with full_precision(raw):
            raw = widened(raw)
            ab = lab[:, 1:].to(raw.dtype)
            if self.bins is not None:
                loss = self._binned(raw, ab, weights)
            elif hidden is not None:
                asked = hidden[:, :, None, None] * weights[:, None]
                wrong = torch.tanh(raw) - (2 * target.to(raw.dtype) - 1)
                loss = global_mean((wrong.square() + BEND**2).sqrt(), asked)
            else:
                wrong = torch.tanh(raw) - ab / AB
                loss = global_mean((wrong.square().sum(dim=1) + BEND**2).sqrt(), weights)
            distance = delta_e76(self.coloured(raw.detach()), ab)
        return loss, {"delta_e": global_mean(distance, weights.to(distance.dtype)).detach()}

    @torch.no_grad()
    def after_backward(self, encode: Encode, batch: dict[str, Tensor]) -> None:
        if self.bins is not None:
            target, valid = self.target(batch["ab"])
            self.bins.count(rgb_to_lab(target)[:, 1:].movedim(1, -1), valid)

    def target(self, ab: Tensor) -> tuple[Tensor, Tensor]:
        """Plain RGB [B, 3, h, w] in 0..1 and validity [B, h, w] in 0, 1, at the decoder's resolution.

        ab: the view, [B, 4, H, W] uint8. A cell is valid where all of its pixels are.
        """
        size = [side << self.doublings for side in self.decoder.grid]
        small = F.interpolate(ab.float(), size=size, mode="area")
        return small[:, :3] / 255, (small[:, 3] > 1 - 1e-4).float()

    def predict(self, image: Encoded, text: Encoded, hidden: Tensor | None = None) -> Tensor:
        """The colours ab [B, 2, h, w], in units of Lab, of a grey (or channel-masked) view under a caption."""
        return self.coloured(widened(self.decoder(image, text, hidden)))

    def coloured(self, raw: Tensor) -> Tensor:
        """What the decoder's output says as ab [B, 2, h, w]."""
        if self.bins is not None:
            return self.bins.decode(raw.movedim(1, -1)).movedim(-1, 1)
        if self.config.hide == "channels":
            return rgb_to_lab(torch.tanh(raw) / 2 + 0.5)[:, 1:]
        return torch.tanh(raw) * AB

    def _binned(self, logs: Tensor, ab: Tensor, weights: Tensor) -> Tensor:
        assert self.bins is not None
        index, shares = self.bins.encode(ab.movedim(1, -1))
        logs = logs.movedim(1, -1).gather(-1, index)
        balance = self.bins.weights.to(logs.dtype)[index[..., 0]]
        return global_mean(-balance * (shares.to(logs.dtype) * logs).sum(dim=-1), weights)

    def _named(self, lab: Tensor, named: Tensor) -> Tensor:
        """Weights [B, h, w]: one where the caption names the colour, `unnamed` elsewhere, or [] if that is one."""
        if self.config.unnamed == 1:
            return lab.new_ones(())
        names = nearest_name(lab.movedim(1, -1)).flatten(1)
        return torch.where(named.gather(1, names), 1.0, self.config.unnamed).view_as(lab[:, 0])

    def _foreground(self, valid: Tensor) -> Tensor:
        if not self.config.foreground:
            return valid.new_ones(())
        place = torch.linspace(-0.5, 0.5, valid.shape[2], device=valid.device)
        return torch.exp(-((place * 3) ** 2))
