"""A server that behaves like the Hugging Face hub, and like download.pytorch.org, as far as jaxcls asks.

`serving(monkeypatch, cache)` starts one and points the client of the hub at it, which reads its settings once, while it
is imported. What it has is `Hub.repos`, what it was given is there afterwards.

    python tests/hub_server.py 8123 FOLDER    # serves FOLDER/ORG/NAME/model.safetensors, .../config.json by hand
    HF_ENDPOINT=http://127.0.0.1:8123 HF_HUB_DISABLE_XET=1 jaxcls train ... --config.model.pretrained=hf-hub:ORG/NAME
"""

import base64
import contextlib
import hashlib
import http.server
import json
import re
import sys
import threading
from pathlib import Path

COMMIT = "1" * 40


class Hub:
    """Repositories (name -> file -> bytes), and files by path, with what goes wrong on purpose.

    Attributes:
      repos: those that there are; `private`: how each was created.
      paths: path -> bytes, of any other server.
      gated: repositories that answer 403.
      lies: file -> the SHA-256 that is told of it.
      short: paths whose answers break off in the middle.
      foreign: owners whose repositories this token may not write; `cut`: whether uploads break off in the middle.
      token: that writing takes.
      asked: "METHOD path" of every request.
    """

    def __init__(self):
        self.repos, self.paths, self.private = {}, {}, {}
        self.gated, self.lies, self.short = set(), {}, set()
        self.foreign, self.cut = set(), False
        self.token, self.asked, self.uploads = "hf_right", [], {}
        self.url = ""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self._get(body=False)

    def do_GET(self):
        self._get(body=True)

    def _get(self, *, body):
        path = self.path.partition("?")[0]
        self.hub.asked.append(f"{self.command} {path}")
        if path in self.hub.paths:
            self._file(self.hub.paths[path], body, {})
        elif path == "/api/whoami-v2":
            right = self.headers.get("authorization") == f"Bearer {self.hub.token}"
            self._json({"name": "someone", "type": "user", "orgs": []}) if right else self._error(401)
        elif found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            self._resolve(*found.groups(), body)
        elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)(/revision/[^/]+)?", path):
            self._json({"id": found[1], "sha": COMMIT}) if found[1] in self.hub.repos else self._error(401)
        else:
            self._error(404, "EntryNotFound")

    def _resolve(self, repo, revision, file, body):
        if repo in self.hub.gated:
            self._error(403, "GatedRepo", f"Access to model {repo} is restricted.")
        elif repo not in self.hub.repos:
            self._error(401, "RepoNotFound", "Repository not found")
        elif revision not in ("main", COMMIT):
            self._error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        elif file not in self.hub.repos[repo]:
            self._error(404, "EntryNotFound", "Entry not found")
        else:
            content = self.hub.repos[repo][file]
            digest = self.hub.lies.get(file) or hashlib.sha256(content).hexdigest()
            self._file(content, body, {"X-Repo-Commit": COMMIT, "ETag": f'"{digest}"', "X-Linked-Size": len(content)})

    def do_POST(self):
        path = self.path.partition("?")[0]
        self.hub.asked.append(f"POST {path}")
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("authorization") != f"Bearer {self.hub.token}" and "/lfs/" not in path:
            self._error(401, "", "Invalid username or password.")
        elif path == "/api/repos/create":
            asked = json.loads(body)
            repo = f"{asked.get('organization') or 'someone'}/{asked['name']}"
            if repo.partition("/")[0] in self.hub.foreign:
                self._error(403, "", "You don't have the rights to create a model under this namespace")
                return
            self.hub.private[repo] = asked.get("private") or asked.get("visibility") == "private"
            self.hub.repos.setdefault(repo, {})
            self._json({"url": f"{self.hub.url}/{repo}"})
        elif path == "/api/validate-yaml":
            self._json({"errors": [], "warnings": []})
        elif found := re.fullmatch(r"/api/models/(.+)/preupload/main", path):
            if found[1].partition("/")[0] in self.hub.foreign:
                self._error(403, "", "Authorization error: write access needed")
                return
            files = json.loads(body)["files"]
            large = [x["path"].endswith(".safetensors") for x in files]
            modes = [
                {"path": x["path"], "uploadMode": "lfs" if lfs else "regular", "shouldIgnore": False, "oid": None}
                for x, lfs in zip(files, large, strict=True)
            ]
            self._json({"files": modes, "commitOid": COMMIT})
        elif re.fullmatch(r"/(.+)\.git/info/lfs/objects/batch", path):
            self._json({"transfer": "basic", "objects": [self._upload(x) for x in json.loads(body)["objects"]]})
        elif found := re.fullmatch(r"/api/models/(.+)/commit/main", path):
            self._commit(found[1], [json.loads(line) for line in body.splitlines()])
        else:
            self._error(404)

    def _upload(self, wanted):
        href = f"{self.hub.url}/upload/{wanted['oid']}"
        return {
            "oid": wanted["oid"],
            "size": wanted["size"],
            "authenticated": True,
            "actions": {"upload": {"href": href}},
        }

    def do_PUT(self):
        self.hub.asked.append(f"PUT {self.path}")
        if self.hub.cut:
            self.rfile.read(int(self.headers["Content-Length"]) // 2)
            self.close_connection = True
            return
        self.hub.uploads[self.path.rpartition("/")[2]] = self.rfile.read(int(self.headers["Content-Length"]))
        self._json({})

    def _commit(self, repo, lines):
        for line in lines:
            told = line["value"]
            if line["key"] == "file":
                self.hub.repos[repo][told["path"]] = base64.b64decode(told["content"])
            elif line["key"] == "lfsFile":
                self.hub.repos[repo][told["path"]] = self.hub.uploads[told["oid"]]
        self._json({"commitUrl": f"{self.hub.url}/{repo}/commit/{COMMIT}", "commitOid": COMMIT, "hookOutput": ""})

    def _file(self, content, body, headers):
        begin = int(found[1]) if (found := re.match(r"bytes=(\d+)-", self.headers.get("Range") or "")) else 0
        self.send_response(206 if begin else 200)
        for name, value in headers.items():
            self.send_header(name, str(value))
        self.send_header("Content-Length", str(len(content) - begin))
        if begin:
            self.send_header("Content-Range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        if body and self.path in self.hub.short:
            self.wfile.write(content[begin : begin + len(content) // 2])
            self.close_connection = True
        elif body:
            self.wfile.write(content[begin:])

    def _json(self, value):
        content = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _error(self, status, code="", message=""):
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
        if message:
            self.send_header("X-Error-Message", message)
        content = json.dumps({"error": message}).encode()
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


def listening(hub, port=0):
    """A server for a Hub, whose `url` it sets."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), type("Handler", (_Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    return server


@contextlib.contextmanager
def running():
    """A Hub that answers at `Hub.url` until the end."""
    hub = Hub()
    server = listening(hub)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def environment(hub, cache):
    """What makes the client of the hub, and urllib, ask this one and keep things below `cache`."""
    return {
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(cache / "hf"),
        "HF_HUB_CACHE": str(cache / "hf" / "hub"),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_XET": "1",  # its own protocol, of chunks, is not spoken here
        "XDG_CACHE_HOME": str(cache),
        "TORCH_HOME": str(cache / "torch"),
        "no_proxy": "127.0.0.1",
    }


def point(monkeypatch, hub, cache, **more):
    """Points this process at a hub; its client is imported anew, as it reads its settings then."""
    for name in [name for name in sys.modules if name.split(".")[0] == "huggingface_hub"]:
        monkeypatch.delitem(sys.modules, name)
    for name in ("HF_HUB_OFFLINE", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name, value in (environment(hub, cache) | more).items():
        monkeypatch.setenv(name, value)


if __name__ == "__main__":
    by_hand = Hub()
    for file in Path(sys.argv[2]).glob("*/*/*"):
        by_hand.repos.setdefault("/".join(file.parts[-3:-1]), {})[file.name] = file.read_bytes()
    listening(by_hand, int(sys.argv[1])).serve_forever()
