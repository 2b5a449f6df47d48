"""The `huecry` command: parses arguments and calls the function of the same name in `huecry.api`."""

from __future__ import annotations

import argparse
import sys
import textwrap


def build_parser() -> argparse.ArgumentParser:
    """The parser of all sub-commands."""
    from huecry.training.command import Parser, add_stage_arguments

    parser = Parser(prog="huecry", description="Find a person's photographs from a sentence.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for stage, text in (("pretrain", "teach the towers before retrieval"), ("finetune", "teach the towers retrieval")):
        add_stage_arguments(
            commands.add_parser(stage, help=text, description=text.capitalize() + "."), f"{stage}/people"
        )
    evaluate = commands.add_parser("evaluate", help="rank a data set's photographs for its captions")
    evaluate.add_argument("model", metavar="MODEL", help="run or model folder, Hub id, open_clip:ARCH/TAG, or tiny")
    evaluate.add_argument("data", metavar="DATA", help="folder, hf:org/name, or people")
    evaluate.add_argument("--split", default="test", help="train, val or test (default test)")
    evaluate.add_argument(
        "--rerank", action="append", default=[], choices=("rvn", "kreciprocal"), help="also rank again; may be repeated"
    )
    evaluate.add_argument("--json", metavar="FILE", help="also write the figures to a file")
    evaluate.add_argument("overrides", nargs="*", metavar="key=value", help="model.*, data.* and eval.* keys")
    probe = commands.add_parser("probe", help="does it look at the image? figures and pictures")
    probe.add_argument("model", metavar="MODEL", help="run or checkpoint folder; of any other model the towers alone")
    probe.add_argument("data", metavar="DATA", help="folder, hf:org/name, or people")
    probe.add_argument("--out", required=True, metavar="DIR", help="a new folder, or that of a former probe")
    probe.add_argument("--split", default="val", help="train, val or test (default val)")
    probe.add_argument("overrides", nargs="*", metavar="key=value", help="model.*, data.* and eval.* keys")
    audit = commands.add_parser("audit", help="what is wrong with a data set? findings, counts and a page")
    audit.add_argument("data", metavar="DATA", help="folder, hf:org/name, or people")
    audit.add_argument(
        "--model", metavar="MODEL", help="also ask a model whether captions and photographs belong together"
    )
    audit.add_argument("--out", required=True, metavar="DIR", help="a new folder, or that of a former audit")
    audit.add_argument(
        "--write-exclude", metavar="FILE", help="write the findings of --rules as a list for data.exclude"
    )
    audit.add_argument(
        "--rules", default=[], type=lambda names: names.split(","), metavar="A,B", help="the rules of --write-exclude"
    )
    audit.add_argument("overrides", nargs="*", metavar="key=value", help="model.*, data.* and eval.* keys")
    ablate = commands.add_parser("ablate", help="what does each pretraining task add? the on/off grid over seeds")
    ablate.add_argument(
        "--config",
        default="pretrain/people",
        metavar="NAME|PATH",
        help="its tasks are the grid (default pretrain/people)",
    )
    ablate.add_argument(
        "--finetune", default="finetune/people", metavar="NAME|PATH", help="the same for all (default finetune/people)"
    )
    ablate.add_argument(
        "--out", required=True, metavar="DIR", help="runs, results, table and plot; goes on where it was"
    )
    ablate.add_argument("--seeds", type=int, default=3, help="runs of each row (default 3)")
    ablate.add_argument(
        "--labelled",
        nargs="*",
        default=["0.1", "0.3"],
        metavar="SHARE",
        help="first and last row also with this share of the persons labelled (default 0.1 0.3)",
    )
    ablate.add_argument("--split", default="val", help="val, test or train (default val)")
    ablate.add_argument("--pretrained", metavar="DIR", help="take the pretraining runs of another grid's folder")
    ablate.add_argument(
        "overrides",
        nargs="*",
        metavar="key=value",
        help="for both stages; pretrain.key=value or finetune.key=value for one",
    )
    people = commands.add_parser("people", help="write the embedded set of drawn pedestrians")
    people.add_argument("out", metavar="OUT", help="a new folder")
    people.add_argument("--persons", type=int, default=1000, help="persons in the training split (default 1000)")
    people.add_argument("--seed", type=int, default=0, help="of the training split (default 0)")
    commands.add_parser("recipes", help="list the recipes, what they implement and what they were verified against")
    for command in (evaluate, probe, audit, ablate, people, commands.choices["recipes"]):
        command.add_argument("--debug", action="store_true", help="show the traceback of a mistake")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run a command line; returns the exit status: 0 done, 2 a user's mistake."""
    from huecry.training.command import exit_status

    options = _parse(arguments)
    return exit_status(lambda: _call(options), options.pop("debug"))


def _parse(arguments: list[str] | None) -> dict:
    """The options; `key=value` may also stand behind them, where argparse no longer looks for it."""
    parser = build_parser()
    found, rest = parser.parse_known_args(arguments)
    options = vars(found)
    unknown = [argument for argument in rest if argument.startswith("-") or "overrides" not in options]
    if unknown:
        parser.error(f"{found.command} does not know {' '.join(unknown)}")
    if rest:
        options["overrides"] = [*options["overrides"], *rest]
    if "labelled" in options:  # it takes all that follows it
        given = options["labelled"]
        options["overrides"] = [*options["overrides"], *(one for one in given if "=" in one)]
        try:
            options["labelled"] = [float(one) for one in given if "=" not in one]
        except ValueError as error:
            parser.error(f"argument --labelled: {error}")
    return options


def _call(options: dict) -> None:
    from huecry import api

    command, overrides = options.pop("command"), options.pop("overrides", [])
    if command in ("pretrain", "finetune"):
        getattr(api, command)(options["config"], *overrides, dry_run=options["dry_run"])
    elif command in ("evaluate", "probe"):
        getattr(api, command)(options.pop("model"), options.pop("data"), *overrides, **options)
    elif command == "audit":
        api.audit(options.pop("data"), *overrides, **options)
    elif command == "ablate":
        api.ablate(options.pop("config"), *overrides, **options)
    elif command == "people":
        api.people(**options)
    else:
        for name, text in api.recipes().items():
            print(name)
            print(textwrap.indent(textwrap.fill(text, 100), "    "))


if __name__ == "__main__":
    sys.exit(main())
