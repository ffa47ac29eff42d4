"""Rented hosts at Oracle: what is asked for there, what it costs, and the way in.

A job gets a compute cluster (one RDMA network) of bare-metal hosts. A compute cluster and not a
cluster network, because a single host of it can be replaced while the others stay. Hosts boot with
a cloud-init file that waits until the metadata service tells the host its rank, which is only known
when all hosts are there and their place in the network is: then it runs the job, says on the serial
console how it ended, and powers the host off.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from gigafactory.describe.errors import InputError
from gigafactory.describe.launch import OciTarget
from gigafactory.describe.study import Study
from gigafactory.run.engines.program import FILES, HOST_RANK, MASTER, OUTPUT, START, Program
from gigafactory.run.launchers.registry import Order
from gigafactory.run.launchers.rental import Quote
from gigafactory.run.launchers.scheduler import Rendered, Scheduler

REQUEST_FILE, BOOT_FILE = "request.json", "cloud-init.yaml"
#: Keys of the instance metadata that a host waits for.
RANK_KEY, MASTER_KEY = "giga_host_rank", "giga_master"
#: What a host says on its console when the job is over, with the exit status.
ENDED = "giga: the job ended with status"
#: Shape by GPU (Oracle, Compute Shapes: bare metal with GPUs).
SHAPES: Mapping[str, str] = MappingProxyType({
    "a100-80gb-sxm": "BM.GPU.A100-v2.8",
    "h100-sxm": "BM.GPU.H100.8",
    "h200-sxm": "BM.GPU.H200.8",
    "b200-sxm": "BM.GPU.B200.8",
    "gb200": "BM.GPU.GB200.4",
})  # fmt: skip
_FILES_PATH, _OUTPUT_PATH = "/opt/giga", "/giga/output"
#: All metadata of an instance together (Oracle, LaunchInstanceDetails).
_MOST_BOOT_BYTES = 32_000
_METADATA_URL = "http://169.254.169.254/opc/v2/instance/metadata"


def render(order: Order) -> Rendered:
    """The request with its price, and the file that hosts boot with; InputError if impossible."""
    study, target = order.study, target_of(order.study)
    shape = target.shape or _shape_of(study)
    quote = quote_of(study, num_hosts=order.program.num_hosts, shape=shape)
    boot = _boot_file(order.program, target)
    if len(boot.encode()) * 4 / 3 > _MOST_BOOT_BYTES:
        raise InputError(
            f"the files of the engine {order.program.engine} are too long to boot a host with: "
            f"{len(boot.encode())} bytes, {_MOST_BOOT_BYTES * 3 // 4} at most"
        )
    request = {
        "name": study.study,
        "compartment": target.compartment,
        "availability_domain": target.availability_domain,
        "subnet": target.subnet,
        "image": target.image,
        "shape": shape,
        "num_hosts": quote.num_hosts,
        "usd_per_s": quote.usd_per_s,
        "price_source": quote.source,
        "boot_file": BOOT_FILE,
    }
    files = {REQUEST_FILE: json.dumps(request, indent=2) + "\n", BOOT_FILE: boot}
    return Rendered(name=study.study, main=REQUEST_FILE, files=files)


def connect(study: Study) -> Scheduler:
    """Oracle's SDK with the profile that the study names; asks for nothing yet."""
    from gigafactory.run.launchers.oci_calls import read_config
    from gigafactory.run.launchers.oci_client import OciScheduler

    target = target_of(study)
    config = read_config(Path(target.config).expanduser(), profile=target.profile)
    return OciScheduler(config=config, compartment=target.compartment)


def target_of(study: Study) -> OciTarget:
    """What the study says about the tenancy; InputError where it says nothing."""
    if study.oci is None:
        raise InputError(
            "oci: missing; add `oci: {compartment: OCID, availability_domain: "
            "NAME, subnet: OCID, image: OCID}`"
        )
    return study.oci


def quote_of(study: Study, *, num_hosts: int, shape: str) -> Quote:
    """At the rent that the study names."""
    rent, host = study.money.rent, study.cluster.host
    return Quote(
        num_hosts=num_hosts,
        shape=shape,
        usd_per_s=rent.price_usd_per_s * host.num_gpus * num_hosts,
        source=f"price list {rent.name} of {rent.date}",
    )


def quote_in(job: Rendered) -> Quote:
    """The quote that a rendered request carries."""
    request: dict[str, Any] = json.loads(job.files[job.main])
    return Quote(
        num_hosts=request["num_hosts"],
        shape=request["shape"],
        usd_per_s=request["usd_per_s"],
        source=request["price_source"],
    )


def _shape_of(study: Study) -> str:
    gpu = study.cluster.host.gpu.name
    if gpu not in SHAPES:
        raise InputError(
            f"Oracle rents no host with {gpu}; it has {', '.join(SHAPES)}, or name another one "
            "in oci.shape"
        )
    return SHAPES[gpu]


def _boot_file(program: Program, target: OciTarget) -> str:
    """A cloud-config file: the program's files, a service that starts them at every boot."""
    files = [_file(name, text) for name, text in sorted(program.files.items())]
    files.append(_file(START, program.start_script()))
    files.append(_file("host.sh", _host_script()))
    files.append(_file("giga.service", _SERVICE, folder="/etc/systemd/system"))
    config = {
        "write_files": files,
        "runcmd": [
            *([["mkdir", "-p", _OUTPUT_PATH], *_mounts(target)]),
            ["systemctl", "daemon-reload"],
            ["systemctl", "enable", "--now", "--no-block", "giga.service"],
        ],
    }
    # YAML is a superset of JSON, and JSON leaves nothing to a parser's taste
    return "#cloud-config\n" + json.dumps(config, indent=1) + "\n"


def _mounts(target: OciTarget) -> list[list[str]]:
    if not target.mount:
        return []
    line = f"{target.mount} {_OUTPUT_PATH} nfs defaults,_netdev 0 0"
    return [["sh", "-c", f"echo '{line}' >> /etc/fstab"], ["mount", "-a"]]


def _file(name: str, text: str, *, folder: str = _FILES_PATH) -> dict[str, str]:
    return {"path": f"{folder}/{name}", "permissions": "0644", "content": text}


def _host_script() -> str:
    """Wait for the rank, run the job, tell the console, switch off."""
    ask = f"curl -sf -H 'Authorization: Bearer Oracle' {_METADATA_URL}"
    return f"""#!/bin/sh
until {HOST_RANK}=$({ask}/{RANK_KEY}) && {MASTER}=$({ask}/{MASTER_KEY}); do sleep 5; done
export {HOST_RANK} {MASTER} {FILES}={_FILES_PATH} {OUTPUT}={_OUTPUT_PATH}
sh {_FILES_PATH}/{START}
echo "{ENDED} $?" | tee /dev/console
systemctl poweroff
"""


_SERVICE = f"""[Unit]
After=network-online.target remote-fs.target
Wants=network-online.target
[Service]
ExecStart=/bin/sh {_FILES_PATH}/host.sh
StandardOutput=journal+console
StandardError=journal+console
LimitMEMLOCK=infinity
LimitNOFILE=1048576
[Install]
WantedBy=multi-user.target
"""
