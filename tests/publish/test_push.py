"""Pushing: the real Hub client against a small Hub on the loopback, and what ends in one line before any of it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hub_server import TOKEN, HubServer, Repository
from publish_pictures import photographs, snippets
from small_runs import contents, stage

from huecry import api
from huecry.cli import main
from huecry.data.tokens import tokenize
from huecry.publish.card import address
from huecry.publish.formats import CARD, FILES
from huecry.publish.push import EXPORT
from huecry.publish.snapshot import SNAPSHOT
from huecry.towers import ModelConfig, load_towers
from huecry.training.snapshot import load_snapshot

TASKS = ("tasks.colour_words.weight=1", "tasks.moco.weight=0.5", "tasks.moco.queue_size=16")
LONGER = ("eval.every=1", "train.epochs=2", "train.max_steps=4", "train.keep=9", "train.log_every=1", *TASKS)


@pytest.fixture
def no_token(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_TOKEN", "")
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "none"))


def test_a_dry_run_lists_what_would_go(exported, no_token, capsys):
    before = contents(exported)
    assert main(["push", str(exported), "group/model", "--dry-run"]) == 0
    *lines, last = capsys.readouterr().out.splitlines()
    listed = {line.split()[1]: int(line.split()[0].replace(",", "")) for line in lines}
    assert listed == {name: len(content) for name, content in before.items()}
    assert last.startswith(f"{len(FILES)} files, {sum(listed.values()) / 1e6:.1f} MB")
    assert "nothing was sent" in last
    assert contents(exported) == before


def test_links_and_hidden_files_stay(exported, tmp_path, capsys):
    (tmp_path / "secret").write_text("mine")
    shutil.copytree(exported, tmp_path / "out")
    (tmp_path / "out" / "link").symlink_to(tmp_path / "secret")
    (tmp_path / "out" / ".env").write_text("mine")
    (tmp_path / "out" / "more").mkdir()
    (tmp_path / "out" / "more" / "picture[1].png").write_text("")
    assert api.push(str(tmp_path / "out"), "group/model", dry_run=True) is None
    listed = [line.split()[1] for line in capsys.readouterr().out.splitlines()[:-1]]
    assert sorted(listed) == sorted([*FILES, "more/picture[1].png"])


def test_a_run_that_went_on_from_a_download_is_a_run(finished_run, photo_folder, tmp_path, capsys):
    """It holds the card of the snapshot it came from, and paths of this machine."""
    run = tmp_path / "run"
    shutil.copytree(finished_run, run)
    (run / CARD).write_text("# Another")
    assert api.push(str(run), "group/model", checkpoint=True, dry_run=True) is None
    assert str(photo_folder.parent) not in (run / SNAPSHOT / "config.yaml").read_text()
    assert "timing.jsonl" not in capsys.readouterr().out
    (run / "timing.jsonl").unlink()  # as it was downloaded
    assert api.push(str(run), "group/model", checkpoint=True, dry_run=True) is None
    assert f"from {run} would go" in capsys.readouterr().out


def test_what_cannot_be_pushed(exported, finished_run, no_token, tmp_path, mistake):
    for name in ("model", "a/b/c", "group/ name", "group/x--y", "group/model.git", "-/x"):
        mistake(["push", "--", str(exported), name], f"ORG/NAME={name}")
    mistake(["push", "tiny", "group/model"], "tiny: neither the folder of a run", "huecry export tiny OUT")
    mistake(["push", str(tmp_path), "group/model"], tmp_path, "neither the folder of a run")
    mistake(["push", str(exported), "group/model", "--checkpoint"], exported, "no snapshot")
    mistake(["push", str(exported), "group/model"], "no token", "HF_TOKEN", f"huecry push {exported} group/model")
    (tmp_path / "config.yaml").write_text("")
    mistake(["push", str(tmp_path), "group/model"], tmp_path, "no model in it yet")
    mistake(["push", str(tmp_path), "group/model", "--checkpoint"], tmp_path, "no whole snapshot")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.yaml"]


def test_keys_of_a_run_that_pushes(photo_folder, tmp_path, mistake):
    mistake(stage(photo_folder, tmp_path / "run", "train.push_to_hub=model"), "train.push_to_hub=model", "owner")
    mistake(stage(photo_folder, tmp_path / "run", "train.push_every=1"), "train.push_every=1", "train.push_to_hub")


class Session:
    """What became of a list of calls in one process: `session("name")` is {"status", "out", "err"} of that call."""

    def __init__(self, server: HubServer, folder: Path, calls: dict[str, tuple[list[str], str | None]]) -> None:
        self.server, self.folder = server, folder
        file = folder / "calls.json"
        file.write_text(json.dumps([{"call": call, "token": token} for call, token in calls.values()]))
        environment = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
        environment |= {"HF_ENDPOINT": server.endpoint, "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(folder / "hf")}
        script = Path(__file__).parents[1] / "support" / "hub_process.py"
        command = [sys.executable, str(script), str(file)]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        self.results = dict(zip(calls, json.loads(done.stdout.splitlines()[-1]), strict=True))

    def __call__(self, name: str, status: int = 0) -> dict[str, Any]:
        result = self.results[name]
        assert result["status"] == status, result
        if name not in ("card", "download"):  # what others print
            assert result["err"].count("\n") == (status != 0), result["err"]
        return result

    def asked(self, repo: str) -> list[str]:
        return [step for step, name in self.server.asked if name == repo]


@pytest.fixture(scope="module")
def longer(photo_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two epochs with heads and queues, left to itself."""
    run = tmp_path_factory.mktemp("longer") / "run"
    assert main(stage(photo_folder, run, *LONGER)) == 0
    return run


