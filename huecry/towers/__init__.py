"""The two CLIP towers: loading, encoding, saving, momentum."""

from huecry.towers.load import ModelConfig, load_towers
from huecry.towers.model import Encoded, Towers
from huecry.towers.momentum import Momentum

__all__ = ["Encoded", "ModelConfig", "Momentum", "Towers", "load_towers"]
