"""The weights of a BERT or RoBERTa encoder, as its safetensors file holds them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import ConfigurationError
from ..extras import need
from .layout import read_json

Array = npt.NDArray[np.float32]
# Encoders of BERT's layers.
MODEL_TYPES = ("bert", "roberta", "xlm-roberta", "camembert")


class BertWeights:
    """The tensors of a BERT encoder, checked against its config.

    Args:
        transformer: holds ``config.json`` and ``model.safetensors``.

    Raises:
        ConfigurationError: if the model is no BERT or RoBERTa encoder with absolute positions and exact GELU, or the file is no
            readable safetensors file.
        MissingDependencyError: if safetensors is not installed.
    """

    def __init__(self, transformer: Path) -> None:
        need("safetensors.numpy", "local", "a model's weights")
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        config = read_json(transformer / "config.json")
        if config.get("model_type") not in MODEL_TYPES or config.get("hidden_act") != "gelu":
            raise ConfigurationError(
                f"{transformer}: the weights must be of a model with model_type {', '.join(MODEL_TYPES)} and hidden_act "
                f"gelu, not {config.get('model_type')!r} and {config.get('hidden_act')!r}; use a model that comes with an "
                "ONNX file"
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
        # RoBERTa counts positions from the one behind the padding token's number.
        self._first_position = (
            0 if config["model_type"] == "bert" else _number(config, "pad_token_id", transformer) + 1
        )

    def positions(self) -> Array:
        """The rows of the positions that tokens have, from a text's first token on."""
        table = self.take("embeddings.position_embeddings.weight", None, self.hidden)
        if len(table) <= self._first_position:
            raise ConfigurationError(f"{self._path}: {len(table)} positions, expected more")
        return np.ascontiguousarray(table[self._first_position :])

    def take(self, name: str, *shape: int | None) -> Array:
        """A tensor as float32, C-contiguous; None in ``shape`` allows any extent.

        Raises:
            ConfigurationError: if it is missing or has another shape.
        """
        for prefix in ("", "bert.", "roberta."):
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


def _number(config: dict[str, Any], key: str, transformer: Path) -> int:
    value = config.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= 1 << 20:
        raise ConfigurationError(
            f"{transformer / 'config.json'}: {key} must be an integer of 0 or more, not {value!r}"
        )
    return value


def _positive(config: dict[str, Any], key: str, transformer: Path) -> int:
    value = config.get(key)
    if not isinstance(value, int) or not 0 < value <= 1 << 20:
        raise ConfigurationError(
            f"{transformer / 'config.json'}: {key} must be a positive integer, not {value!r}"
        )
    return value
