"""A contrastive training step beside open_clip's and sentence-transformers': same weights, batch, loss and machine.

    python benchmarks/step_speed.py [--pairs 9] [--batch 8] [--json benchmarks/results/step_speed.json]

ViT-B/16 with random weights, fp32 on a CPU (bf16 on a GPU), AdamW, pictures at 384x128 where the peer can hold them and
at 224x224. The losses are compared before anything is timed; then the contestants take turns, and the ratio of every
round is taken within the round. `untrimmed` is this library fed captions at the full 77 tokens.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import open_clip
import torch
from record import record
from safetensors.torch import save_file
from torch import Tensor
from turns import ratio, take_turns

from huecry.data.loader import Batch
from huecry.data.people import cached_people
from huecry.data.readers import read
from huecry.data.records import PhotoSet
from huecry.data.tokens import EOT, tokenize
from huecry.tasks.contrastive import Contrastive, ContrastiveConfig
from huecry.towers import ModelConfig, load_towers
from huecry.training.bundle import Bundle
from huecry.training.labels import LabelTable
from huecry.training.task import Facts

ARCHITECTURE = "ViT-B-16-quickgelu"
Step = Callable[[], Tensor]


def full_length(ids: Tensor) -> Tensor:
    """The same captions without any padding: what follows their end is their first word, up to the last position."""
    ended = (ids == EOT).cumsum(dim=1) > 0
    longer = torch.where(ended, ids[:, 1:2], ids)
    longer[:, -1] = EOT
    return longer


def ours(weights: Path, size: tuple[int, int], photos: PhotoSet, pixels: Tensor, ids: Tensor, amp: bool) -> Step:
    """This library's step: the bundle with the contrastive task by pair."""
    towers = load_towers(ModelConfig(f"open_clip:{ARCHITECTURE}/{weights}", list(size)))
    facts = Facts(
        towers.embed_dim, towers.image_width, towers.text_width, towers.image.grid, 1, len(pixels), len(pixels)
    )
    task = Contrastive(ContrastiveConfig(positives="instance"), facts)
    bundle = Bundle(towers, {"contrastive": task}, LabelTable(photos, "pair")).to(pixels.device)
    optimizer = torch.optim.AdamW(bundle.parameters(), lr=1e-6, fused=True)
    images = torch.arange(len(pixels), device=pixels.device)
    rows = torch.from_numpy(photos.first_row[:-1]).to(pixels.device)
    batch = Batch(rows, images, images, {"rgb": pixels, "text": ids}, {})

    def step() -> Tensor:
        with torch.autocast(pixels.device.type, torch.bfloat16, enabled=amp):
            loss, _ = bundle(batch)
        loss.backward()
        bundle.after_backward()
        return _update(optimizer, loss)

    return step


def openclip(weights: Path, size: tuple[int, int], positions: Tensor, pixels: Tensor, ids: Tensor, amp: bool) -> Step:
    """open_clip's own model and `ClipLoss`. positions [1 + h*w, d]: our table, it would resize with antialiasing."""
    model = open_clip.create_model(ARCHITECTURE, pretrained=str(weights), force_image_size=size).train()
    model.load_state_dict({**model.state_dict(), "visual.positional_embedding": positions})
    model = model.to(pixels.device)
    loss_of = open_clip.ClipLoss()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6, fused=True)
    mean, std = (
        torch.tensor(x, device=pixels.device)[:, None, None] for x in (model.visual.image_mean, model.visual.image_std)
    )

    def step() -> Tensor:
        with torch.autocast(pixels.device.type, torch.bfloat16, enabled=amp):
            image, text, scale = model((pixels.float() / 255 - mean) / std, ids)
            loss = loss_of(image, text, scale)
        loss.backward()
        return _update(optimizer, loss)

    return step


