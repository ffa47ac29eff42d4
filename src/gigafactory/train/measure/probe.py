"""What this machine has: ``python -m gigafactory.train.measure.probe`` prints one JSON line."""

from __future__ import annotations

import json
import os

import torch


def machine_name(device_type: str) -> str:
    """Processor or GPU, and the version of torch."""
    if device_type == "cuda":
        name = torch.cuda.get_device_name()
    else:
        name = str(torch.cpu.get_capabilities().get("cpu_name") or "processor")
    return f"{name}, torch {torch.__version__}"


def main() -> None:
    """Number of CUDA devices, whether they multiply fp8, number of processor cores."""
    num_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    has_fp8 = num_gpus > 0 and torch.cuda.get_device_capability() >= (8, 9)
    print(json.dumps({"num_gpus": num_gpus, "has_fp8": has_fp8, "num_cores": os.cpu_count() or 1}))


if __name__ == "__main__":
    main()
