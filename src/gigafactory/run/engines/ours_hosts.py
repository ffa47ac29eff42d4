"""Our own engine where a scheduler starts one program a host: see run/host.py."""

from __future__ import annotations

from gigafactory.describe.aim import EngineKind
from gigafactory.describe.layout import Layout
from gigafactory.describe.study import Study
from gigafactory.run.engines.catalog import whole_hosts
from gigafactory.run.engines.program import Program

ORDER_FILE = "order.json"


def program(study: Study, layout: Layout) -> Program:
    """An agent on every host and the driver on the first; the layout is fixed in the order."""
    hosts, each = whole_hosts(layout.num_gpus, study.cluster.host.num_gpus)
    fixed = study.model_copy(update={"layout": layout})
    return Program(
        engine=EngineKind.OURS,
        num_hosts=hosts,
        gpus_per_host=each,
        command="python3 -m gigafactory.run.host",
        files={ORDER_FILE: fixed.model_dump_json(indent=2) + "\n"},
    )
