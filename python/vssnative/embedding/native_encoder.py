"""BERT encoders and their descendants run by the C++ core (``src/embedding/bert_encoder``): texts side by side, without padding."""

from __future__ import annotations

from pathlib import Path

from .. import _core
from ..errors import ConfigurationError
from .bert_weights import NATIVE_TYPES, BertWeights
from .layout import read_json
from .protocol import Float32Matrix
from .rotary_weights import ROTARY_TYPES, read_rotary, rotary_sizes
from .work import NativeWork, Task

# Columns that the core's kernels take at once (src/embedding/encoder_kernels.h).
_PANEL = 16


class NativeEncoder:
    """A BERT encoder that computes batches on the threads that take part.

    Args:
        transformer: holds ``config.json`` and ``model.safetensors``.
        level: the kernels' instruction set, one of ``_core.encoder_levels()``; by default the fastest.
        precision: ``"bfloat16"`` multiplies rounded weights and values where the level has units for it.

    Raises:
        ConfigurationError: if the model is no BERT encoder of sizes that the core takes.
        MissingDependencyError: if safetensors is not installed.
    """

    # Small enough that two threads end at about the same time; from 96 to 768 there is little difference else.
    batch_tokens = 384
    padded = False

    def __init__(self, transformer: Path, level: str | None = None, precision: str = "float32") -> None:
        level = level or _core.fastest_level(precision)
        try:
            self._encoder = _make(transformer, level, precision)
        except ValueError as error:
            raise ConfigurationError(f"{transformer}: the core cannot run this model: {error}") from None

    def start(self, task: Task) -> NativeWork:
        """The work of writing the texts' vectors."""
        return NativeWork(self._encoder, task)


def _make(transformer: Path, level: str, precision: str) -> _core.BertEncoder:
    if read_json(transformer / "config.json").get("model_type") in ROTARY_TYPES:
        model = read_rotary(transformer)
        settings = model.settings
        return _core.BertEncoder(
            model.arrays,
            settings.heads,
            settings.epsilon,
            level,
            precision,
            gate=settings.gate,
            norms_first=settings.norms_first,
            rotations=model.rotations,
            layers=settings.layers,
        )
    weights = BertWeights(transformer, NATIVE_TYPES)
    arrays = encoder_arrays(weights)
    distances = weights.distances(len(arrays[1]))
    return _core.BertEncoder(arrays, weights.heads, weights.epsilon, level, precision, distances)


def takes(transformer: Path) -> bool:
    """Whether the model in ``transformer`` is an encoder of a type and of sizes that the core's kernels are made for."""
    config = read_json(transformer / "config.json")
    sizes = rotary_sizes(config)
    known = config.get("model_type") in ROTARY_TYPES or (
        config.get("model_type") in NATIVE_TYPES and config.get("hidden_act") == "gelu"
    )
    if not known or not all(isinstance(size, int) and size > 0 for size in sizes):
        return False
    hidden, heads, inner = sizes
    return bool(hidden % heads == 0 and hidden // heads % _PANEL == 0 and inner % _PANEL == 0)


def encoder_arrays(weights: BertWeights) -> list[Float32Matrix]:
    """All weights in the order in which the core expects them."""
    hidden, inner = weights.hidden, weights.inner
    arrays = [
        weights.take("embeddings.word_embeddings.weight", None, hidden),
        weights.positions(),
        weights.types(),
    ]

    def norm(name: str) -> None:
        arrays.extend(weights.take(f"{name}.LayerNorm.{part}", hidden) for part in ("weight", "bias"))

    def linear(name: str, outputs: int, inputs: int) -> None:
        arrays.append(weights.take(f"{name}.weight", outputs, inputs))
        arrays.append(weights.take(f"{name}.bias", outputs))

    norm("embeddings")
    for layer in range(weights.layers):
        source = f"encoder.layer.{layer}"
        for part in ("query", "key", "value"):
            linear(f"{source}.attention.self.{part}", hidden, hidden)
        linear(f"{source}.attention.output.dense", hidden, hidden)
        norm(f"{source}.attention.output")
        linear(f"{source}.intermediate.dense", inner, hidden)
        linear(f"{source}.output.dense", hidden, inner)
        norm(f"{source}.output")
    return arrays
