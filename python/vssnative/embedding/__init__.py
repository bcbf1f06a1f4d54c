"""Text embeddings: models that turn texts into the vectors that the tables hold.

Nothing heavy is imported until a model is made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .hashing import HashEmbedder
from .protocol import Embedder, Truncation
from .registry import from_config, get_embedder
from .simple import embed

if TYPE_CHECKING:
    from .onnx_model import Encoding, OnnxEmbedder

__all__ = [
    "Embedder",
    "Encoding",
    "HashEmbedder",
    "OnnxEmbedder",
    "Truncation",
    "embed",
    "from_config",
    "get_embedder",
]

_LAZY = {"Encoding": "onnx_model", "OnnxEmbedder": "onnx_model"}


def __getattr__(name: str) -> Any:
    module = _LAZY.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f".{module}", __name__), name)
