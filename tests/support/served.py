"""`huecry serve` in a process of its own, for tests to ask."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

LOOPBACK_ONLY = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Opens addresses of this machine, whatever proxy the environment names."""


@dataclass
class Served:
    """A page that is up. address: without a slash at its end."""

    process: subprocess.Popen[str]
    address: str


@contextmanager
def serving(place: Path, temporary: Path) -> Iterator[Served]:
    """The page of an index, ended at the end if it is still up. temporary: where it puts what is temporary."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TMPDIR": str(temporary)}
    process = subprocess.Popen(
        [sys.executable, "-m", "huecry.cli", "serve", str(place)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore it
    )
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        for line in process.stdout:
            if found := re.match(r"(http://127\.0\.0\.1:\d+) ", line):
                yield Served(process, found[1])
                return
        raise AssertionError(process.stderr.read())
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
