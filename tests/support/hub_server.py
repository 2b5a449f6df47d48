"""A small Hub on the loopback: what the huggingface_hub client asks when it makes, fills, lists and reads a repository.

Failures are planned by step and repository: `server.plan("put", "org/name", 500, 500)` answers two uploads of files
with status 500, "cut" breaks the connection off in the middle of a request.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import socket
from collections import defaultdict
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any
from urllib.parse import unquote, urlsplit

TOKEN = "hf_accepted"
REPO = r"(?P<repo>[\w.-]+/[\w.-]+)"
ROUTES = {
    ("POST", r"/api/repos/create"): "create",
    ("POST", r"/api/validate-yaml"): "validate",
    ("POST", rf"/api/models/{REPO}/preupload/main"): "preupload",
    ("POST", rf"/{REPO}\.git/info/lfs/objects/batch"): "batch",
    ("PUT", rf"/lfs/{REPO}/(?P<oid>\w+)"): "put",
    ("POST", rf"/lfs/{REPO}/verify"): "verify",
    ("POST", rf"/api/models/{REPO}/commit/main"): "commit",
    ("GET", rf"/api/models/{REPO}(/revision/\w+)?"): "info",
    ("GET", rf"/api/models/{REPO}/tree/\w+"): "tree",
    ("HEAD", rf"/{REPO}/resolve/\w+/(?P<path>.+)"): "resolve",
    ("GET", rf"/{REPO}/resolve/\w+/(?P<path>.+)"): "resolve",
}


@dataclass
class Repository:
    """files: content by path. commits: how many were made. objects: what was uploaded, by digest."""

    name: str
    private: bool
    files: dict[str, bytes] = field(default_factory=dict)
    commits: int = 0
    objects: dict[str, bytes] = field(default_factory=dict)

    @property
    def sha(self) -> str:
        return hashlib.sha1(f"{self.name} {self.commits}".encode()).hexdigest()


class HubServer(ThreadingHTTPServer):
    """`with HubServer() as server:` answers at `server.endpoint`.

    repositories: by name. asked: (step, repository) of every request.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.endpoint = f"http://127.0.0.1:{self.server_port}"
        self.repositories: dict[str, Repository] = {}
        self.asked: list[tuple[str, str]] = []
        self.failures: dict[tuple[str, str], list[Any]] = defaultdict(list)
        self.lock = Lock()

    def __enter__(self) -> HubServer:
        Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: Any) -> None:
        self.shutdown()
        self.server_close()

    def plan(self, step: str, repo: str, *failures: Any) -> None:
        """The next requests of a step for a repository fail: a status, or "cut"."""
        self.failures[step, repo] += failures


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: HubServer

    def log_message(self, *_: Any) -> None:
        pass

    def _handle(self) -> None:
        path = unquote(urlsplit(self.path).path)
        for (method, pattern), step in ROUTES.items():
            match = re.fullmatch(pattern, path)
            if method == self.command and match:
                return self._step(step, match.groupdict())
        self._body()
        self._answer(404, {"error": f"no route {self.command} {path}"})

    do_GET = do_POST = do_PUT = do_HEAD = _handle

    def _step(self, step: str, names: dict[str, str]) -> None:
        body = b"" if step == "put" else self._body()
        repo = names.get("repo", "")
        if step == "create":
            wanted = json.loads(body)
            repo = f"{wanted['organization']}/{wanted['name']}"
        with self.server.lock:
            self.server.asked.append((step, repo))
            planned = self.server.failures[step, repo]
            failure = planned.pop(0) if planned else None
        if failure == "cut":
            if step == "put":
                self.rfile.read(1000)
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
            return
        if step == "put":
            body = self._body()
        if failure is not None:
            return self._answer(failure, {"error": f"planned {failure}"})
        given = self.headers.get("Authorization")
        if step not in ("put", "validate") and given != f"Bearer {TOKEN}":
            return self._answer(401, {"error": "Invalid username or password."})
        getattr(self, f"_{step}")(repo, names, body)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline().strip(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _answer(self, status: int, content: Any = None, **headers: str) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _known(self, repo: str) -> Repository | None:
        found = self.server.repositories.get(repo)
        if found is None:
            self._answer(404, {"error": "Repository not found"}, X_Error_Code="RepoNotFound")
        return found

    def _create(self, repo: str, _: Any, body: bytes) -> None:
        if repo in self.server.repositories:
            return self._answer(409, {"error": "You already created this model repo"})
        private = json.loads(body).get("visibility") == "private"
        self.server.repositories[repo] = Repository(repo, private, {".gitattributes": b"*.safetensors filter=lfs\n"})
        self._answer(200, {"url": f"{self.server.endpoint}/{repo}", "name": repo, "id": repo})

    def _validate(self, *_: Any) -> None:
        self._answer(200, {"errors": [], "warnings": []})

    def _preupload(self, repo: str, _: Any, body: bytes) -> None:
        if self._known(repo) is None:
            return
        files = [
            {"path": one["path"], "uploadMode": "lfs" if one["size"] > 100_000 else "regular", "shouldIgnore": False}
            for one in json.loads(body)["files"]
        ]
        self._answer(200, {"files": files})

    def _batch(self, repo: str, _: Any, body: bytes) -> None:
        found = self._known(repo)
        if found is None:
            return
        objects = json.loads(body)["objects"]
        for one in objects:
            if one["oid"] not in found.objects:
                place = f"{self.server.endpoint}/lfs/{repo}"
                one["actions"] = {"upload": {"href": f"{place}/{one['oid']}"}, "verify": {"href": f"{place}/verify"}}
        self._answer(200, {"transfer": "basic", "objects": objects})

    def _put(self, repo: str, names: dict[str, str], body: bytes) -> None:
        if hashlib.sha256(body).hexdigest() != names["oid"]:
            return self._answer(400, {"error": "another digest"})
        self.server.repositories[repo].objects[names["oid"]] = body
        self._answer(200)

    def _verify(self, repo: str, _: Any, body: bytes) -> None:
        one = json.loads(body)
        stored = self.server.repositories[repo].objects.get(one["oid"], b"")
        self._answer(200 if len(stored) == one["size"] else 404, {})

    def _commit(self, repo: str, _: Any, body: bytes) -> None:
        found = self._known(repo)
        if found is None:
            return
        files = dict(found.files)
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = found.objects[value["oid"]]
            elif line["key"] == "deletedFile":
                del files[value["path"]]
        found.files, found.commits = files, found.commits + 1
        self._answer(200, {"commitUrl": f"{self.server.endpoint}/{repo}/commit/{found.sha}", "commitOid": found.sha})

    def _info(self, repo: str, *_: Any) -> None:
        if found := self._known(repo):
            files = [{"rfilename": name} for name in found.files]
            self._answer(200, {"id": repo, "sha": found.sha, "private": found.private, "siblings": files})

    def _tree(self, repo: str, *_: Any) -> None:
        if found := self._known(repo):
            self._answer(
                200,
                [
                    {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
                    for name, content in found.files.items()
                ],
            )

    def _resolve(self, repo: str, names: dict[str, str], _: bytes) -> None:
        found = self._known(repo)
        if found is None:
            return
        content = found.files.get(names["path"])
        if content is None:
            return self._answer(404, {"error": "Entry not found"}, X_Error_Code="EntryNotFound")
        self._answer(200, content, ETag=f'"{hashlib.sha1(content).hexdigest()}"', X_Repo_Commit=found.sha)