@pytest.fixture(scope="module")
def session(exported: Path, finished_run: Path, longer: Path, photo_folder: Path, tmp_path_factory: Any) -> Any:
    folder = tmp_path_factory.mktemp("session")
    run, out, half = folder / "run", str(folder / "out"), folder / "half"
    shutil.copytree(finished_run, run)
    shutil.copytree(exported, out)
    api.export("tiny", str(folder / "narrow"), formats=["open_clip"])
    shutil.copytree(longer, half)  # as it was after its first epoch
    (half / "results.json").unlink()
    shutil.rmtree(half / "checkpoints" / "step-4")
    photographs(1)[0].save(folder / "photo.jpg")
    went = ["train.resume=true", f"run.dir={folder / 'resumed'}", f"data.source={photo_folder}"]
    with HubServer() as server:
        server.repositories["group/taken"] = Repository("group/taken", False, {"pytorch_model.bin": b"theirs"})
        server.repositories["group/empty"] = Repository("group/empty", False, {".gitattributes": b"", CARD: b"mine"})
        server.plan("create", "group/rough", 500, 500)
        server.plan("put", "group/rough", 500, 500, "cut", 503)
        server.plan("preupload", "group/rough", "cut")
        server.plan("commit", "group/rough", 503, "cut")
        server.plan("create", "group/forbidden", 403)
        server.plan("create", "group/gone", *["cut"] * 3)
        server.plan("batch", "group/down", *[500] * 18)
        server.plan("commit", "group/race", 412)
        server.plan("create", "group/failed", *[503] * 3)
        calls = {
            "model": (["push", str(run), "group/model"], TOKEN),
            "again": (["push", str(run), "group/model"], TOKEN),
            "card": (["code", *snippets(address((exported / CARD).read_text(), "group/model"))], TOKEN),
            "evaluate": (["evaluate", "hf:group/model", str(photo_folder)], TOKEN),
            "rough": (["push", out, "group/rough", "--private"], TOKEN),
            "empty": (["push", out, "group/empty"], TOKEN),
            "taken": (["push", out, "group/taken"], TOKEN),
            "public": (["push", out, "group/model", "--private"], TOKEN),
            "model there": (["push", str(half), "group/model", "--checkpoint"], TOKEN),
            "401": (["push", out, "group/model"], "hf_another"),
            "403": (["push", out, "group/forbidden"], TOKEN),
            "gone": (["push", out, "group/gone"], TOKEN),
            "down": (["push", out, "group/down"], TOKEN),
            "race": (["push", out, "group/race"], TOKEN),
            "later": (["push", out, "group/race"], TOKEN),
            "snapshot": (["push", str(half), "group/run", "--checkpoint"], TOKEN),
            "run there": (["push", out, "group/run"], TOKEN),
            "download": (["download", "group/run", str(folder / "resumed")], TOKEN),
            "resume": (["pretrain", "--config", str(folder / "resumed" / "config.yaml"), *went], TOKEN),
            "continue": (stage(photo_folder, folder / "next", "model.source=hf:group/run", *TASKS), TOKEN),
            "nothing": (stage(photo_folder, folder / "none", "model.source=hf:group/none"), TOKEN),
            "no model": (stage(photo_folder, folder / "none", "model.source=hf:group/taken"), TOKEN),
            "live": (
                stage(photo_folder, folder / "live", *LONGER, "train.push_to_hub=group/live", "train.push_every=1"),
                TOKEN,
            ),
            "failed": (stage(photo_folder, folder / "failed", "train.push_to_hub=group/failed"), TOKEN),
            "narrow": (["push", str(folder / "narrow"), "group/empty"], TOKEN),
        }
        yield Session(server, folder, calls)


