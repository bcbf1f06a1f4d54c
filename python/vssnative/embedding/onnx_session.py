"""Transformers run by ONNX Runtime."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ConfigurationError, EmbeddingError
from ..extras import need
from .protocol import Float32Matrix, Int64Vector


class OnnxSession:
    """An ONNX Runtime session that computes a batch on the calling thread, padded to its longest text.

    Args:
        graph: the ONNX file, checked (``graph_check``).
        hidden_size: values of a token's vector.

    Raises:
        ConfigurationError: if ONNX Runtime cannot run the graph, or it is no encoder.
        MissingDependencyError: if onnxruntime is not installed.
    """

    # Measured with MiniLM on AVX2 with 512 KiB of second-level cache a core: best from 256 to 384 tokens a batch; larger
    # batches lose up to a sixth, where a layer's values leave that cache.
    batch_tokens = 384
    padded = True

    def __init__(self, graph: Path, hidden_size: int) -> None:
        onnxruntime = need("onnxruntime", "onnx", "models that ONNX Runtime computes")
        options = onnxruntime.SessionOptions()
        # Batches run side by side, one thread each: nothing to synchronise inside the small operators.
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.enable_mem_pattern = False
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry("session.inter_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(
                str(graph), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # noqa: BLE001 - the library's own classes derive from Exception alone
            raise ConfigurationError(f"{graph}: ONNX Runtime cannot run this graph: {error}") from None
        self._inputs = {value.name: value.type for value in self._session.get_inputs()}
        unknown = set(self._inputs) - {
            "input_ids",
            "lengths",
            "attention_mask",
            "token_type_ids",
            "position_ids",
        }
        if unknown or "input_ids" not in self._inputs:
            raise ConfigurationError(f"{graph}: unexpected graph inputs {sorted(self._inputs)}")
        self._output = _hidden_output([value.name for value in self._session.get_outputs()], graph)
        self._hidden_size = hidden_size

    def token_vectors(self, texts: Sequence[list[int]], lengths: Int64Vector) -> Float32Matrix:
        """float32 ``(batch, sequence, hidden)`` from the token ids of each text."""
        ids = np.zeros((len(texts), max(1, int(lengths.max()))), dtype=np.int32)
        for line, text in enumerate(texts):
            ids[line, : len(text)] = text
        feeds: dict[str, np.ndarray[Any, Any]] = {"input_ids": ids}
        if "lengths" in self._inputs:
            feeds["lengths"] = lengths.astype(np.int32)
        if "attention_mask" in self._inputs:
            feeds["attention_mask"] = np.arange(ids.shape[1])[None, :] < lengths[:, None]
        if "token_type_ids" in self._inputs:
            feeds["token_type_ids"] = np.zeros_like(ids)
        if "position_ids" in self._inputs:
            feeds["position_ids"] = np.broadcast_to(np.arange(ids.shape[1]), ids.shape)
        typed = {
            name: np.ascontiguousarray(
                value, dtype=np.int32 if self._inputs[name] == "tensor(int32)" else np.int64
            )
            for name, value in feeds.items()
        }
        try:
            (hidden,) = self._session.run([self._output], typed)
        except Exception as error:  # noqa: BLE001 - as above
            raise EmbeddingError(f"ONNX Runtime failed on {ids.shape[0]} texts: {error}") from None
        if hidden.shape != (*ids.shape, self._hidden_size) or hidden.dtype != np.float32:
            raise EmbeddingError(
                f"the model gave {hidden.dtype} {hidden.shape}; expected float32 {(*ids.shape, self._hidden_size)}"
            )
        result: Float32Matrix = hidden
        return result


def _hidden_output(names: list[str], graph: Path) -> str:
    for wanted in ("last_hidden_state", "token_embeddings"):
        if wanted in names:
            return wanted
    raise ConfigurationError(
        f"{graph}: expected an output last_hidden_state or token_embeddings, found {names}"
    )
