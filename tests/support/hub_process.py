"""Run by tests in a process of its own, since the Hub client reads its settings once, when it is imported.

`python hub_process.py FILE`: FILE holds a list of {"call": [...], "token": ...}; a call is the arguments of huecry,
["download", REPO, FOLDER], or ["code", CODE ...], which prints what each piece of code leaves as `texts`.
Prints a list of {"status", "out", "err"} as the last line. Nobody waits between retries.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

time.sleep = lambda seconds: None


def run(call: list[str], token: str | None) -> dict[str, Any]:
    from huggingface_hub import snapshot_download

    from huecry.cli import main

    os.environ["HF_TOKEN"] = token or ""
    out, err, status = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        if call[0] == "download":
            snapshot_download(call[1], local_dir=call[2])
        elif call[0] == "code":
            left: list[dict[str, Any]] = [{} for _ in call[1:]]
            for code, names in zip(call[1:], left, strict=True):
                exec(code, names)
            print(json.dumps([names["texts"].tolist() for names in left]))
        else:
            status = main(call)
    return {"status": status, "out": out.getvalue(), "err": err.getvalue()}


if __name__ == "__main__":
    print(json.dumps([run(**one) for one in json.loads(Path(sys.argv[1]).read_text())]))
