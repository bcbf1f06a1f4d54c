"""What an embedding model must offer to the rest of the library.

The tables record ``config()`` and ``digest`` beside the vectors, so that a later process can rebuild the very
model that made them and refuse to compare vectors of two models.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

Float32Matrix = npt.NDArray[np.float32]
Int64Vector = npt.NDArray[np.int64]
Config = Mapping[str, Any]


@runtime_checkable
class Embedder(Protocol):
    """Turns texts into vectors, always the same vector for the same text.

    Implementations may be called from several threads at once.
    """

    @property
    def name(self) -> str:
        """A short name for people, for example ``"minilm"``."""
        ...

    @property
    def dim(self) -> int:
        """Length of every vector."""
        ...

    @property
    def metric(self) -> str:
        """The metric the vectors are meant for: ``"cosine"``, ``"inner_product"`` or ``"l2"``."""
        ...

    @property
    def max_tokens(self) -> int | None:
        """Tokens of a text that are looked at, special tokens included; None where there is no limit."""
        ...

    @property
    def digest(self) -> str:
        """Hexadecimal digest of all that decides the vectors: weights, vocabulary, pooling, length, prompts."""
        ...

    def embed_documents(self, texts: Sequence[str]) -> Float32Matrix:
        """Embed stored texts: float32 ``(len(texts), dim)``, C-contiguous, in the order given.

        Raises ``EmbeddingError`` if a text is no string or the model fails; then nothing is returned.
        """
        ...

    def embed_queries(self, texts: Sequence[str]) -> Float32Matrix:
        """Embed search texts, with the model's own query prompt: float32 ``(len(texts), dim)``, C-contiguous."""
        ...

    def count_tokens(self, texts: Sequence[str]) -> Int64Vector:
        """Tokens of each text before any truncation, special tokens included: int64 ``(len(texts),)``."""
        ...

    def config(self) -> dict[str, Any]:
        """A JSON-ready description, without secrets, from which ``from_config`` builds an equal embedder."""
        ...


@dataclass(frozen=True, slots=True)
class Truncation:
    """What the last call to an embedder cut off because texts were longer than the model's limit.

    Attributes:
        texts: number of texts that were cut.
        tokens: number of tokens, over all texts, that no vector has seen.
    """

    texts: int = 0
    tokens: int = 0

    def __add__(self, other: Truncation) -> Truncation:
        return Truncation(self.texts + other.texts, self.tokens + other.tokens)
