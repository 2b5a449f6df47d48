"""The stanza that tasks over photographs and captions share."""

from __future__ import annotations

import pytest

from huecry.config import build_recipe
from huecry.errors import UserError
from huecry.tasks import TASKS
from huecry.tasks.pairs import PairTask, ScaledTask

PAIRED = sorted(name for name, task in TASKS.items() if issubclass(task, PairTask))
SCALED = sorted(name for name, task in TASKS.items() if issubclass(task, ScaledTask))


@pytest.mark.parametrize(
    ("task", "setting", "part"),
    [
        *((task, "text_view=rgb", "no view of a caption") for task in PAIRED),
        *((task, "weight=-1", "0 or more") for task in PAIRED),
        *((task, setting, "above 0") for task in SCALED for setting in ("scale=0", "scale=-5")),
    ],
)
def test_a_stanza_that_would_train_nonsense_is_refused(task: str, setting: str, part: str) -> None:
    with pytest.raises(UserError, match=f"tasks.{task}.{setting}.*{part}"):
        build_recipe("pairs", {"tasks": {task: {}}}, [f"tasks.{task}.{setting}"], TASKS)


@pytest.mark.parametrize("task", PAIRED)
@pytest.mark.parametrize("view", ["text", "text_aug"])
def test_it_reads_the_photograph_and_the_chosen_caption(task: str, view: str) -> None:
    recipe = build_recipe("pairs", {"tasks": {task: {"text_view": view}}}, [], TASKS)
    more = {"text", "text_other"} if task == "compound_ranking" else set()
    assert TASKS[task].reads(recipe.tasks[task]) == {"rgb", view} | more
