"""Cohere, Voyage, Gemini and Mistral: a server on loopback that speaks each one's format, and refuses what it would."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any

import numpy as np
import pytest

import vssnative
from tests.loopback import LoopbackServer
from vssnative.embedding import HashEmbedder, HostedEmbedder, from_config, get_embedder
from vssnative.embedding.providers import PROVIDERS
from vssnative.errors import ConfigurationError, ProviderError

KEY = "key-not-to-be-shown-5c1d"
KINDS = ("cohere", "voyage", "gemini", "mistral")
MODELS = {
    "cohere": "embed-english-v3.0",
    "voyage": "voyage-3.5",
    "gemini": "gemini-embedding-001",
    "mistral": "mistral-embed",
}
MOST = {"cohere": 96, "voyage": 1000, "gemini": 100, "mistral": 256}

Reply = tuple[int, dict[str, str], Any]


def vectors_of(texts: list[str], kind: str | None, dim: int) -> list[list[float]]:
    """What the model makes of texts: queries and documents get different vectors where the format tells them apart."""
    return [[float(x) for x in HashEmbedder(dim).embed_documents([f"{kind}{text}"])[0]] for text in texts]


def cohere(path: str, body: dict[str, Any]) -> tuple[list[str], str | None, int | None]:
    assert path == "/base/embed"
    assert set(body) - {"output_dimension"} == {"model", "texts", "input_type", "embedding_types"}
    assert body["embedding_types"] == ["float"]
    kind = {"search_query": "query", "search_document": "document"}[body["input_type"]]
    return body["texts"], kind, body.get("output_dimension")


def voyage(path: str, body: dict[str, Any]) -> tuple[list[str], str | None, int | None]:
    assert path == "/base/embeddings"
    assert set(body) - {"output_dimension"} == {"model", "input", "input_type"}
    return body["input"], body["input_type"], body.get("output_dimension")


def gemini(path: str, body: dict[str, Any]) -> tuple[list[str], str | None, int | None]:
    model = MODELS["gemini"]
    assert path == f"/base/models/{model}:batchEmbedContents"
    assert {request["model"] for request in body["requests"]} == {f"models/{model}"}
    [task] = {request["taskType"] for request in body["requests"]}
    [dim] = {request.get("outputDimensionality") for request in body["requests"]}
    texts = [request["content"]["parts"][0]["text"] for request in body["requests"]]
    return texts, {"RETRIEVAL_QUERY": "query", "RETRIEVAL_DOCUMENT": "document"}[task], dim


def mistral(path: str, body: dict[str, Any]) -> tuple[list[str], str | None, int | None]:
    assert path == "/base/embeddings"
    assert set(body) - {"output_dimension"} == {"model", "input"}
    return body["input"], None, body.get("output_dimension")


READ = {"cohere": cohere, "voyage": voyage, "gemini": gemini, "mistral": mistral}


def answer(provider: str, vectors: list[list[float]]) -> Any:
    if provider == "cohere":
        return {
            "embeddings": {"float": vectors},
            "meta": {"billed_units": {"input_tokens": 5 * len(vectors)}},
        }
    if provider == "gemini":
        return {"embeddings": [{"values": vector} for vector in vectors]}
    data = [{"index": i, "embedding": vector} for i, vector in enumerate(vectors)]
    return {"data": data, "usage": {"total_tokens": 5 * len(vectors)}}


def refusal(provider: str, words: str) -> Reply:
    """How the service says that it does not take a request."""
    if provider == "cohere":
        return 400, {}, {"id": "x", "message": words}
    if provider == "voyage":
        return 400, {}, {"detail": words}
    if provider == "gemini":
        return 400, {}, {"error": {"code": 400, "message": words, "status": "INVALID_ARGUMENT"}}
    detail = [{"type": "value_error", "loc": ["body", "input"], "msg": words}]
    return 422, {}, {"object": "error", "message": {"detail": detail}, "type": "invalid_request_error"}


def wrong_key(provider: str) -> Reply:
    if provider == "cohere":
        return 498, {}, {"message": "invalid api token"}
    if provider == "gemini":
        details = [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}]
        error = {
            "code": 400,
            "message": "API key not valid. Please pass a valid API key.",
            "details": details,
        }
        return 400, {}, {"error": error}
    return (
        401,
        {},
        {"detail": "Provided API key is invalid."} if provider == "voyage" else {"message": "Unauthorized"},
    )


def too_fast(provider: str, seconds: int) -> Reply:
    if provider == "gemini":
        details = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{seconds}s"}]
        return 429, {}, {"error": {"code": 429, "message": "Resource exhausted", "details": details}}
    return 429, {"Retry-After": str(seconds)}, {"message": "slow down"}


class Service:
    """One provider: keeps to its format, its key and its limit of texts; a script of other answers comes first."""

    def __init__(self, provider: str) -> None:
        self.provider = provider
        self.script: list[Callable[[], Reply]] = []
        self.bad: set[str] = set()
        self.asked: list[tuple[list[str], str | None, int | None]] = []
        self.mistakes: list[str] = []
        self.dim = 16
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                code, headers, content = service.reply(self.path, dict(self.headers), body)
                raw = json.dumps(content).encode()
                self.send_response(code)
                for name, value in {**headers, "Content-Length": str(len(raw))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(raw)

            def log_message(self, *arguments: object) -> None:
                pass

        self.server = LoopbackServer(Handler)
        self.url = f"{self.server.root}/base"

    def reply(self, path: str, headers: dict[str, str], body: dict[str, Any]) -> Reply:
        try:
            texts, kind, dim = READ[self.provider](path, body)
        except (AssertionError, KeyError, ValueError) as error:
            self.mistakes.append(f"{type(error).__name__}: {error}")
            return 400, {}, {"message": "that is not how I am asked"}
        self.asked.append((texts, kind, dim))
        sent = headers.get("X-Goog-Api-Key") or headers.get("x-goog-api-key")
        if self.provider != "gemini":
            sent = headers.get("Authorization", "").removeprefix("Bearer ")
        if sent != KEY:
            return wrong_key(self.provider)
        if self.script:
            return self.script.pop(0)()
        if len(texts) > MOST[self.provider]:
            return refusal(self.provider, f"at most {MOST[self.provider]} texts")
        for text in texts:
            if text in self.bad or not text:
                return refusal(self.provider, f"cannot embed {text}")
        return 200, {}, answer(self.provider, vectors_of(texts, kind, dim or self.dim))


@pytest.fixture(params=KINDS)
def service(request: pytest.FixtureRequest) -> Iterator[Service]:
    service = Service(request.param)
    yield service
    service.server.close()
    assert service.mistakes == []


def embedder_of(service: Service, **options: Any) -> HostedEmbedder:
    # The service's usual length is 16 here, not the model's own: it has to be asked for.
    options = {"api_key": KEY, "base_url": service.url, "dim": 16, "backoff": 0.01} | options
    made = get_embedder(f"{service.provider}:{MODELS[service.provider]}", **options)
    assert isinstance(made, HostedEmbedder)
    return made


def test_queries_and_documents_and_the_length_are_told(service: Service) -> None:
    with contextlib.closing(embedder_of(service, dim=8)) as embedder:
        documents = embedder.embed_documents(["apples", "", "pears"])
        query = embedder.embed_queries(["apples"])
        assert embedder.usage.texts == 4
        assert embedder.usage.tokens == (20 if service.provider != "gemini" else 3 + 1 + 2 + 3)
    kinds = (None, None) if service.provider == "mistral" else ("document", "query")
    assert [(kind, dim) for _, kind, dim in service.asked] == [(kinds[0], 8), (kinds[1], 8)]
    expected = vectors_of(["apples", " ", "pears"], kinds[0], 8)
    np.testing.assert_array_equal(documents, np.array(expected, np.float32))
    np.testing.assert_array_equal(query, np.array(vectors_of(["apples"], kinds[1], 8), np.float32))


def test_no_request_has_more_texts_than_the_service_takes(service: Service) -> None:
    texts = [f"t{i}" for i in range(1030)]
    with contextlib.closing(embedder_of(service, batch_texts=5000)) as embedder:
        assert embedder.embed_documents(texts).shape == (1030, 16)
    assert max(len(asked) for asked, _, _ in service.asked) <= MOST[service.provider]
    assert sorted(text for asked, _, _ in service.asked for text in asked) == sorted(texts)


def test_one_refused_text_stands_alone_and_its_words_are_told(service: Service) -> None:
    texts = [f"text number {i}" for i in range(9)]
    service.bad = {texts[4]}
    with contextlib.closing(embedder_of(service)) as embedder:
        attempt = embedder.try_embed(texts)
    assert list(attempt.failures) == [4]
    error = attempt.failures[4]
    assert error.status in (400, 422) and not error.transient
    assert "cannot embed [text]" in str(error)


def test_a_wrong_key_is_no_fault_of_the_texts(service: Service) -> None:
    with contextlib.closing(embedder_of(service, api_key="another")) as embedder:
        attempt = embedder.try_embed(["a", "b", "c", "d"])
    assert len(service.asked) == 1
    assert {error.status for error in attempt.failures.values()} == {401}
    assert "another" not in str(attempt.failures[0])


def test_a_pause_is_kept_wherever_it_is_written(service: Service) -> None:
    service.script = [lambda: too_fast(service.provider, 3600)]
    with contextlib.closing(embedder_of(service)) as embedder:
        with pytest.raises(ProviderError) as caught:
            embedder.embed_documents(["a"])
        assert caught.value.retry_after == 3600 and caught.value.transient
        service.script = [lambda: too_fast(service.provider, 0)]
        assert embedder.embed_documents(["a"]).shape == (1, 16)


@pytest.mark.parametrize(
    "wrong", [{}, [], {"embeddings": {"float": []}}, {"embeddings": [{}]}, {"data": [{}]}]
)
def test_an_answer_that_is_no_vectors_is_tried_again(service: Service, wrong: object) -> None:
    service.script = [lambda: (200, {}, wrong)]
    with contextlib.closing(embedder_of(service)) as embedder:
        assert embedder.embed_documents(["a"]).shape == (1, 16)
        assert embedder.usage.retries == 1


def test_keys_go_to_their_own_service_only(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    provider = PROVIDERS[service.provider]
    monkeypatch.setenv(provider.key_variables[0], KEY)
    with contextlib.closing(embedder_of(service, api_key=None)) as stranger:
        assert provider.url_variable in str(stranger.try_embed(["a"]).failures[0])
    monkeypatch.setenv(provider.url_variable, service.url)
    with contextlib.closing(embedder_of(service, api_key=None, base_url=None)) as own:
        assert own.embed_documents(["a"]).shape == (1, 16)
        assert KEY not in repr(own) and KEY not in json.dumps(own.config())
        again = from_config(own.config())
        assert isinstance(again, HostedEmbedder)
        with contextlib.closing(again):
            assert (again.name, again.digest, again.dim) == (own.name, own.digest, own.dim)
            np.testing.assert_array_equal(again.embed_queries(["a"]), own.embed_queries(["a"]))


def test_a_table_is_embedded_and_searched(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PROVIDERS[service.provider].url_variable, service.url)
    monkeypatch.setenv(PROVIDERS[service.provider].key_variables[0], KEY)
    service.dim = PROVIDERS[service.provider].known[MODELS[service.provider]][0]
    with contextlib.closing(vssnative.connect(":memory:")) as conn:
        conn.execute("create table posts(id integer primary key, title text)")
        conn.executemany("insert into posts(title) values (?)", [("apples",), ("",), ("pears",)])
        conn.commit()
        vssnative.add_embeddings(
            conn, "posts", ["title"], model=f"{service.provider}:{MODELS[service.provider]}"
        )
        assert vssnative.sync(conn).remaining == 0
        [hit] = vssnative.search(conn, "posts", "pears", k=1)
        assert hit.key in (1, 3)
        moved = vssnative.migrations.change_server(conn, "posts", f"{service.url}/")
        assert moved.active.model["base_url"] == service.url


@pytest.mark.parametrize("kind", KINDS)
def test_a_missing_key_is_told_before_anything_is_made(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROVIDERS[kind].key_variables:
        monkeypatch.delenv(name, raising=False)
    with contextlib.closing(vssnative.connect(":memory:")) as conn:
        conn.execute("create table posts(id integer primary key, title text)")
        with pytest.raises(ConfigurationError, match=PROVIDERS[kind].key_variables[0]):
            vssnative.add_embeddings(conn, "posts", ["title"], model=f"{kind}:{MODELS[kind]}")
        assert conn.execute("select count(*) from sqlite_master").fetchone() == (1,)


def test_an_unknown_provider_is_named() -> None:
    with pytest.raises(
        ConfigurationError, match="expected a provider of openai, cohere, voyage, gemini, mistral"
    ):
        HostedEmbedder("model", provider="nobody")
