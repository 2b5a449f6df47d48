"""Hetero-centre: the mean photograph and the mean caption of a person are one point.

Source: the hetero-centre loss of cross-modality re-identification, described of DLIS; constants not checked against it.
Formula: c_v(k), c_t(k) = mean of the features of person k in the batch, features at length one;
    L = mean_k |c_v(k) - c_t(k)|^2.
Deviations: features are normalised, or the loss is least where they vanish; the mean over persons, so that its size
    does not depend on the batch. Rows of unknown persons are left out. Give `data.sampler=identity` beside it, or a
    centre is one photograph.
Shapes: features [W*B, D] of all processes.
Cost: no tower pass beyond the two views.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from huecry.tasks.clustering import group_means
from huecry.tasks.pairs import PairConfig, PairTask
from huecry.tasks.similarity import full_precision, unit
from huecry.training.encode import Encode


@dataclass
class HeteroCentreConfig(PairConfig):
    """The weight that DLIS gives it beside identity classification."""

    weight: float = 0.5


class HeteroCentre(PairTask):
    """Squared distance of the centres of the two modalities."""

    Config = HeteroCentreConfig

    def forward(self, encode: Encode, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        labels = encode.gather_ids("labels")
        known = labels >= 0
        persons, person = labels[known].unique(return_inverse=True)
        f = encode("rgb").pooled
        with full_precision(f):
            images, texts = (unit(encode.gather(view))[known] for view in ("rgb", self.config.text_view))
            centres = [group_means(features, person, len(persons)) for features in (images, texts)]
            apart = (centres[0] - centres[1]).square().sum(dim=1)
            return apart.sum() / max(len(persons), 1), {}
