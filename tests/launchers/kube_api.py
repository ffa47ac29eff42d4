"""A small Kubernetes API server on the loopback: objects with dry runs, conflicts, selectors,
pages and owners, and as much of the JobSet controller as a client can see."""

from __future__ import annotations

import contextlib
import json
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

TOKEN = "letmein"
QUEUE = "kueue.x-k8s.io/queue-name"
PLURALS = ("configmaps", "pods", "nodes", "jobsets", "workloads")
SET, INDEX = "jobset.sigs.k8s.io/jobset-name", "batch.kubernetes.io/job-completion-index"


@dataclass
class Api:
    objects: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By path."""
    seen: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    troubles: deque[tuple[int, str]] = field(default_factory=deque)
    """Answered one after the other before anything works: status, message; 0 = hang up."""
    refuses: dict[str, tuple[int, str]] = field(default_factory=dict)
    """By ``METHOD plural``: what is refused whenever it is meant in earnest."""
    num_lingering: int = 2
    """Looks at a deleted set until it is gone."""
    url: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def wrote(self) -> list[str]:
        return [f"{m} {p}" for m, p, q in self.seen if m != "GET" and q.get("dryRun") != "All"]

    def admit(self, name: str) -> None:
        """As Kueue does: the set is no longer suspended, so its pods are made."""
        path = f"/apis/jobset.x-k8s.io/v1alpha2/namespaces/default/jobsets/{name}"
        self.objects[path]["spec"]["suspend"] = False
        self._pods(self.objects[path])

    def phase(self, name: str, phase: str, **status: Any) -> None:
        for pod in self.pods(name):
            pod["status"] = {"phase": phase} | status

    def condition(self, name: str, kind: str, reason: str, message: str) -> None:
        path = f"/apis/jobset.x-k8s.io/v1alpha2/namespaces/default/jobsets/{name}"
        said = {"type": kind, "status": "True", "reason": reason, "message": message}
        self.objects[path].setdefault("status", {}).setdefault("conditions", []).append(said)

    def pods(self, name: str) -> list[dict[str, Any]]:
        return [
            o for p, o in self.objects.items()
            if "/pods/" in p and o["metadata"]["labels"][SET] == name
        ]  # fmt: skip

    # -- what a request does ---------------------------------------------------------------

    def answer(self, method: str, path: str, query: dict[str, str], body: Any) -> tuple[int, Any]:
        plural = path.rsplit("/", maxsplit=1)[-1]
        if method != "GET" and query.get("dryRun") != "All":
            key = f"{method} {plural if method == 'POST' else path.split('/')[-2]}"
            if key in self.refuses:
                return failure(*self.refuses[key])
        if method == "GET":
            return self._get(path, query)
        if method == "POST":
            return self._post(path, query, body)
        if path not in self.objects:
            return failure(404, f'"{plural}" not found')
        if method == "PATCH":
            merge(self.objects[path], body)
            return 200, self.objects[path]
        self._delete(path)
        return 200, {"kind": "Status", "status": "Success"}

    def _get(self, path: str, query: dict[str, str]) -> tuple[int, Any]:
        if path.endswith("/log"):
            pod = self.objects.get(path.removesuffix("/log"))
            return (200, f"hello from {pod['spec']['nodeName']}\n") if pod else failure(404, "gone")
        if path in self.objects:
            return self._look(path)
        if path.rsplit("/", maxsplit=1)[-1] not in PLURALS:
            return failure(404, f'"{path.rsplit("/", 1)[1]}" not found')
        below = [o for p, o in sorted(self.objects.items()) if p.rsplit("/", 1)[0] == path]
        for term in filter(None, query.get("labelSelector", "").split(",")):
            key, value = term.split("=")
            below = [o for o in below if o["metadata"].get("labels", {}).get(key) == value]
        start, limit = int(query.get("continue", 0)), int(query.get("limit", 500))
        more = {"continue": str(start + limit)} if start + limit < len(below) else {}
        return 200, {"kind": "List", "metadata": more, "items": below[start : start + limit]}

    def _look(self, path: str) -> tuple[int, Any]:
        one = self.objects[path]
        if "deletionTimestamp" in one["metadata"]:
            one["looks"] = one.get("looks", 0) + 1
            if one["looks"] > self.num_lingering:
                self._gone(path)
                return failure(404, "not found")
        return 200, one

    def _post(self, path: str, query: dict[str, str], body: Any) -> tuple[int, Any]:
        if path.endswith("/eviction"):
            self.objects.pop(path.removesuffix("/eviction"), None)
            return 201, {}
        place = f"{path}/{body['metadata']['name']}"
        if place in self.objects:
            return failure(409, f'"{body["metadata"]["name"]}" already exists')
        for rule in body.get("spec", {}).get("failurePolicy", {}).get("rules", ()):
            if "name" not in rule:
                return failure(422, "spec.failurePolicy.rules[0].name: Required value")
        made = json.loads(json.dumps(body))
        made["metadata"]["uid"] = f"uid-{len(self.seen)}"
        if query.get("dryRun") == "All":
            return 201, made
        self.objects[place] = made
        if body["kind"] == "JobSet":
            made["spec"]["suspend"] = QUEUE in body["metadata"]["labels"]
            if not made["spec"]["suspend"]:
                self._pods(made)
        return 201, made

    def _pods(self, jobset: dict[str, Any]) -> None:
        name = jobset["metadata"]["name"]
        for index in range(jobset["spec"]["replicatedJobs"][0]["template"]["spec"]["completions"]):
            pod = f"{name}-hosts-0-{index}-x{index:04d}"
            self.objects[f"/api/v1/namespaces/default/pods/{pod}"] = {
                "metadata": {"name": pod, "labels": {SET: name, INDEX: str(index)}},
                "spec": {"nodeName": f"node-{index}"},
                "status": {"phase": "Running"},
            }

    def _delete(self, path: str) -> None:
        if "/jobsets/" in path:
            self.objects[path]["metadata"]["deletionTimestamp"] = "2026-11-30T00:00:00Z"
        else:
            del self.objects[path]

    def _gone(self, path: str) -> None:
        uid, name = self.objects[path]["metadata"]["uid"], path.rsplit("/", 1)[1]
        for other, one in list(self.objects.items()):
            owners = one["metadata"].get("ownerReferences", ())
            of_set = one["metadata"].get("labels", {}).get(SET) == name
            if of_set or any(owner["uid"] == uid for owner in owners):
                del self.objects[other]
        del self.objects[path]


def failure(status: int, message: str) -> tuple[int, Any]:
    return status, {"kind": "Status", "status": "Failure", "message": message, "code": status}


def merge(target: dict[str, Any], change: dict[str, Any]) -> None:
    """RFC 7386."""
    for key, value in change.items():
        if value is None:
            target.pop(key, None)
        elif isinstance(value, dict):
            merge(target.setdefault(key, {}), value)
        else:
            target[key] = value


@contextlib.contextmanager
def serving() -> Iterator[Api]:
    api = Api()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def serve(self) -> None:
            parts = urlsplit(self.path)
            query = {key: values[0] for key, values in parse_qs(parts.query).items()}
            size = int(self.headers.get("content-length") or 0)
            body = json.loads(self.rfile.read(size)) if size else None
            with api.lock:
                api.seen.append((self.command, parts.path, query))
                if api.troubles:
                    status, told = failure(*api.troubles.popleft())
                elif self.headers.get("authorization") != f"Bearer {TOKEN}":
                    status, told = failure(401, "Unauthorized")
                else:
                    status, told = api.answer(self.command, parts.path, query, body)
            if not status:
                self.close_connection = True
                return
            raw = told.encode() if isinstance(told, str) else json.dumps(told).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(raw)))
            if status == 429:
                self.send_header("retry-after", "1")
            self.end_headers()
            self.wfile.write(raw)

        do_GET = do_POST = do_PATCH = do_DELETE = serve  # noqa: N815

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    api.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield api
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
