"""What a browser may ask of the page: from the page itself, for copies of pictures; to store or to fetch nothing.

gradio's server can do more than this page needs: it takes files, fetches addresses, lends its answers to other sites.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, MutableMapping
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
API = "/gradio_api"
ALLOWED = (
    *("", "/config", "/info", "/startup-events", "/queue/join", "/queue/data", "/cancel", "/reset", "/login_check"),
    *("/app_id", "/theme.css", "/favicon.ico", "/manifest.json", "/robots.txt"),
)
"""What the page asks for, before or behind `API`; a slash at the end counts for nothing."""
BELOW = ("/assets/", "/static/", "/svelte/", "/heartbeat/")
"""All that begins so, too."""
FILE = "/file="


class Guard:
    """ASGI middleware: 403 for a foreign `Host` or `Origin`, files outside the folder, and what the page never asks.

    A site that points its own name at this machine (DNS rebinding) is known by that name in `Host`.
    host: the address that the page listens on. folder: where the copies of pictures are.
    """

    def __init__(self, app: Callable[..., Awaitable[None]], host: str, folder: str) -> None:
        self.app, self.host, self.folder = app, host, Path(os.path.realpath(folder))

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Send) -> None:
        """Answer a request, or hand it on."""
        if scope["type"] == "http" and not self._allowed(scope):
            await send({"type": "http.response.start", "status": 403, "headers": [(b"content-type", b"text/plain")]})
            await send({"type": "http.response.body", "body": b"not for this page"})
            return
        await self.app(scope, receive, send)

    def _allowed(self, scope: MutableMapping[str, Any]) -> bool:
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        netloc = headers.get("host", "")
        if not self._is_own(urlsplit(f"//{netloc}").hostname or ""):
            return False
        if "origin" in headers and urlsplit(headers["origin"]).netloc != netloc:
            return False
        path = scope["path"].removeprefix(API)
        if path.startswith(FILE):
            return self.folder in Path(os.path.realpath(path.removeprefix(FILE))).parents
        return path.rstrip("/") in ALLOWED or path.startswith(BELOW)

    def _is_own(self, name: str) -> bool:
        if name in ("localhost", self.host.lower()):
            return True
        try:
            ip_address(name)
        except ValueError:
            return False
        return True
