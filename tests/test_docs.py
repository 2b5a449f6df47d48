"""What README and docs say: snippets run, commands parse, figures are those of the result files."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from huecry.cli import build_parser
from huecry.config import load_recipe
from huecry.tasks import TASKS

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")])


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


def commands() -> list[str]:
    lines = [block.replace("\\\n", " ").splitlines() for page in PAGES for block in blocks(page, "bash")]
    return [line.partition("  #")[0].strip() for block in lines for line in block if line.strip()]


@pytest.mark.parametrize("command", [c for c in commands() if "run.py" in c or c.startswith("huecry")])
def test_commands_parse_and_their_recipes_load(command: str) -> None:
    words = shlex.split(command)
    if words[0] == "huecry":
        build_parser().parse_args(words[1:])
        return
    script = next(place for place, word in enumerate(words) if word.endswith("run.py"))
    stage = words[script].partition("/")[0]
    assert words[:2] == ["accelerate", "launch"]
    assert (ROOT / words[script]).is_file()
    assert all((ROOT / word).is_file() for word in words[2:script] if word.endswith(".yaml"))
    options = build_parser().parse_args([stage, *words[script + 1 :]])
    load_recipe(options.config, options.overrides, TASKS)


@pytest.mark.parametrize("command", [c for c in commands() if c.startswith("make")])
def test_make_targets_exist(command: str) -> None:
    assert f"\n{command.split()[1]}:" in (ROOT / "Makefile").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=lambda page: page.stem)
def test_python_snippets_run(page: Path, tmp_path: Path) -> None:
    code = "\n".join(blocks(page, "python"))
    environment = {**os.environ, "HUECRY_CACHE": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_metadata_example_is_read(tmp_path: Path) -> None:
    from PIL import Image

    from huecry.data.readers import read

    (lines,) = blocks(ROOT / "README.md", "json")
    for line in lines.splitlines():
        target = tmp_path / json.loads(line)["file_name"]
        target.parent.mkdir(exist_ok=True)
        Image.new("RGB", (8, 16)).save(target)
    (tmp_path / "metadata.jsonl").write_text(lines)
    train = read(tmp_path)["train"]
    assert (len(train), len(train.persons), len(train.row_image)) == (2, 2, 3)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


def figures_in(text: str) -> list[tuple[str, str]]:
    """(result file, table) for every table of figures: a comment names the file, the table follows."""
    return re.findall(r"<!-- (benchmarks/results/\S+\.json) -->\n\n((?:\|.*\n)+)", text)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_figure_of_a_table_stands_in_its_result_file(page: Path) -> None:
    for name, table in figures_in(page.read_text()):
        values = {
            round(value, digits) for value in numbers(json.loads((ROOT / name).read_text())) for digits in (0, 1, 2)
        }
        shown = re.findall(r"(?<![\w.])-?\d+(?:\.\d+)?(?![\w.])", "\n".join(table.splitlines()[2:]))
        assert shown, name
        for figure in shown:
            assert float(figure) in values, f"{figure} in {page.name} is not in {name}"


def test_the_readme_shows_figures_and_leaves_no_gap() -> None:
    text = (ROOT / "README.md").read_text()
    assert {"demo", "step_speed", "cuhk01"} <= {Path(name).stem for name, _ in figures_in(text)}
    assert text.count("<!--") == len(figures_in(text))


def numbers(value: Any) -> list[float]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return [number for one in value for number in numbers(one)]
    return [float(value)] if isinstance(value, (int, float)) else []
