"""The arguments that both stages take, and the one place where a mistake becomes a line and an exit status."""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Callable
from typing import NoReturn

from huecry.errors import UserError


class Parser(argparse.ArgumentParser):
    """A parser that tells a mistake in one line, as everything else here does."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def exit_status(work: Callable[[], object], debug: bool) -> int:
    """Do the work; 0 when it is done, 2 after a user's mistake, 128 + signal when stopped by one.

    Called before torch is imported: its threads then spin for some microseconds while they wait, and sleep after that.
    Spinning on, they would take the cores from the data workers; asleep at once, they would be woken thousands of times
    a step (`benchmarks/thread_wait.py`).
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    from huecry.processes import leave
    from huecry.training.signals import Stopped

    try:
        work()
        leave()
        sys.stdout.flush()
    except UserError as error:
        if debug:
            traceback.print_exc()
        print(f"huecry: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except Stopped as stop:
        print(f"huecry: stopped by {stop} {stop.advice}", file=sys.stderr)
        return stop.status
    except BrokenPipeError:  # the reader of a pipe, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except KeyboardInterrupt:
        print("huecry: interrupted", file=sys.stderr)
        return 130
    return 0


def add_stage_arguments(parser: argparse.ArgumentParser, default: str) -> None:
    """`[--config NAME|PATH] [--dry-run] [--debug] [key=value ...]`."""
    parser.add_argument("--config", default=default, metavar="NAME|PATH", help=f"the recipe (default {default})")
    parser.add_argument("--dry-run", action="store_true", help="print the resolved recipe and what a run would find")
    parser.add_argument("--debug", action="store_true", help="show the traceback of a mistake")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="change a key of the recipe")


def stage_main(stage: Callable[..., object], default: str, arguments: list[str] | None = None) -> int:
    """The command line of a stage, called as `stage(config, *overrides, dry_run=...)`; returns the exit status."""
    parser = Parser(description=(stage.__doc__ or "").splitlines()[0])
    add_stage_arguments(parser, default)
    options = parser.parse_intermixed_args(arguments)
    return exit_status(lambda: stage(options.config, *options.overrides, dry_run=options.dry_run), options.debug)
