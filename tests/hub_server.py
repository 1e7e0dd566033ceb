"""A small server of the Hugging Face hub's protocol, as huggingface_hub 0.36 speaks it: repositories in memory.

Of https://huggingface.co/docs/hub/api: create, model info, resolve (HEAD, GET, ranges), preupload, LFS, commit.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

LARGE = 2000  # bytes; a file of as many is stored by LFS, under its SHA-256


class HubServer(ThreadingHTTPServer):
    """repos: by name, the files of each commit. refs: the commit of each branch, by repository.

    asked: method, path, and range of each request. cut: after how many bytes a download of this file breaks off.
    tokens: that requests came with.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.repos: dict[str, dict[str, dict[str, bytes]]] = {}
        self.refs: dict[str, dict[str, str]] = {}
        self.objects: dict[str, bytes] = {}
        self.asked: list[tuple[str, str, str]] = []
        self.cut: dict[str, int] = {}
        self.tokens: set[str] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def commit(self, repo: str, files: dict[str, bytes], branch: str = "main") -> str:
        """Adds files to a branch. Returns the new commit's id."""
        commits, refs = self.repos.setdefault(repo, {}), self.refs.setdefault(repo, {})
        before = commits.get(refs.get(branch, refs.get("main", "")), {})
        after = before | files
        content = json.dumps([branch, len(commits), {k: hashlib.sha256(v).hexdigest() for k, v in after.items()}])
        oid = hashlib.sha1(content.encode(), usedforsecurity=False).hexdigest()
        commits[oid], refs[branch] = after, oid
        return oid

    def files(self, repo: str, revision: str = "main") -> dict[str, bytes]:
        return self.repos[repo][self.refs[repo].get(revision, revision)]

    def gets(self, name: str) -> list[str]:
        """The ranges of the downloads of a file; "" for one of the whole."""
        return [ranged for method, path, ranged in self.asked if method == "GET" and path.endswith(f"/{name}")]


