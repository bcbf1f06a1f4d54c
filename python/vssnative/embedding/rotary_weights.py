"""The weights of encoders with rotated queries and keys and gated layers: GTE, nomic, ModernBERT.

Tensors are named as in the files that their authors publish, or as the transformers library names them since.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import ConfigurationError
from .bert_weights import checked_tensor, epsilon_of, positive
from .layout import read_json
from .tensors import map_tensors

Array = npt.NDArray[np.float32]
# GTE's authors call their type "new", transformers "gte".
ROTARY_TYPES = ("gte", "new", "nomic_bert", "modernbert")
# Angles are computed for so many tokens at least, whatever the config says.
_POSITIONS = 8192
# What models of a type have where their config does not say.
_THETA = {"gte": 160_000.0, "new": 10_000.0, "nomic_bert": 1000.0}
_MODERN_THETA = {"full_attention": 160_000.0, "sliding_attention": 10_000.0}
# Names of nomic's own configs, which came before transformers'.
_NOMIC_NAMES = {
    "hidden_size": "n_embd",
    "num_attention_heads": "n_head",
    "num_hidden_layers": "n_layer",
    "intermediate_size": "n_inner",
    "max_position_embeddings": "n_positions",
    "layer_norm_eps": "layer_norm_epsilon",
    "rope_theta": "rotary_emb_base",
}
_LARGEST_FACTOR = 1024.0
_NOMIC_GATES = {"swiglu": "silu", "geglu": "gelu"}
# By type: what the encoder does not compute, and the values that mean that it need not.
_MUST: dict[str, dict[str, tuple[Any, ...]]] = {
    "nomic_bert": {
        "prenorm": (False,),
        "parallel_block": (False,),
        "causal": (False,),
        "use_rms_norm": (False, None),
        "rotary_emb_fraction": (1, 1.0),
        "rotary_emb_interleaved": (False,),
        "rotary_emb_scale_base": (None,),
        "rotary_scaling_factor": (None,),
        "qkv_proj_bias": (False,),
        "mlp_fc1_bias": (False,),
        "mlp_fc2_bias": (False,),
    },
    "new": {
        "position_embedding_type": ("rope",),
        "layer_norm_type": ("layer_norm",),
        "logn_attention_scale": (False,),
    },
}


@dataclass(frozen=True)
class RotarySettings:
    """What a config says of an encoder, beside the sizes of its weights.

    Attributes:
        gate: what is done to the gates: ``"gelu"`` or ``"silu"``.
        norms_first: whether normalization is before a layer.
        thetas: the base of the angles of each kind of rotation.
        layers: for each layer the kind of its rotation, and how far its tokens look (0: everywhere).
        shrinks: what the angles of each kind are divided by; empty where none are.
    """

    heads: int
    epsilon: float
    gate: str
    norms_first: bool
    thetas: tuple[float, ...]
    layers: tuple[tuple[int, int], ...]
    shrinks: tuple[float, ...] = ()

    def facts(self) -> dict[str, Any]:
        """All of it, for a digest."""
        found = asdict(self)
        if not self.shrinks:
            del found["shrinks"]  # as digests are that were made before there was one
        return found


@dataclass(frozen=True)
class RotaryModel:
    """What the core's encoder takes.

    Attributes:
        arrays: all weights in its order.
        rotations: float32 ``(kinds, positions, head size)``: cosines, then sines.
    """

    settings: RotarySettings
    arrays: list[Array]
    rotations: Array


def read_rotary(transformer: Path) -> RotaryModel:
    """Read the model of a directory with ``config.json`` and ``model.safetensors``.

    Raises:
        ConfigurationError: if it is none of ``ROTARY_TYPES``, or asks for what the encoder does not compute.
        MissingDependencyError: if safetensors is not installed.
    """
    config = _config(transformer)
    settings = _settings(transformer, config)
    if config["model_type"] == "modernbert":
        arrays = _modernbert_arrays(transformer, config)
    else:
        arrays = _gated_arrays(transformer, config, _NOMIC if config["model_type"] == "nomic_bert" else _GTE)
    size, positions = _sizes(transformer, config)[-1], _positions(config)
    shrinks = settings.shrinks or (1.0,) * len(settings.thetas)
    rotations = [angles(*of, size, positions) for of in zip(settings.thetas, shrinks, strict=True)]
    return RotaryModel(settings, arrays, np.stack(rotations))


def rotary_settings(transformer: Path) -> RotarySettings | None:
    """What decides a model's vectors beside its weights; None where it is none of ``ROTARY_TYPES``.

    Raises:
        ConfigurationError: if it asks for what the encoder does not compute.
    """
    if read_json(transformer / "config.json").get("model_type") not in ROTARY_TYPES:
        return None
    return _settings(transformer, _config(transformer))


def rotary_sizes(config: Mapping[str, Any]) -> tuple[Any, Any, Any]:
    """Hidden size, heads and inner size as the config of such a model states them."""
    names = ("hidden_size", "num_attention_heads", "intermediate_size")
    hidden, heads, inner = (config.get(name, config.get(_NOMIC_NAMES[name])) for name in names)
    return hidden, heads, inner


def angles(theta: float, shrink: float, size: int, positions: int) -> Array:
    """Cosines and sines for a head of ``size`` values: float32 ``(positions, size)`` (Su et al., 2021), of angles that are
    ``shrink`` times smaller."""
    # float32 from the start, as the reference has it.
    steps = np.arange(0, size, 2, dtype=np.float32) / np.float32(size)
    frequencies = np.float32(1) / np.float32(theta) ** steps / np.float32(shrink)
    turned = np.arange(positions, dtype=np.float32)[:, None] * frequencies[None, :]
    return np.concatenate([np.cos(turned), np.sin(turned)], axis=1)


@dataclass(frozen=True)
class _Names:
    """Where a model keeps its tensors; several names are tried in turn."""

    prefixes: tuple[str, ...]
    layer: tuple[str, ...]
    embedded: tuple[str, ...]
    joined: str  # queries, keys and values, one below the other
    output: tuple[str, ...]
    attention_norm: tuple[str, ...]
    inner_norm: tuple[str, ...]
    gate: tuple[str, ...]
    factors: tuple[str, ...]
    factors_and_gate: str | None  # both, one below the other
    narrow: tuple[str, ...]


_NOMIC = _Names(
    prefixes=("", "nomic_bert.", "bert."),
    layer=("encoder.layers.", "layers."),
    embedded=("emb_ln", "embeddings.LayerNorm"),
    joined="attn.Wqkv",
    output=("attn.out_proj", "self_attn.o_proj"),
    attention_norm=("norm1", "post_attention_layernorm"),
    inner_norm=("norm2", "post_mlp_layernorm"),
    gate=("mlp.fc12", "mlp.gate_proj"),
    factors=("mlp.fc11", "mlp.up_proj"),
    factors_and_gate=None,
    narrow=("mlp.fc2", "mlp.down_proj"),
)
_GTE = _Names(
    prefixes=("", "new.", "gte."),
    layer=("encoder.layer.", "layers."),
    embedded=("embeddings.LayerNorm",),
    joined="attention.qkv_proj",
    output=("attention.o_proj", "self_attn.o_proj"),
    attention_norm=("attn_ln", "post_attention_layernorm"),
    inner_norm=("mlp_ln", "post_mlp_layernorm"),
    gate=("mlp.gate_proj",),
    factors=("mlp.up_proj",),
    factors_and_gate="mlp.up_gate_proj",
    narrow=("mlp.down_proj",),
)


def _config(transformer: Path) -> dict[str, Any]:
    """The config, with transformers' names where it is one of nomic's own."""
    config: dict[str, Any] = read_json(transformer / "config.json")
    if config.get("model_type") not in ROTARY_TYPES:
        raise ConfigurationError(f"{transformer}: model_type must be {', '.join(ROTARY_TYPES)}")
    for key, allowed in _MUST.get(str(config["model_type"]), {}).items():
        if key in config and config[key] not in allowed:
            raise ConfigurationError(f"{transformer}: {key}={config[key]!r} is not supported")
    if config["model_type"] != "nomic_bert":
        return config
    found = dict(config)
    for ours, theirs in _NOMIC_NAMES.items():
        if theirs in config:
            found.setdefault(ours, config[theirs])
    if "activation_function" in config:
        activation = str(config["activation_function"])
        found.setdefault("hidden_act", _NOMIC_GATES.get(activation, activation))
    return found


def _settings(transformer: Path, config: Mapping[str, Any]) -> RotarySettings:
    _, heads, layers, _, size = _sizes(transformer, config)
    if config["model_type"] != "modernbert":
        theta, shrink = _rotation(transformer, config, _THETA[str(config["model_type"])], size)
        gate = _gate(transformer, config, "hidden_act")
        epsilon = epsilon_of(config, "layer_norm_eps", 1e-12, transformer)
        shrinks = () if shrink == 1 else (shrink,)
        return RotarySettings(heads, epsilon, gate, False, (theta,), ((0, 0),) * layers, shrinks)
    window = config.get("local_attention", 128)
    if isinstance(window, bool) or not isinstance(window, int) or not 2 <= window <= 1 << 20:
        raise ConfigurationError(f"{transformer}: local_attention must be 2 or more, not {window!r}")
    given = _object(transformer, config, "rope_parameters")
    rotations = []
    for kind, key in (("full_attention", "global_rope_theta"), ("sliding_attention", "local_rope_theta")):
        default = config.get(key, _MODERN_THETA[kind])
        own = {**config, "rope_parameters": given.get(kind), "rope_theta": default}
        rotations.append(_rotation(transformer, own, _MODERN_THETA[kind], size))
    kinds = _layer_types(transformer, config, layers)
    return RotarySettings(
        heads,
        epsilon_of(config, "norm_eps", 1e-5, transformer),
        _gate(transformer, config, "hidden_activation"),
        True,
        tuple(theta for theta, _ in rotations),
        tuple((1, window // 2) if kind == "sliding_attention" else (0, 0) for kind in kinds),
        () if all(shrink == 1 for _, shrink in rotations) else tuple(shrink for _, shrink in rotations),
    )


def _gated_arrays(transformer: Path, config: Mapping[str, Any], names: _Names) -> list[Array]:
    tensors = _Tensors(transformer, names.prefixes, names.layer)
    hidden, _, layers, inner, _ = _sizes(transformer, config)
    arrays = [*tensors.embeddings(hidden), *tensors.norm(names.embedded, hidden)]
    for layer in range(layers):
        at = tensors.layer(layer)
        if at.has(f"{names.joined}.weight"):
            joined, bias = at.linear((names.joined,), 3 * hidden, hidden)
            for part in range(3):
                rows = slice(part * hidden, (part + 1) * hidden)
                arrays += [joined[rows], bias[rows]]
        else:
            for name in ("q_proj", "k_proj", "v_proj"):
                arrays += at.linear((f"self_attn.{name}", f"attention.{name}"), hidden, hidden)
        arrays += at.linear(names.output, hidden, hidden)
        arrays += at.norm(names.attention_norm, hidden)
        if names.factors_and_gate is not None and at.has(f"{names.factors_and_gate}.weight"):
            both = at.linear((names.factors_and_gate,), 2 * inner, hidden)
            wide = [np.concatenate([array[inner:], array[:inner]]) for array in both]
        else:
            gate, factors = at.linear(names.gate, inner, hidden), at.linear(names.factors, inner, hidden)
            wide = [np.concatenate(pair) for pair in zip(gate, factors, strict=True)]
        arrays += wide
        arrays += at.linear(names.narrow, hidden, inner)
        arrays += at.norm(names.inner_norm, hidden)
    return arrays


def _modernbert_arrays(transformer: Path, config: Mapping[str, Any]) -> list[Array]:
    tensors = _Tensors(transformer, ("", "model."), ("layers.",))
    hidden, _, layers, inner, _ = _sizes(transformer, config)
    nothing = np.zeros(0, dtype=np.float32)
    arrays = [
        tensors.take(("embeddings.tok_embeddings.weight",), None, hidden),
        np.zeros((0, hidden), dtype=np.float32),
        np.zeros((1, hidden), dtype=np.float32),
        *tensors.norm(("embeddings.norm",), hidden),
    ]
    for layer in range(layers):
        at = tensors.layer(layer)
        joined, bias = at.linear(("attn.Wqkv",), 3 * hidden, hidden)
        for part in range(3):
            rows = slice(part * hidden, (part + 1) * hidden)
            arrays += [joined[rows], bias[rows]]
        arrays += at.linear(("attn.Wo",), hidden, hidden)
        # The first layer reads what the embeddings' own normalization made.
        arrays += [nothing, nothing] if layer == 0 else at.norm(("attn_norm",), hidden)
        arrays += at.linear(("mlp.Wi",), 2 * inner, hidden)
        arrays += at.linear(("mlp.Wo",), hidden, inner)
        arrays += at.norm(("mlp_norm",), hidden)
    arrays += tensors.norm(("final_norm",), hidden)
    return arrays


class _Tensors:
    """A file's tensors, or those of one layer, as float32."""

    def __init__(self, transformer: Path, prefixes: Sequence[str], layers: Sequence[str]) -> None:
        self._path = transformer / "model.safetensors"
        self._tensors: Mapping[str, Any] = map_tensors(self._path)
        self._prefixes = tuple(prefixes)
        self._layers = layers

    def layer(self, number: int) -> _Tensors:
        """Those of one layer."""
        part = object.__new__(_Tensors)
        part._path, part._tensors, part._layers = self._path, self._tensors, self._layers
        part._prefixes = tuple(f"{p}{layer}{number}." for p in self._prefixes for layer in self._layers)
        return part

    def has(self, name: str) -> bool:
        return any(prefix + name in self._tensors for prefix in self._prefixes)

    def take(self, names: Sequence[str], *shape: int | None) -> Array:
        """The tensor of one of these names; None in ``shape`` allows any extent.

        Raises:
            ConfigurationError: if it is missing or has another shape.
        """
        for name in (prefix + name for name in names for prefix in self._prefixes):
            if name in self._tensors:
                return checked_tensor(self._path, name, self._tensors[name], shape)
        raise ConfigurationError(f"{self._path}: weight {self._prefixes[0]}{names[0]} is missing")

    def linear(self, names: Sequence[str], outputs: int, inputs: int) -> tuple[Array, Array]:
        """Weight and bias; zeros where there is no bias."""
        weight = self.take([f"{name}.weight" for name in names], outputs, inputs)
        return weight, self._bias(names, outputs)

    def norm(self, names: Sequence[str], size: int) -> tuple[Array, Array]:
        """Factor and bias of a layer normalization; zeros where there is no bias."""
        return self.take([f"{name}.weight" for name in names], size), self._bias(names, size)

    def _bias(self, names: Sequence[str], size: int) -> Array:
        biases = [f"{name}.bias" for name in names]
        if not any(self.has(name) for name in biases):
            return np.zeros(size, dtype=np.float32)
        return self.take(biases, size)

    def embeddings(self, hidden: int) -> tuple[Array, Array, Array]:
        """Words, no positions, and types, of which some models have none."""
        words = self.take(("embeddings.word_embeddings.weight",), None, hidden)
        types = "embeddings.token_type_embeddings.weight"
        some = self.take((types,), None, hidden) if self.has(types) else None
        if some is None or len(some) == 0:
            some = np.zeros((1, hidden), dtype=np.float32)
        return words, np.zeros((0, hidden), dtype=np.float32), some


