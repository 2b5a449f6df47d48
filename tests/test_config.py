"""The recipe: what is refused and how the line reads, tasks from outside, the way through YAML and back."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from huecry.config import CONFIGS, RANGES, SECTIONS, Recipe, build_recipe, load_recipe, recipe_names, recipe_path
from huecry.errors import UserError
from huecry.tasks import TASKS
from huecry.training.task import Task

ONE_TASK: dict[str, Any] = {"tasks": {"contrastive": {}}}


def build(*overrides: str, values: dict[str, Any] | None = None, table: Any = None) -> Recipe:
    return build_recipe("toy", ONE_TASK if values is None else values, overrides, TASKS if table is None else table)


def refusal(*overrides: str, **options: Any) -> str:
    """The line that a recipe ends in."""
    with pytest.raises(UserError) as caught:
        build(*overrides, **options)
    line = str(caught.value)
    assert "\n" not in line
    return line


class Toy(Task):
    """A task in the place of those that complete masked colour words."""

    views = frozenset({"rgb", "text_aug"})
    use = "completion"


@pytest.mark.parametrize(
    ("argument", "unknown", "near"),
    [
        ("trian.epochs=3", "trian", "train"),
        ("train.epoch=3", "train.epoch", "train.epochs"),
        ("model.img_size=[64,64]", "model.img_size", "model.image_size"),
        ("views.rgb.flipp=1", "views.rgb.flipp", "views.rgb.flip"),
        ("views.text_aug.mask=1", "views.text_aug.mask", "views.text_aug.mask_p"),
        ("tasks.contrastive.wieght=1", "tasks.contrastive.wieght", "tasks.contrastive.weight"),
        ("tasks.contrastiv.weight=1", "tasks.contrastiv", "contrastive"),
    ],
)
def test_an_unknown_key_names_the_nearest(argument, unknown, near):
    line = refusal(argument)
    assert line.startswith(f"{unknown}: no such ")
    assert f"did you mean {near}?" in line


def test_an_unknown_key_like_no_other_lists_the_known():
    line = refusal("run.zzz=1")
    assert line.startswith("run.zzz: no such key")
    assert "dir" in line
    assert "seed" in line
    assert all(section in refusal("qqq=1") for section in [*SECTIONS, "tasks"])


def test_an_unknown_section_of_a_file_is_found():
    assert "did you mean optim?" in refusal(values={**ONE_TASK, "optimizer": {"lr": 1}})


@pytest.mark.parametrize(
    ("argument", "key"),
    [
        ("train.epochs=three", "train.epochs"),
        ("train.epochs=1.5", "train.epochs"),
        ("train.epochs=null", "train.epochs"),
        ("optim.lr=fast", "optim.lr"),
        ("train.resume=perhaps", "train.resume"),
        ("views.rgb.flip=often", "views.rgb.flip"),
        ("tasks.contrastive.weight=heavy", "tasks.contrastive.weight"),
        ("model.image_size=128", "model.image_size"),
        ("model.image_size=[tall,narrow]", "model.image_size[0]"),
        ("train.track=tensorboard", "train.track"),
        ("train=3", "train=3"),
        ("train=0", "train=0"),
        ("train=false", "train=False"),
        ("views.rgb=0", "views.rgb=0"),
        ("tasks=contrastive", "tasks=contrastive"),
        ("tasks.contrastive=1", "tasks.contrastive=1"),
        ("data.source=3", "data.source=3"),
        ("data.source=[people,3]", "data.source=['people', 3]"),
    ],
)
def test_a_wrong_type_names_the_key(argument, key):
    assert refusal(argument).startswith(f"{key}: ")


def test_a_list_where_names_are_expected_names_the_argument():
    assert "tasks=[contrastive]" in refusal("tasks=[contrastive]")


@pytest.mark.parametrize(
    ("argument", "allowed"),
    [
        ("data.sampler=shuffle", "random, identity"),
        ("data.labels=none", "given, pair"),
        ("data.on_bad_image=ignore", "error, skip"),
        ("optim.schedule=step", "cosine, trapezoid, steps, constant"),
        ("optim.momentum_schedule=step", "constant, cosine"),
        ("train.mixed_precision=fp8", "null, no, bf16, fp16"),
        ("eval.select_on=train", "val, test"),
        ("eval.metric=r1", "R1, R5, R10, mAP, mINP"),
        ("eval.ap=area", "step, trapezoid"),
        ("tasks.contrastive.ramp=steep", "constant, linear, cosine"),
    ],
)
def test_a_choice_lists_what_may_be_chosen(argument, allowed):
    line = refusal(argument)
    assert line.startswith(argument)
    assert allowed in line


@pytest.mark.parametrize(
    ("argument", "bounds"),
    [
        ("train.batch_size=0", "at least 1"),
        ("train.max_steps=0", "at least 1"),
        ("train.save_every=-5", "at least 1"),
        ("data.workers=-1", "at least 0"),
        ("optim.lr=-0.1", "at least 0"),
        ("optim.lr=.nan", "at least 0"),
        ("optim.muon=-1", "at least 0"),
        ("optim.warmup=1.5", "0 to 1"),
        ("optim.freeze.text=2", "0 to 1"),
        ("optim.layer_decay=0", "1e-09 to 1"),
        ("views.rgb.pad=-0.1", "0 to 0.5"),
        ("views.rgb2.hue=0.6", "0 to 0.5"),
        ("views.text_aug.mask_p=15", "0 to 1"),
        ("run.seed=-1", "0 to 4294967295"),
        ("optim.milestones=[40,70]", "shares of all steps"),
        ("optim.betas=[0.9]", "two numbers"),
        ("optim.betas=[0.9,1.0]", "two numbers"),
    ],
)
def test_a_number_out_of_range_states_the_range(argument, bounds):
    line = refusal(argument)
    assert line.startswith(argument.partition("=")[0] + "=")
    assert bounds in line


def test_every_range_is_of_a_key_that_exists_and_holds_its_default():
    recipe = OmegaConf.create(build().to_yaml())
    for key, (low, high) in RANGES.items():
        value = OmegaConf.select(recipe, key, throw_on_missing=True, default="absent")
        assert value != "absent", key
        assert value is None or low <= value <= high, key


def test_null_is_in_range_where_a_key_takes_it():
    recipe = build("train.max_steps=null", "train.save_every=null", "optim.clip=null", "train.mixed_precision=null")
    assert recipe.optim.clip is None
    assert recipe.train.save_every is None


def test_identity_batches_need_identities():
    line = refusal("data.sampler=identity", "data.labels=pair")
    assert "data.sampler" in line
    assert "data.labels" in line


@pytest.mark.parametrize(
    ("argument", "reason"),
    [
        ("epochs", "key=value"),
        ("=3", "key=value"),
        ("", "key=value"),
        ("[=3", "key=value"),
        ("train.track=[a", "quote"),
        ("model.source=${nowhere}", "nowhere"),
        ("model.source=${", "quote"),
    ],
)
def test_a_malformed_argument_is_shown_as_it_was_written(argument, reason):
    line = refusal("train.epochs=2", argument)
    assert argument in line
    assert reason in line


def test_later_arguments_win_and_null_or_an_empty_section_means_the_defaults():
    assert build("train.epochs=2", "train.epochs=3").train.epochs == 3
    assert build("train=null").train == build().train
    assert build(values={**ONE_TASK, "optim": None}).optim == build().optim


# tasks


def test_an_unknown_task_lists_the_known():
    line = refusal("tasks.qqq.weight=1")
    assert line.startswith("tasks.qqq: no such task")
    assert all(name in line for name in TASKS)
    assert "package.module:Class" in line


def test_a_task_set_to_null_is_off():
    recipe = build("tasks.contrastive=null", values={"tasks": {"contrastive": {"weight": 2}, "sdm": {}}})
    assert list(recipe.tasks) == ["sdm"]
    assert "contrastive" not in recipe.to_yaml()
    assert build("tasks.gone=null").tasks.keys() == {"contrastive"}


def test_a_task_that_was_off_is_switched_on_by_a_key():
    assert build("tasks.sdm.weight=0.5").tasks["sdm"].weight == 0.5


def test_a_recipe_with_every_task_off_says_so():
    with pytest.raises(UserError, match="every task is off"):
        load_recipe("pretrain/clip", ["tasks.contrastive=null"], TASKS)
    with pytest.raises(UserError, match="every task is off"):
        load_recipe("pretrain/clip", ["tasks=null"], TASKS)


def test_a_view_that_no_row_of_the_table_makes():
    line = refusal("tasks.contrastive.text_view=txt")
    assert line.startswith("tasks.contrastive.text_view=txt: no view of a caption")
    assert "text_aug" in line


OUTSIDE = """
from dataclasses import dataclass

