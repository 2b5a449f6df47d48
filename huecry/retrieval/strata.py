"""Strata: the figures of some of a split's captions, while all its photographs stay in the gallery.

`colour` and `no_colour`: the caption has a colour word or none. `negation` and `no_negation`: it says what is not there
("without a bag"), or does not. `flagged` and `not_flagged`: a list of pairs, such as the findings of an audit, names it
or its photograph, or does not; only where there is a list.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from huecry.data.captions import find_spans
from huecry.data.negation import negations
from huecry.data.pair_lists import PairList
from huecry.data.records import PhotoSet
from huecry.retrieval.metrics import QueryFigures

STRATA = {
    "colour": "with a colour word",
    "no_colour": "without a colour word",
    "negation": "with a negation",
    "no_negation": "without a negation",
    "flagged": "on the list",
    "not_flagged": "not on the list",
}
"""Stratum -> what it is called."""


def strata(photos: PhotoSet, flagged: PairList | None) -> dict[str, NDArray[np.bool_]]:
    """Which captions [R] of a split are in each stratum, by its name."""
    captions = photos.captions
    colour = np.array([bool(find_spans(caption)) for caption in captions], dtype=bool)
    negation = np.array([any(negations(caption)) for caption in captions], dtype=bool)
    rows = {"colour": colour, "no_colour": ~colour, "negation": negation, "no_negation": ~negation}
    if flagged is not None:
        named = flagged.row_weights(photos) == 0
        rows |= {"flagged": named, "not_flagged": ~named}
    return rows


def strata_figures(found: QueryFigures, photos: PhotoSet, flagged: PairList | None) -> dict[str, dict[str, Any]]:
    """The metrics of each stratum, by its name; of one that nobody asks for, `queries` alone, 0.

    found: of this split, from `retrieval_queries`.
    """
    parts = {name: found.part(rows[found.query]) for name, rows in strata(photos, flagged).items()}
    return {name: part.summary() if len(part.query) else {"queries": 0} for name, part in parts.items()}
