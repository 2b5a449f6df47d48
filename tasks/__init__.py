"""The table of tasks: every objective by the name that recipes use."""

from huecry.tasks.clustering import Clustering
from huecry.tasks.colour_words import ColourWords
from huecry.tasks.colourise import Colourise
from huecry.tasks.contrastive import Contrastive
from huecry.tasks.grayscale import Grayscale
from huecry.tasks.identity import Identity
from huecry.tasks.moco import MoCo
from huecry.tasks.sdm import SDM
from huecry.training.task import Task

TASKS: dict[str, type[Task]] = {
    "clustering": Clustering,
    "colour_words": ColourWords,
    "colourise": Colourise,
    "contrastive": Contrastive,
    "grayscale": Grayscale,
    "identity": Identity,
    "moco": MoCo,
    "sdm": SDM,
}
