"""Make an index, or bring one up to date: features of every picture that is new or changed, and of no other.

A file is unchanged while its size and the time of its last change are; where they differ but the content is known, as
after a copy or under another name, it is read but not decoded. What is done is saved every `SAVE_SECONDS` in a folder
beside the index, `<out>.parts`, and joined into one file at the end: who is stopped or killed goes on from there.

Several processes (accelerate) share the pictures by their names; they need a disk that all of them see.
"""

from __future__ import annotations

import dataclasses
import glob
import hashlib
import json
import os
import time
import warnings
import zlib
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

from huecry.config import build_recipe
from huecry.data.loader import leave_signals
from huecry.data.readers import ReadOptions
from huecry.data.records import HubImage, Record
from huecry.errors import UserError
from huecry.processes import cores, gather, join, world
from huecry.retrieval.encoder import Encoder
from huecry.retrieval.index_file import About, Broken, IndexFile, read_index, shown
from huecry.retrieval.index_parts import INSIDE, UNREAD, Done, Files, Part, Seen, Task, collate
from huecry.retrieval.index_sources import find_pictures
from huecry.retrieval.search_attributes import random_sentences
from huecry.retrieval.search_faiss import LARGE, installed, make_cells
from huecry.training.signals import Stopped, StopSignals

SAVE_SECONDS = 15.0
ASKED = 200
"""Sentences that tell how much of the exact results faiss finds."""


