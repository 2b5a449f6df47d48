"""The table of tasks: every objective by the name that recipes use."""

from huecry.tasks.align import Align
from huecry.tasks.clustering import Clustering
from huecry.tasks.colour_detection import ColourDetection
from huecry.tasks.colour_words import ColourWords
from huecry.tasks.colourise import Colourise
from huecry.tasks.compound_ranking import CompoundRanking
from huecry.tasks.contrastive import Contrastive
from huecry.tasks.grayscale import Grayscale
from huecry.tasks.hetero_centre import HeteroCentre
from huecry.tasks.identity import Identity
from huecry.tasks.itc import CITC, NITC, RITC
from huecry.tasks.mlm import MLM
from huecry.tasks.moco import MoCo
from huecry.tasks.projection import CMPC, CMPM
from huecry.tasks.sdm import SDM
from huecry.tasks.simclr import SimCLR
from huecry.tasks.tal import TAL
from huecry.tasks.triplet import Triplet
from huecry.training.task import Task

TASKS: dict[str, type[Task]] = {
    "align": Align,
    "c_itc": CITC,
    "clustering": Clustering,
    "cmpc": CMPC,
    "cmpm": CMPM,
    "colour_detection": ColourDetection,
    "colour_words": ColourWords,
    "colourise": Colourise,
    "compound_ranking": CompoundRanking,
    "contrastive": Contrastive,
    "grayscale": Grayscale,
    "hetero_centre": HeteroCentre,
    "identity": Identity,
    "mlm": MLM,
    "moco": MoCo,
    "n_itc": NITC,
    "r_itc": RITC,
    "sdm": SDM,
    "simclr": SimCLR,
    "tal": TAL,
    "triplet": Triplet,
}
