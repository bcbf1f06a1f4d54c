"""The tensors of a safetensors file, as views of the file where it lies."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .._extras import need
from ..errors import ConfigurationError

# Types that numpy has, too. Files with others are left to the library, which copies.
_DTYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "i1",
    "U8": "u1",
    "BOOL": "?",
}
_LENGTH_BYTES = 8


def load_tensors(path: Path) -> dict[str, npt.NDArray[Any]]:
    """All tensors of a safetensors file, in memory.

    Raises:
        ConfigurationError: if it is none that can be read.
        MissingDependencyError: if safetensors is not installed.
    """
    return {name: np.array(tensor) for name, tensor in map_tensors(path).items()}


def map_tensors(path: Path) -> dict[str, npt.NDArray[Any]]:
    """All tensors of a safetensors file, read-only, as the file's own bytes: nothing is read before it is used.

    For as long as it takes to make something else of them: a process that uses them ends when somebody shortens the file.

    Raises:
        ConfigurationError: if it is none that can be read.
        MissingDependencyError: if safetensors is not installed.
    """
    need("safetensors.numpy", "local", "a model's weights")
    from safetensors import SafetensorError, safe_open
    from safetensors.numpy import load_file

    try:
        # The library checks that the header is well formed, and that tensors fill the file without gaps.
        with safe_open(path, framework="numpy"):
            pass
        tensors = _mapped(path)
        return load_file(path) if tensors is None else tensors
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(f"{path}: no readable safetensors file: {error}") from None


def _mapped(path: Path) -> dict[str, npt.NDArray[Any]] | None:
    data = np.memmap(path, dtype=np.uint8, mode="r")
    begin = _LENGTH_BYTES + int.from_bytes(data[:_LENGTH_BYTES].tobytes(), "little")
    header: dict[str, Any] = json.loads(data[_LENGTH_BYTES:begin].tobytes())
    header.pop("__metadata__", None)
    if any(entry["dtype"] not in _DTYPES for entry in header.values()):
        return None
    tensors = {}
    for name, entry in header.items():
        first, last = entry["data_offsets"]
        values = data[begin + first : begin + last].view(_DTYPES[entry["dtype"]])
        # A file may hold them at odd addresses; then this copies.
        tensors[name] = np.require(values.reshape(entry["shape"]), requirements=["A"]).view(np.ndarray)
    return tensors
