"""Reads how a sentence-transformers model is put together from the files of its directory.

The files are those that the sentence-transformers library writes: ``modules.json`` lists the modules in order
(Transformer, Pooling, optional Dense, optional Normalize), each with a directory of its own;
``sentence_bert_config.json`` holds the maximum length; ``config_sentence_transformers.json`` the prompts.
A directory without ``modules.json`` is read as the library itself does: mean pooling, no normalization.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import ConfigurationError, ModelNotFoundError

# In the order of the C++ core's enumeration (src/embedding/pooling.h).
POOLING_MODES = ("cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")
_ACTIVATIONS = {
    "torch.nn.modules.linear.Identity": "identity",
    "torch.nn.modules.activation.Tanh": "tanh",
    "torch.nn.modules.activation.ReLU": "relu",
    "torch.nn.modules.activation.GELU": "gelu",
    "torch.nn.modules.activation.Sigmoid": "sigmoid",
}
# Without a stated length the library falls back to the model's positions; nothing sane is longer than this.
_LENGTH_CEILING = 32_768


@dataclass(frozen=True, slots=True)
class DenseModule:
    """A linear layer after pooling: ``activation(x @ weight.T + bias)``, weights read from ``directory``."""

    directory: Path
    in_features: int
    out_features: int
    bias: bool
    activation: str


@dataclass(frozen=True, slots=True)
class ModelLayout:
    """All that decides a model's vectors besides its weights and vocabulary."""

    directory: Path
    transformer: Path
    hidden_size: int
    max_tokens: int
    pooling: tuple[str, ...]
    include_prompt: bool
    dense: tuple[DenseModule, ...]
    normalize: bool
    do_lower_case: bool
    prompts: dict[str, str] = field(default_factory=dict)
    similarity: str = "cosine"

    @property
    def dim(self) -> int:
        return self.dense[-1].out_features if self.dense else self.hidden_size * len(self.pooling)

    def prompt(self, kind: str) -> str:
        """The text put before a query (``kind="query"``) or a document (``kind="document"``).

        A model's default prompt is for neither, as in the library.
        """
        names = ("query",) if kind == "query" else ("document", "passage", "corpus")
        return next((self.prompts[name] for name in names if name in self.prompts), "")


