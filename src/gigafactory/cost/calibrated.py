"""What the equations were fitted on, and in what a question lies beyond it.

The bounds are those of the published training runs behind calibration.yaml (968 runs of 12
sources); a test recomputes them where the table is at hand. Beyond them the equations are physics
without a check, and a plan says so.
"""

from __future__ import annotations

from collections.abc import Iterator

from gigafactory.cost import surfaces
from gigafactory.describe.cluster import Cluster, Gpu, Precision
from gigafactory.describe.job import Job
from gigafactory.describe.layout import Layout
from gigafactory.describe.model import Model

#: Largest of each in a measured run.
LARGEST = {
    "num_gpus": 12288, "num_gpus with experts": 1024, "hidden": 25600, "num_layers": 128,
    "seq_len": 131072, "num_experts": 384, "tp": 16, "pp": 64, "vpp": 24, "cp": 8, "dp": 2048,
    "ep": 128, "etp": 4, "micro_batch": 128,
}  # fmt: skip
#: Formats that were trained in, by the measured GPU.
FORMATS = {
    "a100-80gb-sxm": (Precision.BF16, Precision.FP16),
    "h100-sxm": (Precision.BF16, Precision.FP8),
    "b200-sxm": (Precision.BF16, Precision.FP8),
    "b300-sxm": (Precision.BF16, Precision.FP8),
    "gb200": (Precision.BF16, Precision.FP8, Precision.NVFP4),
    "gb300": (Precision.BF16, Precision.FP8, Precision.NVFP4),
}


def beyond(model: Model, job: Job, cluster: Cluster, layout: Layout) -> tuple[str, ...]:
    """In what this run exceeds every measured one, in sentences; empty where it does not."""
    return (
        *_gpu(cluster.host.gpu, layout.precision),
        *_sizes(question_sizes(model, job, layout)),
    )


def question_sizes(model: Model, job: Job, layout: Layout) -> dict[str, int]:
    """What of a run is compared with ``LARGEST``."""
    axes = ("tp", "pp", "vpp", "cp", "dp", "ep", "etp", "micro_batch")
    return {
        "num_gpus": layout.num_gpus,
        "num_gpus with experts": layout.num_gpus if model.num_experts else 0,
        "hidden": model.hidden,
        "num_layers": model.num_layers,
        "seq_len": job.seq_len,
        "num_experts": model.num_experts,
        **{axis: getattr(layout, axis) for axis in axes},
    }


def _sizes(sizes: dict[str, int]) -> Iterator[str]:
    for name, size in sizes.items():
        if size > LARGEST[name]:
            yield f"{name} {size:,}: no measured run had more than {LARGEST[name]:,}"


def _gpu(gpu: Gpu, precision: Precision) -> Iterator[str]:
    part = surfaces.nearest(gpu)
    if not surfaces.is_measured(gpu):
        yield f"{gpu.name}: no kernel was measured on it; the nearest measured GPU is {part}"
    elif precision not in FORMATS.get(part, ()):
        yield f"{precision} on {gpu.name}: no measured run trained in it"
