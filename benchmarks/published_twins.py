"""The training steps of IRRA and of the simplified TBPS-CLIP as published, in plain torch modules of our own.

Each computes what its authors' code computes, the way it does, with the weights of a bundle of ours: all 77 tokens of
every caption; in IRRA a text pass for the caption and one for the masked caption, padding attended to, and logits over
the vocabulary at every position; in TBPS-CLIP attention that also returns its weights, a second pass of both towers
without gradient for the soft targets, and a patch embedding that does not learn; Adam or AdamW with a group a parameter
and torch's defaults.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from huecry.config import Recipe
from huecry.data.loader import Batch
from huecry.data.tokens import EOT
from huecry.tasks.attention import Attention
from huecry.towers import Towers
from huecry.training.bundle import Bundle

Losses = dict[str, Tensor]


def attention_of(inputs: Iterable[nn.Linear], output: nn.Linear, heads: int) -> nn.MultiheadAttention:
    """torch's attention with the weights of linear maps to query, key and value (which may be joined)."""
    theirs = nn.MultiheadAttention(output.in_features, heads, dtype=output.weight.dtype)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([linear.weight for linear in inputs]))
        theirs.in_proj_bias.copy_(torch.cat([linear.bias for linear in inputs]))
    theirs.out_proj.load_state_dict(output.state_dict())
    return theirs


def head_attention(own: Attention) -> nn.MultiheadAttention:
    """torch's attention with the weights of a head's."""
    return attention_of([own.query, own.key_value], own.output, own.heads)


def sigmoid_gelu(x: Tensor) -> Tensor:
    """The activation of CLIP."""
    return x * torch.sigmoid(1.702 * x)


class Layer(nn.Module):
    """Attention, then an MLP, each after a norm and added to what came in; tokens [N, B, d]."""

    def __init__(self, attention: nn.MultiheadAttention, norms: list[nn.Module], mlp: list[nn.Module]) -> None:
        super().__init__()
        self.attention = attention
        self.first_norm, self.second_norm = copy.deepcopy(norms)
        self.widen, self.narrow = copy.deepcopy(mlp)

    def forward(self, tokens: Tensor, mask: Tensor | None, padding: Tensor | None, weights: bool) -> Tensor:
        normed = self.first_norm(tokens)
        read = self.attention(normed, normed, normed, padding, weights, mask)[0]
        tokens = tokens + read
        return tokens + self.narrow(sigmoid_gelu(self.widen(self.second_norm(tokens))))


def run(
    layers: Iterable[Any],
    tokens: Tensor,
    mask: Tensor | None = None,
    padding: Tensor | None = None,
    weights: bool = False,
) -> Tensor:
    """Tokens [B, N, d] through layers; padding: [B, N] bool, what is not attended to."""
    tokens = tokens.transpose(0, 1)
    for layer in layers:
        tokens = layer(tokens, mask, padding, weights)
    return tokens.transpose(0, 1)


class Clip(nn.Module):
    """Both towers, every token of which is projected. weights: whether attention returns its weights too."""

    causal: Tensor

    def __init__(self, towers: Towers, weights: bool) -> None:
        super().__init__()
        image, text = towers.image, towers.text
        self.patch, self.pre_norm = copy.deepcopy(image.patch), copy.deepcopy(image.pre_norm)
        self.start, self.words = copy.deepcopy(image.class_embedding), copy.deepcopy(text.words)
        self.positions = nn.ParameterList([copy.deepcopy(tower.positions) for tower in (image, text)])
        self.image_layers = nn.ModuleList(map(tower_layer, image.layers))
        self.text_layers = nn.ModuleList(map(tower_layer, text.layers))
        self.norms = nn.ModuleList(copy.deepcopy(tower.norm) for tower in (image, text))
        self.projections = nn.ModuleList(copy.deepcopy(tower.projection) for tower in (image, text))
        context = len(text.positions)
        self.register_buffer("causal", text.positions.new_full((context, context), float("-inf")).triu(1))
        self.weights = weights

    def image(self, pixels: Tensor) -> Tensor:
        """[B, 3, H, W] -> [B, 1+P, D]."""
        patches = self.patch(pixels).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.start.expand(len(pixels), 1, -1), patches], dim=1)
        tokens = run(self.image_layers, self.pre_norm(tokens + self.positions[0]), weights=self.weights)
        return self.projections[0](self.norms[0](tokens))

    def text(self, ids: Tensor) -> Tensor:
        """[B, L] -> [B, L, D]."""
        tokens = run(self.text_layers, self.words(ids) + self.positions[1], self.causal, weights=self.weights)
        return self.projections[1](self.norms[1](tokens))


