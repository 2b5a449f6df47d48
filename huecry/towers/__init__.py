"""The two CLIP towers: loading, encoding, saving, momentum, and the colour branch beside them."""

from huecry.towers.branches import Branches, load_branches
from huecry.towers.load import ModelConfig, load_towers
from huecry.towers.model import Encoded, Towers
from huecry.towers.momentum import Momentum

__all__ = ["Branches", "Encoded", "ModelConfig", "Momentum", "Towers", "load_branches", "load_towers"]
