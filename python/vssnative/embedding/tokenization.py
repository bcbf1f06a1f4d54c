"""Texts to token ids, by the model's own ``tokenizer.json``, cut at the model's own length."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .._extras import need
from ..errors import ConfigurationError, ModelNotFoundError
from .protocol import Int64Vector, Truncation

# A token has rarely more characters: so many times the limit are tokenized of a longer text.
_CHARACTERS_PER_TOKEN = 64
# Characters of a text that are tokenized at once to find where its tokens are, and how far back a gap is looked for.
_PIECE = 100_000
_LONGEST_WORD = 2_000
# A word that is cut in two may become other tokens; no more than these, at the end.
_TOKENS_AT_A_CUT = 64


@dataclass(frozen=True, slots=True)
class Tokens:
    """Token ids of some texts.

    Attributes:
        ids: one list per text, special tokens included, no longer than the model's limit.
        lengths: int64 ``(n,)``, length of each list.
        truncation: what did not fit.
    """

    ids: list[list[int]]
    lengths: Int64Vector
    truncation: Truncation


class TextTokenizer:
    """The tokenizer of one model.

    Safe to call from several threads. Work on many texts uses the tokenizers library's own threads
    (environment variable ``TOKENIZERS_PARALLELISM``).

    Args:
        directory: holds ``tokenizer.json``.
        max_tokens: longest list of ids, special tokens included.
        lower_case: whether the model's files ask for lower-casing before the tokenizer's own normalization.

    Raises:
        ModelNotFoundError: if there is no ``tokenizer.json``.
        ConfigurationError: if it cannot be read, or leaves no room for text.
        MissingDependencyError: if the package tokenizers is not installed.
    """

    def __init__(self, directory: Path, max_tokens: int, lower_case: bool = False) -> None:
        need("tokenizers", "local", "embeddings on this machine")
        from tokenizers import Tokenizer, normalizers

        path = directory / "tokenizer.json"
        if not path.is_file():
            raise ModelNotFoundError(f"no tokenizer.json in {directory}: only fast tokenizers are supported")
        try:
            tokenizer = Tokenizer.from_file(str(path))
            # One whose template names a token that it does not have is found out by the first text.
            tokenizer.encode("a")
        except BaseException as error:
            # The library raises bare Exception; and where it panics, what is none.
            if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
                raise
            raise ConfigurationError(f"{path}: no usable tokenizer: {error}") from None
        tokenizer.no_padding()
        if lower_case and not _lowers(tokenizer):
            own = [tokenizer.normalizer] if tokenizer.normalizer is not None else []
            tokenizer.normalizer = normalizers.Sequence([normalizers.Lowercase(), *own])
        self._special = int(tokenizer.num_special_tokens_to_add(False))
        if max_tokens <= self._special:
            raise ConfigurationError(
                f"{directory}: max_tokens must be more than the {self._special} special tokens, not {max_tokens}"
            )
        tokenizer.enable_truncation(max_tokens)
        self._tokenizer = tokenizer
        self._max_tokens = max_tokens

    def encode(self, texts: Sequence[str]) -> Tokens:
        """Token ids of ``texts``, cut to ``max_tokens``.

        Of a very long text only the beginning is tokenized: what was cut off is then counted by that part's measure.
        """
        rows = list(texts)
        longest = self._max_tokens * _CHARACTERS_PER_TOKEN
        heads = [text if len(text) <= 2 * longest else text[:longest] for text in rows]
        encodings = list(self._tokenizer.encode_batch_fast(heads))
        ids = [encoding.ids for encoding in encodings]
        lengths = np.fromiter(map(len, ids), dtype=np.int64, count=len(ids))
        rests = dict.fromkeys(range(len(rows)), 0)
        for position, (text, head) in enumerate(zip(rows, heads, strict=True)):
            if text is head:
                continue
            seen = len(ids[position]) + self._overflow(encodings[position])
            if seen >= self._max_tokens + _TOKENS_AT_A_CUT:
                rests[position] = round((len(text) - len(head)) * seen / len(head))
                continue
            # White space, or words of a thousand letters: the beginning fills no vector.
            [encodings[position]] = self._tokenizer.encode_batch_fast([text])
            ids[position] = encodings[position].ids
            lengths[position] = len(ids[position])
        cut = lost = 0
        for position in map(int, np.flatnonzero(lengths >= self._max_tokens)):
            rest = self._overflow(encodings[position]) + rests[position]
            cut += rest > 0
            lost += rest
        return Tokens(ids, lengths, Truncation(cut, lost))

    def count(self, texts: Sequence[str]) -> Int64Vector:
        """Tokens of each text before truncation, special tokens included: int64 ``(n,)``."""
        encodings = self._tokenizer.encode_batch_fast(list(texts))
        return np.fromiter(
            (len(encoding.ids) + self._overflow(encoding) for encoding in encodings),
            dtype=np.int64,
            count=len(encodings),
        )

    def offsets(self, text: str) -> npt.NDArray[np.int64]:
        """Where each token of the whole text stands: int64 ``(tokens, 2)``, start and end in characters.

        Special tokens are left out, and nothing is cut. A long text is tokenized in pieces that end between words: the
        tokenizers library keeps some hundred bytes for each token of a call.
        """
        found = [np.empty((0, 2), np.int64)]
        start = 0
        while start < len(text):
            end = len(text) if len(text) - start <= _PIECE else _between_words(text, start + _PIECE)
            encoding = self._tokenizer.encode(text[start:end], add_special_tokens=False)
            spans = [*encoding.offsets, *(span for rest in encoding.overflowing for span in rest.offsets)]
            found.append(np.array(spans, dtype=np.int64).reshape(-1, 2) + start)
            start = end
        return np.concatenate(found)

    @property
    def special_tokens(self) -> int:
        """Tokens that are added to every text."""
        return self._special

    def prompt_length(self, prompt: str) -> int:
        """Leading tokens that a prompt takes up in a prompted text, the opening special token included."""
        if not prompt:
            return 0
        ids = self._tokenizer.encode(prompt).ids
        bare = self._tokenizer.encode(prompt, add_special_tokens=False).ids
        closing = bool(ids) and (not bare or ids[-1] != bare[-1])
        return len(ids) - closing

    def _overflow(self, encoding: Any) -> int:
        return sum(len(rest.ids) - self._special for rest in encoding.overflowing)


def _lowers(tokenizer: Any) -> bool:
    """Whether the tokenizer's own normalization makes lower case already."""
    normalizer = json.loads(tokenizer.to_str()).get("normalizer")
    parts = [normalizer] if normalizer else []
    while parts:
        part = parts.pop()
        if part.get("type") == "Lowercase" or part.get("lowercase"):
            return True
        parts.extend(part.get("normalizers", []))
    return False


def _between_words(text: str, end: int) -> int:
    """The last white space before `end`; `end` itself where there is none nearby."""
    for place in range(end, end - _LONGEST_WORD, -1):
        if text[place].isspace():
            return place
    return end
