"""Embedders by name, and embedders from what was recorded about them."""

from __future__ import annotations

import difflib
import importlib.metadata
import importlib.util
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from ..errors import ConfigurationError
from .hashing import HashEmbedder
from .protocol import Config, Embedder

_ENTRY_POINTS = "vssnative.embedders"
_HOSTED = ("cohere", "gemini", "mistral", "openai", "voyage")

Factory = Callable[..., Embedder]


def get_embedder(model: Any = "minilm", **options: Any) -> Embedder:
    """An embedder from its name.

    Args:
        model: ``"minilm"`` (all-MiniLM-L6-v2), ``"onnx:/path/to/directory"``, ``"hf:owner/name"`` or
            ``"hf:owner/name@revision"``, ``"local:name"`` (imported under that name),
            ``"static:/path/to/directory"`` or ``"static:hf:owner/name"`` (Model2Vec, StaticEmbedding), ``"openai:model"`` (any OpenAI-compatible server: ``base_url=``),
            ``"cohere:model"``, ``"voyage:model"``, ``"gemini:model"``, ``"mistral:model"``, ``"llm:name"`` (a model of ``llm``), ``"hash"``
            or ``"hash:64"``, or the name of an entry point in the group ``vssnative.embedders``, with or without
            ``":argument"`` behind it; ``"module:attribute"``, which leads to any of the following. An ``Embedder`` is
            returned as it is. A function from a list of texts to their vectors (with ``kind=`` if it distinguishes queries
            from documents), and models of sentence-transformers, fastembed, LangChain and llm, are wrapped.
        options: passed on to the embedder's class.

    Raises:
        ConfigurationError: if the name or an option is unknown.
        ModelNotFoundError: if the model is not on this machine.
    """
    if not isinstance(model, str):
        if options:
            raise ConfigurationError(
                f"options {sorted(options)} cannot be applied to an embedder that exists already"
            )
        from .own import own_embedder

        return own_embedder(model)
    kind, _, argument = model.partition(":")
    factory = _NAMED.get(kind)
    try:
        if factory is not None:
            return factory(argument, **options)
        if argument and not options and not _is_entry_point(kind) and _is_module(kind):
            from .own import from_path

            return from_path(model)
        return _entry_point(kind)(**({"argument": argument} if argument else {}), **options)
    except TypeError as error:
        if "unexpected keyword argument" not in str(error):
            raise
        raise ConfigurationError(f"embedder {model!r}: {error}") from None


def is_hosted(config: Config) -> bool:
    """Whether what ``Embedder.config()`` described is a server's model."""
    return config.get("kind") in _HOSTED


def from_config(config: Config) -> Embedder:
    """The embedder that ``Embedder.config()`` described.

    Raises:
        ConfigurationError: if the description is not understood.
        ModelNotFoundError: if the model is not on this machine.
    """
    kind = config.get("kind")
    if kind == "hash":
        return HashEmbedder.from_config(dict(config))
    if kind == "static":
        from .static import StaticEmbedder

        return StaticEmbedder.from_config(dict(config))
    if kind in ("onnx", "minilm", "local"):
        from .onnx_model import OnnxEmbedder

        return OnnxEmbedder.from_config(dict(config))
    if kind == "hf":
        from .hub import HubEmbedder

        return HubEmbedder.from_config(dict(config))
    if kind in _HOSTED:
        from .hosted import HostedEmbedder

        return HostedEmbedder.from_config(dict(config))
    if kind == "llm":
        from .of_llm import LlmEmbedder

        return LlmEmbedder.from_config(dict(config))
    if kind == "python":
        from .own import from_own_config

        return from_own_config(dict(config))
    if not isinstance(kind, str):
        raise ConfigurationError(f"embedder config without a kind: {dict(config)!r}")
    loader = getattr(_entry_point(kind), "from_config", None)
    if loader is None:
        raise ConfigurationError(f"embedder {kind!r} has no from_config")
    result: Embedder = loader(dict(config))
    return result


def _hash(argument: str, **options: Any) -> Embedder:
    if argument:
        if not (argument.isascii() and argument.isdigit()):
            raise ConfigurationError(f"hash embedder: expected hash:DIM with a number, got hash:{argument}")
        options["dim"] = int(argument)
    return HashEmbedder(**options)


def _minilm(argument: str, **options: Any) -> Embedder:
    from .onnx_model import OnnxEmbedder

    if argument:
        raise ConfigurationError(f"minilm takes no argument, got minilm:{argument}")
    return OnnxEmbedder.minilm(**options)


def _local(argument: str, **options: Any) -> Embedder:
    from .onnx_model import OnnxEmbedder

    return OnnxEmbedder.imported(argument, **options)


def _onnx(argument: str, **options: Any) -> Embedder:
    from .onnx_model import OnnxEmbedder
    from .static import StaticEmbedder, is_static

    if not argument:
        raise ConfigurationError("expected onnx:/path/to/the/model/directory")
    if is_static(Path(argument)):
        return StaticEmbedder(argument, modules=True, **options)
    return OnnxEmbedder(argument, **options)


def _static(argument: str, **options: Any) -> Embedder:
    from .static import StaticEmbedder, static_of_hub

    if argument.startswith("hf:"):
        repository, _, revision = argument.removeprefix("hf:").partition("@")
        return static_of_hub(repository, revision=revision or None, **options)
    if not argument:
        raise ConfigurationError("expected static:/path/to/the/model/directory or static:hf:owner/name")
    return StaticEmbedder(argument, **options)


def _hub(argument: str, **options: Any) -> Embedder:
    from .hub import HubEmbedder

    repository, _, revision = argument.partition("@")
    if revision:
        options["revision"] = revision
    return HubEmbedder(repository, **options)


def _llm(argument: str) -> Embedder:
    from .of_llm import LlmEmbedder

    return LlmEmbedder(argument)


def _hosted(provider: str, argument: str, **options: Any) -> Embedder:
    from .hosted import HostedEmbedder

    return HostedEmbedder(argument, provider=provider, **options)


_NAMED: dict[str, Factory] = {
    "hash": _hash,
    "hf": _hub,
    "llm": _llm,
    "local": _local,
    "minilm": _minilm,
    "onnx": _onnx,
    "static": _static,
    **{provider: partial(_hosted, provider) for provider in _HOSTED},
}


def _is_entry_point(name: str) -> bool:
    return bool(importlib.metadata.entry_points(group=_ENTRY_POINTS, name=name))


def _is_module(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def _entry_point(name: str) -> Factory:
    for point in importlib.metadata.entry_points(group=_ENTRY_POINTS, name=name):
        factory: Factory = point.load()
        return factory
    raise ConfigurationError(
        f"unknown embedder {name!r}{_meant(name)}; known are {', '.join(sorted(_NAMED))} "
        f"and the entry points of the group {_ENTRY_POINTS}; 'module:attribute' leads to one of your own"
    )


def _meant(name: str) -> str:
    """What somebody who wrote that name may have meant, as a question."""
    directory = Path(name).expanduser()
    if directory.is_dir():
        meant = f"onnx:{directory}"
    elif name.lower().rpartition("/")[2] == "all-minilm-l6-v2":
        meant = "minilm"
    elif name.startswith("text-embedding-"):
        meant = f"openai:{name}"
    elif name.count("/") == 1 and not name.startswith((".", "/", "~")):
        meant = f"hf:{name}"  # as the hub names models
    elif "/" not in name and (near := difflib.get_close_matches(name, _NAMED, n=1)):
        meant = near[0]
    else:
        return ""
    return f", did you mean {meant!r}?"
