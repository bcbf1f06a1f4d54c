"""The weights of a BERT, RoBERTa or MPNet encoder, as its safetensors file holds them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import ConfigurationError
from .layout import read_json
from .tensors import map_tensors

Array = npt.NDArray[np.float32]
# Encoders of BERT's layers.
MODEL_TYPES = ("bert", "roberta", "xlm-roberta", "camembert")
# The same with biases by distance, which the own encoder has and the graph of ``graph.py`` has not.
NATIVE_TYPES = (*MODEL_TYPES, "mpnet")
_MPNET_NAMES = {
    ".attention.self.query.": ".attention.attn.q.",
    ".attention.self.key.": ".attention.attn.k.",
    ".attention.self.value.": ".attention.attn.v.",
    ".attention.output.dense.": ".attention.attn.o.",
    ".attention.output.LayerNorm.": ".attention.LayerNorm.",
}
# transformers' model counts positions from behind it, whatever the config says.
_MPNET_PADDING = 1
_MPNET_FARTHEST = 128


class BertWeights:
    """The tensors of a BERT encoder, checked against its config.

    Args:
        transformer: holds ``config.json`` and ``model.safetensors``.
        types: values of ``model_type`` that are taken.

    Raises:
        ConfigurationError: if the model is no BERT or RoBERTa encoder with absolute positions and exact GELU, or the file is no
            readable safetensors file.
        MissingDependencyError: if safetensors is not installed.
    """

    def __init__(self, transformer: Path, types: Sequence[str] = MODEL_TYPES) -> None:
        config = read_json(transformer / "config.json")
        if config.get("model_type") not in types or config.get("hidden_act") != "gelu":
            raise ConfigurationError(
                f"{transformer}: the weights must be of a model with model_type {', '.join(types)} and hidden_act "
                f"gelu, not {config.get('model_type')!r} and {config.get('hidden_act')!r}; use a model that comes with an "
                "ONNX file"
            )
        if config.get("position_embedding_type", "absolute") != "absolute":
            raise ConfigurationError(f"{transformer}: only absolute position embeddings are supported")
        self.hidden = positive(config, "hidden_size", transformer)
        self.heads = positive(config, "num_attention_heads", transformer)
        self.layers = positive(config, "num_hidden_layers", transformer)
        self.inner = positive(config, "intermediate_size", transformer)
        self.epsilon = epsilon_of(config, "layer_norm_eps", 1e-12, transformer)
        if self.hidden % self.heads:
            raise ConfigurationError(
                f"{transformer}: {self.hidden} values do not divide into {self.heads} heads"
            )
        path = transformer / "model.safetensors"
        self._tensors = map_tensors(path)
        self._path = path
        # RoBERTa counts positions from the one behind the padding token's number.
        self._mpnet = config["model_type"] == "mpnet"
        if self._mpnet:
            self._first_position = _MPNET_PADDING + 1
        elif config["model_type"] == "bert":
            self._first_position = 0
        else:
            self._first_position = _number(config, "pad_token_id", transformer) + 1

    def positions(self) -> Array:
        """The rows of the positions that tokens have, from a text's first token on."""
        table = self.take("embeddings.position_embeddings.weight", None, self.hidden)
        if len(table) <= self._first_position:
            raise ConfigurationError(f"{self._path}: {len(table)} positions, expected more")
        return np.ascontiguousarray(table[self._first_position :])

    def types(self) -> Array:
        """The rows of the token types; MPNet has none."""
        if self._mpnet:
            return np.zeros((1, self.hidden), dtype=np.float32)
        return self.take("embeddings.token_type_embeddings.weight", None, self.hidden)

    def distances(self, positions: int) -> Array | None:
        """MPNet's biases of scores by the distance from query to key: float32 ``(heads, 2 positions - 1)``."""
        if not self._mpnet:
            return None
        table = self.take("encoder.relative_attention_bias.weight", None, self.heads)
        places = np.arange(1 - positions, positions)
        return np.ascontiguousarray(table[distance_buckets(places, len(table))].T)

    def take(self, name: str, *shape: int | None) -> Array:
        """A tensor as float32, C-contiguous; None in ``shape`` allows any extent.

        Raises:
            ConfigurationError: if it is missing or has another shape.
        """
        if self._mpnet:
            for ours, theirs in _MPNET_NAMES.items():
                name = name.replace(ours, theirs)
        for prefix in ("", "bert.", "roberta.", "mpnet."):
            if (tensor := self._tensors.get(prefix + name)) is not None:
                break
        else:
            raise ConfigurationError(f"{self._path}: weight {name} is missing")
        return checked_tensor(self._path, name, tensor, shape)


def checked_tensor(path: Path, name: str, tensor: npt.NDArray[Any], shape: Sequence[int | None]) -> Array:
    """A tensor as float32, C-contiguous; None in ``shape`` allows any extent.

    Raises:
        ConfigurationError: if it has another shape.
    """
    if len(tensor.shape) != len(shape) or any(
        want is not None and want != got for want, got in zip(shape, tensor.shape, strict=True)
    ):
        raise ConfigurationError(f"{path}: weight {name} has shape {tensor.shape}, expected {tuple(shape)}")
    return np.ascontiguousarray(tensor, dtype=np.float32)


def distance_buckets(distances: npt.NDArray[np.int64], buckets: int) -> npt.NDArray[np.int64]:
    """The row of a bias for each distance from query to key: half of them for keys behind the query, single ones for near
    keys, then wider ones by the logarithm, the last from a distance of 128 on (Raffel et al., 2020, as transformers'
    MPNet computes it).

    Raises:
        ConfigurationError: if there are fewer than four rows, or an odd number.
    """
    if buckets < 4 or buckets % 2:
        raise ConfigurationError(
            f"relative_attention_bias has {buckets} rows, expected an even number, 4 or more"
        )
    half = buckets // 2
    exact = half // 2
    size = np.abs(distances)
    # float32, as the reference has it: the steps lie where it rounds.
    scale = np.float32(math.log(_MPNET_FARTHEST / exact))
    logarithm = np.log(np.maximum(size, 1).astype(np.float32) / np.float32(exact))
    wide = exact + (logarithm / scale * np.float32(half - exact)).astype(np.int64)
    bucket = np.where(size < exact, size, np.minimum(wide, half - 1))
    return bucket + np.where(distances > 0, half, 0)


def _number(config: dict[str, Any], key: str, transformer: Path) -> int:
    value = config.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= 1 << 20:
        raise ConfigurationError(
            f"{transformer / 'config.json'}: {key} must be an integer of 0 or more, not {value!r}"
        )
    return value


def positive(config: Mapping[str, Any], key: str, transformer: Path) -> int:
    value = config.get(key)
    if not isinstance(value, int) or not 0 < value <= 1 << 20:
        raise ConfigurationError(
            f"{transformer / 'config.json'}: {key} must be a positive integer, not {value!r}"
        )
    return value


def epsilon_of(config: Mapping[str, Any], key: str, default: float, transformer: Path) -> float:
    """What a layer normalization adds to the variance.

    Raises:
        ConfigurationError: if it is no number from 0 to 1.
    """
    value = config.get(key, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise ConfigurationError(
            f"{transformer / 'config.json'}: {key} must be a number from 0 to 1, not {value!r}"
        )
    return float(value)
