"""`huecry push`: a model, or a run's snapshot to go on from, onto the Hub.

What goes is first put together in a folder beside the run, whole, so that whatever happens on the way to the Hub it can
be pushed later. Only files of that folder are sent, and only to a repository that is empty or that huecry has filled.
"""

from __future__ import annotations

import glob
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import torch
from huggingface_hub import HfApi, get_token

from huecry.errors import UserError
from huecry.files import writing
from huecry.publish.card import address
from huecry.publish.export import in_lines, write_export
from huecry.publish.formats import CARD, FILES
from huecry.publish.repo import check_repo, passes, reason, status_of
from huecry.publish.snapshot import SNAPSHOT, write_snapshot
from huecry.towers.folder import OWN_FILE
from huecry.towers.hub import quiet_hub
from huecry.training.runs import run_of

EXPORT = "export"
"""The folder in a run with its model as it is pushed."""
ANYBODYS = frozenset({".gitattributes", ".gitignore", "LICENSE", CARD})
"""Files of a repository that do not tell whose it is."""
STEPS = "checkpoints/"
PATIENCE = 3600.0
"""Seconds after which a training run no longer waits for its push."""
Value = TypeVar("Value")


def push(
    model: str, repo: str, *, checkpoint: bool = False, private: bool = False, dry_run: bool = False
) -> str | None:
    """Upload a model to the Hub; returns its address there, or None after a dry run, which only lists the files.

    model: a run, whose selected model is exported in all formats into its folder `export`; or a folder that
    `huecry export` or a former push has made. checkpoint: of a run its newest snapshot instead, with heads, queues and
    the optimiser, to go on from. private: a new repository is private, one that is there must be.
    Raises UserError for what cannot be pushed, a repository that holds other things, a token that may not write there,
    and a Hub that cannot be reached; the folder stays, to be pushed later.
    """
    check_repo(repo)
    folder = _prepared(model, repo, checkpoint)
    sizes = {name: (folder / name).stat().st_size for name in _files(folder)}
    told = f"{len(sizes)} files, {sum(sizes.values()) / 1e6:.1f} MB"
    if dry_run:
        print("\n".join(f"{size:>15,}  {name}" for name, size in sizes.items()))
        print(f"{told} from {folder} would go to {repo}; nothing was sent")
        return None
    print(f"{told} from {folder} go to {repo}")
    url = _send(folder, repo, list(sizes), private, must=private)
    print(url)
    return url


def push_from_run(run: Path, repo: str) -> None:
    """Push the model of a run under way. A repository that this makes is private; one that is there stays as it is.

    Never raises: whatever goes wrong ends in a line, and the run goes on. The global random generator is left alone.
    """
    outcome: list[str] = []

    def work() -> None:
        try:
            folder = _prepared(str(run), repo, checkpoint=False)
            outcome.append(f"pushed: {_send(folder, repo, _files(folder), private=True, must=False)}")
        except Exception as error:  # a model can be pushed later; the hours of training cannot be had again
            outcome.append(f"not pushed: {' '.join(str(error).split()) or type(error).__name__}")

    with torch.random.fork_rng(devices=[]):
        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        thread.join(PATIENCE)
    late = f"not pushed: no end after {PATIENCE / 60:.0f} minutes; huecry push {run} {repo} tries again"
    print(outcome[0] if outcome else late)


