"""Calls to Oracle's SDK: its configuration, and which refusals are tried again.

The SDK's own retries and circuit breaker are off: they know neither what is safe to repeat here
(every creation carries a retry token) nor that "Out of host capacity" comes as status 500.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gigafactory.describe.errors import InputError, JobError

_TRIES = 6
_LONGEST_WAIT_S = 60.0
_TIMEOUTS_S = (10.0, 60.0)
_OUT = "out of host capacity"
#: Set by tests: where the service answers instead of Oracle's address for the region.
ENDPOINT = "gigafactory_endpoint"


class NoCapacityError(JobError):
    """Oracle has no such host to give at the moment."""


class GoneError(JobError):
    """There is no such resource (any more)."""


@dataclass(slots=True)
class Calls:
    """Compute calls as one account; ``sleep`` is the clock's."""

    config: Mapping[str, Any]
    sleep: Callable[[float], None] = time.sleep
    _clients: threading.local = field(default_factory=threading.local)

    def __call__(self, method: str, *arguments: Any, **more: Any) -> Any:
        """The data of ``method``; JobError in Oracle's words where it fails for good."""
        return self._response(method, *arguments, **more).data

    def every(self, method: str, *arguments: Any, **more: Any) -> list[Any]:
        """All pages of a list."""
        found: list[Any] = []
        page: dict[str, str] = {}
        while True:
            response = self._response(method, *arguments, **more, **page)
            found += response.data if isinstance(response.data, list) else response.data.items
            if not response.has_next_page:
                return found
            page = {"page": response.next_page}

    def _response(self, method: str, *arguments: Any, **more: Any) -> Any:
        import oci
        import requests

        for attempt in range(_TRIES):
            try:
                return getattr(self._client(), method)(*arguments, **more)
            except oci.exceptions.ServiceError as error:
                if not _is_passing(error) or attempt == _TRIES - 1:
                    raise _translated(method, error) from None
            except (oci.exceptions.RequestException, requests.RequestException) as error:
                if attempt == _TRIES - 1:
                    raise JobError(f"Oracle's {method}: cannot be reached: {error}") from None
            self.sleep(min(2.0**attempt, _LONGEST_WAIT_S))
        raise AssertionError

    def _client(self) -> Any:
        """One a thread: the SDK does not promise more."""
        import oci

        if not hasattr(self._clients, "compute"):
            config = {key: value for key, value in self.config.items() if key != ENDPOINT}
            where = {"service_endpoint": self.config[ENDPOINT]} if ENDPOINT in self.config else {}
            self._clients.compute = oci.core.ComputeClient(
                config,
                retry_strategy=oci.retry.NoneRetryStrategy(),
                circuit_breaker_strategy=oci.circuit_breaker.NoCircuitBreakerStrategy(),
                timeout=_TIMEOUTS_S,
                **where,
            )
        return self._clients.compute


def read_config(path: Path, *, profile: str) -> dict[str, Any]:
    """The SDK's configuration file; InputError where it is missing or not complete."""
    import oci

    try:
        config = oci.config.from_file(str(path), profile)
        oci.config.validate_config(config)
    except oci.exceptions.ConfigFileNotFound:
        raise InputError(
            f"{path}: no such file; `oci setup config` writes one, or name another in oci.config"
        ) from None
    except (oci.exceptions.ClientError, ValueError) as error:
        raise InputError(f"{path}: profile {profile}: {error}") from None
    return dict(config)


def _is_passing(error: Any) -> bool:
    """Throttled, or trouble of the service; lack of hosts is the caller's to wait for."""
    if _OUT in str(error.message).lower():
        return False
    return bool(error.status == 429 or error.status >= 500 or error.code == "IncorrectState")


def _translated(method: str, error: Any) -> JobError:
    said = f"Oracle's {method}: {error.message} ({error.status} {error.code})"
    if _OUT in str(error.message).lower():
        return NoCapacityError(said)
    return GoneError(said) if error.status == 404 else JobError(said)
