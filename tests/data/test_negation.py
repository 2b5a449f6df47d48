"""Words that negate, and those that only look like it."""

from __future__ import annotations

import pytest

from huecry.data.negation import negations


@pytest.mark.parametrize(
    ("caption", "found"),
    [
        ("A man with no hat and without a bag.", ["no", "without"]),
        ("She isn't carrying anything, nor does she wear a coat.", ["isn't", "nor"]),
        ("He doesn’t wear glasses; NOT a tie", ["doesn’t", "NOT"]),
        ("a shirt that isnt striped", ["isnt"]),
        ("nothing on, and socks w/o shoes", ["nothing", "w/o"]),
        ("not only a hat; shirt no. 7; a knot, a note, nothing but", []),
        ("no. 7 but no shoes", ["no"]),
        ("", []),
    ],
)
def test_negations(caption: str, found: list[str]) -> None:
    assert [caption[start:end] for start, end in negations(caption)] == found
