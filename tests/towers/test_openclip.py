"""Towers in open_clip's format and back: the same weights, whatever their shapes."""

from __future__ import annotations

import json

import pytest
import torch
from open_clip import add_model_config
from open_clip.model import CLIP
from safetensors.torch import save_file
from transformers import CLIPConfig

from huecry.errors import UserError
from huecry.towers import ModelConfig, Towers, load_towers
from huecry.towers.openclip import to_open_clip


def build(
    act: str = "gelu", text_act: str | None = None, width: int = 96, inner: int = 160, eps: float = 1e-5
) -> Towers:
    common = {"num_hidden_layers": 2, "projection_dim": 40, "layer_norm_eps": eps}
    vision = {"hidden_size": width, "intermediate_size": inner, "num_attention_heads": 3, "hidden_act": act}
    text = {"hidden_size": 64, "intermediate_size": 200, "num_attention_heads": 4, "hidden_act": text_act or act}
    config = CLIPConfig(
        vision_config={**common, **vision, "patch_size": 16, "image_size": 64},
        text_config={**common, **text, "max_position_embeddings": 24},
        projection_dim=40,
    )
    towers = Towers(config, (64, 32), (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    generator = torch.Generator().manual_seed(2)
    for weight in towers.parameters():
        weight.data.normal_(0, 0.1, generator=generator)
    return towers.eval()


@pytest.mark.parametrize(
    ("act", "width", "inner", "eps"), [("gelu", 96, 160, 1e-6), ("quick_gelu", 528, 720, 1e-5), ("gelu", 96, 384, 1e-5)]
)
def test_open_clip_computes_the_same_and_reads_back_the_same(tmp_path, act, width, inner, eps):
    """528 times 720/528 is a hair less than 720: open_clip would cut it off to 719."""
    towers = build(act, width=width, inner=inner, eps=eps)
    settings, weights = to_open_clip(towers.config, towers.state_dict(), towers.image_size)
    settings = json.loads(json.dumps(settings))
    theirs = CLIP(**settings).eval()
    theirs.load_state_dict(weights)
    pixels, ids = torch.randn(2, 3, 64, 32), torch.tensor([[49406, 320, 786, 49407, 0, 0], [49406, 5, 49407, 0, 0, 0]])
    ids = torch.nn.functional.pad(ids, (0, 18))
    with torch.no_grad():
        torch.testing.assert_close(
            theirs.encode_image(pixels), towers.encode_image(pixels).pooled, atol=1e-5, rtol=1e-5
        )
        torch.testing.assert_close(theirs.encode_text(ids), towers.encode_text(ids).pooled, atol=1e-5, rtol=1e-5)

    name = f"written-{act}-{width}-{inner}"
    (tmp_path / f"{name}.json").write_text(json.dumps(settings))
    add_model_config(tmp_path / f"{name}.json")
    save_file({key: weight.contiguous() for key, weight in weights.items()}, tmp_path / "weights.safetensors")
    again = load_towers(ModelConfig(f"open_clip:{name}/{tmp_path / 'weights.safetensors'}"))
    assert again.image_size == (64, 32)
    mask = 49405  # the mean word, in what another library saved
    for key, weight in towers.state_dict().items():
        other = again.state_dict()[key]
        if key == "text.words.weight":
            weight, other = (torch.cat([one[:mask], one[mask + 1 :]]) for one in (weight, other))
        assert torch.equal(weight, other), key


@pytest.mark.parametrize("acts", [("gelu", "quick_gelu"), ("relu", "relu")])
def test_activations_that_open_clip_has_not(acts):
    towers = build(*acts)
    with pytest.raises(UserError, match=f"{acts[0]} and {acts[1]}"):
        to_open_clip(towers.config, towers.state_dict(), towers.image_size)
