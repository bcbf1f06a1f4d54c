"""A model that has answered already: its vector of the one query of this request."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..._catalog.records import Generation
from ...embedding.protocol import Float32Matrix, Int64Vector


class KnownQuery:
    """Stands for the model that a generation records, for one text."""

    def __init__(self, generation: Generation, text: str, vector: Any) -> None:
        self._generation = generation
        self._text = text
        self._vector = vector

    @property
    def name(self) -> str:
        return self._generation.model_name

    @property
    def dim(self) -> int:
        return self._generation.dim

    @property
    def metric(self) -> str:
        return self._generation.metric

    @property
    def max_tokens(self) -> int | None:
        return None

    @property
    def digest(self) -> str:
        return self._generation.model_digest

    def embed_queries(self, texts: Sequence[str]) -> Float32Matrix:
        assert list(texts) == [self._text]
        return np.asarray([self._vector], np.float32)

    def embed_documents(self, texts: Sequence[str]) -> Float32Matrix:
        raise NotImplementedError("nothing is embedded here but the query")

    def count_tokens(self, texts: Sequence[str]) -> Int64Vector:
        raise NotImplementedError("nothing is embedded here but the query")

    def config(self) -> dict[str, Any]:
        return dict(self._generation.model)
