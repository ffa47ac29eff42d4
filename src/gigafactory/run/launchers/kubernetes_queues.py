"""What an administrator of the cluster applies once: Kueue's topology, flavor and queues."""

from __future__ import annotations

from gigafactory.describe.cluster import Cluster
from gigafactory.describe.launch import KubernetesTarget
from gigafactory.run.launchers.kubernetes_objects import Object

KUEUE = "kueue.x-k8s.io/v1beta2"
_HOSTS = "gpu-hosts"


def queue_objects(cluster: Cluster, *, target: KubernetesTarget) -> list[Object]:
    """Topology, ResourceFlavor, ClusterQueue with every GPU of ``cluster``, LocalQueue."""
    return [
        _object("Topology", _HOSTS, {"levels": [{"nodeLabel": label} for label in target.levels]}),
        _object(
            "ResourceFlavor",
            _HOSTS,
            # the label that NVIDIA's feature discovery gives to every node with a GPU
            {"nodeLabels": {"nvidia.com/gpu.present": "true"}, "topologyName": _HOSTS},
        ),
        _object("ClusterQueue", _HOSTS, _quota(cluster, target)),
        _object("LocalQueue", target.queue, {"clusterQueue": _HOSTS}, namespace=target.namespace),
    ]


def _quota(cluster: Cluster, target: KubernetesTarget) -> Object:
    counts = {target.gpu_resource: cluster.num_gpus}
    if target.nic_resource:
        counts[target.nic_resource] = cluster.num_gpus
    resources = [{"name": name, "nominalQuota": str(n)} for name, n in counts.items()]
    group = {
        "coveredResources": list(counts),
        "flavors": [{"name": _HOSTS, "resources": resources}],
    }
    return {"namespaceSelector": {}, "resourceGroups": [group]}


def _object(kind: str, name: str, spec: Object, *, namespace: str = "") -> Object:
    metadata = {"name": name} | ({"namespace": namespace} if namespace else {})
    return {"apiVersion": KUEUE, "kind": kind, "metadata": metadata, "spec": spec}
