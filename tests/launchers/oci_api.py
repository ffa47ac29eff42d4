"""Oracle's compute service on the loopback, as a renter sees it: real HTTP, real signatures."""

from __future__ import annotations

import base64
import contextlib
import json
import re
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

NO_CAPACITY = (500, "InternalError", "Out of host capacity.")
BASE = "/20160918"


@dataclass
class Oci:
    key: rsa.RSAPrivateKey
    capacity: int = 100
    says_capacity: bool = True
    """Whether the capacity report knows it."""
    num_looks_until_running: int = 2
    instances: dict[str, dict[str, Any]] = field(default_factory=dict)
    clusters: dict[str, dict[str, Any]] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=dict)
    events: list[dict[str, Any]] = field(default_factory=list)
    consoles: dict[str, str] = field(default_factory=dict)
    """By display name."""
    seen: list[str] = field(default_factory=list)
    troubles: dict[str, deque[tuple[int, str, str]]] = field(default_factory=dict)
    """By ``METHOD collection``: answered first, one after the other."""
    never_runs: set[str] = field(default_factory=set)
    num_made: int = 0
    url: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def rented(self) -> list[str]:
        return sorted(i["displayName"] for i in self.instances.values() if alive(i))

    def stop_all(self, console: str) -> None:
        """Every host ran its job and switched itself off."""
        for one in self.instances.values():
            if alive(one):
                one["lifecycleState"] = "STOPPED"
                self.consoles[one["displayName"]] = f"boot\n{one['displayName']}\n{console}\n"

    def named(self, name: str) -> dict[str, Any]:
        return next(i for i in self.instances.values() if i["displayName"] == name and alive(i))

    # -- what a request does ---------------------------------------------------------------

    def answer(self, method: str, path: str, query: dict[str, str], token: str, body: Any) -> Any:
        collection, _, rest = path.removeprefix(f"{BASE}/").partition("/")
        queue = self.troubles.get(f"{method} {collection}")
        if queue:
            return refusal(*queue.popleft())
        name = re.sub(r"([A-Z])", r"_\1", collection).lower()
        found = getattr(self, f"{method.lower()}_{name}", None)
        return found(rest, query, token, body) if found else refusal(400, "Unknown", path)

    def post_compute_capacity_reports(self, rest: str, query: Any, token: str, body: Any) -> Any:
        assert body["compartmentId"] == "ocid1.tenancy.oc1..root", "only the root may be asked for"
        shape = body["shapeAvailabilities"][0]["instanceShape"]
        left = self.capacity if self.says_capacity else 10_000
        said = {"instanceShape": shape, "availableCount": left}
        said["availabilityStatus"] = "AVAILABLE" if left else "OUT_OF_HOST_CAPACITY"
        return 200, {**body, "shapeAvailabilities": [said], "timeCreated": "2026-11-30T00:00:00Z"}

    def post_compute_clusters(self, rest: str, query: Any, token: str, body: Any) -> Any:
        assert token
        name = f"ocid1.computecluster.{len(self.clusters)}"
        self.clusters[name] = {**body, "id": name, "lifecycleState": "ACTIVE"}
        return 200, self.clusters[name]

    def get_compute_clusters(self, rest: str, query: Any, token: str, body: Any) -> Any:
        return (200, self.clusters[rest]) if rest in self.clusters else missing()

    def delete_compute_clusters(self, rest: str, query: Any, token: str, body: Any) -> Any:
        if any(alive(i) and i["computeClusterId"] == rest for i in self.instances.values()):
            return refusal(409, "IncorrectState", "the compute cluster has instances")
        self.clusters[rest]["lifecycleState"] = "DELETED"
        return 204, None

    def post_instances(self, rest: str, query: Any, token: str, body: Any) -> Any:
        if rest:
            action = query["action"]
            self.instances[rest]["lifecycleState"] = {"START": "RUNNING"}[action]
            return 200, self.instances[rest]
        if token in self.tokens:
            return 200, self.instances[self.tokens[token]]
        if len(self.rented()) >= self.capacity:
            return refusal(*NO_CAPACITY)
        assert body["displayName"] not in self.rented(), "a host name is taken"
        name = f"ocid1.instance.{self.num_made}"
        self.num_made += 1
        self.tokens[token] = name
        made = {**body, "id": name, "lifecycleState": "PROVISIONING", "looks": 0}
        made["imageId"] = body["sourceDetails"]["imageId"]
        self.instances[name] = made
        return 200, made

    def get_instances(self, rest: str, query: dict[str, str], token: str, body: Any) -> Any:
        if rest:
            return (200, self.instances[rest]) if rest in self.instances else missing()
        keys = {"computeClusterId": query.get("computeClusterId"),
                "displayName": query.get("displayName")}  # fmt: skip
        found = [
            one for one in self.instances.values()
            if all(want in (None, one.get(key)) for key, want in keys.items())
        ]  # fmt: skip
        for one in found:
            one["looks"] += 1
            late = one["looks"] > self.num_looks_until_running
            if one["lifecycleState"] == "PROVISIONING" and late:
                lost = one["displayName"] in self.never_runs
                one["lifecycleState"] = "TERMINATED" if lost else "RUNNING"
        return 200, found

    def put_instances(self, rest: str, query: Any, token: str, body: Any) -> Any:
        one = self.instances[rest]
        if "metadata" in body and body["metadata"].get("user_data") != one["metadata"]["user_data"]:
            return refusal(400, "InvalidParameter", "user_data cannot be changed")
        one.update(body)
        return 200, one

    def delete_instances(self, rest: str, query: Any, token: str, body: Any) -> Any:
        self.instances[rest]["lifecycleState"] = "TERMINATED"
        return 204, None

    def get_compute_hosts(self, rest: str, query: dict[str, str], token: str, body: Any) -> Any:
        """Made so that the network's order is that of names backwards."""
        items = []
        for one in self.instances.values():
            if alive(one) and one["computeClusterId"] == query["networkResourceId"]:
                number = int(one["displayName"].rpartition("-")[2])
                spot = {"hpcIslandId": "island-1", "networkBlockId": f"block-{9 - number // 2}",
                        "localBlockId": f"local-{9 - number}"}  # fmt: skip
                host = {"id": f"host-{number}", "instanceId": one["id"], **spot}
                items.append({**host, "lifecycleState": "OCCUPIED", "shape": one["shape"]})
        start = int(query.get("page", 0))
        return (
            200,
            {"items": items[start : start + 2]},
            start + 2 if start + 2 < len(items) else None,
        )

    def get_instance_maintenance_events(self, rest: str, query: Any, token: str, body: Any) -> Any:
        return 200, self.events

    def post_instance_console_histories(self, rest: str, query: Any, token: str, body: Any) -> Any:
        return 200, {"id": body["instanceId"], "lifecycleState": "REQUESTED", **body}

    def get_instance_console_histories(self, rest: str, query: Any, token: str, body: Any) -> Any:
        name = rest.removesuffix("/data")
        if rest.endswith("/data"):
            return 200, self.consoles.get(self.instances[name]["displayName"], "")
        return 200, {"id": name, "lifecycleState": "SUCCEEDED", "instanceId": name}

    def delete_instance_console_histories(
        self, rest: str, query: Any, token: str, body: Any
    ) -> Any:
        return 204, None


