"""Small random CLIPs in both formats."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from transformers import CLIPConfig, CLIPModel


@dataclass
class OpenClip:
    """An open_clip model, the name of its architecture and the files its weights were saved to."""

    model: torch.nn.Module
    arch: str
    pickled: Path
    safe: Path


@pytest.fixture(scope="session")
def make_open_clip(tmp_path_factory):
    """Register and build an open_clip model: patch 32, widths 64, two layers, heads of 32."""
    import open_clip
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("open_clip")

    def make(name: str, image_size: int | list[int], quick_gelu: bool = False) -> OpenClip:
        settings = {
            "embed_dim": 48,
            "quick_gelu": quick_gelu,
            "vision_cfg": {"image_size": image_size, "layers": 2, "width": 64, "head_width": 32, "patch_size": 32},
            "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 2},
        }
        (folder / f"{name}.json").write_text(json.dumps(settings))
        open_clip.add_model_config(folder / f"{name}.json")
        with torch.random.fork_rng():
            torch.manual_seed(7)
            model = open_clip.create_model(name).eval()
            for weight in model.parameters():
                if weight.ndim:
                    weight.data += 0.05 * torch.randn_like(weight)
        torch.save({"epoch": 1, "state_dict": model.state_dict()}, folder / f"{name}.pt")
        save_file(model.state_dict(), folder / f"{name}.safetensors")
        return OpenClip(model, name, folder / f"{name}.pt", folder / f"{name}.safetensors")

    return make


@pytest.fixture(scope="session")
def make_clip(tmp_path_factory):
    """Build a transformers CLIPModel (224x224, patch 32) and save it as a folder."""

    def make(hidden_act: str = "quick_gelu", eos: int = 49407) -> tuple[CLIPModel, Path]:
        sizes = {"hidden_size": 64, "intermediate_size": 160, "num_hidden_layers": 2, "num_attention_heads": 2}
        common = {**sizes, "hidden_act": hidden_act, "projection_dim": 48}
        config = CLIPConfig(
            vision_config={**common, "patch_size": 32, "image_size": 224},
            text_config={**common, "eos_token_id": eos},
            projection_dim=48,
        )
        with torch.random.fork_rng():
            torch.manual_seed(11)
            model = CLIPModel(config).eval()
            for weight in model.parameters():
                if weight.ndim:
                    weight.data += 0.05 * torch.randn_like(weight)
        folder = tmp_path_factory.mktemp("clip")
        model.save_pretrained(folder)
        return model, folder

    return make


@pytest.fixture
def pixels():
    """Normalised noise of any size: pixels(height, width) -> [3, 3, height, width]."""

    def make(height: int, width: int) -> torch.Tensor:
        return torch.randn(3, 3, height, width, generator=torch.Generator().manual_seed(height + width))

    return make
