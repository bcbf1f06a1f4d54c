"""A deterministic embedder without a model: for tests, and to try the library where no model is at hand.

Feature hashing (Weinberger et al., "Feature Hashing for Large Scale Multitask Learning", ICML 2009): each word
adds a signed one at a hashed position; the sum is scaled to unit length. Texts that share words are near.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import ConfigurationError
from ._texts import checked_texts
from .protocol import Float32Matrix, Int64Vector

_WORD = re.compile(r"\w+", re.UNICODE)
_DEFAULT_DIM = 64
_POSITIONS_PER_WORD = 4


class HashEmbedder:
    """Vectors from hashed words.

    Args:
        dim: length of the vectors, at least 1.

    Raises:
        ConfigurationError: if ``dim`` is not a positive integer.
    """

    def __init__(self, dim: int = _DEFAULT_DIM) -> None:
        if isinstance(dim, bool) or not isinstance(dim, int) or dim < 1:
            raise ConfigurationError(f"hash embedder: dim must be an integer of at least 1, not {dim!r}")
        self._dim = dim

    @property
    def name(self) -> str:
        return f"hash:{self._dim}"

    @property
    def dim(self) -> int:
        return self._dim

    @property
    def metric(self) -> str:
        return "cosine"

    @property
    def max_tokens(self) -> None:
        return None

    @property
    def digest(self) -> str:
        return hashlib.sha256(f"vssnative hash embedder 1, dim {self._dim}".encode()).hexdigest()

    def embed_documents(self, texts: Sequence[str]) -> Float32Matrix:
        """Embed ``texts``: float32 ``(n, dim)`` of unit rows; a text without words gets one fixed unit vector."""
        rows = checked_texts(texts)
        matrix = np.zeros((len(rows), self._dim), dtype=np.float32)
        for row, text in zip(matrix, rows, strict=True):
            for word in _WORD.findall(text.lower()):
                self._add_word(row, word)
            norm = float(np.linalg.norm(row))
            if norm == 0.0:
                # No words, or words that cancelled out: a zero vector has no cosine.
                row[:] = 0.0
                row[0] = 1.0
            else:
                row /= norm
        return matrix

    def embed_queries(self, texts: Sequence[str]) -> Float32Matrix:
        """As ``embed_documents``: this embedder knows no prompts."""
        return self.embed_documents(texts)

    def count_tokens(self, texts: Sequence[str]) -> Int64Vector:
        """Words of each text: int64 ``(n,)``."""
        return np.array([len(_WORD.findall(text)) for text in checked_texts(texts)], dtype=np.int64)

    def config(self) -> dict[str, Any]:
        return {"kind": "hash", "dim": self._dim}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> HashEmbedder:
        return cls(dim=config.get("dim", _DEFAULT_DIM))

    def _add_word(self, row: np.ndarray[Any, np.dtype[np.float32]], word: str) -> None:
        seed = hashlib.blake2b(
            word.encode("utf-8", "surrogatepass"), digest_size=8 * _POSITIONS_PER_WORD
        ).digest()
        for start in range(0, len(seed), 8):
            value = int.from_bytes(seed[start : start + 8], "little")
            row[(value >> 1) % self._dim] += 1.0 if value & 1 else -1.0