def read_json(path: Path) -> Any:
    """The JSON value of a model's file.

    Raises:
        ConfigurationError: if the file cannot be read or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"model file {path}: expected JSON, got {error}") from None


def _object(path: Path) -> dict[str, Any]:
    value = read_json(path)
    if not isinstance(value, dict):
        raise ConfigurationError(f"model file {path}: expected a JSON object, got {type(value).__name__}")
    return value


def _optional(path: Path) -> dict[str, Any]:
    return _object(path) if path.is_file() else {}


def read_layout(directory: Path) -> ModelLayout:
    """Read the layout of the model in ``directory``.

    Raises:
        ModelNotFoundError: if the directory or its ``config.json`` does not exist.
        ConfigurationError: if a file is malformed or names a module this library does not know.
    """
    if not directory.is_dir():
        raise ModelNotFoundError(f"no model directory at {directory}")
    modules_file = directory / "modules.json"
    if modules_file.is_file():
        modules = read_modules(modules_file)
    else:
        modules = [("Transformer", directory)]
    if not modules or modules[0][0] != "Transformer":
        raise ConfigurationError(f"{modules_file}: the first module must be a Transformer")

    transformer = modules[0][1]
    hidden_size = _hidden_size(transformer)
    pooling: tuple[str, ...] = ("mean",)
    include_prompt = True
    dense: list[DenseModule] = []
    normalize = False
    for kind, path in modules[1:]:
        if kind == "Pooling":
            pooling, include_prompt = _pooling(path / "config.json")
        elif kind == "Dense":
            dense.append(_dense(path))
        elif kind == "Normalize":
            normalize = True
        else:
            raise ConfigurationError(
                f"{modules_file}: module {kind!r} is not supported; expected Transformer, Pooling, Dense or Normalize"
            )
    _check_sizes(hidden_size * len(pooling), dense)
    max_tokens, lower = _max_tokens(transformer)
    prompts, similarity = _prompts(directory / "config_sentence_transformers.json")
    return ModelLayout(
        directory=directory,
        transformer=transformer,
        hidden_size=hidden_size,
        max_tokens=max_tokens,
        pooling=pooling,
        include_prompt=include_prompt,
        dense=tuple(dense),
        normalize=normalize,
        do_lower_case=lower,
        prompts=prompts,
        similarity=similarity,
    )


def read_modules(path: Path) -> list[tuple[str, Path]]:
    """Kind and directory of each module that a ``modules.json`` lists.

    Raises:
        ConfigurationError: if it makes no sense, or a directory is outside the model's.
    """
    value = read_json(path)
    if not isinstance(value, list):
        raise ConfigurationError(f"model file {path}: expected a JSON list of modules")
    root = path.parent.resolve()
    result = []
    for module in value:
        if not isinstance(module, dict) or not isinstance(module.get("type"), str):
            raise ConfigurationError(f"model file {path}: each module needs a type and a path")
        directory = (root / str(module.get("path", ""))).resolve()
        if not directory.is_relative_to(root):
            raise ConfigurationError(
                f"model file {path}: module path {module.get('path')!r} leaves the model"
            )
        result.append((module["type"].rpartition(".")[2], directory))
    return result


def _hidden_size(transformer: Path) -> int:
    path = transformer / "config.json"
    if not path.is_file():
        raise ModelNotFoundError(f"no config.json in {transformer}: this is no model directory")
    config = _object(path)
    for key in ("hidden_size", "dim", "d_model", "n_embd"):
        value = config.get(key)
        if isinstance(value, int) and 0 < value <= 65_536:
            return value
    raise ConfigurationError(f"model file {path}: hidden_size must be a positive integer")


def _pooling(path: Path) -> tuple[tuple[str, ...], bool]:
    config = _object(path)
    include_prompt = bool(config.get("include_prompt", True))
    named = config.get("pooling_mode")
    if isinstance(named, str):
        modes = [named]
    elif isinstance(named, list):
        modes = [str(mode) for mode in named]
    else:
        keys = {
            "pooling_mode_cls_token": "cls",
            "pooling_mode_max_tokens": "max",
            "pooling_mode_mean_tokens": "mean",
            "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
            "pooling_mode_weightedmean_tokens": "weightedmean",
            "pooling_mode_lasttoken": "lasttoken",
        }
        modes = [mode for key, mode in keys.items() if config.get(key)]
    unknown = [mode for mode in modes if mode not in POOLING_MODES]
    if unknown or not modes:
        raise ConfigurationError(
            f"model file {path}: pooling must be among {', '.join(POOLING_MODES)}; got {modes}"
        )
    return tuple(modes), include_prompt


def _dense(directory: Path) -> DenseModule:
    path = directory / "config.json"
    config = _object(path)
    sizes = (config.get("in_features"), config.get("out_features"))
    activation = _ACTIVATIONS.get(str(config.get("activation_function", "torch.nn.modules.activation.Tanh")))
    if activation is None:
        raise ConfigurationError(
            f"model file {path}: activation {config.get('activation_function')!r} is not known"
        )
    if config.get("use_residual"):
        raise ConfigurationError(f"model file {path}: Dense with use_residual is not supported")
    in_features, out_features = sizes
    if not (
        isinstance(in_features, int)
        and isinstance(out_features, int)
        and in_features > 0
        and out_features > 0
    ):
        raise ConfigurationError(f"model file {path}: in_features and out_features must be positive integers")
    return DenseModule(directory, in_features, out_features, bool(config.get("bias", True)), activation)


def _check_sizes(width: int, dense: list[DenseModule]) -> None:
    for module in dense:
        if module.in_features != width:
            raise ConfigurationError(
                f"{module.directory}: Dense expects {module.in_features} values, the module before it gives {width}"
            )
        width = module.out_features


def _max_tokens(transformer: Path) -> tuple[int, bool]:
    config: dict[str, Any] = {}
    for name in ("sentence_bert_config.json", "sentence_roberta_config.json", "sentence_xlnet_config.json"):
        config = _optional(transformer / name)
        if config:
            break
    lower = bool(config.get("do_lower_case", False))
    stated = config.get("max_seq_length")
    if isinstance(stated, int) and stated > 0:
        return min(stated, _LENGTH_CEILING), lower
    limits = [_LENGTH_CEILING]
    for file, key in (
        ("config.json", "max_position_embeddings"),
        ("tokenizer_config.json", "model_max_length"),
    ):
        value = _optional(transformer / file).get(key)
        if isinstance(value, int) and value > 0:
            limits.append(value)
    return min(limits), lower


def _prompts(path: Path) -> tuple[dict[str, str], str]:
    config = _optional(path)
    prompts = config.get("prompts") or {}
    if not isinstance(prompts, dict) or not all(isinstance(text, str) for text in prompts.values()):
        raise ConfigurationError(f"model file {path}: prompts must be an object of strings")
    similarity = {"dot": "inner_product", "euclidean": "l2"}.get(
        str(config.get("similarity_fn_name")), "cosine"
    )
    return dict(prompts), similarity
