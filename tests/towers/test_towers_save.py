"""The saved folder: the same weights back, and a folder that transformers' own classes load."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import CLIPModel, CLIPProcessor, CLIPTokenizer

from huecry.data.tokens import tokenize
from huecry.towers import ModelConfig, load_towers


@pytest.mark.parametrize("size", [[128, 64], [64, 128], [96, 96], [240, 112], [112, 16]])
def test_rectangles_go_through_transformers_without_loss(tmp_path, pixels, size):
    towers = load_towers(ModelConfig(image_size=size, position_mode="bilinear"), seed=5)
    towers.save(tmp_path)
    images = pixels(*size)
    with torch.no_grad():
        theirs = CLIPModel.from_pretrained(tmp_path).get_image_features(images, interpolate_pos_encoding=True)
        ours = towers.encode_image(images).pooled
    torch.testing.assert_close(theirs.pooler_output, ours, atol=1e-5, rtol=1e-5)
    again = load_towers(ModelConfig(str(tmp_path)))
    assert again.image_size == tuple(size)
    assert again.position_mode == ("bicubic" if size == [128, 64] else "bilinear")
    assert towers.state_dict().keys() == again.state_dict().keys()
    for name, weight in towers.state_dict().items():
        assert torch.equal(weight, again.state_dict()[name]), name


def test_a_model_saved_over_the_folder_it_came_from_stays_whole(tmp_path):
    towers = load_towers(ModelConfig(image_size=[240, 112]))
    towers.save(tmp_path)
    other = load_towers(ModelConfig(str(tmp_path), image_size=[96, 96]))
    other.save(tmp_path)
    again = load_towers(ModelConfig(str(tmp_path)))
    assert again.image_size == (96, 96)
    for name, weight in other.state_dict().items():
        assert torch.equal(weight, again.state_dict()[name]), name


def test_positions_trained_elsewhere_win_over_the_exact_table(tmp_path):
    load_towers(ModelConfig(image_size=[240, 112])).save(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    weights["vision_model.embeddings.position_embedding.weight"] += 1.0
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    before = load_towers(ModelConfig(image_size=[240, 112])).image.positions
    after = load_towers(ModelConfig(str(tmp_path))).image.positions
    torch.testing.assert_close(after, before + 1.0, atol=1e-5, rtol=1e-5)


def test_processor_and_tokenizer_load_from_the_folder(tmp_path):
    towers = load_towers(ModelConfig(mean=[0.5, 0.25, 0.125], std=[0.5, 0.25, 0.2]))
    towers.save(tmp_path)
    captions = ["A man's t-shirt isn't RED; it's dark-blue, 100%.", "two  spaces"]
    ids = tokenize(captions)
    for row, expected in zip(CLIPTokenizer.from_pretrained(tmp_path)(captions).input_ids, ids, strict=True):
        assert row == expected[: len(row)].tolist()
        assert not expected[len(row) :].any()
    photo = Image.fromarray(np.full((50, 30, 3), 51, dtype=np.uint8))
    batch = CLIPProcessor.from_pretrained(tmp_path)(text=captions, images=photo, return_tensors="pt", padding=True)
    values = torch.tensor([(0.2 - 0.5) / 0.5, (0.2 - 0.25) / 0.25, (0.2 - 0.125) / 0.2])
    torch.testing.assert_close(batch["pixel_values"], values[None, :, None, None].expand(1, 3, 128, 64))
    torch.testing.assert_close(towers.encode_text(batch["input_ids"]).pooled, towers.encode_text(ids).pooled)
    again = load_towers(ModelConfig(str(tmp_path)))
    assert (again.mean, again.std) == ((0.5, 0.25, 0.125), (0.5, 0.25, 0.2))
    assert json.loads((tmp_path / "huecry.json").read_text())["image_size"] == [128, 64]
