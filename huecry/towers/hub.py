"""Models and snapshots on the Hub by `hf:org/name`, as folders on this machine."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError
from huggingface_hub.utils import (
    are_progress_bars_disabled,
    disable_progress_bars,
    enable_progress_bars,
    logging,
    validate_repo_id,
)

from huecry.errors import UserError
from huecry.towers.folder import one_line

HUB = "hf:"
_WANTED = (
    *("config.json", "model.safetensors", "model-*.safetensors", "model.safetensors.index.json", "huecry.json"),
    *("positions.safetensors", "branches.safetensors", "preprocessor_config.json", "processor_config.json"),
    *("checkpoints/*/state.json", "checkpoints/*/bundle.safetensors", "checkpoints/*/model/*"),
)
"""What is downloaded: JSON and safetensors, never a pickle."""


def fetch(source: str) -> str:
    """The folder that a model's source stands for: `hf:org/name` is downloaded, anything else returned as it is.

    A repository that `huecry push --checkpoint` has filled stands for its newest snapshot, which is then the folder.
    Raises UserError for a name that cannot be one, a repository that is not there, or that holds neither.
    """
    if not source.startswith(HUB):
        return source
    name = source.removeprefix(HUB)
    try:
        validate_repo_id(name)
        wrong = name.count("/") != 1
    except HFValidationError:
        wrong = True
    if wrong:
        raise UserError(f"{source}: not the name of a model on the Hub; write hf:org/name")
    try:
        with quiet_hub():
            folder = Path(snapshot_download(name, allow_patterns=list(_WANTED)))
    except RepositoryNotFoundError as error:
        raise UserError(f"{source}: no model on the Hub that you may read") from error
    except Exception as error:  # the HTTP library's own kinds change with the Hub client's version
        raise UserError(f"{source}: not on this machine, and the Hub does not answer ({one_line(error)})") from error
    steps = [path.parent for path in folder.glob("checkpoints/step-*/state.json")]
    steps = [path for path in steps if path.name.removeprefix("step-").isdigit()]
    if steps:
        return str(max(steps, key=lambda path: int(path.name.removeprefix("step-"))))
    if not (folder / "config.json").is_file():
        raise UserError(f"{source}: neither a CLIP in transformers' format nor a snapshot of a run")
    return str(folder)


@contextmanager
def quiet_hub() -> Iterator[None]:
    """No warnings of the Hub client's, since what is wrong is told in one line, and no bars outside a terminal."""
    level, bars = logging.get_verbosity(), not are_progress_bars_disabled()
    logging.set_verbosity_error()
    if bars and not sys.stderr.isatty():
        disable_progress_bars()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            enable_progress_bars()
