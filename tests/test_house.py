"""The rules of the house: which way imports run, what files are called, where they stand, how long they are."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FLOORS = ("huecry", "tasks", "pretrain", "finetune")
ROOF = ("huecry/__init__.py", "huecry/api.py", "huecry/cli.py")
FOLDERS = (*FLOORS, "configs", "tests", "benchmarks", "docs", ".ci")
TEXTS = {".py", ".md", ".yaml", ".toml", ".txt", ".json", ".jsonl", ".css", ".html", ""}
MACHINE_PATH = re.compile(r"(?<![\w./])(?:/(?:home|Users|root|work|tmp|mnt|scratch)/\w|[A-Z]:\\+Users)")
OTHER_LIBRARIES = {"evaluate", "datasets", "peft", "wandb", "faiss", "gradio", "spacy", "nltk", "cv2", "webdataset"}


def files(root: Path, suffix: str = "") -> Iterator[Path]:
    """What belongs to the project, relative to its root."""
    found = [path for path in root.glob("*") if path.is_file()]
    found += [path for folder in FOLDERS for path in (root / folder).rglob("*") if path.is_file()]
    for path in sorted(path.relative_to(root) for path in found):
        if "__pycache__" not in path.parts and path.name.endswith(suffix):
            yield path


def module_of(path: Path) -> str:
    """`tasks/sdm.py` -> `huecry.tasks.sdm`."""
    parts = [*path.with_suffix("").parts]
    if parts[0] != "huecry":
        parts.insert(0, "huecry")
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(tree: ast.Module, module: str, is_package: bool) -> Iterator[tuple[int, str, bool]]:
    """Line, absolute name, and whether it is imported as soon as the module is (TYPE_CHECKING aside)."""

    def walk(node: ast.AST, at_once: bool) -> Iterator[tuple[int, str, bool]]:
        match node:
            case ast.Import(names=names):
                yield from ((node.lineno, alias.name, at_once) for alias in names)
            case ast.ImportFrom(module=name, names=names, level=level):
                base = name or ""
                if level:
                    parents = module.split(".")
                    parents = parents[: len(parents) - level + is_package]
                    base = ".".join([*parents, *([name] if name else [])])
                yield from ((node.lineno, f"{base}.{alias.name}", at_once) for alias in names)
            case ast.Call(func=function, args=[ast.Constant(value=str(name)), *_]):
                if ast.unparse(function).split(".")[-1] in ("import_module", "__import__"):
                    yield node.lineno, name, at_once
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            at_once = False
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            at_once = False
        for child in ast.iter_child_nodes(node):
            yield from walk(child, at_once)

    return walk(tree, True)


def wrong_arrows(root: Path) -> list[str]:
    """Imports between the floors, or of the roof, that the house does not allow: `file:line: why`."""
    wrong = []
    for path in files(root, ".py"):
        if path.parts[0] not in FLOORS:
            continue
        tree = ast.parse((root / path).read_text(encoding="utf-8"))
        for line, name, at_once in imports(tree, module_of(path), path.name == "__init__.py"):
            why = fault(root, path, name, at_once)
            wrong += [f"{path}:{line}: {why}"] if why else []
    return wrong


def fault(root: Path, path: Path, name: str, at_once: bool) -> str | None:
    """What is wrong with a file's import of a name. The roof may import `huecry.errors` and the standard library
    at once, all else within functions."""
    first, second, *_ = [*name.split("."), ""]
    if first in FLOORS[1:] or first == "configs":
        return f"{name} is called huecry.{name}"
    if path.as_posix() in ROOF:
        light = first in sys.stdlib_module_names or (first, second) == ("huecry", "errors")
        return f"the roof imports {name} outside a function" if at_once and not light else None
    if first != "huecry":
        return None
    if second in FLOORS[1:]:
        above = FLOORS.index(second) > FLOORS.index(path.parts[0])
        return f"{path.parts[0]} imports {name}, which stands above it" if above else None
    homes = [root / second, root / "huecry" / second, root / "huecry" / f"{second}.py"]
    roof = second in ("", "api", "cli") or not any(home.exists() for home in homes)
    return f"{name} is the roof, which nobody imports" if roof else None


def unlucky_names(root: Path, taken: set[str]) -> list[str]:
    """Files that would hide a module once their folder is first on the import path."""
    return [
        f"{path}: {path.stem} is the name of a module elsewhere"
        for path in files(root, ".py")
        if path.parts[0] in FLOORS[1:] and path.stem != "__init__" and path.stem in taken
    ]


def unlisted_packages(root: Path) -> list[str]:
    """Differences between the packages of pyproject.toml and the folders with an `__init__.py`, or with YAML."""
    setup = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    code = (*FLOORS, "configs")
    there = {module_of(path) for path in files(root, "__init__.py") if path.parts[0] in code}
    yaml = {module_of(path.parent / "__init__.py") for path in files(root, ".yaml") if path.parts[0] in code}
    shipped = {name for name, patterns in setup["package-data"].items() if "*.yaml" in patterns}
    wrong = [f"{name} is listed in pyproject.toml but has no folder" for name in set(setup["packages"]) - there]
    wrong += [f"{name} is missing in pyproject.toml" for name in there - set(setup["packages"])]
    wrong += [f"{name} has no __init__.py" for name in yaml - there]
    wrong += [f"{name} holds YAML that package-data does not ship" for name in yaml - shipped]
    return sorted(wrong)


def strayed_tests(root: Path) -> list[str]:
    """Tests in a folder that does not mirror the tree, or named after no module there; tasks without a test."""
    wrong = []
    for path in files(root, ".py"):
        if path.parts[0] == "tests" and len(path.parts) > 2 and path.name.startswith("test_"):
            part = Path(*path.parts[1:-1])
            homes = [home for home in (root / part, root / "huecry" / part) if home.is_dir()]
            modules = [part.name, *(module.stem for home in homes for module in home.glob("*.py"))]
            if not homes:
                wrong.append(f"{path}: there is no folder {part}")
            elif not any(path.stem == f"test_{name}" or path.stem.startswith(f"test_{name}_") for name in modules):
                wrong.append(f"{path}: {part} has no module of that name")
        if path.parts[0] == "tasks" and path.stem != "__init__" and is_task(root / path):
            test = root / "tests" / "tasks" / f"test_{path.name}"
            wrong += [] if test.exists() else [f"{path}: there is no {test.relative_to(root)}"]
    return wrong


def is_task(path: Path) -> bool:
    classes = [n for n in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(n, ast.ClassDef)]
    return any("Task" in ast.unparse(base) for node in classes for base in node.bases)


def lengths(root: Path) -> dict[str, int]:
    """Lines of every Python file."""
    return {p.as_posix(): len((root / p).read_text(encoding="utf-8").splitlines()) for p in files(root, ".py")}


def machine_paths(root: Path) -> list[str]:
    """Places where somebody's own folders were written down."""
    return [
        f"{path}:{number}: {found.group()}"
        for path in files(root)
        if path.suffix in TEXTS
        for number, line in enumerate((root / path).read_text(encoding="utf-8", errors="ignore").splitlines(), 1)
        if (found := MACHINE_PATH.search(line))
    ]


