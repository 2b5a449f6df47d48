"""Where the page to search from listens, and what it leaves behind: nothing. `huecry serve`; needs gradio."""

from __future__ import annotations

import os
import signal
import socket
import tempfile
import threading

from huecry.errors import UserError
from huecry.retrieval.index import Index
from huecry.retrieval.index_file import shown

FIRST_PORT, PORTS = 7860, 100
LOOPBACK = ("127.0.0.1", "localhost", "::1")


def serve(
    index: str | os.PathLike[str], *, host: str = "127.0.0.1", port: int | None = None, model: str | None = None
) -> None:
    """Show a page to search an index from, until Ctrl-C or SIGTERM.

    host: the address to listen on, by default reached from this machine alone. port: by default the first free one from
    7860 on. model: where the model is, if not where the index says. What the browser gets are small copies of pictures
    of the index, which are deleted in the end; no other file can be asked for.

    Raises UserError where gradio is not installed, as `Index` does, for an index without pictures, and where nothing
    can listen.
    """
    opened = Index.open(index, model)
    if not len(opened):
        raise UserError(f"{opened.place}: holds no picture to find")
    with tempfile.TemporaryDirectory(prefix="huecry-page-") as folder:
        os.environ |= {"GRADIO_TEMP_DIR": folder, "GRADIO_ANALYTICS_ENABLED": "False"}  # read when it is imported
        try:
            from huecry.retrieval.page import LAUNCH, build_page
        except ModuleNotFoundError as error:
            raise UserError(f"the page needs {error.name}; install it with pip install 'huecry[app]'") from error
        page = build_page(opened)
        chosen = _free(host, port)
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            page.launch(server_name=host, server_port=chosen, prevent_thread_lock=True, **LAUNCH)
            print(f"{len(opened):,} pictures in {shown(opened.file.about.root or opened.file.about.source)}")
            if host not in LOOPBACK:
                print(f"listening on {host}: whoever reaches this machine can search and see these pictures")
            print(f"http://{f'[{host}]' if ':' in host else host}:{chosen}   (Ctrl-C ends it)", flush=True)
            threading.Event().wait()
        except KeyboardInterrupt:
            page.close(verbose=False)


def _free(host: str, port: int | None) -> int:
    """A port that can be listened on. Raises UserError where there is none, or the host is not this machine's."""
    ports = range(FIRST_PORT, FIRST_PORT + PORTS) if port is None else [port]
    reason = "a port is a number from 1 to 65535"
    for number in ports:
        if not 0 < number < 2**16:
            continue
        try:
            family, kind, *_, address = socket.getaddrinfo(host, number, type=socket.SOCK_STREAM)[0]
            with socket.socket(family, kind) as listener:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listener.bind(address)
            return number
        except OSError as error:
            reason = error.strerror or str(error)
    where = f"{host}:{port}" if port is not None else f"{host}, ports {FIRST_PORT} to {FIRST_PORT + PORTS - 1}"
    raise UserError(f"{where}: cannot listen there ({reason}); choose another --port or --host")
