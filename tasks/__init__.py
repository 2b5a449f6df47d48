"""The table of tasks: every objective by the name that recipes use."""

from huecry.tasks.contrastive import Contrastive
from huecry.tasks.identity import Identity
from huecry.tasks.sdm import SDM
from huecry.training.task import Task

TASKS: dict[str, type[Task]] = {
    "contrastive": Contrastive,
    "identity": Identity,
    "sdm": SDM,
}