def _prepared(model: str, repo: str, checkpoint: bool) -> Path:
    """The folder to send, made anew for a run. Raises UserError for what is neither a run nor such a folder."""
    path = Path(model).expanduser()
    if (path / CARD).is_file() and (path / OWN_FILE).is_file():
        if checkpoint:
            raise UserError(f"{model}: an exported model has no snapshot; give the folder of the run")
        return path.resolve()
    if checkpoint and (path / CARD).is_file() and not (path / "timing.jsonl").is_file():  # a run here writes its times
        return path.resolve()
    run = path if (path / "config.yaml").is_file() else run_of(model)
    if run is None:
        raise UserError(
            f"{model}: neither the folder of a run nor one that huecry export made; "
            f"make one with huecry export {model} OUT, then push OUT"
        )
    run = run.resolve()
    if checkpoint:
        write_snapshot(run, run / SNAPSHOT, repo)
        return run / SNAPSHOT
    if not (run / "model").is_dir():
        raise UserError(
            f"{model}: no model in it yet; wait for its first evaluation, or push its snapshot: --checkpoint"
        )
    result = write_export(str(run), run / EXPORT, name=repo.partition("/")[2])
    print("\n".join(in_lines(str(run / EXPORT), result)))
    return run / EXPORT


def _files(folder: Path) -> list[str]:
    """Every file in a folder, by its name there; no links, which may lead out of it, and nothing hidden."""
    found = (path for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink())
    names = (path.relative_to(folder) for path in found)
    return [str(name) for name in names if not any(part.startswith(".") for part in name.parts)]


def _send(folder: Path, repo: str, files: Sequence[str], private: bool, must: bool) -> str:
    """Upload files of a folder; returns the repository's address. must: one that is there has to be private.

    Raises UserError, naming the folder, for whatever stands in the way.
    """
    snapshot = any(name.startswith(STEPS) for name in files)
    options = f"{' --checkpoint' if snapshot else ''}{' --private' if must else ''}"
    later = f"nothing is lost: huecry push {folder} {repo}{options} sends it later"
    if get_token() is None:
        raise UserError(f"no token for the Hub: log in with `hf auth login`, or set HF_TOKEN; {later}")
    card = folder / CARD
    with writing(card, later):
        card.write_text(address(card.read_text(encoding="utf-8"), repo), encoding="utf-8")
    try:
        with quiet_hub():
            api = HfApi()
            there = _claim(api, repo, snapshot, private, must)
            gone = [name for name in there if name in FILES or name.startswith(STEPS)]
            _again(
                lambda: api.upload_folder(
                    repo_id=repo,
                    folder_path=folder,
                    allow_patterns=[glob.escape(name) for name in files],
                    delete_patterns=[glob.escape(name) for name in gone if name not in files] or None,
                    commit_message="Pushed by huecry",
                )
            )
    except UserError as error:
        raise UserError(f"{error}; {later}") from error
    except Exception as error:  # the HTTP library's own kinds change with the Hub client's version
        raise UserError(f"{repo}: {reason(error)}; {later}") from error
    return f"{api.endpoint}/{repo}"


def _claim(api: HfApi, repo: str, snapshot: bool, private: bool, must: bool) -> list[str]:
    """Make the repository, or see that the one that is there may be written over; returns the files in it."""
    try:
        _again(lambda: api.create_repo(repo, private=private or None))
        return []
    except Exception as error:
        if status_of(error) not in (401, 403, 409):  # 403: a token for this repository alone may not make one
            raise
        try:
            info = _again(lambda: api.model_info(repo))
        except Exception:
            raise error from None
    names = [file.rfilename for file in info.siblings or ()]
    strange = [name for name in names if name not in ANYBODYS]
    if strange and not any(name.rpartition("/")[2] == OWN_FILE for name in names):
        raise UserError(f"{repo}: is there already, with files that huecry did not put there ({strange[0]})")
    if strange and snapshot != any(name.startswith(STEPS) for name in names):
        held = "a model" if snapshot else "a run's snapshot"
        raise UserError(f"{repo}: is there already, and holds {held}; choose another name")
    if must and not info.private:
        raise UserError(f"{repo}: is there already, and public; make it private on its page, or choose another name")
    return names


def _again(work: Callable[[], Value]) -> Value:
    """Do it, and again after a while where the Hub did not answer or was in trouble."""
    for seconds in (1, 2):
        try:
            return work()
        except Exception as error:
            if not passes(error):
                raise
        time.sleep(seconds)
    return work()
