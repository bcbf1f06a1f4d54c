"""Embeddings from a server: of the OpenAI protocol (OpenAI, Ollama, vLLM, llama.cpp, TEI), Cohere, Voyage, Gemini, Mistral.

Keys come from an argument or the environment, are sent to the server they were meant for and to no other, and are
never recorded, shown or logged.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import ConfigurationError, MissingDependencyError, ProviderError
from ._locks import ForkSafeLock, renew_in_children
from ._texts import checked_texts
from .breaker import CircuitBreaker
from .hosted_run import Attempt, Run, Usage, batches_of, estimated_tokens
from .limits import Limits, current_limits
from .protocol import Float32Matrix, Int64Vector
from .providers import PROVIDERS, Request
from .wire import server_words, without_texts

if TYPE_CHECKING:
    import httpx


class HostedEmbedder:
    """A model behind an HTTP endpoint. Safe to call from several threads.

    Args:
        model: the server's name for the model.
        provider: the wire format: ``"openai"``, which most servers speak, ``"cohere"``, ``"voyage"``, ``"gemini"`` or
            ``"mistral"``.
        base_url: up to and without ``/embeddings`` or the like; by default ``$OPENAI_BASE_URL`` (``$COHERE_BASE_URL``
            and so on), else the provider's own.
        api_key: by default ``$OPENAI_API_KEY`` (``$CO_API_KEY``, ``$VOYAGE_API_KEY``, ``$GEMINI_API_KEY``,
            ``$MISTRAL_API_KEY``), which is sent to the default base URL only. A server elsewhere gets a key only by
            this argument.
        dim: length to ask the server for, and to expect. None: the model's own, asked for by one request of one word
            where it is not known.
        query_prompt, document_prompt: put before every query or document.
        batch_texts, batch_tokens: most texts and, estimated, tokens of one request; by default what suits the provider,
            and never more texts than it takes.
        concurrency: most requests under way at once, over all threads.
        attempts: most requests for one batch; pauses between them grow from ``backoff`` seconds, are drawn at random
            and are at least what the server asks for (Retry-After), at most ``longest_pause``.
        timeout: seconds that one request may take.
        breaker_failures, breaker_pause: after so many failures in a row, fail at once for so many seconds.
        price: cost of a million tokens, for ``usage``.
        transport: another way to send requests, for tests (httpx transport).

    Raises:
        ConfigurationError: if an argument makes no sense.
        MissingDependencyError: if httpx or tenacity is not installed.
    """

    def __init__(
        self,
        model: str,
        *,
        provider: str = "openai",
        base_url: str | None = None,
        api_key: str | None = None,
        dim: int | None = None,
        query_prompt: str = "",
        document_prompt: str = "",
        batch_texts: int | None = None,
        batch_tokens: int | None = None,
        concurrency: int = 4,
        attempts: int = 6,
        backoff: float = 0.5,
        longest_pause: float = 60.0,
        timeout: float = 60.0,
        breaker_failures: int = 5,
        breaker_pause: float = 30.0,
        price: float | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        try:
            import httpx  # noqa: F401 - a missing package is told here, not at the first failure
            import tenacity  # noqa: F401
        except ImportError as error:
            raise MissingDependencyError(
                "hosted models need the packages httpx and tenacity: pip install 'vssnative[hosted]'"
            ) from error
        if not model:
            raise ConfigurationError("hosted embedder: expected the name of a model")
        if provider not in PROVIDERS:
            raise ConfigurationError(
                f"hosted embedder: expected a provider of {', '.join(PROVIDERS)}, got {provider!r}"
            )
        self._provider = PROVIDERS[provider]
        batch_texts = self._provider.batch_texts if batch_texts is None else batch_texts
        batch_tokens = self._provider.batch_tokens if batch_tokens is None else batch_tokens
        positive = {
            "batch_texts": batch_texts,
            "batch_tokens": batch_tokens,
            "concurrency": concurrency,
            "attempts": attempts,
            "breaker_failures": breaker_failures,
            **({} if dim is None else {"dim": dim}),
        }
        for key, value in positive.items():
            if value < 1:
                raise ConfigurationError(f"hosted embedder: {key} must be at least 1, not {value}")
        trusted = self._trusted_url()
        self._base_url = _checked_url(base_url) if base_url is not None else trusted
        self._model = model
        self._key = api_key or (self._environment_key() if self._base_url == trusted else None)
        self._dim = dim or self._provider.known.get(model, (None, None))[0]
        self._asked_dim = dim
        self._dim_seen = False
        self._prompts = {"query": query_prompt, "document": document_prompt}
        self._batch_texts = min(batch_texts, self._provider.most_texts or batch_texts)
        self._batch_tokens = batch_tokens
        self._concurrency = concurrency
        self._attempts = attempts
        self._backoff = backoff
        self._longest_pause = longest_pause
        self._timeout = timeout
        self._price = price
        self._breaker = CircuitBreaker(breaker_failures, breaker_pause)
        self._transport = transport
        self._lock = ForkSafeLock()
        self._counts = {"requests": 0, "retries": 0, "texts": 0, "tokens": 0}
        self._closing = threading.Event()
        self._slots = threading.BoundedSemaphore(concurrency)
        self._client: httpx.Client | None = None
        self._finalizer: weakref.finalize[..., Any] | None = None
        renew_in_children(self)

    def _connections(self) -> httpx.Client:
        """The connections of this process, opened when they are first needed."""
        import httpx

        with self._lock:
            if self._closing.is_set():
                raise RuntimeError("closed")  # as httpx's own where it was closed meanwhile
            if self._client is None:
                # Redirects are not followed: they would carry the texts, and perhaps the key, to another server.
                self._client = httpx.Client(
                    timeout=httpx.Timeout(self._timeout, connect=min(self._timeout, 10.0)),
                    transport=self._transport,
                    follow_redirects=False,
                )
                self._finalizer = weakref.finalize(self, self._client.close)
            return self._client

    def renew(self) -> None:
        """In a forked child: on the parent's connections each process would read the other's answers."""
        if self._finalizer is not None:
            self._finalizer.detach()
        self._client = self._finalizer = None
        closed, self._closing = self._closing.is_set(), threading.Event()
        if closed:
            self._closing.set()
        self._slots = threading.BoundedSemaphore(self._concurrency)

    def __repr__(self) -> str:
        return f"HostedEmbedder({self.name!r}, base_url={self._base_url!r})"

    @property
    def name(self) -> str:
        return f"{self._provider.kind}:{self._model}"

    @property
    def dim(self) -> int:
        """Length of the vectors; asks the server once where it is not known.

        Raises:
            ProviderError: if the server must be asked and does not answer.
        """
        if self._dim is None:
            self._request("document", ["dimension"], current_limits())
        assert self._dim is not None
        return self._dim

    @property
    def metric(self) -> str:
        return "cosine"

    @property
    def max_tokens(self) -> int | None:
        return self._provider.known.get(self._model, (None, None))[1]

    @property
    def digest(self) -> str:
        """Digest of what is asked of whom: the weights behind a server cannot be seen."""
        facts: list[Any] = [self._base_url, self._model, self._asked_dim, self._prompts]
        if self._provider.kind != "openai":
            facts.append(self._provider.kind)
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    @property
    def usage(self) -> Usage:
        """Requests, tokens and cost of all calls so far."""
        with self._lock:
            counts = dict(self._counts)
        cost = None if self._price is None else counts["tokens"] * self._price / 1e6
        return Usage(**counts, cost=cost)

    def embed_documents(self, texts: Sequence[str]) -> Float32Matrix:
        """Embed stored texts: float32 ``(n, dim)``, C-contiguous, as the server gives them.

        Raises:
            ProviderError: if a text got no vector. Its attribute ``transient`` says whether it may go well later.
        """
        return self._all(texts, "document")

    def embed_queries(self, texts: Sequence[str]) -> Float32Matrix:
        """Embed search texts: float32 ``(n, dim)``, C-contiguous."""
        return self._all(texts, "query")

    def count_tokens(self, texts: Sequence[str]) -> Int64Vector:
        """An estimate, on the high side, from the length in bytes: int64 ``(n,)``."""
        return np.array([estimated_tokens(text) for text in checked_texts(texts)], dtype=np.int64)

    def try_embed(self, texts: Sequence[str], *, kind: str = "document") -> Attempt:
        """Embed what can be embedded, and say for each other text why it was not.

        A request that the server refuses as a whole (status 400, 413 or 422) is halved until the refused texts stand
        alone. After a failure that is not about the texts no further requests are begun, and the rest is reported.

        Raises:
            EmbeddingError: if a text is no string; nothing was sent then.
        """
        prompt = self._prompts[kind]
        # Servers refuse the empty string.
        rows = [prompt + text or " " for text in checked_texts(texts)]
        failures: dict[int, ProviderError] = {}
        found: dict[int, Float32Matrix] = {}
        batches = batches_of(rows, self._batch_texts, self._batch_tokens)
        run = Run(partial(self._embed_batch, kind), rows, found, failures, current_limits())
        if len(batches) <= 1:
            for batch in batches:
                run.batch(batch)
        else:
            run.parallel(batches, min(self._concurrency, len(batches)))
        vectors = np.zeros((len(rows), self._dim or 0), dtype=np.float32)
        for start, block in found.items():
            vectors[start : start + len(block)] = block
        return Attempt(vectors, failures)

    def config(self) -> dict[str, Any]:
        options = {
            "dim": self._asked_dim,
            "query_prompt": self._prompts["query"],
            "document_prompt": self._prompts["document"],
        }
        return {
            "kind": self._provider.kind,
            "model": self._model,
            "base_url": self._base_url,
            **{key: value for key, value in options.items() if value},
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> HostedEmbedder:
        """An equal embedder from what ``config()`` returned; the key comes from the environment."""
        options = {
            key: config[key]
            for key in ("base_url", "dim", "query_prompt", "document_prompt")
            if key in config
        }
        return cls(config["model"], provider=config.get("kind", "openai"), **options)

    def close(self) -> None:
        """Close the connections. Calls under way end with a ``ProviderError``."""
        self._closing.set()
        if self._finalizer is not None:
            self._finalizer()

    def _all(self, texts: Sequence[str], kind: str) -> Float32Matrix:
        if not len(texts):
            return np.empty((0, self.dim), dtype=np.float32)
        attempt = self.try_embed(texts, kind=kind)
        if attempt.failures:
            position, error = min(attempt.failures.items())
            raise ProviderError(
                f"{len(attempt.failures)} of {len(texts)} texts got no vector; texts[{position}]: {error}",
                status=error.status,
                retry_after=error.retry_after,
                transient=all(failure.transient for failure in attempt.failures.values()),
                asked=error.asked,
            ) from error
        return attempt.vectors

    def _embed_batch(
        self, kind: str, texts: list[str], interrupted: threading.Event, limits: Limits
    ) -> Float32Matrix:
        """One batch, with retries until they are used up, the embedder is closed or nobody waits any more."""
        import tenacity

        jitter = tenacity.wait_random_exponential(multiplier=self._backoff, max=self._longest_pause)

        def pause(state: tenacity.RetryCallState) -> float:
            drawn = float(jitter(state))
            error = state.outcome.exception() if state.outcome is not None else None
            asked = error.retry_after if isinstance(error, ProviderError) else None
            return max(drawn, asked or 0.0)

        def worth_another(error: BaseException) -> bool:
            if not isinstance(error, ProviderError) or not error.transient or not error.asked:
                return False
            if self._closing.is_set() or interrupted.is_set() or limits.over:
                return False
            if limits.left is not None and (error.retry_after or 0.0) > limits.left:
                return False
            # A server that asks for a longer pause than we would wait is left to the caller.
            return (error.retry_after or 0.0) <= self._longest_pause

        def sleep(seconds: float) -> None:
            end = time.monotonic() + seconds
            while (left := end - time.monotonic()) > 0 and not interrupted.is_set() and not limits.over:
                if self._closing.wait(min(left, 0.1)):
                    return

        retrying = tenacity.Retrying(
            stop=tenacity.stop_after_attempt(min(self._attempts, limits.attempts or self._attempts)),
            wait=pause,
            retry=tenacity.retry_if_exception(worth_another),
            sleep=sleep,
            before_sleep=lambda _: self._count(retries=1),
            reraise=True,
        )
        result: Float32Matrix = retrying(self._request, kind, texts, limits)
        return result

    def _request(self, kind: str, texts: list[str], limits: Limits) -> Float32Matrix:
        """One request. Counts it, and tells the circuit breaker how it went."""
        who = f"{self._model} at {self._base_url}"
        while not self._slots.acquire(timeout=0.1):
            if limits.over or self._closing.is_set():
                raise ProviderError(
                    f"{who}: nobody waits for the answer any more", transient=True, asked=False
                )
        try:
            self._breaker.check(who)
            outcome: Callable[[], None] = self._breaker.abandoned
            try:
                vectors, tokens = self._send(kind, texts, who, limits)
                outcome = self._breaker.succeeded
            except ProviderError as error:
                cause = str(error).removeprefix(f"{who}: ")
                outcome = partial(self._breaker.failed, cause) if error.transient else self._breaker.succeeded
                raise
            finally:
                outcome()
        finally:
            self._slots.release()
        self._count(texts=len(texts), tokens=sum(map(estimated_tokens, texts)) if tokens is None else tokens)
        return vectors

    def _send(
        self, kind: str, texts: list[str], who: str, limits: Limits
    ) -> tuple[Float32Matrix, int | None]:
        import httpx

        seconds = self._timeout if limits.left is None else min(self._timeout, limits.left)
        if limits.over or seconds <= 0:
            raise ProviderError(f"{who}: no time is left to ask", transient=True, asked=False)

        provider = self._provider
        self._count(requests=1)
        try:
            answer = self._connections().post(
                f"{self._base_url}{provider.path(self._model)}",
                json=provider.body(Request(self._model, texts, kind, self._asked_dim)),
                headers=provider.headers(self._key) if self._key else {},
                timeout=httpx.Timeout(seconds, connect=min(seconds, 10.0)),
            )
        except httpx.TimeoutException as error:
            raise ProviderError(
                f"{who}: no answer within {seconds:.3g} s ({type(error).__name__})", transient=True
            ) from None
        except (httpx.TransportError, httpx.DecodingError) as error:
            raise ProviderError(f"{who}: {self._hidden(str(error))}", transient=True) from None
        except RuntimeError:  # the client was closed
            raise ProviderError(f"{who}: the embedder is closed") from None
        if answer.status_code != 200:
            status = 401 if provider.refused_key(answer.status_code, answer.text) else answer.status_code
            raise ProviderError(
                f"{who}: status {status}: {without_texts(server_words(self._hidden(answer.text)), texts)}"
                f"{self._keyless(status)}",
                status=status,
                retry_after=provider.seconds_asked(answer.headers.get("Retry-After"), answer.text),
                transient=status in (408, 409, 425, 429) or status >= 500,
            )
        try:
            # The length is looked at below: another one is no passing fault.
            vectors, tokens = provider.read(answer.content, len(texts))
        except ValueError as error:
            # A wrong answer may be a passing fault of the server as well as a lasting one: worth another request.
            raise ProviderError(f"{who}: {error}", status=200, transient=True) from None
        with self._lock:
            if self._dim is None:
                self._dim = vectors.shape[1]
        if vectors.shape[1] != self._dim:
            raise ProviderError(
                f"{who}: expected {self._dim} values, got {vectors.shape[1]}; dim= asks for, and expects, another"
                " length",
                status=200,
                transient=self._dim_seen,  # after right ones it is a passing fault, before any a wrong setting
            )
        self._dim_seen = True
        return vectors, tokens

    def ask_again(self) -> None:
        """Forget failures in a row: the next call asks the server, however recently it failed."""
        self._breaker.close()

    def check_key(self) -> None:
        """That a key is there for a server which is known to need one.

        Raises:
            ConfigurationError: it is missing.
        """
        if self._key is None and self._base_url == self._provider.base_url:
            raise ConfigurationError(
                f"{self.name} needs a key: set the environment variable {self._provider.key_variables[0]}, here and"
                " wherever sync runs"
            )

    def _keyless(self, status: int) -> str:
        if status not in (401, 403) or self._key is not None:
            return ""
        if self._base_url == self._trusted_url():
            return f"; no key was sent: set the environment variable {self._provider.key_variables[0]}"
        return (
            f"; no key was sent: a server other than ${self._provider.url_variable} gets one only by api_key="
        )

    def _trusted_url(self) -> str:
        """The server that the environment's key is meant for."""
        return _checked_url(os.environ.get(self._provider.url_variable) or self._provider.base_url)

    def _environment_key(self) -> str | None:
        return next((key for name in self._provider.key_variables if (key := os.environ.get(name))), None)

    def _hidden(self, words: str) -> str:
        """A message without the key, which a server may have echoed."""
        return words.replace(self._key, "[key]") if self._key else words

    def _count(self, **amounts: int) -> None:
        with self._lock:
            for key, amount in amounts.items():
                self._counts[key] += amount


def _checked_url(url: str) -> str:
    import httpx

    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, TypeError):
        parsed = httpx.URL("")
    if parsed.scheme not in ("http", "https") or not parsed.host or parsed.userinfo or parsed.query:
        raise ConfigurationError(
            f"base_url must be http(s)://host[:port][/path] without user, password or query, not {url!r}"
            if "@" not in str(url)
            else "base_url must not hold a user or password"
        )
    return str(parsed).rstrip("/")
