"""A stand-in for the hub over real HTTP: repositories with commits, large files by their hash, tokens, visibility.

It answers what huggingface_hub asks when it makes a repository, commits to it and reads from it, in the forms that its
client checks, and keeps what it was asked.
"""

from __future__ import annotations

import base64
import hashlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
import yaml
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse

TOKEN = "hf_stand_in"
LARGE_BYTES = 12_000
"""From this size on a file is stored by its hash, as weights are on the hub."""


@dataclass
class Repo:
    """Files by path at each commit, the newest last."""

    is_private: bool
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)

    def commit(self, files: dict[str, bytes]) -> str:
        content = json.dumps([len(self.commits), sorted((k, hashlib.sha1(v).hexdigest()) for k, v in files.items())])
        oid = hashlib.sha1(content.encode()).hexdigest()
        self.commits[oid] = files
        return oid

    def at(self, revision: str) -> str | None:
        if revision == "main":
            return list(self.commits)[-1]
        return revision if revision in self.commits else None


@dataclass
class Hub:
    """What the stand-in holds, and the requests that it got: (method, path, user agent).

    Large files stand under another host's name, as on the hub: the client leaves a redirect to it to the download.
    """

    url: str = ""
    large_url: str = ""
    repos: dict[str, Repo] = field(default_factory=dict)
    large: dict[str, bytes] = field(default_factory=dict)
    asked: list[tuple[str, str, str]] = field(default_factory=list)

    def files(self, name: str, revision: str = "main") -> dict[str, bytes]:
        repo = self.repos[name]
        return repo.commits[str(repo.at(revision))]

    def add(self, name: str, files: dict[str, bytes], *, is_private: bool = False) -> str:
        return self.repos.setdefault(name, Repo(is_private)).commit(dict(files))


def error(status: int, code: str, message: str) -> JSONResponse:
    return JSONResponse({"error": message}, status, headers={"X-Error-Code": code, "X-Error-Message": message})


NO_REPO = (404, "RepoNotFound", "Repository not found")


