"""A trained model as one GGUF file, as llama.cpp and what is built on it read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from gigafactory.describe.errors import InputError
from gigafactory.net.export import Exported
from gigafactory.net.gguf_form import Value, arch_of, settings, tensors
from gigafactory.net.gguf_words import words

if TYPE_CHECKING:
    from gguf import GGUFWriter

#: llama.h: every tensor in float32, as in model.safetensors.
_ALL_F32 = 0


def save_gguf(path: Path, *, exported: Exported, name: str) -> None:
    """Write ``path``, whole or not at all.

    InputError where llama.cpp would answer differently, or the package ``gguf`` is missing.
    """
    model = exported.model.model
    arch = arch_of(model)
    keys: dict[str, Value] = {"general.name": name, "general.file_type": _ALL_F32}
    keys |= settings(model) | words(exported.tokenizer, model=model)
    beside = path.with_name(path.name + ".tmp")
    writer = _writer(beside, arch=arch)
    try:
        _fill(writer, keys)
        for there, weight in tensors(exported.model.state_dict(), model=model):
            writer.add_tensor(there, weight.float().contiguous().numpy())
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        beside.rename(path)
    finally:
        beside.unlink(missing_ok=True)


def _writer(path: Path, *, arch: str) -> GGUFWriter:
    try:
        from gguf import GGUFWriter
    except ModuleNotFoundError as error:
        raise InputError(
            f"writing GGUF needs {error.name}: pip install 'gigafactory[gguf]'"
        ) from None
    return GGUFWriter(path, arch)


def _fill(writer: GGUFWriter, keys: Mapping[str, Value]) -> None:
    for key, value in keys.items():
        if isinstance(value, bool):
            writer.add_bool(key, value)
        elif isinstance(value, int):
            writer.add_uint32(key, value)
        elif isinstance(value, float):
            writer.add_float32(key, value)
        elif isinstance(value, str):
            writer.add_string(key, value)
        else:
            writer.add_array(key, value)
