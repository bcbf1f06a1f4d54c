"""The wire formats of hosted models: OpenAI's, which many servers speak, and those of Cohere, Voyage, Gemini and Mistral.

A format says how a request is written and an answer read, and what the service is known to allow. It sends nothing:
retries, limits, keys and the breaker are the embedder's, the same for all.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .protocol import Float32Matrix
from .wire import counted, loaded, matrix_of, read_answer, retry_after

_SECONDS = re.compile(r"(\d+(?:\.\d+)?)s\Z")

Answer = tuple[Float32Matrix, "int | None"]


@dataclass(frozen=True)
class Request:
    """What is asked: the texts of one call, what they are for, and how long their vectors shall be (None: as they are)."""

    model: str
    texts: Sequence[str]
    kind: str
    dim: int | None


@dataclass(frozen=True)
class Provider:
    """One wire format.

    Attributes:
        kind: what stands before the colon in a model's name, and in records.
        base_url: of the service itself.
        url_variable, key_variables: environment variables of another base URL, and of the key, the first one set.
        path: behind the base URL, for a model.
        body: the request as JSON.
        read: vectors and tokens counted, of an answer to so many texts; ValueError where it is not those.
        headers: that carry the key.
        known: dimensions and most tokens of a text, by model.
        most_texts: of one request; the service refuses more.
        batch_texts, batch_tokens: of one request unless the user says otherwise.
        refused_key: whether an answer of this status with this body means that the key is wrong, whatever the status says.
        pause: seconds that a failed answer asks to wait, where it says so in its body.
    """

    kind: str
    base_url: str
    url_variable: str
    key_variables: tuple[str, ...]
    path: Callable[[str], str]
    body: Callable[[Request], dict[str, Any]]
    read: Callable[[bytes, int], Answer]
    headers: Callable[[str], dict[str, str]] = lambda key: {"Authorization": f"Bearer {key}"}
    known: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    most_texts: int | None = None
    batch_texts: int = 128
    batch_tokens: int = 100_000
    refused_key: Callable[[int, str], bool] = lambda status, body: False
    pause: Callable[[str], float | None] = lambda body: None

    def seconds_asked(self, header: str | None, body: str) -> float | None:
        """How long a failed answer asks to wait, by its Retry-After header or its body."""
        asked = retry_after(header)
        return self.pause(body) if asked is None else asked


# --- OpenAI -----------------------------------------------------------------------------------------------------------


def _openai_body(request: Request) -> dict[str, Any]:
    body: dict[str, Any] = {"model": request.model, "input": list(request.texts), "encoding_format": "float"}
    return body if request.dim is None else {**body, "dimensions": request.dim}


def _openai_answer(content: bytes, count: int) -> Answer:
    return read_answer(content, count, None)


# --- Cohere -----------------------------------------------------------------------------------------------------------


def _cohere_body(request: Request) -> dict[str, Any]:
    body: dict[str, Any] = {
        "model": request.model,
        "texts": list(request.texts),
        "input_type": "search_query" if request.kind == "query" else "search_document",
        "embedding_types": ["float"],
    }
    return body if request.dim is None else {**body, "output_dimension": request.dim}


def _cohere_answer(content: bytes, count: int) -> Answer:
    answer = loaded(content)
    embeddings = answer.get("embeddings")
    rows = embeddings.get("float") if isinstance(embeddings, dict) else None
    meta = answer.get("meta")
    billed = meta.get("billed_units") if isinstance(meta, dict) else None
    return matrix_of(rows, count), counted(billed, "input_tokens")


# --- Voyage -----------------------------------------------------------------------------------------------------------


def _voyage_body(request: Request) -> dict[str, Any]:
    # "encoding_format": "float" is refused there; numbers are what comes without it.
    body: dict[str, Any] = {"model": request.model, "input": list(request.texts), "input_type": request.kind}
    return body if request.dim is None else {**body, "output_dimension": request.dim}


# --- Gemini -----------------------------------------------------------------------------------------------------------


def _gemini_name(model: str) -> str:
    return model if "/" in model else f"models/{model}"


def _gemini_body(request: Request) -> dict[str, Any]:
    shared: dict[str, Any] = {
        "model": _gemini_name(request.model),
        "taskType": "RETRIEVAL_QUERY" if request.kind == "query" else "RETRIEVAL_DOCUMENT",
    }
    if request.dim is not None:
        shared["outputDimensionality"] = request.dim
    return {"requests": [{**shared, "content": {"parts": [{"text": text}]}} for text in request.texts]}


def _gemini_answer(content: bytes, count: int) -> Answer:
    rows = loaded(content).get("embeddings")
    if isinstance(rows, list):
        rows = [row.get("values") if isinstance(row, dict) else None for row in rows]
    return matrix_of(rows, count), None


def _gemini_error(body: str) -> dict[str, Any]:
    try:
        answer = json.loads(body)
    except ValueError:
        return {}
    error = answer.get("error") if isinstance(answer, dict) else None
    return error if isinstance(error, dict) else {}


def _gemini_details(body: str) -> list[dict[str, Any]]:
    details = _gemini_error(body).get("details")
    return [one for one in details if isinstance(one, dict)] if isinstance(details, list) else []


def _gemini_refused_key(status: int, body: str) -> bool:
    """A wrong key is answered 400, as a text that is refused is."""
    return status == 400 and (
        any(one.get("reason") == "API_KEY_INVALID" for one in _gemini_details(body))
        or "API key not valid" in str(_gemini_error(body).get("message"))
    )


def _gemini_pause(body: str) -> float | None:
    for one in _gemini_details(body):
        found = _SECONDS.match(str(one.get("retryDelay")))
        if found is not None:
            return float(found[1])
    return None


# --- Mistral ----------------------------------------------------------------------------------------------------------


def _mistral_body(request: Request) -> dict[str, Any]:
    body: dict[str, Any] = {"model": request.model, "input": list(request.texts)}
    return body if request.dim is None else {**body, "output_dimension": request.dim}


PROVIDERS: dict[str, Provider] = {
    provider.kind: provider
    for provider in (
        Provider(
            kind="openai",
            base_url="https://api.openai.com/v1",
            url_variable="OPENAI_BASE_URL",
            key_variables=("OPENAI_API_KEY",),
            path=lambda model: "/embeddings",
            body=_openai_body,
            read=_openai_answer,
            known={
                "text-embedding-3-small": (1536, 8191),
                "text-embedding-3-large": (3072, 8191),
                "text-embedding-ada-002": (1536, 8191),
            },
        ),
        Provider(
            kind="cohere",
            base_url="https://api.cohere.com/v2",
            url_variable="COHERE_BASE_URL",
            key_variables=("CO_API_KEY", "COHERE_API_KEY"),
            path=lambda model: "/embed",
            body=_cohere_body,
            read=_cohere_answer,
            known={
                "embed-v4.0": (1536, 128_000),
                "embed-english-v3.0": (1024, 512),
                "embed-multilingual-v3.0": (1024, 512),
                "embed-english-light-v3.0": (384, 512),
                "embed-multilingual-light-v3.0": (384, 512),
            },
            most_texts=96,
            batch_texts=96,
            # 498: a token that is not valid.
            refused_key=lambda status, body: status == 498,
        ),
        Provider(
            kind="voyage",
            base_url="https://api.voyageai.com/v1",
            url_variable="VOYAGE_BASE_URL",
            key_variables=("VOYAGE_API_KEY",),
            path=lambda model: "/embeddings",
            body=_voyage_body,
            read=_openai_answer,
            known={
                "voyage-3.5": (1024, 32_000),
                "voyage-3.5-lite": (1024, 32_000),
                "voyage-3-large": (1024, 32_000),
                "voyage-code-3": (1024, 32_000),
            },
            most_texts=1000,
        ),
        Provider(
            kind="gemini",
            base_url="https://generativelanguage.googleapis.com/v1beta",
            url_variable="GEMINI_BASE_URL",
            key_variables=("GEMINI_API_KEY", "GOOGLE_API_KEY"),
            path=lambda model: f"/{_gemini_name(model)}:batchEmbedContents",
            body=_gemini_body,
            read=_gemini_answer,
            headers=lambda key: {"x-goog-api-key": key},
            known={"gemini-embedding-001": (3072, 2048)},
            most_texts=100,
            batch_texts=100,
            refused_key=_gemini_refused_key,
            pause=_gemini_pause,
        ),
        Provider(
            kind="mistral",
            base_url="https://api.mistral.ai/v1",
            url_variable="MISTRAL_BASE_URL",
            key_variables=("MISTRAL_API_KEY",),
            path=lambda model: "/embeddings",
            body=_mistral_body,
            read=_openai_answer,
            known={"mistral-embed": (1024, 8192), "codestral-embed": (1536, 8192)},
            most_texts=256,
            batch_texts=64,
            # All texts of a request together may have 16,384.
            batch_tokens=16_000,
        ),
    )
}
