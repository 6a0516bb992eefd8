# SPDX-License-Identifier: Apache-2.0
"""An API server in a thread: objects under their paths, resource versions that rise, watches that can be broken off or
told that their version is gone. It checks what the real one would: conflicts, immutable uids, kinds of patches."""

from __future__ import annotations

import copy
import json
import queue
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

Object = dict[str, Any]
_MERGE = "application/merge-patch+json"


class FakeKubernetes:
    """refuse: statuses to answer the next requests of a method with, the first first."""

    def __init__(self) -> None:
        self.objects: dict[str, Object] = {}
        self.events: list[Object] = []
        self.requests: list[tuple[str, str]] = []
        self.tokens: list[str | None] = []
        self.refuse: dict[str, list[int]] = {}
        self.expired = False  # watches are told that their version is gone, once
        self._version = 100
        self._watches: list[tuple[str, queue.Queue[Object | None]]] = []
        self._history: list[tuple[int, str, Object]] = []
        self._lock = threading.RLock()
        handler = type("Handler", (_Handler,), {"kubernetes": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self.break_watches()
        self._server.shutdown()
        self._server.server_close()

    def put(self, path: str, obj: Object) -> Object:
        """As a user of the cluster would; the object as it is then."""
        with self._lock:
            self._version += 1
            kind = "MODIFIED" if path in self.objects else "ADDED"
            meta = obj.setdefault("metadata", {})
            meta.setdefault("name", path.rsplit("/", 1)[1])
            meta.setdefault("uid", f"uid-{self._version}")
            meta["resourceVersion"] = str(self._version)
            self.objects[path] = obj
            self._tell(path, {"type": kind, "object": copy.deepcopy(obj)})
            return copy.deepcopy(obj)

    def annotate(self, path: str, **annotations: str | None) -> None:
        """Of flexnpu.io/, with _ for what a keyword cannot be; None takes one away."""
        with self._lock:
            obj = copy.deepcopy(self.objects[path])
            held = obj["metadata"].setdefault("annotations", {})
            for name, value in annotations.items():
                key = f"flexnpu.io/{name.replace('_', '-')}"
                held.pop(key, None) if value is None else held.update({key: value})
            self.put(path, obj)

    def delete(self, path: str) -> None:
        with self._lock:
            gone = self.objects.pop(path)
            self._version += 1
            gone["metadata"]["resourceVersion"] = str(self._version)
            self._tell(path, {"type": "DELETED", "object": gone})

    def break_watches(self) -> None:
        """Their connections end."""
        with self._lock:
            for _, news in self._watches:
                news.put(None)
            self._watches.clear()

    def expire(self) -> None:
        """The next watch is told that its version is gone, and what happened before is forgotten."""
        with self._lock:
            self.expired = True
            self._history.clear()
            self.break_watches()

    def _tell(self, path: str, news: Object) -> None:
        self._history.append((self._version, path, news))
        for prefix, told in self._watches:
            if _matches(prefix, path):
                told.put(news)

    # For the handler

    def list(self, prefix: str) -> Object:
        with self._lock:
            items = [copy.deepcopy(obj) for path, obj in self.objects.items() if _matches(prefix, path)]
            return {"items": items, "metadata": {"resourceVersion": str(self._version)}}

    def watch(self, prefix: str, since: int) -> queue.Queue[Object | None]:
        with self._lock:
            news: queue.Queue[Object | None] = queue.Queue()
            if self.expired:
                self.expired = False
                news.put({"type": "ERROR", "object": {"code": 410, "reason": "Expired", "message": "too old"}})
                return news
            for version, path, told in self._history:
                if version > since and _matches(prefix, path):
                    news.put(told)
            self._watches.append((prefix, news))
            return news

    def create(self, prefix: str, obj: Object) -> tuple[int, Object]:
        with self._lock:
            if prefix.endswith("/events"):
                self.events.append(obj)
                return 201, obj
            path = f"{prefix}/{obj['metadata']['name']}"
            if path in self.objects:
                return 409, _status(409, "AlreadyExists")
            return 201, self.put(path, obj)

    def patch(self, path: str, change: Object, kind: str) -> tuple[int, Object]:
        with self._lock:
            path = path.removesuffix("/status")
            if path not in self.objects:
                return 404, _status(404, "NotFound")
            if kind != _MERGE:
                return 415, _status(415, "UnsupportedMediaType")
            obj = copy.deepcopy(self.objects[path])
            asked, meta = change.get("metadata", {}), obj["metadata"]
            if any(asked.get(each, meta[each]) != meta[each] for each in ("uid", "resourceVersion")):
                return 409, _status(409, "Conflict")
            _merge(obj, change)
            return 200, self.put(path, obj)


def _merge(into: Object, change: Object) -> None:
    """RFC 7396."""
    for key, value in change.items():
        if value is None:
            into.pop(key, None)
        elif isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = value


def _matches(prefix: str, path: str) -> bool:
    """/api/v1/pods is all of them, in every namespace."""
    kind = prefix.rsplit("/", 1)[1]
    return path.startswith(f"{prefix}/") or (f"/{kind}/" in path and prefix == f"/api/v1/{kind}")


def _status(code: int, reason: str) -> Object:
    return {"kind": "Status", "code": code, "reason": reason, "message": reason}


class _Handler(BaseHTTPRequestHandler):
    kubernetes: FakeKubernetes
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path, query = self._begin()
        if self._refused():
            return
        if query.get("watch"):
            self._watch(path, int(query["resourceVersion"][0]))
        elif path in self.kubernetes.objects:
            self._answer(200, self.kubernetes.objects[path])
        elif path.endswith("s"):
            self._answer(200, self.kubernetes.list(path))
        else:
            self._answer(404, _status(404, "NotFound"))

    def do_POST(self) -> None:
        path, _ = self._begin()
        body = self._body()
        if not self._refused():
            self._answer(*self.kubernetes.create(path, body))

    def do_PATCH(self) -> None:
        path, _ = self._begin()
        body = self._body()
        if not self._refused():
            self._answer(*self.kubernetes.patch(path, body, self.headers["Content-Type"]))

    def log_message(self, *_: object) -> None:
        pass

    def _begin(self) -> tuple[str, dict[str, list[str]]]:
        parts = urlsplit(self.path)
        self.kubernetes.requests.append((self.command, parts.path))
        self.kubernetes.tokens.append(self.headers["Authorization"])
        return parts.path, parse_qs(parts.query)

    def _body(self) -> Object:
        return json.loads(self.rfile.read(int(self.headers["Content-Length"])))

    def _refused(self) -> bool:
        waiting = self.kubernetes.refuse.get(self.command)
        if waiting:
            self._answer(waiting[0], _status(waiting.pop(0), "Refused"))
            return True
        return False

    def _answer(self, code: int, obj: Object) -> None:
        content = json.dumps(obj).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _watch(self, path: str, since: int) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        news = self.kubernetes.watch(path, since)
        while (told := news.get()) is not None:
            line = json.dumps(told).encode() + b"\n"
            self.wfile.write(f"{len(line):x}\r\n".encode() + line + b"\r\n")
            if told["type"] == "ERROR":
                break
        self.wfile.write(b"0\r\n\r\n")
