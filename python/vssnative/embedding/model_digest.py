"""The digest of a model: of all that decides its vectors."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from ..errors import ModelNotFoundError
from .layout import ModelLayout, read_layout
from .native_encoder import takes
from .rotary_weights import rotary_settings
from .storage import cached_digest

_GRAPHS = ("onnx/model.onnx", "model.onnx")


def model_digest(
    layout: ModelLayout,
    weights: Path,
    *,
    max_tokens: int | None = None,
    prompts: Mapping[str, str] | None = None,
    dim: int | None = None,
) -> str:
    """SHA-256, hexadecimal, of weights, vocabulary, length, pooling, Dense layers, normalization, prompts and `dim`; and of
    a rotary encoder's settings.

    Args:
        layout: the model's modules.
        weights: the file of the transformer's weights.
        max_tokens, prompts, dim: what is used instead of the model's own.

    Raises:
        ConfigurationError: if a Dense layer's weights are missing.
    """
    facts = {
        "weights": cached_digest(weights),
        "tokenizer": cached_digest(_needed(layout.transformer / "tokenizer.json")),
        "dense": [
            {
                "weights": cached_digest(_needed(module.directory / "model.safetensors")),
                "activation": module.activation,
            }
            for module in layout.dense
        ],
        "max_tokens": layout.max_tokens if max_tokens is None else max_tokens,
        "pooling": layout.pooling,
        "include_prompt": layout.include_prompt,
        "normalize": layout.normalize,
        "lower_case": layout.do_lower_case,
        "prompts": {kind: layout.prompt(kind) for kind in ("query", "document")}
        if prompts is None
        else dict(prompts),
        "dim": layout.dim if dim is None else dim,
    }
    # Other encoders' digests do not name what their configs say: heads and epsilon, the same in all that were published.
    if weights.suffix == ".safetensors" and (settings := rotary_settings(layout.transformer)) is not None:
        facts["encoder"] = settings.facts()
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def directory_digest(directory: Path) -> str:
    """The digest of the model in a directory as it is, without options, as `preferred_weights` reads it.

    Raises:
        ModelNotFoundError: if a file of the model is missing.
        ConfigurationError: if a file makes no sense.
    """
    layout = read_layout(directory)
    return model_digest(layout, weights_file(layout, preferred_weights(layout)))


def weights_file(layout: ModelLayout, kind: str | None = None) -> Path:
    """The file of the transformer's weights.

    Args:
        kind: "onnx" or "safetensors"; None takes an ONNX file where there is one.

    Raises:
        ModelNotFoundError: if there is none.
    """
    if kind != "safetensors":
        for directory in (layout.directory, layout.transformer):
            for name in _GRAPHS:
                if (directory / name).is_file():
                    return directory / name
    path = layout.transformer / "model.safetensors"
    if kind != "onnx" and path.is_file():
        return path
    expected = {
        "onnx": "onnx/model.onnx or model.onnx",
        "safetensors": "model.safetensors",
        None: "onnx/model.onnx, model.onnx or model.safetensors",
    }[kind]
    raise ModelNotFoundError(f"{layout.directory}: expected {expected}")


def preferred_weights(layout: ModelLayout) -> str | None:
    """ "safetensors" where the core runs them, which needs no ONNX Runtime; None where the usual order is right."""
    own = (layout.transformer / "model.safetensors").is_file() and takes(layout.transformer)
    return "safetensors" if own else None


def _needed(path: Path) -> Path:
    if not path.is_file():
        raise ModelNotFoundError(f"{path.parent}: expected {path.name}")
    return path