from huecry.training.task import Task, TaskConfig


@dataclass
class BlurConfig(TaskConfig):
    radius: int = 3


class Blur(Task):
    Config = BlurConfig
    views = frozenset({"rgb"})

    def forward(self, encode, batch):
        return encode("rgb").pooled.float().square().mean() * self.config.radius, {}


not_a_task = 3
"""


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a task whose module lies in a package outside the library."""
    (tmp_path / "blurring").mkdir()
    (tmp_path / "blurring" / "__init__.py").write_text("")
    (tmp_path / "blurring" / "tasks.py").write_text(OUTSIDE)
    monkeypatch.syspath_prepend(str(tmp_path))
    for module in ("blurring", "blurring.tasks"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    return "blurring.tasks:Blur"


def test_a_task_from_outside_is_checked_and_built_like_any_other(outside, tiny_bundle):
    recipe = build(f"tasks.{outside}.radius=5", values={"tasks": {outside: {"weight": 0.5}}})
    config = recipe.tasks[outside]
    assert (config.weight, getattr(config, "radius", None)) == (0.5, 5)
    assert "did you mean" in refusal(f"tasks.{outside}.radios=5")
    bundle = tiny_bundle({outside: {"weight": 0.5}, "contrastive": {}})
    assert sorted(type(task).__name__ for task in bundle.tasks.values()) == ["Blur", "Contrastive"]
    assert bundle.views == {"rgb", "text"}


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("blurring.task:Blur", "cannot be imported"),
        ("nowhere_at_all:Blur", "cannot be imported"),
        ("blurring.tasks:Blurr", "not a subclass"),
        ("blurring.tasks:not_a_task", "not a subclass"),
        ("blurring.tasks:", "no such task"),
        (":Blur", "no such task"),
        (".tasks:Blur", "no such task"),
    ],
)
def test_a_task_from_outside_that_is_not_there(outside, name, reason):
    line = refusal(values={"tasks": {name: {}}})
    assert line.startswith(f"tasks.{name}: ")
    assert reason in line


