"""A trained model in the form of another program."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gigafactory.describe.errors import InputError

#: Beside the weights it was made of, and removed with them by a later run.
GGUF_FILE = "model.gguf"


@dataclass(frozen=True, slots=True)
class Gguf:
    """A file for llama.cpp."""

    path: str
    architecture: str
    """Which of llama.cpp's graphs computes it."""
    size_bytes: int

    def to_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return asdict(self)


def export(folder: Path, *, out: Path | None = None) -> Gguf:
    """Write the trained model of the run in ``folder`` as GGUF (default: in its ``model``).

    InputError where there is none, an extra is missing, or llama.cpp would answer differently.
    """
    try:
        from gigafactory.net.export import load_exported
        from gigafactory.net.gguf_file import save_gguf
        from gigafactory.net.gguf_form import arch_of
    except ModuleNotFoundError as error:
        raise InputError(
            f"exporting a trained model needs {error.name}: pip install 'gigafactory[train,gguf]'"
        ) from None
    exported = load_exported(folder / "model")
    path = out or folder / "model" / GGUF_FILE
    if not path.parent.is_dir():
        raise InputError(f"--out {path}: there is no folder {path.parent}")
    save_gguf(path, exported=exported, name=folder.resolve().name)
    return Gguf(str(path), arch_of(exported.model.model), path.stat().st_size)
