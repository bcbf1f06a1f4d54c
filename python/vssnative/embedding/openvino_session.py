"""Transformers run by OpenVINO."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .._extras import need
from ..errors import ConfigurationError, EmbeddingError
from .onnx_session import check_inputs, feeds_for, hidden_output
from .protocol import Float32Matrix, Int64Vector
from .work import Session


class OpenVinoSession(Session):
    """An OpenVINO model that computes a batch on the calling thread's behalf, padded to its longest text.

    Args:
        graph: the ONNX file, checked (``graph_check``).
        hidden_size: values of a token's vector.
        threads: batches that are computed at once, each on one core.
        positions: longest text that the model has positions for, None where that is not known.
        precision: ``"float32"`` or ``"bfloat16"``; the latter where the processor has units for it.
        device: OpenVINO's name of a device, for example ``"CPU"``, ``"GPU"``.

    Raises:
        ConfigurationError: if OpenVINO cannot run the graph, or it is no encoder.
        MissingDependencyError: if openvino is not installed.
    """

    batch_tokens = 384
    padded = True

    def __init__(
        self,
        graph: Path,
        hidden_size: int,
        threads: int,
        positions: int | None = None,
        precision: str = "float32",
        device: str = "CPU",
    ) -> None:
        openvino = need("openvino", "openvino", "models that OpenVINO computes")
        options: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "bf16" if precision == "bfloat16" else "f32"}
        if device == "CPU":
            options |= {"NUM_STREAMS": threads, "INFERENCE_NUM_THREADS": threads}
        try:
            core = openvino.Core()
            model = core.read_model(str(graph))
            self._inputs = {
                value.get_any_name(): f"tensor({value.get_element_type().to_dtype().name})"
                for value in model.inputs
            }
            check_inputs(self._inputs, graph)
            self._output = hidden_output([next(iter(v.names), "") for v in model.outputs], graph)
            self._words = _rows_of_words(model)
            self._compiled = core.compile_model(model, device, options)
        except ConfigurationError:
            raise
        except Exception as error:  # noqa: BLE001 - the library's own classes derive from RuntimeError and others
            raise ConfigurationError(
                f"{graph}: OpenVINO cannot run this graph: {_first_line(error)}"
            ) from None
        self._hidden_size = hidden_size
        self._positions = positions
        self._requests = threading.local()

    def token_vectors(self, texts: Sequence[list[int]], lengths: Int64Vector) -> Float32Matrix:
        """float32 ``(batch, sequence, hidden)`` from the token ids of each text."""
        ids, feeds = feeds_for(texts, lengths, self._inputs)
        # OpenVINO takes zeros for a row that is not there.
        if self._words is not None and (highest := int(ids.max())) >= self._words:
            raise EmbeddingError(
                f"OpenVINO failed on {len(texts)} texts: token {highest} is not among the graph's {self._words}"
            )
        if self._positions is not None and ids.shape[1] > self._positions:
            raise EmbeddingError(
                f"OpenVINO failed on {len(texts)} texts: {ids.shape[1]} tokens, where the model has {self._positions}"
                " positions"
            )
        request = getattr(self._requests, "one", None)
        try:
            if request is None:
                request = self._requests.one = self._compiled.create_infer_request()
            request.infer(feeds, share_inputs=True)
            # The request's own memory, which its next call writes over: this thread's, after these values were used.
            hidden: Float32Matrix = request.get_tensor(self._output).data
        except Exception as error:  # noqa: BLE001 - as above
            raise EmbeddingError(f"OpenVINO failed on {len(texts)} texts: {_first_line(error)}") from None
        if hidden.shape != (*ids.shape, self._hidden_size) or hidden.dtype != np.float32:
            raise EmbeddingError(
                f"the model gave {hidden.dtype} {hidden.shape}; expected float32 {(*ids.shape, self._hidden_size)}"
            )
        return hidden


def _rows_of_words(model: Any) -> int | None:
    """Rows of the table in which the graph looks token ids up; None where that is not seen."""
    for operation in model.get_ops():
        if operation.get_type_name() != "Gather":
            continue
        source = operation.input_value(1).get_node()
        while source.get_type_name() == "Convert":
            source = source.input_value(0).get_node()
        rows = operation.input_value(0).get_partial_shape()[0]
        if (
            source.get_type_name() == "Parameter"
            and "input_ids" in source.output(0).get_names()
            and rows.is_static
        ):
            return int(rows.get_length())
    return None


def _first_line(error: BaseException) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1].strip() if lines else type(error).__name__
