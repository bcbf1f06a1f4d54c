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
    from .chunking import Chunking, Passage, PassageVectors, embed_passages, split_text
    from .hosted import HostedEmbedder
    from .hosted_run import Usage
    from .hub import HubEmbedder
    from .onnx_model import Encoding, OnnxEmbedder
    from .reranker import Reranker
    from .service import EmbeddingService
    from .static import StaticEmbedder

__all__ = [
    "Chunking",
    "Embedder",
    "EmbeddingService",
    "Encoding",
    "HashEmbedder",
    "HostedEmbedder",
    "HubEmbedder",
    "OnnxEmbedder",
    "Passage",
    "PassageVectors",
    "Reranker",
    "StaticEmbedder",
    "Truncation",
    "Usage",
    "embed",
    "embed_passages",
    "from_config",
    "get_embedder",
    "split_text",
]

_LAZY = {
    "Chunking": "chunking",
    "EmbeddingService": "service",
    "Encoding": "onnx_model",
    "HostedEmbedder": "hosted",
    "HubEmbedder": "hub",
    "OnnxEmbedder": "onnx_model",
    "Passage": "chunking",
    "PassageVectors": "chunking",
    "Reranker": "reranker",
    "StaticEmbedder": "static",
    "Usage": "hosted_run",
    "embed_passages": "chunking",
    "split_text": "chunking",
}


def __getattr__(name: str) -> Any:
    module = _LAZY.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f".{module}", __name__), name)
