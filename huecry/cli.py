"""The `huecry` command: parses arguments and calls the function of the same name in `huecry.api`."""

from __future__ import annotations

import argparse
import re
import sys
import textwrap


def build_parser() -> argparse.ArgumentParser:
    """The parser of all sub-commands."""
    from huecry.publish import FORMATS
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
    evaluate.add_argument(
        "--strata", action="store_true", help="also print captions with and without colour, negation; colours erased"
    )
    evaluate.add_argument("--json", metavar="FILE", help="also write the figures to a file")
    evaluate.add_argument("overrides", nargs="*", metavar="key=value", help="model.*, data.* and eval.* keys")
    compare = commands.add_parser("compare", help="models beside each other, on one or several data sets: a table")
    compare.add_argument(
        "models", nargs="+", metavar="MODEL", help="as of evaluate; runs of one recipe at several seeds are one row"
    )
    compare.add_argument("--data", nargs="+", required=True, metavar="DATA", help="a column each")
    compare.add_argument("--split", default="test", help="train, val or test (default test)")
    compare.add_argument("--json", metavar="FILE", help="also write the figures to a file")
    compare.add_argument("overrides", nargs="*", metavar="key=value", help="model.*, data.* and eval.* keys")
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
    index = commands.add_parser("index", help="features of a folder's or data set's pictures, for search")
    index.add_argument("model", metavar="MODEL", help="as of evaluate")
    index.add_argument("data", metavar="FOLDER|DATA", help="a plain folder of pictures, or a data set as of evaluate")
    index.add_argument("--out", required=True, metavar="FILE", help="a new file, or a former index to bring up to date")
    index.add_argument("--split", help="of a data set, one part alone (default all)")
    index.add_argument("overrides", nargs="*", metavar="key=value", help="model.*, data.* and eval.* keys")
    search = commands.add_parser("search", help="find pictures of an index from sentences, a picture or attributes")
    search.add_argument("index", metavar="INDEX", help="what huecry index has written")
    search.add_argument("sentences", nargs="*", metavar="SENTENCE", help="each has its own results")
    search.add_argument("--image", metavar="FILE", help="a picture to search with, alone or with each sentence")
    search.add_argument(
        "--weight", type=float, default=1.0, metavar="W", help="of a sentence beside the picture (default 1)"
    )
    search.add_argument(
        "--attr", action="append", default=[], metavar="KEY=VALUE", help="upper=red, bag=backpack; may be repeated"
    )
    search.add_argument("-k", type=int, default=10, metavar="K", help="results (default 10)")
    search.add_argument("--sheet", metavar="FILE.png", help="also draw what was found")
    search.add_argument("--json", action="store_true", help="print JSON instead of a table")
    search.add_argument("--model", metavar="MODEL", help="where the model is, if it has moved since")
    search.add_argument("--exact", action="store_true", help="leave faiss alone, also in a large gallery")
    serve = commands.add_parser("serve", help="a page to search an index from, with what drove a match")
    serve.add_argument("index", metavar="INDEX", help="what huecry index has written")
    serve.add_argument("--host", default="127.0.0.1", help="where to listen (default 127.0.0.1: this machine alone)")
    serve.add_argument("--port", type=int, help="default: the first free one from 7860 on")
    serve.add_argument("--model", metavar="MODEL", help="where the model is, if it has moved since")
    export = commands.add_parser("export", help="write a model as one folder for three libraries, with a card")
    export.add_argument("model", metavar="MODEL", help="run or model folder, Hub id, open_clip:ARCH/TAG, or tiny")
    export.add_argument("out", metavar="OUT", help="a new folder")
    export.add_argument("--formats", nargs="+", default=FORMATS, choices=FORMATS, help="by default all three")
    export.add_argument("--square", action="store_true", help="for pipelines that know no rectangles; other features")
    export.add_argument("--dtype", choices=("bf16", "fp16"), help="store matrices in half precision (default fp32)")
    push = commands.add_parser("push", help="upload a model, or a run to go on from, to the Hugging Face Hub")
    push.add_argument("model", metavar="RUN|MODEL", help="the folder of a run, or one that export made")
    push.add_argument("repo", metavar="ORG/NAME", help="made if it is not there")
    push.add_argument("--checkpoint", action="store_true", help="the run's newest snapshot, to go on from")
    push.add_argument("--private", action="store_true", help="make the repository a private one")
    push.add_argument("--dry-run", action="store_true", help="list the files that would go, and send nothing")
    people = commands.add_parser("people", help="write the embedded set of drawn pedestrians")
    people.add_argument("out", metavar="OUT", help="a new folder")
    people.add_argument("--persons", type=int, default=1000, help="persons in the training split (default 1000)")
    people.add_argument("--seed", type=int, default=0, help="of the training split (default 0)")
    commands.add_parser("recipes", help="list the recipes, what they implement and what they were verified against")
    for name, command in commands.choices.items():
        if name not in ("pretrain", "finetune"):
            command.add_argument("--debug", action="store_true", help="show the traceback of a mistake")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run a command line; returns the exit status: 0 done, 2 a user's mistake."""
    from huecry.training.command import exit_status

    options = _parse(arguments)
    return exit_status(lambda: _call(options), options.pop("debug"))


def _parse(arguments: list[str] | None) -> dict:
    """The options; `key=value` and sentences may also stand behind them, where argparse no longer looks for them."""
    parser = build_parser()
    found, rest = parser.parse_known_args(arguments)
    options = vars(found)
    last = next((name for name in ("overrides", "sentences") if name in options), None)
    unknown = [argument for argument in rest if argument.startswith("-") or last is None]
    if unknown:
        parser.error(f"{found.command} does not know {' '.join(unknown)}")
    if last is not None:
        options[last] = [*options[last], *rest]
    for name in ("models", "data", "labelled"):
        if isinstance(given := options.get(name), list):  # it takes all that follows it
            changes = [one for one in given if re.match(r"[\w.:]+=", one)]
            options[name] = [one for one in given if one not in changes]
            options["overrides"] = [*options["overrides"], *changes]
    if "labelled" in options:
        try:
            options["labelled"] = [float(one) for one in options["labelled"]]
        except ValueError as error:
            parser.error(f"argument --labelled: {error}")
    return options


def _call(options: dict) -> None:
    from huecry import api

    command, overrides = options.pop("command"), options.pop("overrides", [])
    if command in ("pretrain", "finetune"):
        getattr(api, command)(options["config"], *overrides, dry_run=options["dry_run"])
    elif command in ("evaluate", "probe", "index"):
        getattr(api, command)(options.pop("model"), options.pop("data"), *overrides, **options)
    elif command == "compare":
        api.compare(options.pop("models"), *overrides, **options)
    elif command == "audit":
        api.audit(options.pop("data"), *overrides, **options)
    elif command == "ablate":
        api.ablate(options.pop("config"), *overrides, **options)
    elif command == "search":
        api.search(options.pop("index"), *options.pop("sentences"), **options)
    elif command in ("export", "push", "people", "serve"):
        getattr(api, command)(**options)
    else:
        for name, text in api.recipes().items():
            print(name)
            print(textwrap.indent(textwrap.fill(text, 100), "    "))


if __name__ == "__main__":
    sys.exit(main())