def tower_layer(own: Any) -> Layer:
    """A layer of a tower with the weights of one of ours."""
    read, mlp = own.self_attn, own.mlp
    attention = attention_of([read.q_proj, read.k_proj, read.v_proj], read.out_proj, read.num_heads)
    return Layer(attention, [own.layer_norm1, own.layer_norm2], [mlp.fc1, mlp.fc2])


def whole_captions(tokens: Tensor, ids: Tensor) -> Tensor:
    """The tokens [B, D] at the captions' ends, whose id is the greatest."""
    return tokens[torch.arange(len(ids)), ids.argmax(dim=1)]


def matches(person: Tensor) -> Tensor:
    """Targets [B, B] whose rows sum to one."""
    same = (person[:, None] == person).float()
    return same / same.sum(dim=1, keepdim=True)


class Irra(nn.Module):
    """IRRA: similarity distributions, identities, masked words. retrieval: the view of the caption that is matched."""

    def __init__(self, bundle: Bundle, retrieval: str) -> None:
        super().__init__()
        self.clip, self.retrieval = Clip(bundle.towers, weights=False), retrieval
        mlm: Any = bundle.tasks["mlm"]
        head = mlm.head
        self.cross = head_attention(head.cross)
        self.blocks = nn.ModuleList(
            Layer(head_attention(block.self_attention), [block.self_norm, block.mlp[0]], [block.mlp[1], block.mlp[3]])
            for block in head.blocks
        )
        self.text_norm, self.image_norm, self.norm = copy.deepcopy([head.text_norm, head.image_norm, head.norm])
        self.linear, self.out_norm, self.word = copy.deepcopy([head.linear, head.out_norm, mlm.word])
        identity: Any = bundle.tasks["identity"]
        self.classifier = copy.deepcopy(identity.classifier)

    def forward(self, pixels: Tensor, batch: Batch, leave_padding: bool = False) -> tuple[Losses, Losses]:
        """Losses and accuracies by task. leave_padding: the head does not attend to padding."""
        captions, masked = batch.views[self.retrieval], batch.views["text_masked"]
        images, tokens = self.clip.image(pixels), self.clip.text(captions)
        f, g = images[:, 0], whole_captions(tokens, captions)
        cosines = F.normalize(f) @ F.normalize(g).T
        sdm = self._divergence(cosines, batch.person) + self._divergence(cosines.T, batch.person)
        guesses = [self.classifier(features) for features in (f, g)]
        identity = torch.stack([F.cross_entropy(guess, batch.person) for guess in guesses]).mean()
        hits: Losses = {
            f"identity {number}": (guess.argmax(dim=1) == batch.person).float().mean()
            for number, guess in enumerate(guesses)
        }

        padding = (masked == EOT).cumsum(dim=1) - (masked == EOT).int() > 0 if leave_padding else None
        query, key, value = self.text_norm(self.clip.text(masked)), self.image_norm(images), self.image_norm(images)
        query, key, value = (tokens.transpose(0, 1) for tokens in (query, key, value))
        read = self.cross(query, key, value, need_weights=False)[0].transpose(0, 1)
        states = self.norm(run(self.blocks, read, padding=padding))
        scores = self.word(self.out_norm(sigmoid_gelu(self.linear(states)))).flatten(0, 1)
        answers = torch.where(batch.views["masked"].bool(), batch.views["text"], 0).flatten()
        mlm = F.cross_entropy(scores, answers, ignore_index=0)
        hits["mlm"] = (scores.argmax(dim=1) == answers)[answers > 0].float().mean()
        return {"sdm": sdm, "identity": identity, "mlm": mlm}, hits

    @staticmethod
    def _divergence(cosines: Tensor, person: Tensor) -> Tensor:
        logits = 50 * cosines
        gap = F.log_softmax(logits, dim=1) - (matches(person) + 1e-8).log()
        return (F.softmax(logits, dim=1) * gap).sum(dim=1).mean()

    def optimizer(self, recipe: Recipe) -> torch.optim.Optimizer:
        """Adam; heads learn faster, biases too and without decay."""
        groups = []
        for name, weight in self.named_parameters():
            rate = recipe.optim.lr * (1 if name.startswith("clip.") else 5)
            rate, decay = (2 * recipe.optim.lr, 0.0) if "bias" in name else (rate, 4e-5)
            groups.append({"params": [weight], "lr": rate, "weight_decay": decay})
        return torch.optim.Adam(groups, eps=1e-3)

    def step(self, optimizer: torch.optim.Optimizer, pixels: Tensor, batch: Batch) -> None:
        """The last step's gradients stay until the new losses are there."""
        losses, _ = self(pixels, batch)
        optimizer.zero_grad()
        sum(losses.values(), torch.zeros(())).backward()
        optimizer.step()