def index(
    model: str, data: str, overrides: Sequence[str] = (), *, out: str, split: str | None = None
) -> dict[str, Any]:
    """Index the pictures of a folder or data set into the file `out`, or bring that up to date.

    model: what `model.source` takes. data: a plain folder, or what `data.source` takes; split: of a data set, one part
    alone. overrides: `key=value` of model.*, data.* and eval.batch_size. Pictures that cannot be read are left out.

    Returns, on the main process, {"out", "pictures", "new", "gone", "left_out": {name: why}}; an empty dict on others.
    Raises UserError for a model or source that is not there, for an `out` that is something else, and where no picture
    can be indexed; Stopped when a signal ended the work, whose results are kept.
    """
    recipe = build_recipe("index", {"model": {"source": model}, "data": {"source": data}}, overrides, {})
    reading = ReadOptions(**{one.name: getattr(recipe.data, one.name) for one in dataclasses.fields(ReadOptions)})
    target = Path(out).expanduser().resolve()
    folder = target.with_name(f"{target.name}.parts")
    join()
    encoder = Encoder(recipe.model)
    torch.set_num_threads(recipe.train.cpu_threads or cores() // int(os.environ.get("LOCAL_WORLD_SIZE", "1")) or 1)
    source = recipe.data.source
    if not isinstance(source, str):
        raise UserError(f"data.source={source}: an index is of one folder or data set; make one of each")
    pictures = find_pictures(source, reading, split)
    about = About(
        {**dataclasses.asdict(recipe.model), "source": _lasting(recipe.model.source)},
        encoder.digest,
        _lasting(source),
        dataclasses.asdict(reading),
        split,
        None if pictures.root is None else str(pictures.root),
    )
    old = _former(target, about)
    tasks, left_out = _tasks(pictures.records)
    done = Done(_saved(target, folder, about))
    todo = [one for one in tasks if one.stamp == INSIDE or not (one.key in done.at or one.key in done.broken)]
    main = world()[0] == 0
    if main:
        print("\n".join([*pictures.lines, f"{len(todo):,} to look at, {len(tasks) - len(todo):,} as before"]))
    start = time.perf_counter()
    _work(encoder, todo, done, Part(folder, about), recipe.eval.batch_size, recipe.data.workers)
    PartialState().wait_for_everyone()
    if not main:
        return {}
    if todo:
        seconds = time.perf_counter() - start
        print(f"{len(todo):,} pictures in {seconds:.1f} s, {len(todo) / seconds:,.0f} a second")
    made = _joined(about, tasks, Done(_saved(target, folder, about)), pictures.left_out | left_out)
    return _finish(target, folder, encoder, old, *made)


def _lasting(source: str) -> str:
    """The name of a model or data set, for a folder the whole path."""
    named = source in ("tiny", "people") or source.startswith(("hf:", "open_clip:"))
    path = Path(source).expanduser()
    return str(path.resolve()) if not named and path.exists() else source


def _former(target: Path, about: About) -> IndexFile | None:
    """The index that is brought up to date. Raises UserError for one of another model or source, and any other file."""
    if not target.exists():
        return None
    try:
        old = read_index(target)
    except UserError:
        raise UserError(f"{target}: is there, and not an index; remove it or give another --out") from None
    _check(target, old.about, about)
    return old


def _saved(target: Path, folder: Path, about: About) -> list[IndexFile]:
    """The former index and what was saved on the way since, the latest last; what is damaged is done again."""
    old = _former(target, about)
    saved = [] if old is None else [old]
    for path in sorted(folder.glob("[0-9]*.safetensors")):
        try:
            part = read_index(path)
        except UserError:
            continue
        _check(folder, part.about, about)
        saved.append(part)
    return saved


def _check(place: Path, before: About, now: About) -> None:
    if before.digest != now.digest:
        source = before.model["source"]
        raise UserError(f"{place}: made with another model ({source}); give another --out, or remove it")
    moved = before.root is not None and not Path(before.root).is_dir()
    same = before.source == now.source if before.root is None else before.root == now.root
    if before.split != now.split or not (same or moved):
        part = "" if before.split is None else f", split {before.split}"
        raise UserError(f"{place}: made of {before.source}{part}; give another --out, or remove it")


def _tasks(records: Sequence[Record]) -> tuple[list[Task], dict[str, str]]:
    """What there is to index, and why the others cannot be."""
    tasks: list[Task] = []
    left_out: dict[str, str] = {}
    for record in records:
        try:
            if isinstance(record.image, HubImage):
                tasks.append(Task(record, INSIDE))
            else:
                found = record.image.stat()
                tasks.append(Task(record, (found.st_size, found.st_mtime_ns)))
        except OSError as error:
            left_out[record.name] = str(error.strerror)
    return tasks, left_out


def _work(encoder: Encoder, todo: Sequence[Task], done: Done, part: Part, batch_size: int, workers: int) -> None:
    """This process's share of the pictures, into `part`, saved now and then.

    Every process goes round as often as the one that has most, since all of them stop together.
    Raises Stopped on a signal, with all saved.
    """
    rank, size = world()
    share = [one for one in todo if zlib.crc32(os.fsencode(one.record.name)) % size == rank]
    files = Files(share, done.by_hash, encoder.size)
    rounds = int(gather(torch.tensor([-(-len(share) // batch_size)], device=encoder.device)).max())
    name = "index" if size == 1 else f"index, process 1 of {size}"
    bar = tqdm(total=len(share), desc=name, unit=" pictures", disable=True if rank else None, leave=False)
    with StopSignals(encoder.device) as signals, bar:
        batches, looked = _encoded(files, encoder, batch_size, workers), 0
        try:
            for _ in range(rounds):
                found = next(batches, None)
                if found is not None:
                    seen, fresh = found
                    part.add(share[looked : looked + batch_size], seen, fresh, done)
                    bar.update(len(seen.why))
                    looked += len(seen.why)
                stop = signals.noted()
                if stop or time.monotonic() - part.saved > SAVE_SECONDS:
                    part.save()
                if stop:
                    kept = f"after {looked:,} of {len(share):,} pictures, which are kept"
                    raise Stopped(stop, f"{kept}; the same command goes on")
            part.save()
        finally:
            batches.close()  # its workers leave signals alone: a process that ends by an exception would wait for them


def _encoded(
    files: Files, encoder: Encoder, batch_size: int, workers: int
) -> Generator[tuple[Seen, Tensor | None], None, None]:
    """What is seen of each batch, in order, and the features [d, D] of what of it was decoded.

    Beside a GPU, so many processes prepare the batches. On a CPU each core does whole batches by itself: cores that
    share one batch wait for the one that decodes the next (`benchmarks/search_speed.py`).
    """

    def encoded(seen: Seen) -> tuple[Seen, Tensor | None]:
        return seen, None if seen.pixels is None else encoder.encode_pixels(seen.pixels)

    def alone(start: int) -> tuple[Seen, Tensor | None]:
        torch.set_num_threads(1)  # of this thread
        return encoded(collate([files[number] for number in range(start, min(start + batch_size, len(files)))]))

    if encoder.device.type != "cpu":
        loader = DataLoader(
            files,
            batch_size=batch_size,
            num_workers=workers,
            collate_fn=collate,
            worker_init_fn=leave_signals,
            generator=torch.Generator(),  # its own: it would draw from the global one
        )
        yield from map(encoded, loader if len(files) else ())
        return
    starts, threads = range(0, len(files), batch_size), torch.get_num_threads()
    if threads == 1:
        yield from map(alone, starts)
        return
    waiting: deque[Future[tuple[Seen, Tensor | None]]] = deque()
    with ThreadPoolExecutor(threads) as pool, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # each picture sets this too, and threads may undo it for each other
        try:
            for start in starts:
                waiting.append(pool.submit(alone, start))
                if len(waiting) > threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for one in waiting:
                one.cancel()
            torch.set_num_threads(threads)


def _joined(
    about: About, tasks: Sequence[Task], done: Done, left_out: dict[str, str]
) -> tuple[IndexFile, dict[str, str]]:
    """The index of what is done, in the order of the source, and why what is not in it was left out.

    Raises UserError where nothing is.
    """
    good = [task for task in tasks if task.key in done.at]
    broken = [Broken(*task.key, done.broken[task.key]) for task in tasks if task.key in done.broken]
    left_out = left_out | {one.path: one.why for one in broken}
    for task in tasks:
        if task.key not in done.at and task.key not in done.broken:
            left_out[task.record.name] = done.broken.get((task.record.name, *UNREAD), "not done; index again")
    if not good:
        why = next(iter(f"{shown(name)}: {reason}" for name, reason in left_out.items()), "it holds none")
        raise UserError(f"{about.source}: no picture can be indexed, {len(left_out):,} were left out ({why})")
    places = [done.at[task.key] for task in good]
    captions = [task.record.captions for task in good]
    file = IndexFile(
        about,
        [task.record.name for task in good],
        done.rows("features", places),
        done.rows("hashes", places),
        torch.tensor([task.stamp for task in good], dtype=torch.int64),
        [json.dumps(one) for one in captions] if any(captions) else None,
        broken,
    )
    same = file.same
    return (file if same is None else replace(file, features=file.features[same])), left_out


def _finish(
    target: Path, folder: Path, encoder: Encoder, old: IndexFile | None, file: IndexFile, left_out: dict[str, str]
) -> dict[str, Any]:
    """Write the index if anything in it is new, remove what was saved on the way, and tell."""
    alike = old is not None and old.paths == file.paths and torch.equal(old.hashes, file.hashes)
    fast = old.about.fast if old is not None and alike else {}
    if len(file.paths) >= LARGE and not fast:
        fast = _cells(target, file, encoder)
    file = replace(file, about=replace(file.about, fast=fast))
    if old is None or not alike or not torch.equal(old.stamps, file.stamps) or _told(old) != _told(file):
        file.write(target)
    for path in target.parent.glob(f"{glob.escape(target.name)}.*.faiss"):
        if path.name != fast.get("file"):
            path.unlink()
    for path in folder.glob("*.safetensors*"):
        path.unlink()
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
    before = set() if old is None else set(zip(old.paths, _hashes(old), strict=True))
    new = sum(one not in before for one in zip(file.paths, _hashes(file), strict=True))
    gone = 0 if old is None else len(set(old.paths) - set(file.paths))
    for name, why in left_out.items():
        print(f"left out: {shown(name)}: {why}")
    print(f"{target}: {len(file.paths):,} pictures, {new:,} new or changed, {gone:,} gone, {len(left_out):,} left out")
    return {"out": str(target), "pictures": len(file.paths), "new": new, "gone": gone, "left_out": left_out}


def _told(file: IndexFile) -> Any:
    return file.about, file.captions, file.broken


def _hashes(file: IndexFile) -> Iterator[bytes]:
    return (row.tobytes() for row in file.hashes.numpy())


def _cells(target: Path, file: IndexFile, encoder: Encoder) -> dict[str, Any]:
    """Cells of a large gallery beside its index, if faiss is there and they are worth it; what is told of them."""
    if not installed():
        print("search among so many is faster with faiss: pip install faiss-cpu, and call this again")
        return {}
    cells, worth = make_cells(file, encoder.encode_text(random_sentences(ASKED)))
    print(cells.line if worth else f"{cells.line}; not worth it, search stays exact")
    if not worth:
        return cells.facts
    content = hashlib.sha256(file.hashes.numpy().tobytes() + "\0".join(file.paths).encode(errors="surrogateescape"))
    return cells.save(target.with_name(f"{target.name}.{content.hexdigest()[:12]}.faiss"))