def test_imports_run_one_way() -> None:
    assert wrong_arrows(ROOT) == []


def test_no_file_hides_a_module() -> None:
    installed = set(packages_distributions()) - {"huecry"}
    assert unlucky_names(ROOT, installed | set(sys.stdlib_module_names) | OTHER_LIBRARIES) == []


def test_every_package_is_listed() -> None:
    assert unlisted_packages(ROOT) == []


def test_the_tests_mirror_the_tree() -> None:
    assert strayed_tests(ROOT) == []


def test_no_file_is_too_long() -> None:
    assert {path: lines for path, lines in lengths(ROOT).items() if lines > 400} == {}


@pytest.mark.parametrize("path", ["pretrain/run.py", "finetune/run.py"])
def test_a_launched_script_is_short_and_imports_by_full_name(path) -> None:
    assert lengths(ROOT)[path] < 60
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    assert not [node.lineno for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level]


def test_no_machine_paths() -> None:
    assert machine_paths(ROOT) == []


def write(root: Path, tree: dict[str, str]) -> Path:
    for name, text in tree.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    return root


HOUSE = {
    "huecry/__init__.py": "",
    "huecry/cli.py": "import sys\nfrom huecry.errors import UserError\n",
    "huecry/errors.py": "",
    "huecry/data/__init__.py": "",
    "huecry/data/readers.py": "import numpy as np\nfrom . import records\nfrom ..errors import UserError\n",
    "huecry/data/records.py": "from huecry.errors import UserError\n",
    "tasks/__init__.py": "",
    "tasks/sdm.py": "from huecry.data import records\n\nclass Sdm(Task):\n    pass\n",
    "pretrain/__init__.py": "",
    "pretrain/run.py": "from huecry.tasks import TASKS\n",
    "finetune/__init__.py": "",
    "finetune/run.py": "from huecry.pretrain import run\nfrom huecry import configs\n",
    "configs/__init__.py": "",
    "configs/finetune/__init__.py": "",
    "configs/finetune/people.yaml": "",
    "tests/data/test_readers.py": "",
    "tests/tasks/test_sdm.py": "",
    "pyproject.toml": """[tool.setuptools]
packages = ["huecry", "huecry.data", "huecry.tasks", "huecry.pretrain", "huecry.finetune", "huecry.configs",
    "huecry.configs.finetune"]
[tool.setuptools.package-data]
"huecry.configs.finetune" = ["*.yaml"]
""",
}


