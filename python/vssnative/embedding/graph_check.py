"""What an ONNX file from elsewhere may contain: refused before ONNX Runtime sees it.

A graph can name files of its own choosing (external data) and operators from libraries that must be loaded first.
Neither is needed for a text embedding, and both reach outside the file, so both are refused.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .._extras import need
from ..errors import ConfigurationError
from .storage import atomic_file, cache_directory

_DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft"})
# Raise it whenever the rules change: earlier approvals are then void.
_RULES = 1


def check_graph(path: Path, digest: str) -> None:
    """Refuse a graph that reaches outside its file.

    The approval is remembered by the file's digest, so that it is read once.

    Args:
        path: an ONNX file.
        digest: SHA-256 of its bytes.

    Raises:
        ConfigurationError: if the file is no ONNX model, keeps weights in other files, or uses operators that
            are not ONNX Runtime's own.
        MissingDependencyError: if the package onnx is not installed.
    """
    approval = cache_directory("approved") / f"{digest}.{_RULES}"
    if approval.is_file():
        return
    onnx = need("onnx", "onnx", "checks of a model's ONNX file")
    try:
        model = onnx.load(str(path), load_external_data=False)
    except Exception as error:  # noqa: BLE001 - protobuf raises classes of its own
        raise ConfigurationError(f"{path}: no readable ONNX model: {error}") from None
    external = int(onnx.TensorProto.EXTERNAL)
    graphs = [model.graph, *(function for function in model.functions)]
    local = {function.domain for function in model.functions}
    while graphs:
        graph = graphs.pop()
        _check_tensors(path, getattr(graph, "initializer", ()), external)
        for sparse in getattr(graph, "sparse_initializer", ()):
            _check_tensors(path, (sparse.values, sparse.indices), external)
        for node in graph.node:
            if node.domain not in _DOMAINS and node.domain not in local:
                raise ConfigurationError(
                    f"{path}: operator {node.op_type} of domain {node.domain!r} is not ONNX Runtime's own; refused"
                )
            for attribute in node.attribute:
                _check_tensors(path, (attribute.t, *attribute.tensors), external)
                with contextlib.suppress(ValueError):
                    if attribute.HasField("g"):
                        graphs.append(attribute.g)
                graphs.extend(attribute.graphs)
    with atomic_file(approval) as file:
        file.write(str(path).encode("utf-8", "surrogateescape"))


def _check_tensors(path: Path, tensors: Iterable[Any], external: int) -> None:
    for tensor in tensors:
        if tensor.data_location == external or len(tensor.external_data):
            raise ConfigurationError(f"{path}: weight {tensor.name!r} is kept in another file; refused")
