"""How to reach an API server: a kubeconfig file, or the account that a pod carries.

Read once; a token that a command gives out (the clouds' way) is asked for again when it is
refused. Sources: the kubeconfig format (client-go's clientcmd/api/v1) and the exec credential
protocol client.authentication.k8s.io/v1.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import ssl
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gigafactory.describe.errors import InputError, JobError

_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_EXEC_TIMEOUT_S = 60.0
_EXEC_API = "client.authentication.k8s.io/v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """One API server and who we are there."""

    server: str
    token: Callable[[], str]
    """Asked for before the first request, and again after a refusal; empty: none is needed."""
    verify: ssl.SSLContext | bool = True


def find_access(*, context: str = "", environment: Mapping[str, str] = os.environ) -> Access:
    """The kubeconfig of KUBECONFIG or the home folder, else the pod's own account.

    InputError where there is neither, or where the file is not what it should be.
    """
    named = environment.get("KUBECONFIG", "").split(os.pathsep)[0]
    path = Path(named) if named else Path(environment.get("HOME", "/")) / ".kube" / "config"
    if path.is_file():
        return read_kubeconfig(path, context=context)
    host = environment.get("KUBERNETES_SERVICE_HOST")
    if host and (_ACCOUNT / "token").is_file():
        port = environment.get("KUBERNETES_SERVICE_PORT", "443")
        verify = ssl.create_default_context(cafile=str(_ACCOUNT / "ca.crt"))
        token = (_ACCOUNT / "token").read_text  # it is renewed on disk
        return Access(server=f"https://{host}:{port}", token=token, verify=verify)
    raise InputError(
        f"{path}: no such file, and this is no pod of a cluster; set KUBECONFIG to the file "
        "that `kubectl` uses"
    )


def read_kubeconfig(path: Path, *, context: str = "") -> Access:
    """The cluster and user of ``context`` (default: the current one)."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        tree = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
        chosen = context or tree["current-context"]
        pair = _named(tree, "contexts", chosen, path)["context"]
        cluster = _named(tree, "clusters", pair["cluster"], path)["cluster"]
        user = _named(tree, "users", pair["user"], path)["user"] if "user" in pair else {}
        server, verify = cluster["server"], _context(cluster, user, path.parent)
        return Access(server=server, token=_token(user, path), verify=verify)
    except (KeyError, TypeError, AttributeError, YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: is no kubeconfig file: {error}") from None
    except (OSError, binascii.Error) as error:  # ssl's errors are OSErrors
        raise InputError(f"{path}: its certificates cannot be used: {error}") from None


def _named(tree: Mapping[str, Any], kind: str, name: str, path: Path) -> dict[str, Any]:
    for entry in tree.get(kind) or ():
        if entry["name"] == name:
            return dict(entry)
    known = ", ".join(entry["name"] for entry in tree.get(kind) or ()) or "none"
    raise InputError(f"{path}: {kind}: there is no {name!r}; it has {known}")


def _context(
    cluster: Mapping[str, Any], user: Mapping[str, Any], folder: Path
) -> ssl.SSLContext | bool:
    if cluster["server"].startswith("http://"):
        return False
    ca = _pem(cluster, "certificate-authority", folder)
    verify = ssl.create_default_context(cadata=ca.decode() if ca else None)
    if cluster.get("insecure-skip-tls-verify"):
        verify.check_hostname, verify.verify_mode = False, ssl.CERT_NONE
    certificate, key = _pem(user, "client-certificate", folder), _pem(user, "client-key", folder)
    if certificate and key:
        with tempfile.NamedTemporaryFile() as both:  # ssl reads a client's key from a file only
            both.write(certificate + b"\n" + key)
            both.flush()
            verify.load_cert_chain(both.name)
    return verify


def _pem(part: Mapping[str, Any], key: str, folder: Path) -> bytes:
    if f"{key}-data" in part:
        return base64.b64decode(part[f"{key}-data"])
    return (folder / part[key]).read_bytes() if key in part else b""


def _token(user: Mapping[str, Any], path: Path) -> Callable[[], str]:
    if "exec" in user:
        return lambda: _from_command(user["exec"])
    if "tokenFile" in user:
        token_file = path.parent / str(user["tokenFile"])
        return token_file.read_text
    if "auth-provider" in user:
        raise InputError(
            f"{path}: users: auth-provider is no longer supported by Kubernetes; use exec or token"
        )
    return lambda: str(user.get("token", ""))


def _from_command(wanted: Mapping[str, Any]) -> str:
    """The token that the cloud's own command prints."""
    argv = [wanted["command"], *(wanted.get("args") or ())]
    asked = {"apiVersion": wanted.get("apiVersion", _EXEC_API), "kind": "ExecCredential"}
    extra = {pair["name"]: pair["value"] for pair in wanted.get("env") or ()}
    told = json.dumps(asked | {"spec": {"interactive": False}})
    environment = os.environ | extra | {"KUBERNETES_EXEC_INFO": told}
    try:
        done = subprocess.run(
            argv, env=environment, capture_output=True, timeout=_EXEC_TIMEOUT_S, check=True
        )
        return str(json.loads(done.stdout)["status"]["token"])
    except FileNotFoundError:
        raise InputError(
            f"{argv[0]}: not found; the kubeconfig file gets its token there"
        ) from None
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode(errors="replace").strip()[-500:]
        raise JobError(f"{argv[0]} gave no token (status {error.returncode}): {said}") from None
    except (OSError, ValueError, KeyError, TypeError, subprocess.TimeoutExpired) as error:
        raise JobError(f"{argv[0]} gave no token: {error}") from None