def _sizes(transformer: Path, config: Mapping[str, Any]) -> tuple[int, int, int, int, int]:
    """Hidden size, heads, layers, inner size and size of a head."""
    hidden, heads, layers, inner = (
        positive(config, key, transformer)
        for key in ("hidden_size", "num_attention_heads", "num_hidden_layers", "intermediate_size")
    )
    size = config.get("head_dim") or hidden // heads
    if hidden % heads or size != hidden // heads or size % 2:
        raise ConfigurationError(
            f"{transformer}: {hidden} values do not divide into {heads} heads of {size}, an even number"
        )
    return hidden, heads, layers, inner, size


def _positions(config: Mapping[str, Any]) -> int:
    stated = config.get("max_position_embeddings")
    return max(_POSITIONS, stated) if isinstance(stated, int) and stated <= 1 << 17 else _POSITIONS


def _rotation(transformer: Path, config: Mapping[str, Any], default: float, size: int) -> tuple[float, float]:
    """The base of the angles, and what they are divided by.

    Two ways to scale them are known: ``linear``, and GTE's ``ntk``, a base that is ``factor`` times as large and angles
    divided by factor^(2 / size) (kexue.fm/archives/9706). Of the others the formula depends on a text's length, or the
    config leaves it open.
    """
    given = _object(transformer, config, "rope_parameters")
    scaling = _object(transformer, config, "rope_scaling") or given
    theta = given.get("rope_theta", config.get("rope_theta", default))
    if isinstance(theta, bool) or not isinstance(theta, (int, float)) or not theta > 1:
        raise ConfigurationError(f"{transformer}: rope_theta must be a number above 1, not {theta!r}")
    way = scaling.get("rope_type", scaling.get("type", "default"))
    if way == "default":
        return float(theta), 1.0
    if way not in ("linear", "ntk") or scaling.get("mixed_b") is not None:
        raise ConfigurationError(f"{transformer}: rotations scaled so are not supported: {scaling}")
    factor = scaling.get("factor")
    if isinstance(factor, bool) or not isinstance(factor, (int, float)) or not 1 <= factor <= _LARGEST_FACTOR:
        raise ConfigurationError(
            f"{transformer}: the factor of scaled rotations must be from 1 to {_LARGEST_FACTOR:.0f}, not {factor!r}"
        )
    if way == "linear":
        return float(theta), float(factor)
    return float(theta) * factor, float(factor ** (2 / size))


