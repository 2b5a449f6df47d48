"""Features against transformers' CLIPModel and open_clip's own model with the same weights."""

import os
from typing import Any

import pytest
import torch
from transformers import CLIPModel

from huecry.data.tokens import EOT, tokenize
from huecry.towers import ModelConfig, load_towers

CAPTIONS = ["a man", "A woman in a long red coat, with blue jeans and a small black backpack.", "grey " * 90]
IDS = tokenize(CAPTIONS)
CLOSE: dict[str, Any] = {"atol": 1e-5, "rtol": 1e-5}


@pytest.mark.parametrize("quick_gelu", [False, True])
@pytest.mark.parametrize(("height", "width"), [(224, 224), (384, 128)])
def test_open_clip_weights_give_the_features_of_both_libraries(
    make_open_clip, pixels, tmp_path, height, width, quick_gelu
):
    size = height if height == width else [height, width]
    theirs = make_open_clip(f"clip-{height}-{quick_gelu}", size, quick_gelu)
    images = pixels(height, width)
    with torch.no_grad():
        image, text = theirs.model.encode_image(images), theirs.model.encode_text(IDS)
        for file in (theirs.pickled, theirs.safe):
            ours = load_towers(ModelConfig(f"open_clip:{theirs.arch}/{file}"))
            assert ours.image_size == (height, width)
            torch.testing.assert_close(ours.encode_image(images).pooled, image, **CLOSE)
            torch.testing.assert_close(ours.encode_text(IDS).pooled, text, **CLOSE)
            torch.testing.assert_close(ours.scale, theirs.model.logit_scale.exp())
        ours.save(tmp_path)
        other = CLIPModel.from_pretrained(tmp_path).eval()
        features = other.get_image_features(images, interpolate_pos_encoding=True).pooler_output
        torch.testing.assert_close(features, image, **CLOSE)
        torch.testing.assert_close(other.get_text_features(IDS).pooler_output, text, **CLOSE)
        again = load_towers(ModelConfig(str(tmp_path)))
        torch.testing.assert_close(again.encode_image(images).pooled, image, **CLOSE)
        torch.testing.assert_close(again.encode_text(IDS).pooled, text, **CLOSE)