def test_a_fault_inside_a_task_from_outside_keeps_its_traceback(outside, tmp_path):
    (tmp_path / "blurring" / "tasks.py").write_text("1 / 0")
    with pytest.raises(ZeroDivisionError):
        build(values={"tasks": {outside: {}}})


# augmentation beside tasks


@pytest.mark.parametrize(
    ("argument", "limit"),
    [("hue=0.1", 0), ("saturation=0.2", 0), ("grayscale=0.1", 0), ("erase_area=0.3", 0.2)],
)
def test_false_colours_beside_a_task_that_learns_colour_words(argument, limit):
    table = {**TASKS, "toy": Toy}
    line = refusal(f"views.rgb.{argument}", values={"tasks": {"toy": {}, "contrastive": {}}}, table=table)
    assert f"views.rgb.{argument} " in line
    assert "tasks.toy" in line
    assert "tasks.contrastive" not in line
    key = argument.partition("=")[0]
    build(f"views.rgb.{key}={limit}", values={"tasks": {"toy": {}}}, table=table)


def test_false_colours_are_legal_where_no_such_task_reads_the_view():
    table = {**TASKS, "toy": Toy}
    build("views.rgb.hue=0.1")
    build("views.rgb2.hue=0.1", values={"tasks": {"toy": {}}}, table=table)
    build("views.rgb.hue=0.1", "tasks.toy=null", values={"tasks": {"toy": {}, "contrastive": {}}}, table=table)