@pytest.mark.slow
class TestWithTheHub:
    def test_a_model_is_pushed_whole(self, session):
        told, files = session("model")["out"], session.server.repositories["group/model"].files
        assert told.splitlines()[-1] == f"{session.server.endpoint}/group/model"
        sent = contents(session.folder / "run" / EXPORT)
        assert {name: files[name] for name in sent} == sent
        assert set(files) == {*FILES, ".gitattributes"}
        assert 'name = "hf-hub:group/model"' in files[CARD].decode()
        assert not session.server.repositories["group/model"].private

    def test_a_second_push_sends_no_weights_again(self, session):
        session("again")
        asked = session.asked("group/model")
        assert asked[: asked.index("commit")].count("put") == 3
        assert asked.count("put") == 3

    def test_the_card_of_the_pushed_model_loads_it_from_the_hub(self, session, finished_run):
        found = json.loads(session("card")["out"].splitlines()[-1])
        assert len(found) == 3
        ids = tokenize(["a woman in a red coat", "a man with a blue backpack"])
        expected = load_towers(ModelConfig(str(finished_run))).encode_text(ids).pooled.detach()
        for texts in found:
            torch.testing.assert_close(torch.tensor(texts), expected, atol=1e-5, rtol=1e-5)
        assert session.asked("group/model").count("resolve") > 10

    def test_a_pushed_model_evaluates_as_its_run(self, session, finished_run, photo_folder):
        figures = api.evaluate(str(finished_run), str(photo_folder))
        assert f"R1 {figures['R1']:.2f}  R5 {figures['R5']:.2f}" in session("evaluate")["out"]

    def test_a_rough_way_ends_well(self, session):
        session("rough")
        asked = session.asked("group/rough")
        assert asked.count("create") == 3
        assert asked.count("put") == 3 + 4
        assert session.server.repositories["group/rough"].private
        assert set(session.server.repositories["group/rough"].files) == {*FILES, ".gitattributes"}

    def test_an_empty_repository_is_filled_and_what_is_outdated_goes(self, session):
        session("empty")
        session("narrow")
        files = session.server.repositories["group/empty"].files
        assert set(files) == {*contents(session.folder / "narrow"), ".gitattributes"}

    @pytest.mark.parametrize(
        ("name", "told"),
        [
            ("taken", "group/taken: is there already, with files that huecry did not put there (pytorch_model.bin)"),
            ("public", "group/model: is there already, and public"),
            ("run there", "group/run: is there already, and holds a run's snapshot"),
            ("401", "group/model: the Hub does not accept the token"),
            ("403", "group/forbidden: the token may not write there"),
            ("gone", "group/gone: the Hub cannot be reached (Server disconnected"),
            ("down", "group/down: the Hub is in trouble (status 500)"),
            ("race", "group/race: somebody else pushed there at the same time"),
        ],
    )
    def test_failures_end_in_one_line_and_a_folder_to_push_later(self, session, name, told):
        line = session(name, status=2)["err"]
        assert line.startswith(f"huecry: {told}")
        assert f"huecry push {session.folder / 'out'} group/" in line
        if name in session.server.repositories:
            assert session.server.repositories[name].commits == 0

    def test_a_model_is_not_replaced_by_a_snapshot(self, session):
        line = session("model there", status=2)["err"]
        assert "group/model: is there already, and holds a model" in line
        assert line.endswith(
            f"huecry push {session.folder / 'half' / SNAPSHOT} group/model --checkpoint sends it later\n"
        )

    def test_what_failed_is_pushed_later(self, session):
        session("later")
        assert session.server.repositories["group/race"].commits == 1
        assert session.server.repositories["group/taken"].files == {"pytorch_model.bin": b"theirs"}

    def test_a_snapshot_is_pushed_without_paths_of_this_machine(self, session, photo_folder):
        session("snapshot")
        files = session.server.repositories["group/run"].files
        assert {"checkpoints/step-2/optimizer.pt", "checkpoints/step-2/bundle.safetensors", "config.yaml"} <= set(files)
        assert "results.json" not in files
        for name in ("config.yaml", CARD, "provenance.json", "checkpoints/step-2/state.json"):
            assert str(photo_folder.parent).encode() not in files[name], name
        assert f"source: {photo_folder.name}\n".encode() in files["config.yaml"]
        linked = session.folder / "half" / SNAPSHOT / "checkpoints" / "step-2" / "optimizer.pt"
        assert linked.stat().st_nlink == 2

    def test_a_downloaded_snapshot_resumes_to_the_same_bits(self, session, longer):
        session("download")
        session("resume")
        resumed = session.folder / "resumed"
        for name in ("metrics.jsonl", "results.json", "model/model.safetensors"):
            assert (resumed / name).read_bytes() == (longer / name).read_bytes(), name
        first, second = (load_snapshot(run / "checkpoints") for run in (longer, resumed))
        assert first is not None
        assert second is not None
        assert second[2]["step"] == 4
        assert all(torch.equal(tensor, second[0][name]) for name, tensor in first[0].items())

    def test_another_run_begins_from_it_with_heads_and_queues(self, session):
        told = session("continue")["out"]
        names = "towers, colour_words, moco, momentum towers, labels"
        assert f"hf:group/run: snapshot of step 2; taken up: {names}\n" in told

    def test_sources_that_are_not_there(self, session):
        assert "hf:group/none: no model on the Hub" in session("nothing", status=2)["err"]
        assert "hf:group/taken: neither a CLIP" in session("no model", status=2)["err"]

    def test_a_run_pushes_as_it_goes_and_learns_the_same(self, session, longer):
        told = session("live")["out"]
        repository = session.server.repositories["group/live"]
        assert told.count(f"pushed: {session.server.endpoint}/group/live") == repository.commits == 2
        assert repository.private
        for name in ("metrics.jsonl", "results.json", "model/model.safetensors"):
            assert (session.folder / "live" / name).read_bytes() == (longer / name).read_bytes(), name
        assert b"Training was not at its end" not in repository.files[CARD]

    def test_a_push_that_fails_does_not_fail_the_run(self, session, finished_run):
        told = session("failed")["out"]
        later = session.folder / "failed" / EXPORT
        assert "not pushed: group/failed: the Hub is in trouble (status 503)" in told
        assert f"huecry push {later} group/failed" in told
        results = (session.folder / "failed" / "results.json").read_bytes()
        assert results == (finished_run / "results.json").read_bytes()
        assert (later / CARD).is_file()
