"""Embedding models of ``llm`` and its plugins, by the names that they have there."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from .._extras import need
from ..errors import ConfigurationError, ModelNotFoundError
from .own import OwnEmbedder

_KIND = "llm"


class LlmEmbedder(OwnEmbedder):
    """An embedder around a model of ``llm``. It is recorded by its name, so that another process finds it again.

    Args:
        model: its name or an alias, as ``llm embed-models`` lists them; or the model itself.

    Raises:
        ModelNotFoundError: no plugin brings such a model.
        EmbeddingError: it gives no vectors.
    """

    def __init__(self, model: Any) -> None:
        if isinstance(model, str):
            if not model:
                raise ConfigurationError("expected llm:NAME, a model that `llm embed-models` lists")
            llm = need("llm", "llm", "models of llm")
            try:
                model = llm.get_embedding_model(model)
            except llm.UnknownModelError as error:
                raise ModelNotFoundError(
                    f"llm has no embedding model {error}; `llm embed-models` lists them, `llm install` adds plugins"
                ) from error
        self.model_id = str(model.model_id)

        def call(texts: list[str]) -> Any:
            return list(model.embed_multi(texts))

        super().__init__(call, call, f"{_KIND}:{self.model_id}", None, keep=False)
        facts = json.dumps([_KIND, self.model_id, self.dim])
        self._digest = hashlib.sha256(facts.encode()).hexdigest()

    def config(self) -> dict[str, Any]:
        return {"kind": _KIND, "model": self.model_id}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> LlmEmbedder:
        """The embedder that ``config()`` described.

        Raises:
            ModelNotFoundError: ``llm`` or the model's plugin is not installed here.
        """
        return cls(str(config["model"]))


def is_of_llm(model: Any) -> bool:
    """Whether it is an embedding model of ``llm``."""
    return callable(getattr(model, "embed_multi", None)) and any(
        base.__module__ == "llm.models" for base in type(model).__mro__
    )
