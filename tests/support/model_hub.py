"""A small server that answers the calls of huggingface_hub that a push and a pull make.

Files go in one commit of small ("regular") files; large files go to the hub another way (LFS, Xet),
which this server does not have.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

TOKEN = "hf_test_token"


@dataclass
class Repository:
    """One model: its commits by number, and its branches."""

    private: bool
    commits: list[dict[str, bytes]] = field(default_factory=lambda: [{".gitattributes": b""}])
    branches: dict[str, int] = field(default_factory=lambda: {"main": 0})

    def commit_of(self, revision: str) -> int | None:
        if revision in self.branches:
            return self.branches[revision]
        numbers = (n for n in range(len(self.commits)) if sha_of(n) == revision)
        return next(numbers, None)


@dataclass
class ModelHub:
    """The hub: its address, its models by name, and the files that were fetched."""

    address: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    fetched: list[str] = field(default_factory=list)


def sha_of(number: int) -> str:
    return hashlib.sha1(str(number).encode()).hexdigest()


@contextmanager
def model_hub() -> Iterator[ModelHub]:
    """Run a hub on this machine while the block runs."""
    hub = ModelHub()

    class Handler(_Handler):
        served = hub

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.address = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    served: ModelHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def answer(self, status: int, body: Any = b"", headers: dict[str, str] | None = None) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def repository(self, name: str) -> Repository | None:
        """The repository, if the caller may know of it; else the hub says that there is none."""
        found = self.served.repositories.get(name)
        allowed = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        if found is None or (found.private and not allowed):
            self.answer(404, {"error": "Not found"}, {"X-Error-Code": "RepoNotFound"})
            return None
        return found

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/(.+))?", path):
            self._info(match[1], match[2] or "main")
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/tree/([^/]+)/?", path):
            self._tree(match[1], match[2])
        elif match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            self._file(match[1], match[2], match[3])
        else:
            self.answer(404, {"error": f"no call {path}"})

    def _at(self, name: str, revision: str) -> tuple[Repository, int] | None:
        repository = self.repository(name)
        if repository is None:
            return None
        number = repository.commit_of(revision)
        if number is None:
            self.answer(404, {"error": "Not found"}, {"X-Error-Code": "RevisionNotFound"})
            return None
        return repository, number

    def _info(self, name: str, revision: str) -> None:
        if at := self._at(name, revision):
            repository, number = at
            self.answer(
                200,
                {"_id": "1", "id": name, "sha": sha_of(number), "private": repository.private,
                 "siblings": [], "tags": [], "downloads": 0, "likes": 0},
            )  # fmt: skip

    def _tree(self, name: str, revision: str) -> None:
        if at := self._at(name, revision):
            repository, number = at
            self.answer(
                200,
                [
                    {"type": "file", "path": path, "size": len(content), "oid": "0"}
                    for path, content in repository.commits[number].items()
                ],
            )

    def _file(self, name: str, revision: str, path: str) -> None:
        if at := self._at(name, revision):
            repository, number = at
            content = repository.commits[number].get(path)
            if content is None:
                self.answer(404, {"error": "Not found"}, {"X-Error-Code": "EntryNotFound"})
                return
            if self.command == "GET":
                self.served.fetched.append(path)
            etag = hashlib.sha256(content).hexdigest()
            self.answer(200, content, {"ETag": f'"{etag}"', "X-Repo-Commit": sha_of(number)})

    def do_POST(self) -> None:
        path, body = self.path.partition("?")[0], self.body()
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self.answer(401, {"error": "Invalid username or password."})
        elif path == "/api/repos/create":
            self._create(json.loads(body))
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/branch/(.+)", path):
            branches = self.served.repositories[match[1]].branches
            exists = match[2] in branches
            branches.setdefault(match[2], branches["main"])
            self.answer(409 if exists else 200, {})
        elif re.fullmatch(r"/api/models/[^/]+/[^/]+/preupload/.+", path):
            files = json.loads(body)["files"]
            self.answer(
                200,
                {"files": [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False}
                           for f in files]},
            )  # fmt: skip
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/commit/(.+)", path):
            self._commit(match[1], match[2], body)
        else:
            self.answer(404, {"error": f"no call {path}"})

    def _create(self, wanted: dict[str, Any]) -> None:
        name = f"{wanted['organization']}/{wanted['name']}"
        exists = name in self.served.repositories
        private = wanted.get("private") or wanted.get("visibility") == "private"
        self.served.repositories.setdefault(name, Repository(private=bool(private)))
        self.answer(409 if exists else 200, {"url": f"{self.served.address}/{name}"})

    def _commit(self, name: str, revision: str, body: bytes) -> None:
        repository = self.served.repositories[name]
        files = dict(repository.commits[repository.branches[revision]])
        for line in body.splitlines():
            operation = json.loads(line)
            value = operation["value"]
            if operation["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif operation["key"] == "deletedFile":
                del files[value["path"]]
        repository.commits.append(files)
        number = repository.branches[revision] = len(repository.commits) - 1
        self.answer(
            200,
            {"success": True, "commitOid": sha_of(number),
             "commitUrl": f"{self.served.address}/{name}/commit/{sha_of(number)}"},
        )  # fmt: skip
