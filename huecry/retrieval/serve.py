"""Where the page to search from listens, and how it ends: with no copy of a picture left. `huecry serve`."""

from __future__ import annotations

import os
import signal
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from huecry.errors import UserError
from huecry.retrieval.index import Index
from huecry.retrieval.index_file import shown

FIRST_PORT, PORTS = 7860, 100
LOOPBACK = "127.0.0.1"


def serve(
    index: str | os.PathLike[str], *, host: str = LOOPBACK, port: int | None = None, model: str | None = None
) -> None:
    """Show a page to search an index from, until Ctrl-C, SIGTERM or SIGHUP.

    host: the IPv4 address or name to listen on, by default reached from this machine alone. port: by default the first
    free one from 7860 on. model: where the model is, if not where the index says. What the browser gets are small
    copies of pictures of the index, which are deleted in the end; no other file can be asked for.

    Raises UserError where gradio is not installed, as `Index` does, for an index without pictures, and where nothing
    can listen.
    """
    opened = Index.open(index, model)
    if not len(opened):
        raise UserError(f"{opened.place}: holds no picture to find")
    near = ",".join(filter(None, [os.environ.get("no_proxy") or os.environ.get("NO_PROXY"), LOOPBACK, host]))
    with (
        _ended_by_signals(),
        tempfile.TemporaryDirectory(prefix="huecry-page-", ignore_cleanup_errors=True) as folder,
        _environment(GRADIO_TEMP_DIR=folder, GRADIO_ANALYTICS_ENABLED="False", NO_PROXY=near, no_proxy=near),
        suppress(KeyboardInterrupt),
    ):
        _show(opened, host, port, folder)


def _show(opened: Index, host: str, port: int | None, folder: str) -> None:
    """Launch the page and wait until something interrupts."""
    try:
        import httpx
        from starlette.middleware import Middleware

        from huecry.retrieval.page import LAUNCH, build_page
    except ModuleNotFoundError as error:
        raise UserError(f"the page needs {error.name}; install it with pip install 'huecry[app]'") from error
    from huecry.retrieval.serve_guard import Guard

    page = build_page(opened)
    chosen = _free(host, port)
    guard = {"middleware": [Middleware(Guard, host=host, folder=folder)]}
    try:
        page.launch(server_name=host, server_port=chosen, prevent_thread_lock=True, app_kwargs=guard, **LAUNCH)
    except (OSError, ValueError, httpx.HTTPError, httpx.InvalidURL) as error:
        raise UserError(f"{host}:{chosen}: the page did not start ({' '.join(str(error).split())})") from error
    try:
        print(f"{len(opened):,} pictures in {shown(opened.file.about.root or opened.file.about.source)}")
        if host not in (LOOPBACK, "localhost"):
            print(f"listening on {host}: whoever reaches this machine can search and see these pictures")
        print(f"http://{host}:{chosen}   (Ctrl-C ends it)", flush=True)
        threading.Event().wait()
    finally:
        page.close(verbose=False)


def _free(host: str, port: int | None) -> int:
    """A port that can be listened on. Raises UserError where there is none, or the host is not this machine's."""
    reason = "a port is a number from 1 to 65535"
    for number in range(FIRST_PORT, FIRST_PORT + PORTS) if port is None else [port]:
        if not 0 < number < 2**16:
            continue
        try:
            for name in (host, LOOPBACK):  # where gradio looks for a free port too
                with socket.socket() as listener:
                    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    listener.bind((name, number))
        except OSError as error:
            reason = error.strerror or str(error)
        else:
            return number
    where = f"{host}:{port}" if port is not None else f"{host}, ports {FIRST_PORT} to {FIRST_PORT + PORTS - 1}"
    raise UserError(f"{where}: cannot listen there ({reason}); choose another --port or an IPv4 --host")


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Within, SIGTERM and SIGHUP end the work as Ctrl-C does, where this is the main thread."""
    main = threading.current_thread() is threading.main_thread()
    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if main and hasattr(signal, name)]
    before = {number: signal.signal(number, signal.default_int_handler) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _environment(**values: str) -> Iterator[None]:
    """Within, these variables have these values."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
