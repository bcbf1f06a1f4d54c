"""The weights of a BERT encoder, as its safetensors file holds them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import ConfigurationError
from ..extras import need
from .layout import read_json

Array = npt.NDArray[np.float32]


class BertWeights:
    """The tensors of a BERT encoder, checked against its config.

    Args:
        transformer: holds ``config.json`` and ``model.safetensors``.

    Raises:
        ConfigurationError: if the model is no BERT encoder with absolute positions and exact GELU, or the file is no
            readable safetensors file.
        MissingDependencyError: if safetensors is not installed.
    """

    def __init__(self, transformer: Path) -> None:
        need("safetensors.numpy", "local", "a model's weights")
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        config = read_json(transformer / "config.json")
        expected = {"model_type": "bert", "hidden_act": "gelu"}
        for key, value in expected.items():
            if config.get(key) != value:
                raise ConfigurationError(
                    f"{transformer}: the weights must be of a model with {key} {value!r}, not {config.get(key)!r}; "
                    "use a model that comes with an ONNX file"
                )
        if config.get("position_embedding_type", "absolute") != "absolute":
            raise ConfigurationError(f"{transformer}: only absolute position embeddings are supported")
        self.hidden = _positive(config, "hidden_size", transformer)
        self.heads = _positive(config, "num_attention_heads", transformer)
        self.layers = _positive(config, "num_hidden_layers", transformer)
        self.inner = _positive(config, "intermediate_size", transformer)
        self.epsilon = float(config.get("layer_norm_eps", 1e-12))
        if self.hidden % self.heads:
            raise ConfigurationError(
                f"{transformer}: {self.hidden} values do not divide into {self.heads} heads"
            )
        path = transformer / "model.safetensors"
        try:
            self._tensors = load_file(path)
        except (OSError, SafetensorError) as error:
            raise ConfigurationError(f"{path}: no readable safetensors file: {error}") from None
        self._path = path

    def take(self, name: str, *shape: int | None) -> Array:
        """A tensor as float32, C-contiguous; None in ``shape`` allows any extent.

        Raises:
            ConfigurationError: if it is missing or has another shape.
        """
        for prefix in ("", "bert."):
            if (tensor := self._tensors.get(prefix + name)) is not None:
                break
        else:
            raise ConfigurationError(f"{self._path}: weight {name} is missing")
        if len(tensor.shape) != len(shape) or any(
            want is not None and want != got for want, got in zip(shape, tensor.shape, strict=True)
        ):
            raise ConfigurationError(
                f"{self._path}: weight {name} has shape {tensor.shape}, expected {shape}"
            )
        return np.ascontiguousarray(tensor, dtype=np.float32)


def _positive(config: dict[str, Any], key: str, transformer: Path) -> int:
    value = config.get(key)
    if not isinstance(value, int) or not 0 < value <= 1 << 20:
        raise ConfigurationError(
            f"{transformer / 'config.json'}: {key} must be a positive integer, not {value!r}"
        )
    return value
