"""Long texts as passages that fit the model: cut at sentence ends, each beginning with the end of the one before.

Every passage is a stretch of the original text, given by its place, so that a search can show it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from ..errors import ConfigurationError
from ._texts import checked_texts, content_hash
from .protocol import Embedder, Float32Matrix, Int64Vector

# A full stop, question or exclamation mark, of any script that has its own; closing quotes and brackets belong to it.
_SENTENCE_END = re.compile(
    r"""(?:[.!?…]+["'”’)\]]*(?=\s)|[。！？｡]+[”’」』）]*|[।॥؟۔]+(?=\s|$)|\n\s*\n)\s*"""
)
_WORD = re.compile(r"\S+")
_DEFAULT_OVERLAP = 32


@runtime_checkable
class Spans(Protocol):
    """Knows where the tokens of a text are; ``TextTokenizer`` does."""

    def offsets(self, text: str) -> npt.NDArray[np.int64]:
        """int64 ``(tokens, 2)``: start and end of each token, in characters."""
        ...


class WordSpans:
    """Words as tokens, for embedders whose tokenizer is not at hand."""

    def offsets(self, text: str) -> npt.NDArray[np.int64]:
        return np.array([match.span() for match in _WORD.finditer(text)], dtype=np.int64).reshape(-1, 2)


@dataclass(frozen=True)
class Passage:
    """A stretch of a text: ``text == original[start:end]``.

    Attributes:
        text: the passage, without the white space around it.
        start, end: its place in the original text, in characters.
        tokens: its length in tokens, special tokens not counted; None where nobody counted.
    """

    text: str
    start: int
    end: int
    tokens: int | None = None

    @classmethod
    def whole(cls, text: str, hash: str) -> Passage:
        """All of a text whose ``content_hash`` is known."""
        passage = cls(text, 0, len(text))
        passage.__dict__["hash"] = hash  # where cached_property keeps it
        return passage

    @cached_property
    def hash(self) -> str:
        """``content_hash`` of the text."""
        return content_hash(self.text)


@dataclass(frozen=True, slots=True)
class Chunking:
    """How long texts are split.

    Args:
        tokens: most tokens of a passage, special tokens not counted.
        overlap: about this many tokens at the end of a passage are repeated at the start of the next.

    Raises:
        ConfigurationError: unless ``tokens >= 1`` and ``0 <= overlap <= tokens // 2``.
    """

    tokens: int = 200
    overlap: int = 40

    def __post_init__(self) -> None:
        whole = all(isinstance(n, int) and not isinstance(n, bool) for n in (self.tokens, self.overlap))
        if not whole or self.tokens < 1 or not 0 <= self.overlap <= self.tokens // 2:
            raise ConfigurationError(
                "chunk: expected tokens >= 1 and 0 <= overlap <= tokens // 2, got tokens"
                f" {self.tokens!r}, overlap {self.overlap!r}"
            )

    @classmethod
    def of(cls, chunk: int | tuple[int, int] | Chunking | None) -> Chunking | None:
        """The rule that a ``chunk`` argument asks for: tokens, ``(tokens, overlap)``, a rule, or None for none.

        Raises:
            ConfigurationError: it is none of these.
        """
        if chunk is None or isinstance(chunk, Chunking):
            return chunk
        if isinstance(chunk, int) and not isinstance(chunk, bool):
            return cls(chunk, min(_DEFAULT_OVERLAP, max(chunk, 0) // 4))
        if isinstance(chunk, (tuple, list)) and len(chunk) == 2:
            return cls(*chunk)
        raise ConfigurationError(f"chunk: expected tokens, or (tokens, overlap), got {chunk!r}")


def split_text(
    text: str, chunking: Chunking | int | tuple[int, int], spans: Spans | None = None
) -> list[Passage]:
    """Passages of ``text``, in order, that together hold every token of it.

    A text that fits is one passage; a text without tokens (empty, or white space) is one passage too, so that every
    row has a vector. A passage ends at a sentence's end where one lies in its second half, else between two words,
    else between two tokens.

    Args:
        chunking: a rule, or what ``Chunking.of`` makes one of.
        spans: what measures the text, for example an embedder's ``tokenizer``; words where it is left out.

    Raises:
        ConfigurationError: `chunking` is no rule.
        EmbeddingError: the text is no valid text.
    """
    (text,) = checked_texts([text])
    rule = Chunking.of(chunking)
    if rule is None:
        raise ConfigurationError("chunk: expected tokens, or (tokens, overlap), got None")
    chunking = rule
    places = (spans or WordSpans()).offsets(text)
    # Control characters and the like can be tokens without any extent.
    places = places[places[:, 1] > places[:, 0]]
    count = len(places)
    if count <= chunking.tokens:
        return [_passage(text, 0, len(text), count)]
    starts, ends = places[:, 0], places[:, 1]
    sentence = _cuts(starts, [match.end() for match in _SENTENCE_END.finditer(text)])
    word = _cuts(starts, [match.start() for match in _WORD.finditer(text)])
    passages = []
    first = 0
    while True:
        limit = first + chunking.tokens
        if limit >= count:
            passages.append(_passage(text, int(starts[first]), int(ends[count - 1]), count - first))
            return passages
        # The last place in the second half that ends a sentence, else a word.
        stop = (
            _last_cut(sentence, first + chunking.tokens // 2, limit) or _last_cut(word, first, limit) or limit
        )
        passages.append(_passage(text, int(starts[first]), int(ends[stop - 1]), stop - first))
        # The next one begins where a sentence of the repeated part begins, else a word, and always further on.
        earliest = max(first + 1, stop - chunking.overlap)
        first = _first_cut(sentence, earliest, stop) or _first_cut(word, earliest, stop) or stop


def split_texts(texts: Sequence[str], chunking: Chunking, spans: Spans) -> list[list[Passage]]:
    """``split_text`` for each text."""
    return [split_text(text, chunking, spans) for text in texts]


def _passage(text: str, start: int, end: int, tokens: int) -> Passage:
    body = text[start:end]
    start += len(body) - len(body.lstrip())
    return Passage(body.strip(), start, start + len(body.strip()), tokens)


def _cuts(starts: npt.NDArray[np.int64], places: list[int]) -> npt.NDArray[np.int64]:
    """Numbers of the tokens that begin at, or first after, the given places of the text."""
    return np.unique(np.searchsorted(starts, np.array(places, dtype=np.int64), side="left"))


def _last_cut(cuts: npt.NDArray[np.int64], after: int, limit: int) -> int | None:
    """The largest cut with ``after < cut <= limit``."""
    index = int(np.searchsorted(cuts, limit, side="right")) - 1
    return int(cuts[index]) if index >= 0 and cuts[index] > after else None


def _first_cut(cuts: npt.NDArray[np.int64], earliest: int, stop: int) -> int | None:
    """The smallest cut with ``earliest <= cut <= stop``."""
    index = int(np.searchsorted(cuts, earliest, side="left"))
    return int(cuts[index]) if index < len(cuts) and cuts[index] <= stop else None


@dataclass(frozen=True, slots=True)
class PassageVectors:
    """Vectors of the passages of some texts.

    Attributes:
        vectors: float32 ``(m, dim)``, one row per passage, passages of one text beside each other.
        owners: int64 ``(m,)``, position of the text that each passage is of.
        passages: the passages, ``m`` of them.
    """

    vectors: Float32Matrix
    owners: Int64Vector
    passages: list[Passage]


def embed_passages(
    texts: Sequence[str], embedder: Embedder, chunking: Chunking | None = None
) -> PassageVectors:
    """Split texts and embed every passage as a document.

    Args:
        texts: any number of strings; each gives at least one passage.
        embedder: its tokenizer measures the passages; an embedder without one (``tokenizer`` attribute) counts words.
        chunking: by default as much as the model sees, at most 200 tokens, a fifth of it repeated.
    """
    spans = spans_of(embedder)
    rule = chunking or default_chunking(embedder)
    split = split_texts(texts, rule, spans)
    passages = [passage for group in split for passage in group]
    owners = np.repeat(np.arange(len(split), dtype=np.int64), [len(group) for group in split])
    return PassageVectors(embedder.embed_documents([passage.text for passage in passages]), owners, passages)


def spans_of(embedder: Embedder) -> Spans:
    """What measures texts for an embedder: its own tokenizer where it has one, else words."""
    tokenizer = getattr(embedder, "tokenizer", None)
    return tokenizer if isinstance(tokenizer, Spans) else WordSpans()


def default_chunking(embedder: Embedder) -> Chunking:
    """200 tokens, or what the model sees where that is less; a fifth of it repeated."""
    tokens = 200
    if embedder.max_tokens is not None:
        tokens = max(1, min(tokens, embedder.max_tokens - getattr(spans_of(embedder), "special_tokens", 2)))
    return Chunking(tokens, tokens // 5)