class TbpsClip(nn.Module):
    """The simplified TBPS-CLIP: normalised and reversed contrast, the former taught by the network itself by half."""

    def __init__(self, bundle: Bundle, retrieval: str) -> None:
        super().__init__()
        self.clip, self.retrieval = Clip(bundle.towers, weights=True), retrieval
        self.clip.patch.requires_grad_(False)
        self.logit_scale = copy.deepcopy(bundle.towers.logit_scale)

    def forward(self, pixels: Tensor, batch: Batch) -> tuple[Losses, Losses]:
        """Losses by task, and no accuracies."""
        captions, target = batch.views[self.retrieval], matches(batch.person)
        both = self._both_ways(pixels, captions)
        with torch.no_grad():
            taught = [0.5 * F.softmax(logits, dim=1) + 0.5 * target for logits in self._both_ways(pixels, captions)]
        logs = [F.log_softmax(logits, dim=1) for logits in both]
        n_itc = torch.stack([-(soft * log).sum(dim=1).mean() for soft, log in zip(taught, logs, strict=True)]).mean()
        goal = (target + 1e-2).log()
        r_itc = torch.stack([F.kl_div(goal, log, reduction="batchmean", log_target=True) for log in logs]).mean()
        return {"n_itc": n_itc, "r_itc": r_itc}, {}

    def _both_ways(self, pixels: Tensor, captions: Tensor) -> tuple[Tensor, Tensor]:
        f = F.normalize(self.clip.image(pixels)[:, 0])
        g = F.normalize(whole_captions(self.clip.text(captions), captions))
        scale = self.logit_scale.exp().clamp(max=100)
        return scale * f @ g.T, scale * g @ f.T

    def optimizer(self, recipe: Recipe) -> torch.optim.Optimizer:
        """AdamW without decay of vectors."""
        groups = [
            {"params": [weight], "weight_decay": 0.02 if weight.ndim > 1 else 0.0}
            for weight in self.parameters()
            if weight.requires_grad
        ]
        return torch.optim.AdamW(groups, lr=recipe.optim.lr, betas=(0.9, 0.98))

    def step(self, optimizer: torch.optim.Optimizer, pixels: Tensor, batch: Batch) -> None:
        """Gradients go with the step."""
        losses, _ = self(pixels, batch)
        sum(losses.values(), torch.zeros(())).backward()
        optimizer.step()
        optimizer.zero_grad()
