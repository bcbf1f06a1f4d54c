"""Transformers run by ONNX Runtime."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .._extras import need
from ..errors import ConfigurationError, EmbeddingError
from .protocol import Float32Matrix, Int64Vector
from .work import Session


class OnnxSession(Session):
    """An ONNX Runtime session that computes a batch on the calling thread, padded to its longest text.

    Args:
        graph: the ONNX file, checked (``graph_check``).
        hidden_size: values of a token's vector.
        providers: ONNX Runtime's execution providers, the first that it can use, by name or as (name, options); by default
            the CPU's.

    Raises:
        ConfigurationError: if ONNX Runtime cannot run the graph, or it is no encoder.
        MissingDependencyError: if onnxruntime is not installed.
    """

    # Measured with MiniLM on AVX2 with 512 KiB of second-level cache a core: best from 256 to 384 tokens a batch; larger
    # batches lose up to a sixth, where a layer's values leave that cache.
    batch_tokens = 384
    padded = True

    def __init__(self, graph: Path, hidden_size: int, providers: Sequence[Any] | None = None) -> None:
        onnxruntime = need("onnxruntime", "onnx", "models that ONNX Runtime computes")
        wanted = ["CPUExecutionProvider"] if providers is None else list(providers)
        _check_providers(wanted, onnxruntime.get_available_providers())
        options = onnxruntime.SessionOptions()
        # Batches run side by side, one thread each: nothing to synchronise inside the small operators.
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.enable_mem_pattern = False
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry("session.inter_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(str(graph), options, providers=wanted)
        except Exception as error:  # noqa: BLE001 - the library's own classes derive from Exception alone
            raise ConfigurationError(f"{graph}: ONNX Runtime cannot run this graph: {error}") from None
        self._inputs = {value.name: value.type for value in self._session.get_inputs()}
        check_inputs(self._inputs, graph)
        self._output = hidden_output([value.name for value in self._session.get_outputs()], graph)
        self._hidden_size = hidden_size

    def token_vectors(self, texts: Sequence[list[int]], lengths: Int64Vector) -> Float32Matrix:
        """float32 ``(batch, sequence, hidden)`` from the token ids of each text."""
        ids, typed = feeds_for(texts, lengths, self._inputs)
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


def hidden_output(names: list[str], graph: Path) -> str:
    """The name of the output that holds the token vectors.

    Raises:
        ConfigurationError: if there is none.
    """
    for wanted in ("last_hidden_state", "token_embeddings"):
        if wanted in names:
            return wanted
    raise ConfigurationError(
        f"{graph}: expected an output last_hidden_state or token_embeddings, found {names}"
    )


_INPUTS = {"input_ids", "lengths", "attention_mask", "token_type_ids", "position_ids"}


def check_inputs(inputs: Iterable[str], graph: Path) -> None:
    """Refuse a graph that is no encoder of token ids.

    Raises:
        ConfigurationError: if it has other inputs than an encoder's.
    """
    names = set(inputs)
    if names - _INPUTS or "input_ids" not in names:
        raise ConfigurationError(f"{graph}: unexpected graph inputs {sorted(names)}")


def feeds_for(
    texts: Sequence[list[int]], lengths: Int64Vector, inputs: Mapping[str, str]
) -> tuple[np.ndarray[Any, Any], dict[str, np.ndarray[Any, Any]]]:
    """The padded ids, and what to feed to a graph.

    Args:
        texts: token ids of each text.
        lengths: int64 ``(batch,)``.
        inputs: name and type, ``"tensor(int32)"`` or ``"tensor(int64)"``, of the graph's inputs.
    """
    ids = np.zeros((len(texts), max(1, int(lengths.max()))), dtype=np.int32)
    for line, text in enumerate(texts):
        ids[line, : len(text)] = text
    feeds: dict[str, np.ndarray[Any, Any]] = {"input_ids": ids}
    if "lengths" in inputs:
        feeds["lengths"] = lengths.astype(np.int32)
    if "attention_mask" in inputs:
        feeds["attention_mask"] = np.arange(ids.shape[1])[None, :] < lengths[:, None]
    if "token_type_ids" in inputs:
        feeds["token_type_ids"] = np.zeros_like(ids)
    if "position_ids" in inputs:
        feeds["position_ids"] = np.broadcast_to(np.arange(ids.shape[1]), ids.shape)
    return ids, {
        name: np.ascontiguousarray(value, dtype=np.int32 if inputs[name] == "tensor(int32)" else np.int64)
        for name, value in feeds.items()
    }


def _check_providers(wanted: Sequence[Any], available: Sequence[str]) -> None:
    names = [provider if isinstance(provider, str) else provider[0] for provider in wanted]
    missing = [name for name in names if name not in available]
    if missing or not names:
        raise ConfigurationError(
            f"this onnxruntime has no provider {', '.join(missing) or 'named'}; it has {', '.join(available)}. Providers of "
            "other devices come with other builds: onnxruntime-gpu (CUDA), onnxruntime-directml, onnxruntime-openvino"
        )
