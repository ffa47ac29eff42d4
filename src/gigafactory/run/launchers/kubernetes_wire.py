"""Requests to a Kubernetes API server: retried where that is safe, refused in its own words."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gigafactory.describe.errors import JobError
from gigafactory.run.launchers.kubernetes_access import Access
from gigafactory.run.launchers.kubernetes_objects import Object

if TYPE_CHECKING:
    import httpx

_TIMEOUT_S = 30.0
_TRIES = 4
_PAGE = 500
_LONGEST_WAIT_S = 30.0
_PLURALS = {
    "ConfigMap": "configmaps", "Pod": "pods", "Node": "nodes", "JobSet": "jobsets",
    "Workload": "workloads",
}  # fmt: skip
MERGE = "application/merge-patch+json"


class RefusedError(JobError):
    """The server answered, and said no."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class UnreachableError(JobError):
    """No answer: whether the request was carried out is not known."""


def path_of(kind: str, *, api: str, namespace: str = "", name: str = "") -> str:
    """``/apis/GROUP/VERSION/namespaces/NS/PLURAL/NAME``, the parts that are given."""
    root = f"/api/{api}" if "/" not in api else f"/apis/{api}"
    place = f"/namespaces/{namespace}" if namespace else ""
    return f"{root}{place}/{_PLURALS[kind]}" + (f"/{name}" if name else "")


@dataclass(slots=True)
class Wire:
    """One server, as one account."""

    access: Access
    sleep: Callable[[float], None] = time.sleep
    _client: httpx.Client | None = None
    _token: str | None = field(default=None, repr=False)

    def get(self, path: str, **query: str) -> Object:
        """One object or list."""
        return self._json("GET", path, query=query)

    def post(self, path: str, body: Object, **query: str) -> Object:
        """Make an object."""
        return self._json("POST", path, query=query, body=body)

    def patch(self, path: str, body: Object) -> Object:
        """Change parts of an object."""
        return self._json("PATCH", path, body=body, media=MERGE)

    def delete(self, path: str, **query: str) -> None:
        """Remove an object; no effect where there is none."""
        try:
            self._json("DELETE", path, query=query)
        except RefusedError as error:
            if error.status != 404:
                raise

    def list(self, path: str, **query: str) -> Iterator[Object]:
        """Every item, page by page."""
        page = {"limit": str(_PAGE)} | query
        while True:
            found = self.get(path, **page)
            yield from found.get("items", ())
            following = found.get("metadata", {}).get("continue")
            if not following:
                return
            page["continue"] = following

    def text(self, path: str, **query: str) -> str:
        """An answer that is no JSON (logs)."""
        return self._send("GET", path, query=query).text

    def close(self) -> None:
        """Give the connections back."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def _json(self, method: str, path: str, **more: Any) -> Object:
        answer = self._send(method, path, **more)
        try:
            found = answer.json()
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise JobError(f"{self.access.server}: its answer is not Kubernetes' JSON")
        return found

    def _send(self, method: str, path: str, **more: Any) -> httpx.Response:
        """One request; again after 429, after a token that ran out, and, for GET, after trouble."""
        for attempt in range(_TRIES):
            is_last = attempt == _TRIES - 1
            try:
                answer = self._once(method, path, **more)
            except UnreachableError:
                if is_last or method != "GET":
                    raise
                self.sleep(2.0**attempt / 2)
                continue
            if answer.status_code == 401 and attempt == 0:
                self._token = None
            elif is_last or not _is_passing(method, answer.status_code):
                break
            else:
                self.sleep(_asked_wait_s(answer.headers.get("retry-after"), attempt))
        if answer.status_code >= 400:
            raise RefusedError(answer.status_code, f"{self.access.server}: {_said(answer)}")
        return answer

    def _once(
        self,
        method: str,
        path: str,
        *,
        query: dict[str, str] | None = None,
        body: Object | None = None,
        media: str = "application/json",
    ) -> httpx.Response:
        import httpx

        if self._client is None:
            self._client = httpx.Client(
                base_url=self.access.server, verify=self.access.verify, timeout=_TIMEOUT_S
            )
        if self._token is None:
            self._token = self.access.token().strip()
        headers = {"authorization": f"Bearer {self._token}"} if self._token else {}
        content = None
        if body is not None:
            content, headers["content-type"] = json.dumps(body), media
        try:
            return self._client.request(
                method, path, params=query, content=content, headers=headers
            )
        except httpx.HTTPError as error:
            said = str(error) or type(error).__name__
            raise UnreachableError(f"{self.access.server}: cannot be reached: {said}") from None


def _is_passing(method: str, status: int) -> bool:
    """Whether the same request may succeed a little later; 429 was not carried out."""
    return status == 429 or (method == "GET" and status >= 500)


def _asked_wait_s(header: str | None, attempt: int) -> float:
    try:
        return min(float(header or ""), _LONGEST_WAIT_S)
    except ValueError:
        return 2.0**attempt / 2


def _said(answer: httpx.Response) -> str:
    """The message of the Status object, or what came instead."""
    try:
        return str(answer.json()["message"])
    except (ValueError, KeyError, TypeError):
        return f"HTTP {answer.status_code}: {answer.text[:200]}"