def test_a_sound_house_passes(tmp_path) -> None:
    write(tmp_path, HOUSE)
    assert wrong_arrows(tmp_path) == []
    assert unlisted_packages(tmp_path) == []
    assert strayed_tests(tmp_path) == []
    assert unlucky_names(tmp_path, {"queue", "datasets"}) == []
    assert machine_paths(tmp_path) == []


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("huecry/data/readers.py", "import huecry.tasks.sdm"),
        ("huecry/data/readers.py", "from huecry import tasks"),
        ("huecry/data/readers.py", "from huecry import pretrain as stage"),
        ("huecry/data/readers.py", "from ...huecry.finetune import run"),
        ("huecry/data/readers.py", "from .. import tasks"),
        ("huecry/data/readers.py", "from ..cli import main"),
        ("huecry/data/__init__.py", "from ..tasks import sdm"),
        ("huecry/data/readers.py", "def f():\n    from huecry.tasks import TASKS"),
        ("huecry/data/readers.py", "import importlib\nimportlib.import_module('huecry.tasks.sdm')"),
        ("tasks/sdm.py", "from huecry.pretrain import run"),
        ("tasks/sdm.py", "from ..pretrain.run import main"),
        ("tasks/sdm.py", "if True:\n    import huecry.finetune.run"),
        ("pretrain/run.py", "from huecry.finetune.run import main"),
        ("pretrain/run.py", "from tasks import sdm"),
        ("pretrain/run.py", "import configs"),
        ("finetune/run.py", "import huecry"),
        ("finetune/run.py", "from huecry import __version__"),
        ("finetune/run.py", "from huecry.cli import main"),
        ("finetune/run.py", "def f():\n    import huecry.api"),
        ("huecry/cli.py", "from huecry.data import readers"),
        ("huecry/cli.py", "class A:\n    import torch"),
        ("huecry/__init__.py", "from huecry.tasks import sdm"),
        ("huecry/api.py", "try:\n    import torch\nexcept ImportError:\n    pass"),
    ],
)
def test_a_wrong_arrow_is_found(tmp_path, path, text) -> None:
    write(tmp_path, HOUSE | {path: text})
    assert len(wrong_arrows(tmp_path)) == 1
    assert wrong_arrows(tmp_path)[0].startswith(f"{path}:{text.count(chr(10)) + 1 - text.endswith('pass') * 2}:")


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (
            "huecry/cli.py",
            "def main():\n    import torch\n    from huecry.finetune import run\n    from huecry import api",
        ),
        (
            "huecry/__init__.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from huecry.api import evaluate",
        ),
        ("finetune/run.py", "from huecry import data, tasks\nfrom ..pretrain import run"),
        ("tests/data/test_readers.py", "import huecry\nimport huecry.finetune.run"),
    ],
)
def test_right_arrows_pass(tmp_path, path, text) -> None:
    assert wrong_arrows(write(tmp_path, HOUSE | {path: text})) == []


def test_other_offences_are_found(tmp_path) -> None:
    write(tmp_path, HOUSE)
    write(
        tmp_path,
        {
            "finetune/datasets.py": "",
            "pretrain/queue.py": "",
            "tasks/mlm.py": "class Mlm(Task):\n    pass\n",
            "tests/data/test_elsewhere.py": "",
            "tests/dota/test_readers.py": "",
            "huecry/towers/__init__.py": "",
            "configs/accelerate/cpu.yaml": "",
            "docs/start.md": "Go to /" + "home/me and then\n/" + "tmp/x, not to https://host/home/x or runs/tmp/x.\n",
        },
    )
    names = [line.split(":")[0] for line in unlucky_names(tmp_path, {"queue", "datasets"})]
    assert names == ["finetune/datasets.py", "pretrain/queue.py"]
    assert [line.split()[0] for line in strayed_tests(tmp_path)] == [
        "tasks/mlm.py:",
        "tests/data/test_elsewhere.py:",
        "tests/dota/test_readers.py:",
    ]
    assert unlisted_packages(tmp_path) == [
        "huecry.configs.accelerate has no __init__.py",
        "huecry.configs.accelerate holds YAML that package-data does not ship",
        "huecry.towers is missing in pyproject.toml",
    ]
    assert [line.split()[0] for line in machine_paths(tmp_path)] == ["docs/start.md:1:", "docs/start.md:2:"]
    assert lengths(tmp_path)["tasks/mlm.py"] == 2