def sentence_transformers(folder: Path, pixels: Tensor, captions: list[str], amp: bool) -> Step:
    """sentence-transformers' model and symmetric in-batch loss, its features prepared outside the step."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesSymmetricRankingLoss
    from torchvision.transforms.functional import to_pil_image

    model = SentenceTransformer(str(folder), device=str(pixels.device)).train()
    loss_of = MultipleNegativesSymmetricRankingLoss(model, scale=1 / 0.07)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6, fused=True)
    features: list[Any] = [model.preprocess(captions), model.preprocess([to_pil_image(one.cpu()) for one in pixels])]
    features = [{k: v.to(pixels.device) if isinstance(v, Tensor) else v for k, v in one.items()} for one in features]

    def step() -> Tensor:
        with torch.autocast(pixels.device.type, torch.bfloat16, enabled=amp):
            loss = loss_of([dict(one) for one in features], torch.empty(0))
        loss.backward()
        return _update(optimizer, loss)

    return step


def _update(optimizer: torch.optim.Optimizer, loss: Tensor) -> Tensor:
    optimizer.step()
    optimizer.zero_grad()
    if loss.is_cuda:
        torch.cuda.synchronize()
    return loss.detach()


def compare(steps: dict[str, Step], rounds: int, batch: int) -> dict[str, Any]:
    """Median samples a second, and the ratio of `huecry` to each other with its range over the rounds."""
    losses = {name: float(step()) for name, step in steps.items()}
    for name, loss in losses.items():
        if name != "untrimmed" and abs(loss - losses["huecry"]) > 1e-3 * abs(loss):
            raise SystemExit(f"the losses differ, so the steps cannot be compared: {losses}")
    seconds = take_turns(steps, rounds)
    figures: dict[str, Any] = {}
    for name, times in seconds.items():
        figures[name] = {"loss": losses[name], "samples_per_second": batch / statistics.median(times)}
        beside = ""
        if name != "huecry":
            middle, (low, high) = ratio(times, seconds["huecry"])
            figures[name] |= {"huecry_is_faster_by": middle, "range": [low, high]}
            beside = f"   huecry is {middle:.3f} times as fast ({low:.3f} to {high:.3f})"
        print(f"  {name:24}{figures[name]['samples_per_second']:8.2f} samples a second{beside}")
    return figures


def main() -> None:
    """Measure and print; write the figures where asked."""
    parser = argparse.ArgumentParser(description="The contrastive step beside two libraries.")
    parser.add_argument("--pairs", type=int, default=9, help="rounds (default 9)")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/step_speed.json"))
    arguments = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    amp = device.type == "cuda"
    train = read(cached_people(1000, 0))["train"]
    photos = PhotoSet("train", [train[4 * index] for index in range(arguments.batch)])
    captions = [record.captions[0] for record in photos]
    ids = tokenize(captions).to(device)
    torch.manual_seed(0)
    results: dict[str, Any] = {"device": torch.cuda.get_device_name() if amp else "cpu", "batch": arguments.batch}
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "weights.safetensors"
        save_file(open_clip.create_model(ARCHITECTURE).state_dict(), weights)
        for size in ((384, 128), (224, 224)):
            pixels = torch.randint(0, 256, (arguments.batch, 3, *size), dtype=torch.uint8, device=device)
            source = ModelConfig(f"open_clip:{ARCHITECTURE}/{weights}", list(size))
            positions = load_towers(source).image.positions.detach()
            steps = {
                "huecry": ours(weights, size, photos, pixels, ids, amp),
                "open_clip": openclip(weights, size, positions, pixels, ids, amp),
            }
            if size == (384, 128):
                steps["untrimmed"] = ours(weights, size, photos, pixels, full_length(ids), amp)
            else:
                saved = Path(folder) / "model"
                load_towers(ModelConfig(f"open_clip:{ARCHITECTURE}/{weights}")).save(saved)
                steps["sentence-transformers"] = sentence_transformers(saved, pixels, captions, amp)
            print(f"{size[0]}x{size[1]}")
            results[f"{size[0]}x{size[1]}"] = compare(steps, arguments.pairs, arguments.batch)
            steps.clear()
    record(arguments.json, "python benchmarks/step_speed.py", results)


if __name__ == "__main__":
    main()