@pytest.mark.parametrize(("hidden_act", "eos"), [("quick_gelu", 2), ("gelu", 49407)])
@pytest.mark.parametrize(("height", "width"), [(224, 224), (384, 128)])
def test_transformers_weights_give_its_features_and_hidden_states(make_clip, pixels, height, width, hidden_act, eos):
    theirs, folder = make_clip(hidden_act, eos)
    ours = load_towers(ModelConfig(str(folder), image_size=[height, width]))
    images = pixels(height, width)
    with torch.no_grad():
        image, text = ours.encode_image(images), ours.encode_text(IDS)
        vision = theirs.vision_model(images, interpolate_pos_encoding=True)
        tokens = theirs.vision_model.post_layernorm(vision.last_hidden_state)
        torch.testing.assert_close(image.tokens, tokens, **CLOSE)
        torch.testing.assert_close(image.projected, theirs.visual_projection(tokens), **CLOSE)
        torch.testing.assert_close(image.pooled, theirs.visual_projection(vision.pooler_output), **CLOSE)
        words = theirs.text_model(IDS)
        states, said = words.last_hidden_state, text.valid
        torch.testing.assert_close(text.tokens[said], states[said], **CLOSE)
        torch.testing.assert_close(text.projected[said], theirs.text_projection(states)[said], **CLOSE)
        torch.testing.assert_close(text.pooled, theirs.text_projection(words.pooler_output), **CLOSE)
    assert image.valid.all()
    assert not text.tokens[~said].any()
    assert image.valid.shape == image.tokens.shape[:2] == (3, 1 + height * width // 32**2)


def test_attention_is_that_of_transformers_in_the_last_layer(make_clip, pixels):
    theirs, folder = make_clip("quick_gelu", 49407)
    theirs.set_attn_implementation("eager")
    ours = load_towers(ModelConfig(str(folder), image_size=[384, 128]))
    images = pixels(384, 128)
    image, text = ours.encode_image(images), ours.encode_text(IDS)
    with torch.no_grad():
        seen = theirs.vision_model(images, interpolate_pos_encoding=True, output_attentions=True).attentions[-1]
        read = theirs.text_model(IDS, output_attentions=True).attentions[-1]
    end = (IDS == EOT).int().argmax(dim=1)
    torch.testing.assert_close(image.attention, seen.mean(dim=1)[:, 0], **CLOSE)
    length = text.valid.shape[1]
    torch.testing.assert_close(text.attention, read.mean(dim=1)[torch.arange(3), end][:, :length], **CLOSE)
    assert not image.attention.requires_grad
    assert not text.attention[~text.valid].any()


def test_projected_is_computed_once_and_starts_with_the_pooled_feature(pixels):
    towers = load_towers(ModelConfig())
    encoded = towers.encode_image(pixels(128, 64))
    assert encoded.projected is encoded.projected
    torch.testing.assert_close(encoded.projected[:, 0], encoded.pooled, **CLOSE)


@pytest.mark.parametrize("padding", [0, EOT, 320])
def test_what_follows_the_end_of_a_caption_changes_nothing(padding):
    towers = load_towers(ModelConfig())
    ids = tokenize(CAPTIONS[:2])
    padded = ids.clone()
    for row in padded:
        row[int((row == EOT).nonzero()[0]) + 1 :] = padding
    expected, encoded = towers.encode_text(ids), towers.encode_text(padded)
    torch.testing.assert_close(encoded.pooled, expected.pooled)
    torch.testing.assert_close(encoded.tokens[encoded.valid], expected.tokens[expected.valid])
    assert encoded.valid.sum(dim=1).tolist() == [4, 19]
    assert encoded.valid.shape[1] == 24


def test_trimming_changes_no_feature_and_stops_at_the_context():
    towers = load_towers(ModelConfig())
    alone = torch.cat([towers.encode_text(tokenize([caption])).pooled for caption in CAPTIONS])
    together = towers.encode_text(IDS)
    assert together.tokens.shape[1] == 77
    torch.testing.assert_close(together.pooled, alone, **CLOSE)
    assert towers.encode_text(tokenize(["a man"], context=5)).tokens.shape[1] == 5


def test_ids_that_cannot_be_pooled_are_refused():
    towers = load_towers(ModelConfig())
    with pytest.raises(ValueError, match="end-of-text"):
        towers.encode_text(torch.tensor([[49406, 320, 49407], [49406, 320, 786]]))
    with pytest.raises(ValueError, match="90 tokens for a context of 77"):
        towers.encode_text(tokenize(["red " * 100], context=90))


def test_pixels_of_another_size_are_refused(pixels):
    with pytest.raises(ValueError, match=r"\[B, 3, 128, 64\]"):
        load_towers(ModelConfig()).encode_image(pixels(64, 128))


@pytest.mark.real_clip
@pytest.mark.skipif("HUECRY_CLIP" not in os.environ, reason="HUECRY_CLIP names no folder with real weights")
def test_real_weights_tell_colours_apart():
    towers = load_towers(ModelConfig(os.environ["HUECRY_CLIP"])).eval()
    height, width = towers.image_size
    colours = {"red": (1.0, 0.0, 0.0), "green": (0.0, 0.6, 0.0), "blue": (0.0, 0.0, 1.0)}
    mean, std = torch.tensor(towers.mean), torch.tensor(towers.std)
    flat = (torch.tensor(list(colours.values())) - mean) / std
    images = flat[:, :, None, None].expand(-1, -1, height, width)
    with torch.no_grad():
        image = torch.nn.functional.normalize(towers.encode_image(images).pooled, dim=-1)
        text = towers.encode_text(tokenize([f"a {name} picture" for name in colours])).pooled
    assert (image @ torch.nn.functional.normalize(text, dim=-1).T).argmax(dim=1).tolist() == [0, 1, 2]
