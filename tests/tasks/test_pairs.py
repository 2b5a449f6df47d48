"""The stanza that tasks over photographs and captions share."""

from __future__ import annotations

import pytest

from huecry.config import build_recipe
from huecry.errors import UserError
from huecry.tasks import TASKS
from huecry.tasks.pairs import PairTask

PAIRED = sorted(name for name, task in TASKS.items() if issubclass(task, PairTask))


@pytest.mark.parametrize("task", PAIRED)
@pytest.mark.parametrize(
    ("setting", "part"),
    [
        ("text_view=rgb", "no view of a caption"),
        ("scale=0", "above 0"),
        ("scale=-5", "above 0"),
        ("weight=-1", "0 or more"),
    ],
)
def test_a_stanza_that_would_train_nonsense_is_refused(task: str, setting: str, part: str) -> None:
    with pytest.raises(UserError, match=f"tasks.{task}.{setting}.*{part}"):
        build_recipe("pairs", {"tasks": {task: {}}}, [f"tasks.{task}.{setting}"], TASKS)


@pytest.mark.parametrize("task", PAIRED)
@pytest.mark.parametrize("view", ["text", "text_aug"])
def test_it_reads_the_photograph_and_the_chosen_caption(task: str, view: str) -> None:
    recipe = build_recipe("pairs", {"tasks": {task: {"text_view": view}}}, [], TASKS)
    assert TASKS[task].reads(recipe.tasks[task]) == {"rgb", view}
