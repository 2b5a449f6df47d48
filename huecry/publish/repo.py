"""Names of repositories on the Hub, and what goes wrong there, in one line."""

from __future__ import annotations

from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from huecry.errors import UserError
from huecry.towers.folder import one_line


def check_repo(name: str, key: str = "ORG/NAME") -> None:
    """Refuse what cannot be the name of a repository. Raises UserError naming the key it was given as."""
    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise UserError(f"{key}={name}: {one_line(error)}") from error
    if name.count("/") != 1:
        raise UserError(f"{key}={name}: write owner and name, as in my-group/my-model")


def status_of(error: BaseException | None) -> int | None:
    """The status that the Hub answered with, or None where it did not answer."""
    while error is not None:
        response = getattr(error, "response", None)
        if response is not None:
            return int(response.status_code)
        error = error.__cause__ or error.__context__
    return None


def passes(error: Exception) -> bool:
    """Whether it may help to try again: no answer, or an answer that says that the Hub itself is in trouble."""
    status = status_of(error)
    return not isinstance(error, ValueError) if status is None else status == 429 or status >= 500


def reason(error: Exception) -> str:
    """What went wrong and what to do about it."""
    status = status_of(error)
    told = " ".join(str(getattr(error, "server_message", None) or "").split())
    if status is None:
        return f"the Hub cannot be reached ({one_line(error)})"
    if status == 401:
        return "the Hub does not accept the token; log in anew with `hf auth login`, or set HF_TOKEN"
    if status == 403:
        return f"the token may not write there{f' ({told})' if told else ''}; take one that may, or another owner"
    if status in (409, 412):
        return "somebody else pushed there at the same time"
    if status == 429 or status >= 500:
        return f"the Hub is in trouble (status {status}); try again later"
    return f"the Hub refuses ({told or one_line(error)})"
