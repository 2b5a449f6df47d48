"""A model as people use it: sentences and pictures in, features of length 1 out."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import torch
from accelerate import PartialState
from PIL import Image, ImageOps
from torch import Tensor
from torch.nn import functional as F

from huecry.data.augment import pixels_of
from huecry.data.records import PhotoSet, Record
from huecry.errors import UserError
from huecry.processes import alone
from huecry.retrieval.evaluate import extract_texts
from huecry.towers import ModelConfig, load_branches, load_towers
from huecry.training.bundle import Bundle
from huecry.training.labels import LabelTable

BATCH = 128
AnyPicture = str | os.PathLike[str] | Image.Image
"""A file, or an opened picture of any mode."""


class Encoder:
    """Both towers of a model, with its branches where it has them, on the device that this process computes on.

    config: which model; `config.source` is what `model.source` takes. A dot product of two features is their cosine,
    and ranks as `huecry evaluate` does.
    size: height and width of the pictures that the towers see. dim: D, the numbers of a feature.
    digest: SHA-256 of the weights and of how pictures are prepared; equal for the same model wherever it lies.
    Raises UserError for a model that cannot be loaded.
    """

    def __init__(self, config: ModelConfig) -> None:
        towers, branches = load_towers(config), load_branches(config.source)
        nobody = LabelTable(PhotoSet("none", ()), "pair")
        self.config = config
        self.size: tuple[int, int] = towers.image_size
        self.context: int = towers.context
        self.dim = towers.embed_dim * (1 if branches is None else 3)
        self.bundle = Bundle(towers, {}, nobody, branches).eval()
        self.digest = _digest(self.bundle)
        self.device = PartialState().device
        self.bundle.to(self.device)

    def encode_text(self, sentences: Sequence[str]) -> Tensor:
        """Features [B, D] fp32 of sentences, on the CPU; what is longer than the text tower reads is cut.

        Raises UserError for anything but sentences in a list.
        """
        if isinstance(sentences, str) or not all(isinstance(one, str) for one in sentences):
            raise UserError(f"encode_text: {sentences!r} is not a list of sentences; write [{sentences!r}]")
        if not sentences:
            return torch.zeros(0, self.dim)
        with alone():
            features = extract_texts(self.bundle, sentences, context=self.context, batch_size=BATCH)
        return F.normalize(features, dim=1)

    def encode_images(self, pictures: Sequence[AnyPicture]) -> Tensor:
        """Features [B, D] fp32 of pictures, files or opened ones of any size and mode, on the CPU.

        Raises UserError at a file that cannot be decoded.
        """
        if isinstance(pictures, (str, os.PathLike, Image.Image)):
            raise UserError("encode_images: one picture is not a list of pictures; write [picture]")
        features = torch.zeros(len(pictures), self.dim)
        for start in range(0, len(pictures), BATCH):
            chunk = [pixels_of(_opened(picture), self.size) for picture in pictures[start : start + BATCH]]
            features[start : start + BATCH] = self.encode_pixels(torch.stack(chunk))
        return features

    @torch.no_grad()
    def encode_pixels(self, pixels: Tensor) -> Tensor:
        """Features [B, D] fp32 of pixels [B, 3, H, W] uint8 in the towers' size, on the CPU."""
        found = self.bundle({"rgb": pixels.to(self.device)}, mode="encode")["rgb"]
        return F.normalize(found.float(), dim=1).cpu()


def _opened(picture: AnyPicture) -> Image.Image:
    """An RGB picture, upright. Raises UserError where it cannot be decoded."""
    if isinstance(picture, Image.Image):
        return ImageOps.exif_transpose(picture).convert("RGB")
    path = Path(picture).expanduser()
    try:
        return Record(path, (), None, str(path)).open()
    except UserError as error:
        raise UserError(f"{path}: the picture cannot be read ({error.__context__}); give another") from None


def _digest(bundle: Bundle) -> str:
    towers = bundle.towers
    digest = hashlib.sha256(repr((towers.image_size, [*towers.mean], [*towers.std])).encode())
    for name, weight in sorted(bundle.state_dict().items()):
        if not name.startswith("labels."):
            digest.update(f"{name} {tuple(weight.shape)} ".encode())
            digest.update(weight.detach().cpu().flatten().numpy().data)
    return digest.hexdigest()
