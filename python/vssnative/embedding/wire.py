"""Reads what servers answer. Nothing they say is taken on trust."""

from __future__ import annotations

import base64
import binascii
import json
import math
import time
from collections.abc import Sequence
from email.utils import parsedate_to_datetime
from typing import Any

import numpy as np

from .protocol import Float32Matrix

_LONGEST_VECTOR = 65_536
_LONGEST_MESSAGE = 300
_SHORTEST_TEXT = 8
_SHORTEST_QUOTE = 16


def read_answer(content: bytes, count: int, dim: int | None) -> tuple[Float32Matrix, int | None]:
    """An answer of the OpenAI protocol: vectors of ``count`` texts in their order, and the tokens that the server counted.

    Args:
        content: body of the answer.
        count: texts that were sent.
        dim: length that the vectors must have, None where any will do.

    Raises:
        ValueError: if the body is not ``count`` vectors of one length with finite values, not all zero, each text's
            index once.
    """
    answer = loaded(content)
    rows = answer.get("data")
    if not isinstance(rows, list) or len(rows) != count:
        raise ValueError(f"expected {count} vectors, got {len(rows) if isinstance(rows, list) else 'none'}")
    values: dict[int, Any] = {}
    for position, row in enumerate(rows):
        if not isinstance(row, dict):
            raise ValueError(f"expected an object for vector {position}, got {type(row).__name__}")  # noqa: TRY004
        index = row.get("index", position)
        if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < count:
            raise ValueError(f"expected an index from 0 to {count - 1}, got {index!r}")
        if index in values:
            raise ValueError(f"index {index} came twice")
        values[index] = row.get("embedding")
    usage = answer.get("usage")
    key = "prompt_tokens" if isinstance(usage, dict) and "prompt_tokens" in usage else "total_tokens"
    return matrix_of([values[index] for index in range(count)], count, dim), counted(usage, key)


def loaded(content: bytes) -> dict[str, Any]:
    """The JSON object that an answer is; an empty one where it is JSON, but no object.

    Raises:
        ValueError: it is no JSON.
    """
    try:
        answer = json.loads(content)
    except ValueError:
        raise ValueError(f"expected JSON, got {content[:60]!r}") from None
    return answer if isinstance(answer, dict) else {}


def matrix_of(rows: object, count: int, dim: int | None = None) -> Float32Matrix:
    """``count`` vectors as a matrix.

    Raises:
        ValueError: they are not ``count`` vectors of one length (``dim``, if given) with finite values, not all zero.
    """
    if not isinstance(rows, list) or len(rows) != count:
        raise ValueError(f"expected {count} vectors, got {len(rows) if isinstance(rows, list) else 'none'}")
    vectors = [_vector(row, index) for index, row in enumerate(rows)]
    lengths = {len(vector) for vector in vectors}
    if len(lengths) > 1 or (dim is not None and lengths - {dim}):
        raise ValueError(
            f"expected {'one length' if dim is None else f'{dim} values'}, got {sorted(lengths)}"
        )
    return np.stack(vectors)


def counted(usage: object, key: str) -> int | None:
    """The tokens that a server says it has counted; None where it does not."""
    tokens = usage.get(key) if isinstance(usage, dict) else None
    return tokens if isinstance(tokens, int) and not isinstance(tokens, bool) and tokens >= 0 else None


def _vector(value: Any, index: int) -> Float32Matrix:
    if isinstance(value, str):
        try:
            raw = base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            raise ValueError(f"vector {index}: expected numbers or base64") from None
        if len(raw) % 4:
            raise ValueError(f"vector {index}: {len(raw)} bytes are no float32 values")
        vector = np.frombuffer(raw, dtype="<f4").astype(np.float32)
    elif isinstance(value, list):
        if len(value) > _LONGEST_VECTOR:
            raise ValueError(f"vector {index}: {len(value)} values are too many")
        if not all(isinstance(number, (int, float)) and not isinstance(number, bool) for number in value):
            raise ValueError(f"vector {index}: expected numbers")
        with np.errstate(over="ignore"):
            try:
                vector = np.array(value, dtype=np.float64).astype(np.float32)
            except OverflowError:
                raise ValueError(f"vector {index}: a value is out of range") from None
    else:
        raise ValueError(f"vector {index}: expected numbers, got {type(value).__name__}")  # noqa: TRY004
    if not 0 < len(vector) <= _LONGEST_VECTOR:
        raise ValueError(f"vector {index}: {len(vector)} values")
    if not np.isfinite(vector).all():
        raise ValueError(f"vector {index}: a value is no finite number")
    if not vector.any():
        raise ValueError(f"vector {index}: all values are zero")
    return vector


def retry_after(header: str | None) -> float | None:
    """Seconds to wait by a Retry-After header (RFC 9110, section 10.2.3): a number, or a date."""
    if header is None:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(header).timestamp() - time.time()
        except (TypeError, ValueError, OverflowError):
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None


def without_texts(words: str, texts: Sequence[str]) -> str:
    """A message without what it quotes of texts: those go to dead letters and logs, which more people read.

    Whole texts of 8 characters or more are taken out, and runs of 16 or more that are in one.
    """
    for text in sorted(texts, key=len, reverse=True):
        for quoted in (text.strip(), " ".join(text.split())):
            if len(quoted) >= _SHORTEST_TEXT and quoted in words:
                words = words.replace(quoted, "[text]")
    joined = "\0".join(form for text in texts for form in (text, " ".join(text.split())))
    kept, at = [], 0
    while at < len(words):
        end = at + _SHORTEST_QUOTE
        if end > len(words) or words[at].isspace() or words[at:end] not in joined:
            kept.append(words[at])
            at += 1
            continue
        while end < len(words) and words[end - _SHORTEST_QUOTE + 1 : end + 1] in joined:
            end += 1
        end = at + len(words[at:end].rstrip())
        kept.append("[text]")
        at = end
    return "".join(kept)


def server_words(body: str) -> str:
    """What a server says about a failure, short enough for a message."""
    try:
        answer = json.loads(body)
    except ValueError:
        answer = None
    words = " ".join((_said(answer) or body).split())
    return words[:_LONGEST_MESSAGE] or "no explanation"


def _said(answer: object, depth: int = 4) -> str | None:
    """The sentence in an error's JSON, wherever this service keeps it: error, message, detail, or a list of those."""
    if isinstance(answer, str) or depth == 0:
        return answer if isinstance(answer, str) else None
    if isinstance(answer, list):
        found = [words for words in (_said(one, depth - 1) for one in answer[:3]) if words]
        return "; ".join(found) or None
    if isinstance(answer, dict):
        for key in ("error", "message", "detail", "msg"):
            words = _said(answer.get(key), depth - 1)
            if words:
                place = answer.get("loc")
                where = ".".join(map(str, place)) if isinstance(place, list) else ""
                return f"{where}: {words}" if where else words
    return None
