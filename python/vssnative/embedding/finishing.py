"""From token vectors to one vector per text: pooling, Dense layers, cut, normalization."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from .. import _core
from ..errors import ConfigurationError, EmbeddingError
from .layout import POOLING_MODES, DenseModule, ModelLayout
from .protocol import Float32Matrix, Int64Vector
from .storage import cached_digest
from .tensors import load_tensors


class Finisher:
    """What comes after the transformer, for one model.

    Args:
        layout: the model's modules.
        dim: keep this many values of each vector and scale to unit length; None keeps all.

    Attributes:
        dim: values of a vector.
        modes: numbers of the poolings.
        scales_poolings: whether what the poolings give is scaled to unit length at once: not where Dense layers follow.
    """

    def __init__(self, layout: ModelLayout, dim: int | None = None) -> None:
        if dim is not None and not 1 <= dim <= layout.dim:
            raise ConfigurationError(f"dim must be from 1 to the model's {layout.dim}, not {dim}")
        self.dim = layout.dim if dim is None else dim
        self.modes = [POOLING_MODES.index(mode) for mode in layout.pooling]
        self._dense = [_Dense(module) for module in layout.dense]
        self._normalizes = layout.normalize or dim is not None
        self.scales_poolings = self._normalizes and not self._dense
        self._hidden = layout.hidden_size

    @property
    def dense_digests(self) -> list[str]:
        """Digest of each Dense layer's weights."""
        return [layer.digest for layer in self._dense]

    def finish(
        self, hidden: Float32Matrix, lengths: Int64Vector, skip: int, out: Float32Matrix, targets: Int64Vector
    ) -> None:
        """Write the vectors of a batch into rows of ``out``.

        Args:
            hidden: float32 ``(batch, sequence, hidden)``.
            lengths: int64 ``(batch,)``, tokens of each text; those beyond are padding.
            skip: leading tokens (of a prompt) that pooling leaves out.
            out: float32 ``(n, dim)``.
            targets: int64 ``(batch,)``, the row of ``out`` for each text.

        Raises:
            EmbeddingError: if a value is not finite.
        """
        count = len(lengths)
        pooled, rows = (
            (self._room(count), np.arange(count, dtype=np.int64)) if self._dense else (out, targets)
        )
        finite = _core.pool_tokens(hidden, lengths, skip, self.modes, self.scales_poolings, pooled, rows)
        self._finish(pooled, out, targets, finite)

    def pooled(self, out: Float32Matrix) -> Float32Matrix:
        """Where the poolings of ``len(out)`` texts go to, before ``end``: `out` itself where nothing comes behind them."""
        return self._room(len(out)) if self._dense else out

    def end(self, pooled: Float32Matrix, out: Float32Matrix, finite: bool) -> None:
        """Make vectors of what ``pooled`` has got, one for each row of `out`.

        Args:
            finite: whether all of `pooled` is.

        Raises:
            EmbeddingError: if a value is not finite.
        """
        self._finish(pooled, out, np.arange(len(out), dtype=np.int64), finite)

    def _room(self, texts: int) -> Float32Matrix:
        # Of the full width: Dense layers need every pooled value.
        return np.empty((texts, self._hidden * len(self.modes)), dtype=np.float32)

    def _finish(self, vectors: Float32Matrix, out: Float32Matrix, targets: Int64Vector, finite: bool) -> None:
        if self._dense:
            for layer in self._dense:
                vectors = layer.apply(vectors)
            finite = _core.finish_rows(vectors, self._normalizes, out, targets)
        if not finite:
            raise EmbeddingError("the model gave a vector with a value that is no finite number")


class _Dense:
    def __init__(self, module: DenseModule) -> None:
        path = module.directory / "model.safetensors"
        if not path.is_file():
            raise ConfigurationError(
                f"{module.directory}: expected model.safetensors (a pickle is never read)"
            )
        self.digest = cached_digest(path)
        self._weight, self._bias = _dense_weights(path, module)
        self._activation = module.activation

    def apply(self, vectors: Float32Matrix) -> Float32Matrix:
        values: Float32Matrix = vectors @ self._weight
        if self._bias is not None:
            values = values + self._bias
        if self._activation == "tanh":
            values = np.tanh(values)
        elif self._activation == "relu":
            values = np.maximum(values, np.float32(0))
        elif self._activation == "sigmoid":
            values = np.float32(1) / (np.float32(1) + np.exp(-values))
        elif self._activation == "gelu":
            values = values * np.float32(0.5) * (1 + _erf(values / np.float32(np.sqrt(2.0))))
        return np.ascontiguousarray(values, dtype=np.float32)


def _dense_weights(
    path: Path, module: DenseModule
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32] | None]:
    tensors = load_tensors(path)
    weight = tensors.get("linear.weight")
    if weight is None or weight.shape != (module.out_features, module.in_features):
        raise ConfigurationError(
            f"{path}: linear.weight must be {(module.out_features, module.in_features)}, "
            f"not {None if weight is None else weight.shape}"
        )
    bias = tensors.get("linear.bias") if module.bias else None
    if module.bias and (bias is None or bias.shape != (module.out_features,)):
        raise ConfigurationError(f"{path}: linear.bias must have {module.out_features} values")
    return (
        np.ascontiguousarray(weight.T, dtype=np.float32),
        None if bias is None else bias.astype(np.float32),
    )


def _erf(values: Float32Matrix) -> Float32Matrix:
    import math

    return np.array([math.erf(value) for value in values.ravel()], dtype=np.float32).reshape(values.shape)