def alive(instance: dict[str, Any]) -> bool:
    return not instance["lifecycleState"].startswith("TERMINAT")


def refusal(status: int, code: str, message: str) -> Any:
    return status, {"code": code, "message": message}


def missing() -> Any:
    return refusal(404, "NotAuthorizedOrNotFound", "not authorized or not found")


def is_signed(key: rsa.RSAPrivateKey, method: str, path: str, headers: Any) -> bool:
    """The draft-cavage signature over the headers that it names."""
    parts = dict(re.findall(r'(\w+)="([^"]*)"', headers.get("authorization", "")))
    if not parts:
        return False
    lines = []
    for name in parts["headers"].split():
        value = f"{method.lower()} {path}" if name == "(request-target)" else headers.get(name)
        lines.append(f"{name}: {value}")
    try:
        key.public_key().verify(
            base64.b64decode(parts["signature"]), "\n".join(lines).encode(),
            padding.PKCS1v15(), hashes.SHA256(),
        )  # fmt: skip
    except InvalidSignature:
        return False
    return True


@contextlib.contextmanager
def serving(key: rsa.RSAPrivateKey) -> Iterator[Oci]:
    oracle = Oci(key)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def serve(self) -> None:
            parts = urlsplit(self.path)
            query = {key: values[0] for key, values in parse_qs(parts.query).items()}
            size = int(self.headers.get("content-length") or 0)
            body = json.loads(self.rfile.read(size) or b"null") if size else None
            token = self.headers.get("opc-retry-token", "")
            with oracle.lock:
                oracle.seen.append(f"{self.command} {parts.path.removeprefix(BASE + '/')}")
                if is_signed(oracle.key, self.command, self.path, self.headers):
                    said = oracle.answer(self.command, parts.path, query, token, body)
                else:
                    said = refusal(401, "NotAuthenticated", "the signature is wrong")
            status, told, page = (*said, None)[:3]
            raw = told.encode() if isinstance(told, str) else json.dumps(told).encode()
            raw = b"" if status == 204 else raw
            self.send_response(status)
            kind = "text/plain" if isinstance(told, str) else "application/json"
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(raw)))
            if page is not None:
                self.send_header("opc-next-page", str(page))
            self.end_headers()
            self.wfile.write(raw)

        do_GET = do_POST = do_PUT = do_DELETE = serve  # noqa: N815

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    oracle.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield oracle
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
