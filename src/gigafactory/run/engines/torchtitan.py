"""torchtitan as an engine: its job file, with the model registered by our plug-in.

The plug-in (gigafactory.run.engines.titan_models) tells torchtitan the shapes of the study's model;
blocks are torchtitan's own.
"""

from __future__ import annotations

from gigafactory.describe.aim import EngineKind
from gigafactory.describe.layout import Layout
from gigafactory.describe.study import Study
from gigafactory.plan.emit import emit
from gigafactory.run.engines.catalog import whole_hosts
from gigafactory.run.engines.program import FILES, OUTPUT, Program, torchrun

JOB_FILE, MODEL_FILE = "job.toml", "model.json"
PLUG_IN = "gigafactory.run.engines.titan_models"
#: Where the plug-in finds the model's shapes.
MODEL_VARIABLE = "GIGA_TITAN_MODEL"


def program(study: Study, layout: Layout) -> Program:
    """One `torchrun` a host; what torchtitan cannot be told is in the notes."""
    hosts, each = whole_hosts(layout.num_gpus, study.cluster.host.num_gpus)
    told = emit(study, layout, kind=EngineKind.TORCHTITAN)
    rest = (
        f'--job.config_file "${FILES}/{JOB_FILE}" --job.dump_folder "${OUTPUT}" '
        f"--experimental.custom_import {PLUG_IN} --checkpoint.enable"
    )
    return Program(
        engine=EngineKind.TORCHTITAN,
        num_hosts=hosts,
        gpus_per_host=each,
        command=f'env {MODEL_VARIABLE}="${FILES}/{MODEL_FILE}" '
        + torchrun("-m torchtitan.train", num_hosts=hosts, gpus_per_host=each, rest=rest),
        environment=_ENVIRONMENT,
        files={
            JOB_FILE: told.text + "\n",
            MODEL_FILE: study.model.model_dump_json(indent=2) + "\n",
        },
        notes=tuple(note for note in told.notes if "flavor" not in note),
    )


_ENVIRONMENT = {
    # memory in segments that grow: fewer holes with FSDP (torchtitan's own run script)
    "PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True",
    "NCCL_NVLS_ENABLE": "1",
}
