"""The one exception for a user's mistake: a single line that names the culprit and the remedy."""


class UserError(Exception):
    """A mistake of the user's, told in one line: which file, row or key, and what to do about it.

    The command line prints the line and exits with status 2; no traceback unless ``--debug`` is given.
    """
