"""Where `giga run --on` sends a job: what each scheduler must be told about its cluster."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, PositiveInt, StringConstraints

from gigafactory.describe.spec import Spec

Word = Annotated[str, StringConstraints(pattern=r"^\S+$")]


def _different(levels: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(levels)) < len(levels):
        raise ValueError("every level must be another label of the nodes")
    return levels


class KubernetesTarget(Spec):
    """A Kubernetes cluster with JobSet, and with Kueue where ``queue`` is named."""

    image: Word
    """Container image that holds the engine and gigafactory."""
    namespace: str = Field(default="default", pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")
    queue: str = Field(default="", pattern=r"^[a-z0-9.-]*$")
    """Kueue's LocalQueue; empty: pods are scheduled without Kueue, wherever there is room."""
    claim: str = Field(default="", pattern=r"^[a-z0-9.-]*$")
    """PersistentVolumeClaim for checkpoints, mounted by all pods; empty: they go with the pod."""
    gpu_resource: Word = "nvidia.com/gpu"
    nic_resource: str = ""
    """Resource name of the RDMA NICs, for example rdma/hca; empty: the host's own network."""
    levels: Annotated[tuple[Word, ...], AfterValidator(_different), Field(min_length=2)] = (
        "fabric.topograph.run/tier-2",
        "fabric.topograph.run/tier-1",
        "fabric.topograph.run/tier-0",
        "kubernetes.io/hostname",
    )
    """Labels of the nodes from the widest to the narrowest level of the network; the last but one
    is the unit whose rails meet in the same leaves. Topograph's names; tier-0 is the leaf."""
    max_nodes: PositiveInt = 5000
    """Nodes that the control plane is good for; upstream Kubernetes is tested with 5,000."""
    max_restarts: PositiveInt = 20
    context: str = ""
    """Of the kubeconfig file; empty: the current one."""


class RayTarget(Spec):
    """A Ray cluster of its own for each job."""

    address: Word = "auto"
    """``auto``: the cluster of this machine; else HOST:PORT of its head."""
    unit_label: str = ""
    """Label of the nodes that names the unit (pod) they are in; empty: hosts anywhere."""
    gpu_resource: Word = "GPU"


class OciTarget(Spec):
    """Rented capacity in Oracle's cloud."""

    compartment: Word
    """OCID."""
    availability_domain: Word
    subnet: Word
    """OCID."""
    image: Word
    """OCID of an image with the engine and gigafactory installed."""
    shape: str = ""
    """For example BM.GPU.H100.8; empty: the one that fits the study's host."""
    mount: str = Field(default="", pattern=r"^([\w.-]+:/[\w./-]*)?$")
    """NFS export for checkpoints, HOST:/PATH; empty: they go with the hosts."""
    profile: Word = "DEFAULT"
    """Section of the SDK's configuration file."""
    config: Word = "~/.oci/config"
