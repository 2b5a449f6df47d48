"""Sources, sizes, statistics, and the one line that every unusable source ends in."""

import json
import shutil

import huggingface_hub
import pytest
import torch
from omegaconf import OmegaConf
from torch.nn import functional as F

from huecry.data.tokens import MASK
from huecry.errors import UserError
from huecry.towers import ModelConfig, load_towers
from huecry.towers.folder import CLIP_MEAN, CLIP_STD


def refusal(**keys) -> str:
    with pytest.raises(UserError) as caught:
        load_towers(ModelConfig(**keys))
    line = str(caught.value)
    assert "\n" not in line
    return line


def test_tiny_is_what_the_design_says():
    towers = load_towers(ModelConfig())
    assert (towers.image_size, towers.patch, towers.context) == ((128, 64), 16, 77)
    assert (towers.embed_dim, towers.image_width, towers.text_width) == (128, 128, 128)
    assert (len(towers.image.layers), len(towers.text.layers)) == (4, 3)
    heads = [towers.config.vision_config.num_attention_heads, towers.config.text_config.num_attention_heads]
    assert heads == [2, 2]
    assert towers.text.words.weight.shape == (49408, 128)
    assert towers.scale.item() == pytest.approx(1 / 0.07, rel=1e-3)


def test_the_seed_decides_and_the_global_generator_is_left_alone(make_clip):
    _, folder = make_clip()
    before = torch.random.get_rng_state()
    first, second, third = (load_towers(ModelConfig(), seed) for seed in (1, 1, 2))
    load_towers(ModelConfig(str(folder), image_size=[384, 128]))
    assert torch.equal(before, torch.random.get_rng_state())
    for name, weight in first.state_dict().items():
        assert torch.equal(weight, second.state_dict()[name])
    assert not torch.equal(first.image.patch.weight, third.image.patch.weight)
    assert all(weight.dtype == torch.float32 and weight.requires_grad for weight in first.parameters())


@pytest.mark.parametrize("mode", ["bicubic", "bilinear"])
def test_positions_are_interpolated_from_a_square_or_a_rectangle(make_clip, mode):
    theirs, folder = make_clip()
    table = theirs.vision_model.embeddings.position_embedding.weight
    cells = table[1:].reshape(7, 7, -1).permute(2, 0, 1)[None]
    wide = F.interpolate(cells, (12, 4), mode=mode)[0].flatten(1).T
    towers = load_towers(ModelConfig(str(folder), image_size=[384, 128], position_mode=mode))
    torch.testing.assert_close(towers.image.positions, torch.cat([table[:1], wide]))

    tiny = load_towers(ModelConfig())
    cells = tiny.image.positions[1:].reshape(8, 4, -1).permute(2, 0, 1)[None]
    larger = F.interpolate(cells, (24, 8), mode=mode)[0].flatten(1).T
    towers = load_towers(ModelConfig(image_size=[384, 128], position_mode=mode))
    torch.testing.assert_close(towers.image.positions[1:], larger)


def test_the_mask_becomes_the_mean_word_once(make_clip, tmp_path):
    theirs, folder = make_clip()
    words = theirs.text_model.embeddings.token_embedding.weight
    towers = load_towers(ModelConfig(str(folder)))
    torch.testing.assert_close(towers.text.words.weight[MASK], words.mean(dim=0))
    assert torch.equal(towers.text.words.weight[:MASK], words[:MASK])
    towers.text.words.weight.data[MASK] = 3.0
    towers.save(tmp_path)
    assert (load_towers(ModelConfig(str(tmp_path))).text.words.weight[MASK] == 3.0).all()


def test_a_run_stands_for_its_model(tmp_path):
    towers = load_towers(ModelConfig(), seed=4)
    towers.save(tmp_path / "run" / "model")
    found = load_towers(ModelConfig(str(tmp_path / "run")))
    assert torch.equal(found.image.patch.weight, towers.image.patch.weight)


def test_statistics_come_from_the_config_then_the_checkpoint_then_clip(make_clip, tmp_path):
    _, folder = make_clip()
    plain = load_towers(ModelConfig(str(folder)))
    assert (plain.mean, plain.std) == (CLIP_MEAN, CLIP_STD)
    shutil.copytree(folder, tmp_path / "own")
    settings = {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6]}
    (tmp_path / "own" / "preprocessor_config.json").write_text(json.dumps(settings))
    own = load_towers(ModelConfig(str(tmp_path / "own"), std=[1.0, 1.0, 1.0]))
    assert (own.mean, own.std) == ((0.1, 0.2, 0.3), (1.0, 1.0, 1.0))


def test_the_section_fits_omegaconf():
    section = OmegaConf.merge(OmegaConf.structured(ModelConfig), {"image_size": [96, 48], "mean": [0, 0, 0]})
    config = OmegaConf.to_object(section)
    assert isinstance(config, ModelConfig)
    towers = load_towers(config)
    assert (towers.image_size, towers.mean) == ((96, 48), (0.0, 0.0, 0.0))


