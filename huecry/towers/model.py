"""The two towers of a CLIP: one pass gives the pooled feature and every token.

Built from transformers' encoder layers with SDPA attention. Unlike transformers' own model the table of image
positions is held on the grid that is used, rectangular or not, so that no step interpolates.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint
from transformers import CLIPConfig, CLIPTextConfig, CLIPVisionConfig
from transformers.models.clip.modeling_clip import CLIPEncoderLayer

from huecry.data.tokens import EOT
from huecry.towers.folder import write_model
from huecry.towers.packing import PACKED, Packing

LOG_SCALE_MAX = 4.60517
"""Upper bound of the logit scale: the float32 whose exponential is the last one below 100."""


@dataclass
class Encoded:
    """What one tower says of one view.

    Attributes:
        pooled: [B, D] projected feature, not normalised.
        tokens: [B, N, d] all tokens after the tower's final norm; zero where not valid.
        valid: [B, N] bool; all True for images, positions 0..EOT inclusive for text.
        projection: the tower's map from d to D, applied when ``projected`` is first read.
        look: computes ``attention`` when that is first read.
    """

    pooled: Tensor
    tokens: Tensor
    valid: Tensor
    projection: Callable[[Tensor], Tensor] = field(repr=False)
    look: Callable[[], Tensor] = field(repr=False)
    _projected: Tensor | None = field(default=None, init=False, repr=False)
    _attention: Tensor | None = field(default=None, init=False, repr=False)

    @property
    def projected(self) -> Tensor:
        """All tokens through the projection, [B, N, D], computed once."""
        if self._projected is None:
            self._projected = self.projection(self.tokens)
        return self._projected

    @property
    def attention(self) -> Tensor:
        """Where the pooled token looks in the last layer, [B, N], the mean over heads, without gradient.

        Rows sum to one; zero where not valid.
        """
        if self._attention is None:
            with torch.no_grad():
                self._attention = self.look()
        return self._attention


class QuickGELU(nn.Module):
    """x * sigmoid(1.702 x), written so that autograd keeps one tensor instead of three."""

    def forward(self, x: Tensor) -> Tensor:
        return F.silu(x * 1.702) / 1.702


def _layers(config: CLIPVisionConfig | CLIPTextConfig, attention: str) -> nn.ModuleList:
    config._attn_implementation = attention
    layers = [CLIPEncoderLayer(config) for _ in range(config.num_hidden_layers)]
    if config.hidden_act == "quick_gelu":
        for layer in layers:
            layer.mlp.activation_fn = QuickGELU()
    return nn.ModuleList(layers)


class ImageTower(nn.Module):
    """Vision transformer: patches, CLS, positions, pre-norm, layers, final norm on every token, projection.

    Args:
        config: transformers' description of the tower; its ``image_size`` is not read.
        grid: rows and columns of patches.
        embed_dim: D, the size of the joint space.
    """

    def __init__(self, config: CLIPVisionConfig, grid: tuple[int, int], embed_dim: int) -> None:
        super().__init__()
        self.grid, self.patch_size = grid, config.patch_size
        self.checkpointing = False
        width = config.hidden_size
        self.class_embedding = nn.Parameter(torch.empty(width))
        self.patch = nn.Conv2d(3, width, config.patch_size, config.patch_size, bias=False)
        self.positions = nn.Parameter(torch.empty(1 + grid[0] * grid[1], width))
        self.pre_norm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.layers = _layers(config, "sdpa")
        self.norm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.projection = nn.Linear(width, embed_dim, bias=False)

    def forward(self, pixels: Tensor) -> Encoded:
        size = (self.grid[0] * self.patch_size, self.grid[1] * self.patch_size)
        if pixels.ndim != 4 or tuple(pixels.shape[2:]) != size:
            raise ValueError(f"pixels of shape {tuple(pixels.shape)} for towers that take [B, 3, {size[0]}, {size[1]}]")
        patches = self.patch(pixels).flatten(2).transpose(1, 2)
        start = self.class_embedding.to(patches.dtype).expand(len(pixels), 1, -1)
        hidden = self.pre_norm(torch.cat([start, patches], dim=1) + self.positions)
        recompute = self.checkpointing and self.training
        *early, top = self.layers
        before = _run(early, hidden, recompute)
        tokens = self.norm(_run([top], before, recompute))
        valid = torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)

        def look() -> Tensor:
            return _attention(top, before[:, 0], before, valid)

        return Encoded(self.projection(tokens[:, 0]), tokens, valid, self.projection, look)


class TextTower(nn.Module):
    """Causal transformer over BPE ids, pooled at the first end-of-text token.

    Args:
        config: transformers' description of the tower.
        embed_dim: D, the size of the joint space.
    """

    def __init__(self, config: CLIPTextConfig, embed_dim: int) -> None:
        super().__init__()
        self.checkpointing = False
        width = config.hidden_size
        self.words = nn.Embedding(config.vocab_size, width)
        self.positions = nn.Parameter(torch.empty(config.max_position_embeddings, width))
        self.layers = _layers(config, PACKED)
        self.norm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.projection = nn.Linear(width, embed_dim, bias=False)

    def forward(self, ids: Tensor) -> Encoded:
        hits = ids == EOT
        eot = hits.int().argmax(dim=1)
        last, count, complete = torch.stack([eot.max(), (eot + 1).sum(), hits.any(dim=1).all()]).tolist()
        if not complete:
            raise ValueError(f"a row of token ids without the end-of-text id {EOT}")
        length = min(-(-(last + 1) // 8) * 8, ids.shape[1], len(self.positions))
        if last >= length:
            raise ValueError(f"a caption of {last + 1} tokens for a context of {len(self.positions)}")
        places = torch.arange(length, device=ids.device)
        valid = places <= eot[:, None]
        packing = Packing(valid, count)
        positions = F.embedding(packing.pack(places.expand_as(valid)), self.positions)
        hidden = self.words(packing.pack(ids[:, :length])) + positions
        recompute = self.checkpointing and self.training
        *early, top = self.layers
        before = _run(early, hidden[None], recompute, packing=packing)
        hidden = _run([top], before, recompute, packing=packing)
        tokens = packing.unpack(self.norm(hidden[0]))
        row = torch.arange(len(ids), device=ids.device)

        def look() -> Tensor:
            apart = packing.unpack(before[0])
            return _attention(top, apart[row, eot], apart, valid)

        return Encoded(self.projection(tokens[row, eot]), tokens, valid, self.projection, look)


def _run(layers: Iterable[nn.Module], hidden: Tensor, recompute: bool, **attention: Any) -> Tensor:
    for layer in layers:
        if recompute:
            hidden = checkpoint(layer, hidden, None, use_reentrant=False, **attention)
        else:
            hidden = layer(hidden, None, **attention)
    return hidden


def _attention(layer: Any, query: Tensor, context: Tensor, valid: Tensor) -> Tensor:
    """A layer's attention [B, N] of one token [B, d] over others [B, N, d], as they enter it; the mean over heads."""
    attention, norm = layer.self_attn, layer.layer_norm1
    queries = attention.q_proj(norm(query)).unflatten(1, (attention.num_heads, -1))
    keys = attention.k_proj(norm(context)).unflatten(2, (attention.num_heads, -1))
    scores = torch.einsum("bhd,bnhd->bhn", queries, keys).float() * attention.scale
    return scores.masked_fill(~valid[:, None], float("-inf")).softmax(dim=2).mean(dim=1)