def make_app(hub: Hub) -> FastAPI:
    app = FastAPI()

    @app.middleware("http")
    async def keep(request: Request, call_next: Any) -> Response:
        hub.asked.append((request.method, request.url.path, request.headers.get("user-agent", "")))
        answer: Response = await call_next(request)
        return answer

    def may_write(request: Request) -> bool:
        return request.headers.get("authorization") == f"Bearer {TOKEN}"

    def readable(request: Request, name: str) -> Repo | None:
        repo = hub.repos.get(name)
        return repo if repo is not None and (not repo.is_private or may_write(request)) else None

    @app.post("/api/repos/create")
    async def create(request: Request) -> Response:
        if not may_write(request):
            return error(401, "Unauthorized", "Invalid username or password.")
        asked = await request.json()
        name = f"{asked['organization']}/{asked['name']}"
        if asked["organization"] != "org":
            return error(403, "Forbidden", f"You don't have the rights to create a model under {asked['organization']}")
        hub.add(name, {".gitattributes": b"*.safetensors filter=lfs\n"}, is_private=asked["visibility"] == "private")
        return JSONResponse({"url": f"{hub.url}/{name}", "name": name})

    @app.post("/api/validate-yaml")
    async def validate(request: Request) -> Response:
        content = (await request.json())["content"]
        front = yaml.safe_load(content.split("---")[1])
        problems = [] if front.get("library_name") else [{"message": "library_name is missing"}]
        return JSONResponse({"errors": problems, "warnings": []}, 400 if problems else 200)

    @app.get("/api/models/{org}/{model}")
    @app.get("/api/models/{org}/{model}/revision/{revision}")
    async def info(request: Request, org: str, model: str, revision: str = "main") -> Response:
        repo = readable(request, f"{org}/{model}")
        if repo is None:
            return error(*NO_REPO)
        oid = repo.at(revision)
        if oid is None:
            return error(404, "RevisionNotFound", "Invalid rev id")
        names = [{"rfilename": name} for name in repo.commits[oid]]
        told = {"id": f"{org}/{model}", "sha": oid, "private": repo.is_private, "siblings": names}
        return JSONResponse(told)

    @app.get("/api/models/{org}/{model}/tree/{revision}")
    async def tree(request: Request, org: str, model: str, revision: str) -> Response:
        repo = readable(request, f"{org}/{model}")
        if repo is None:
            return error(*NO_REPO)
        files = repo.commits[str(repo.at(revision))]
        return JSONResponse(
            [{"type": "file", "path": name, "size": len(data), "oid": _oid(data)} for name, data in files.items()]
        )

    @app.post("/api/models/{org}/{model}/preupload/{revision}")
    async def preupload(request: Request, org: str, model: str, revision: str) -> Response:
        present = hub.files(f"{org}/{model}", revision)
        ignored = present.get(".gitignore", b"").decode().split()
        files = []
        for each in (await request.json())["files"]:
            name, is_large = each["path"], each["size"] >= LARGE_BYTES
            told = {"path": name, "uploadMode": "lfs" if is_large else "regular", "shouldIgnore": name in ignored}
            files.append(told | ({"oid": _stored_as(present[name])} if name in present else {}))
        return JSONResponse({"files": files})

    @app.post("/{org}/{model}.git/info/lfs/objects/batch")
    async def batch(request: Request, org: str, model: str) -> Response:
        if not may_write(request):
            return error(401, "Unauthorized", "Invalid username or password.")
        objects = [
            each
            | (
                {}
                if each["oid"] in hub.large
                else {"actions": {"upload": {"href": f"{hub.large_url}/cdn/{each['oid']}"}}}
            )
            for each in (await request.json())["objects"]
        ]
        return JSONResponse({"transfer": "basic", "objects": objects})

    @app.put("/cdn/{oid}")
    async def put(request: Request, oid: str) -> Response:
        content = await request.body()
        if hashlib.sha256(content).hexdigest() != oid:
            return Response(status_code=400)
        hub.large[oid] = content
        return Response()

    @app.api_route("/cdn/{oid}", methods=["GET", "HEAD"])
    async def get(oid: str) -> Response:
        return Response(hub.large[oid], media_type="application/octet-stream")

    @app.post("/api/models/{org}/{model}/commit/{revision}")
    async def commit(request: Request, org: str, model: str, revision: str) -> Response:
        name = f"{org}/{model}"
        if not may_write(request):
            return error(401, "Unauthorized", "Invalid username or password.")
        files = dict(hub.files(name, revision))
        for line in (await request.body()).splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                files[value["path"]] = hub.large[value["oid"]]
            elif entry["key"] == "deletedFile":
                del files[value["path"]]
        oid = hub.repos[name].commit(files)
        return JSONResponse({"success": True, "commitOid": oid, "commitUrl": f"{hub.url}/{name}/commit/{oid}"})

    @app.api_route("/{org}/{model}/resolve/{revision}/{path:path}", methods=["GET", "HEAD"])
    async def resolve(request: Request, org: str, model: str, revision: str, path: str) -> Response:
        repo = readable(request, f"{org}/{model}")
        if repo is None:
            return error(*NO_REPO)
        oid = repo.at(revision)
        if oid is None:
            return error(404, "RevisionNotFound", "Invalid rev id")
        if path not in repo.commits[oid]:
            answer = error(404, "EntryNotFound", "Entry not found")
            answer.headers["X-Repo-Commit"] = oid
            return answer
        content = repo.commits[oid][path]
        headers = {"X-Repo-Commit": oid, "ETag": f'"{_oid(content)}"'}
        if len(content) < LARGE_BYTES:
            return Response(content, media_type="text/plain", headers=headers)
        digest = hashlib.sha256(content).hexdigest()
        hub.large[digest] = content
        headers |= {"X-Linked-Etag": f'"{digest}"', "X-Linked-Size": str(len(content))}
        return RedirectResponse(f"{hub.large_url}/cdn/{digest}", 302, headers=headers)

    return app


def _oid(content: bytes) -> str:
    """What git calls the file."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _stored_as(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest() if len(content) >= LARGE_BYTES else _oid(content)


@contextmanager
def running_hub() -> Iterator[Hub]:
    """The stand-in on a port of this machine."""
    hub = Hub()
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        hub.url, hub.large_url = f"http://127.0.0.1:{port}", f"http://localhost:{port}"
        server = uvicorn.Server(uvicorn.Config(make_app(hub), log_level="error", lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        try:
            yield hub
        finally:
            server.should_exit = True
            thread.join(10)