# files


def reread(recipe: Recipe, folder: Path) -> Recipe:
    (folder / "config.yaml").write_text(recipe.to_yaml())
    return replace(load_recipe(str(folder / "config.yaml"), [], TASKS), name=recipe.name)


@pytest.mark.parametrize("name", recipe_names())
def test_a_resolved_recipe_reads_back_as_it_was(name, tmp_path):
    recipe = load_recipe(name, ["data.source=[a,b]", "data.columns.image=path", "optim.clip=null"], TASKS)
    again = reread(recipe, tmp_path)
    assert again == recipe
    assert again.to_yaml() == recipe.to_yaml()


def test_a_task_from_outside_reads_back_as_it_was(outside, tmp_path):
    recipe = build("optim.eps=1e-7", values={"tasks": {outside: {"weight": 0.25, "radius": 7}}})
    assert reread(recipe, tmp_path) == recipe


def test_a_recipe_goes_by_its_name_or_its_path(tmp_path, monkeypatch):
    by_name = load_recipe("finetune/people", [], TASKS)
    assert by_name.name == "finetune/people"
    assert by_name.folder == Path("runs/finetune/people")
    monkeypatch.chdir(CONFIGS)
    assert load_recipe("finetune/people.yaml", [], TASKS) == by_name
    mine = tmp_path / "mine.yaml"
    mine.write_text("tasks:\n  sdm:\n    scale: 20\ntrain:\n  epochs: 7\n")
    recipe = load_recipe(str(mine), ["train.epochs=8"], TASKS)
    assert (recipe.name, recipe.train.epochs) == ("mine", 8)
    assert getattr(recipe.tasks["sdm"], "scale", None) == 20


def test_home_is_understood_in_a_run_folder():
    assert build("run.dir=~/runs/a").folder == Path.home() / "runs" / "a"


@pytest.mark.parametrize(
    ("name", "near"), [("pretrain/peple", "pretrain/people"), ("finetune/poeple", "finetune/people")]
)
def test_an_unknown_recipe_names_the_nearest(name, near):
    with pytest.raises(UserError, match=rf"^--config {name}: .*did you mean {near}\?"):
        recipe_path(name)


def test_an_unknown_recipe_like_no_other_lists_the_known():
    with pytest.raises(UserError, match=r"known: .*finetune/people, .*pretrain/people") as caught:
        recipe_path("x.yaml")
    assert all(name in str(caught.value) for name in recipe_names())


@pytest.mark.parametrize(
    "content",
    [
        b"train:\n  epochs: [1\n",
        b"train:\n\tepochs: 1\n",
        b"train: {}\ntrain: {}\n",
        b"- train\n- data\n",
        b"3\n",
        b"\xff\xfe\x00",
    ],
    ids=["bracket", "tab", "twice", "list", "number", "binary"],
)
def test_a_malformed_file_is_named(tmp_path, content):
    path = tmp_path / "broken.yaml"
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        load_recipe(str(path), [], TASKS)
    assert str(caught.value).startswith(f"{path}: not ")
    assert "\n" not in str(caught.value)


def test_a_folder_is_no_recipe(tmp_path):
    with pytest.raises(UserError, match="neither a recipe nor a file"):
        load_recipe(str(tmp_path), [], TASKS)
