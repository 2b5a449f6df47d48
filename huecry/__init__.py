"""Find a person's photographs from a sentence.

`load(MODEL)` encodes sentences and pictures; `Index.open(FILE)` searches what `huecry index` has written. The command
line's own functions are in `huecry.api`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from huecry.retrieval.encoder import Encoder
    from huecry.retrieval.index import Index

__all__ = ["Index", "load"]


def load(model: str) -> Encoder:
    """A model that encodes sentences and pictures; see `huecry.retrieval.encoder.Encoder`.

    model: what `model.source` takes: a run or model folder, a Hub id, `open_clip:ARCH/TAG`, `tiny`.
    Raises UserError for one that cannot be loaded.
    """
    from huecry.retrieval.encoder import Encoder
    from huecry.towers import ModelConfig

    return Encoder(ModelConfig(source=model))


def __getattr__(name: str) -> Any:
    if name == "Index":  # not imported before it is asked for: it needs torch
        from huecry.retrieval.index import Index

        return Index
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
