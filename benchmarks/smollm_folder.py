"""SmolLM2's GGUF as a folder that vLLM reads, in bf16: python smollm_folder.py MODEL.gguf FOLDER

Wants transformers, gguf, accelerate and torch: the environment of vLLM has them, or takes them.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

if __name__ == "__main__":
    source, folder = Path(sys.argv[1]), sys.argv[2]
    where = {"pretrained_model_name_or_path": str(source.parent), "gguf_file": source.name}
    model = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.bfloat16)
    # it is dequantised now, but remembers that it was not
    model.hf_quantizer = model.quantization_method = None
    model.is_quantized = False
    model.config.__dict__.pop("quantization_config", None)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(**where).save_pretrained(folder)