def test_keys_that_do_not_fit():
    line = refusal(image_size=[384, 130])
    assert "model.image_size=[384, 130]" in line
    assert "[384, 128] or [384, 144]" in line
    assert "model.image_size" in refusal(image_size=[224])
    assert "bicubic, bilinear" in refusal(position_mode="nearest")
    assert "model.std" in refusal(std=[1.0, 0.0, 1.0])
    assert "model.mean" in refusal(mean=[0.5])


def test_folders_that_hold_no_clip(make_clip, tmp_path):
    _, folder = make_clip()
    assert "no config.json" in refusal(source=str(tmp_path))
    assert "no such folder" in refusal(source=str(tmp_path / "nowhere"))
    weights = (folder / "model.safetensors").read_bytes()

    (tmp_path / "config.json").write_text("{")
    assert "config.json: not valid JSON" in refusal(source=str(tmp_path))
    settings = {"model_type": "siglip", "architectures": ["SiglipModel"]}
    (tmp_path / "config.json").write_text(json.dumps(settings))
    assert "SiglipModel" in refusal(source=str(tmp_path))

    shutil.copy(folder / "config.json", tmp_path)
    assert "no model.safetensors" in refusal(source=str(tmp_path))
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    line = refusal(source=str(tmp_path))
    assert "pytorch_model.bin" in line
    assert "convert them to safetensors" in line

    (tmp_path / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    assert "cannot be read" in refusal(source=str(tmp_path))
    assert "give its folder" in refusal(source=str(tmp_path / "model.safetensors"))


def test_weights_that_do_not_fit_the_config(make_clip, tmp_path):
    from safetensors.torch import load_file, save_file

    _, folder = make_clip()
    shutil.copytree(folder, tmp_path / "clip")
    weights = load_file(folder / "model.safetensors")
    weights.pop("text_projection.weight")
    save_file(weights, tmp_path / "clip" / "model.safetensors", metadata={"format": "pt"})
    assert "text_projection.weight" in refusal(source=str(tmp_path / "clip"))

    settings = json.loads((folder / "config.json").read_text())
    settings["projection_dim"] = 40
    shutil.copy(folder / "model.safetensors", tmp_path / "clip")
    (tmp_path / "clip" / "config.json").write_text(json.dumps(settings))
    line = refusal(source=str(tmp_path / "clip"))
    assert "projection.weight is [48, 64] where its config says [40, 64]" in line
    settings["vision_config"]["hidden_size"] = "wide"
    (tmp_path / "clip" / "config.json").write_text(json.dumps(settings))
    assert "hidden_size" in refusal(source=str(tmp_path / "clip"))


def test_a_hub_name_without_the_network(monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    line = refusal(source="somebody/no-such-clip")
    assert "somebody/no-such-clip" in line
    assert "does not answer" in line


@pytest.mark.parametrize(
    ("arch", "reason"),
    [
        ("RN50", "convolutional image tower"),
        ("ViT-B-16-SigLIP", "custom_text"),
        ("coca_ViT-B-32", "multimodal_cfg"),
        ("roberta-ViT-B-32", "text_cfg.hf_model_name"),
        ("ViT-L-14-CLIPA", "vision_cfg.no_ln_pre"),
        ("convnext_base", "vision_cfg.timm_model_name"),
    ],
)
def test_open_clip_architectures_that_cannot_be_converted(arch, reason):
    line = refusal(source=f"open_clip:{arch}/laion2b")
    assert "only ViT with CLIP's causal text tower" in line
    assert reason in line


def test_open_clip_sources_that_are_not_there(make_open_clip, tmp_path):
    assert "did you mean ViT-B-16" in refusal(source="open_clip:ViT-B16/openai")
    line = refusal(source="open_clip:ViT-B-16/laion3b")
    assert "laion3b" in line
    assert "laion2b_s34b_b88k" in line
    model = make_open_clip("clip-refusals", 64)
    (tmp_path / "half.safetensors").write_bytes(model.safe.read_bytes()[:1000])
    assert "cannot be read" in refusal(source=f"open_clip:{model.arch}/{tmp_path / 'half.safetensors'}")
    torch.save({"state_dict": {"run": print}}, tmp_path / "code.pt")
    assert "cannot be read" in refusal(source=f"open_clip:{model.arch}/{tmp_path / 'code.pt'}")
    torch.save({"conv1.weight": torch.ones(1)}, tmp_path / "other.pt")
    assert "unknown weight conv1.weight" in refusal(source=f"open_clip:{model.arch}/{tmp_path / 'other.pt'}")
    assert "lacks weight image.layers.2." in refusal(source=f"open_clip:ViT-B-32/{model.safe}")