class Towers(nn.Module):
    """An image tower, a text tower and the logit scale between them.

    State-dict names start with ``image.`` or ``text.``, but for ``logit_scale``. The weights are left as
    torch makes them: ``load_towers`` fills them.

    Args:
        config: transformers' description of both towers.
        image_size: height and width in pixels, multiples of the patch.
        mean, std: statistics that pixels are normalised with before they come here; kept for ``save`` and for
            whoever builds the views.
        position_mode: how the positions were resized when these weights were loaded; kept for ``save``.
    """

    def __init__(
        self,
        config: CLIPConfig,
        image_size: tuple[int, int],
        mean: tuple[float, float, float],
        std: tuple[float, float, float],
        position_mode: str = "bicubic",
    ) -> None:
        super().__init__()
        self.config = config
        self.image_size, self.mean, self.std, self.position_mode = image_size, mean, std, position_mode
        self.patch: int = config.vision_config.patch_size
        self.embed_dim: int = config.projection_dim
        self.image_width: int = config.vision_config.hidden_size
        self.text_width: int = config.text_config.hidden_size
        self.context: int = config.text_config.max_position_embeddings
        grid = (image_size[0] // self.patch, image_size[1] // self.patch)
        self.image = ImageTower(config.vision_config, grid, self.embed_dim)
        self.text = TextTower(config.text_config, self.embed_dim)
        self.logit_scale = nn.Parameter(torch.tensor(float(config.logit_scale_init_value)))

    def encode_image(self, pixels: Tensor) -> Encoded:
        """Encode normalised pixels [B, 3, H, W].

        Raises:
            ValueError: H and W are not the towers' ``image_size``.
        """
        return self.image(pixels)

    def encode_text(self, ids: Tensor) -> Encoded:
        """Encode token ids [B, L], padded after the first end-of-text id with anything.

        N is the length of the batch's longest caption, rounded up to a multiple of 8, at most L or the context.

        Raises:
            ValueError: a row has no end-of-text id, or has it beyond the context.
        """
        return self.text(ids)

    @property
    def scale(self) -> Tensor:
        """Factor of the cosines, [], at most 100.

        The parameter itself is held below the bound, so that its gradient never vanishes there.
        """
        with torch.no_grad():
            self.logit_scale.clamp_(max=LOG_SCALE_MAX)
        return self.logit_scale.exp()

    def set_checkpointing(self, active: bool) -> None:
        """Recompute the layers in the backward pass (training mode only): same gradients, less memory."""
        self.image.checkpointing = self.text.checkpointing = active

    def compile_blocks(self, **options: Any) -> None:
        """Compile every layer in place with ``torch.compile``'s options; the names in the state dict stay."""
        for layer in (*self.image.layers, *self.text.layers):
            layer.compile(**options)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write a folder that transformers, this library and their processors load.

        The files are config.json, model.safetensors, the tokenizer's, preprocessor_config.json, huecry.json.
        transformers keeps positions on a square grid only: a rectangle goes there through the pseudo-inverse
        of the resizing, so that ``get_image_features(pixels, interpolate_pos_encoding=True)`` gives these
        features. The exact table of a rectangle lies beside it, in positions.safetensors.
        """
        state = {name: weight.detach().cpu().contiguous() for name, weight in self.state_dict().items()}
        settings = {
            "image_size": list(self.image_size),
            "mean": list(self.mean),
            "std": list(self.std),
            "position_mode": self.position_mode,
        }
        write_model(Path(folder), self.config, state, self.image.grid, settings)