class _Answers(BaseHTTPRequestHandler):
    server: HubServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.ask("GET")

    def do_HEAD(self) -> None:
        self.ask("HEAD")

    def do_POST(self) -> None:
        self.ask("POST")

    def do_PUT(self) -> None:
        self.ask("PUT")

    def ask(self, method: str) -> None:
        path = unquote(self.path.partition("?")[0])
        self.server.asked.append((method, path, self.headers.get("Range", "")))
        if token := self.headers.get("Authorization"):
            self.server.tokens.add(token)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        for pattern, answer in _ROUTES:
            if match := re.fullmatch(pattern, f"{method} {path}"):
                answer(self, body, *match.groups())
                return
        self.send(404, {"error": "Entry not found"})

    def send(self, status: int, content: Any = b"", **headers: str) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def missing(self) -> None:
        self.send(404, {"error": "Repository not found"}, X_Error_Code="RepoNotFound")

    def create(self, body: bytes) -> None:
        about = json.loads(body)
        name = f"{about['organization']}/{about['name']}"
        if name in self.server.repos:
            return self.send(
                409, {"error": "You already created this model repo", "url": f"{self.server.url}/{name}"}
            )
        self.server.commit(name, {".gitattributes": b"*.safetensors filter=lfs\n"})
        return self.send(200, {"url": f"{self.server.url}/{name}", "name": name})

    def branch(self, _: bytes, repo: str, name: str) -> None:
        self.server.refs[repo].setdefault(name, self.server.refs[repo]["main"])
        self.send(200, {})

    def info(self, _: bytes, repo: str, revision: str | None) -> None:
        if repo not in self.server.repos:
            return self.missing()
        refs = self.server.refs[repo]
        oid = refs.get(revision or "main", revision or "")
        if oid not in self.server.repos[repo]:
            return self.send(404, {"error": "Invalid rev id"}, X_Error_Code="RevisionNotFound")
        siblings = [{"rfilename": name} for name in self.server.repos[repo][oid]]
        return self.send(200, {"id": repo, "modelId": repo, "sha": oid, "private": False, "siblings": siblings})

    def resolve(self, _: bytes, repo: str, revision: str, name: str) -> None:
        if repo not in self.server.repos:
            return self.missing()
        oid = self.server.refs[repo].get(revision, revision)
        if oid not in self.server.repos[repo]:
            return self.send(404, {"error": "Invalid rev id"}, X_Error_Code="RevisionNotFound")
        data = self.server.repos[repo][oid].get(name)
        if data is None:
            return self.send(404, {"error": "Entry not found"}, X_Error_Code="EntryNotFound")
        etag = _git_id(data) if len(data) < LARGE else hashlib.sha256(data).hexdigest()
        wrong = self.server.objects.get(f"wrong {name}", data)  # what is sent under the right checksum
        start = int(re.sub(r"\D", "", self.headers.get("Range", "").partition("-")[0]) or 0)
        headers = {"ETag": f'"{etag}"', "X_Repo_Commit": oid, "X_Linked_Size": str(len(data))}
        if start:
            headers["Content_Range"] = f"bytes {start}-{len(wrong) - 1}/{len(wrong)}"
        part = wrong[start:]
        if self.command == "GET" and (cut := self.server.cut.pop(name, None)) is not None:
            self.send_response(206 if start else 200)
            for key, value in headers.items():
                self.send_header(key.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(part)))
            self.end_headers()
            self.wfile.write(part[:cut])
            self.close_connection = True
            return None
        return self.send(206 if start else 200, part, **headers)

    def preupload(self, body: bytes, repo: str, _: str) -> None:
        files = json.loads(body)["files"]
        modes = [
            {
                "path": one["path"],
                "uploadMode": "lfs" if one["size"] >= LARGE else "regular",
                "shouldIgnore": False,
            }
            for one in files
        ]
        self.send(200, {"files": modes})

    def batch(self, body: bytes, _: str) -> None:
        objects = [
            {"oid": one["oid"], "size": one["size"],
             "actions": {"upload": {"href": f"{self.server.url}/lfs/{one['oid']}", "header": {}}}}
            for one in json.loads(body)["objects"]
        ]  # fmt: skip
        self.send(200, {"transfer": "basic", "objects": objects})

    def put(self, body: bytes, oid: str) -> None:
        assert hashlib.sha256(body).hexdigest() == oid
        self.server.objects[oid] = body
        self.send(200)

    def receive(self, body: bytes, repo: str, branch: str) -> None:
        if self.headers.get("Authorization") != "Bearer hf_right":
            return self.send(403, {"error": f"Forbidden: {self.headers.get('Authorization')} may not write"})
        files = {}
        for line in body.splitlines():
            one = json.loads(line)
            if one["key"] == "file":
                files[one["value"]["path"]] = base64.b64decode(one["value"]["content"])
            elif one["key"] == "lfsFile":
                files[one["value"]["path"]] = self.server.objects[one["value"]["oid"]]
        oid = self.server.commit(repo, files, branch)
        return self.send(
            200, {"success": True, "commitOid": oid, "commitUrl": f"{self.server.url}/{repo}/commit/{oid}"}
        )

    def valid(self, _: bytes) -> None:
        self.send(200, {"errors": [], "warnings": []})


def _git_id(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


_REPO = r"([\w.-]+/[\w.-]+)"
_ROUTES: list[tuple[str, Any]] = [
    (r"POST /api/repos/create", _Answers.create),
    (rf"POST /api/models/{_REPO}/branch/(.+)", _Answers.branch),
    (rf"GET /api/models/{_REPO}(?:/revision/(.+))?", _Answers.info),
    (rf"(?:GET|HEAD) /{_REPO}/resolve/([^/]+)/(.+)", _Answers.resolve),
    (rf"POST /api/models/{_REPO}/preupload/(.+)", _Answers.preupload),
    (rf"POST /{_REPO}\.git/info/lfs/objects/batch", _Answers.batch),
    (r"PUT /lfs/(\w+)", _Answers.put),
    (rf"POST /api/models/{_REPO}/commit/(.+)", _Answers.receive),
    (r"POST /api/validate-yaml", _Answers.valid),
]


@contextmanager
def hub_server() -> Iterator[HubServer]:
    """A running server."""
    with HubServer() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()
