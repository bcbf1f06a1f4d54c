"""Texts that callers hand in: their checks, and the hash that names one."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from ..errors import EmbeddingError


def checked_texts(texts: Sequence[str]) -> list[str]:
    """The texts as a list.

    Raises:
        EmbeddingError: if ``texts`` is one string, or holds something that is no string or no valid Unicode text.
    """
    if isinstance(texts, (str, bytes)):
        raise EmbeddingError(
            f"texts must be a sequence of strings, not one {type(texts).__name__}; write [text]"
        )
    rows = texts.to_pylist() if hasattr(texts, "to_pylist") else list(texts)  # Arrow's items are no strings
    for position, text in enumerate(rows):
        if not isinstance(text, str):
            raise EmbeddingError(f"texts[{position}] must be a string, not {type(text).__name__}")
        if not text.isascii():
            try:
                text.encode()
            except UnicodeEncodeError as error:
                raise EmbeddingError(
                    f"texts[{position}] is no valid Unicode text: lone surrogate at character {error.start}"
                ) from None
    return rows


_HASH_BYTES = 16


def content_hash(text: str) -> str:
    """BLAKE2b of the text's UTF-8, 16 bytes in hexadecimal."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=_HASH_BYTES).hexdigest()