def _object(transformer: Path, config: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = config.get(key) or {}
    if not isinstance(value, dict):
        raise ConfigurationError(f"{transformer}: {key} must be an object, not {value!r}")
    return value


def _gate(transformer: Path, config: Mapping[str, Any], key: str) -> str:
    default = "silu" if config["model_type"] == "nomic_bert" else "gelu"
    gate = config.get(key, default)
    if gate not in ("gelu", "silu"):
        raise ConfigurationError(f"{transformer}: {key} must be gelu or silu, not {gate!r}")
    return str(gate)


def _layer_types(transformer: Path, config: Mapping[str, Any], layers: int) -> list[str]:
    """For each layer of ModernBERT whether it looks everywhere (``full_attention``) or at near tokens."""
    every = config.get("global_attn_every_n_layers", 3)
    if isinstance(every, bool) or not isinstance(every, int) or every < 1:
        raise ConfigurationError(
            f"{transformer}: global_attn_every_n_layers must be 1 or more, not {every!r}"
        )
    kinds = config.get("layer_types") or [
        "sliding_attention" if layer % every else "full_attention" for layer in range(layers)
    ]
    if (
        not isinstance(kinds, list)
        or len(kinds) != layers
        or not all(isinstance(kind, str) and kind in _MODERN_THETA for kind in kinds)
    ):
        raise ConfigurationError(
            f"{transformer}: layer_types must name full_attention or sliding_attention for each of {layers} layers"
        )
    return list(kinds)
