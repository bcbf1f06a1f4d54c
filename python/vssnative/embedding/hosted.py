"""Embeddings from a server that speaks the OpenAI protocol: OpenAI itself, Ollama, vLLM, llama.cpp, TEI and others.

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
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import ConfigurationError, MissingDependencyError, ProviderError
from ._texts import checked_texts
from .breaker import CircuitBreaker
from .daemons import DaemonPool
from .limits import Limits, current_limits
from .protocol import Float32Matrix, Int64Vector
from .wire import read_answer, retry_after, server_words, without_texts

if TYPE_CHECKING:
    import httpx

DEFAULT_BASE_URL = "https://api.openai.com/v1"
_KNOWN = {
    "text-embedding-3-small": (1536, 8191),
    "text-embedding-3-large": (3072, 8191),
    "text-embedding-ada-002": (1536, 8191),
}
# A token is rarely shorter than this many bytes of UTF-8 text: estimates err on the side of too many tokens.
_BYTES_PER_TOKEN = 3
# Statuses by which a server says that it did not like these texts, not that it is unwell.
_REFUSALS = frozenset({400, 413, 422})


@dataclass(frozen=True, slots=True)
class Usage:
    """What all calls of an embedder have used so far.

    Attributes:
        requests: requests sent, failed ones included.
        retries: requests among them that repeated a failed one.
        texts: texts embedded.
        tokens: tokens that the server counted; estimated where it did not say.
        cost: ``tokens`` at the price given, None without a price.
    """

    requests: int = 0
    retries: int = 0
    texts: int = 0
    tokens: int = 0
    cost: float | None = None


@dataclass(frozen=True, slots=True)
class Attempt:
    """Outcome of ``try_embed``.

    Attributes:
        vectors: float32 ``(n, dim)``; rows of texts that failed are zero.
        failures: position of each text that has no vector, with the reason.
    """

    vectors: Float32Matrix
    failures: dict[int, ProviderError]


class HostedEmbedder:
    """A model behind an OpenAI-compatible endpoint. Safe to call from several threads.

    Args:
        model: the server's name for the model.
        base_url: up to and without ``/embeddings``; by default ``$OPENAI_BASE_URL``, else OpenAI's.
        api_key: by default ``$OPENAI_API_KEY``, which is sent to the default base URL only. A server elsewhere gets a
            key only by this argument.
        dim: length to ask the server for (``dimensions``), and to expect. None: the model's own, asked for by one
            request of one word where it is not known.
        query_prompt, document_prompt: put before every query or document.
        batch_texts, batch_tokens: most texts and, estimated, tokens of one request.
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
        base_url: str | None = None,
        api_key: str | None = None,
        dim: int | None = None,
        query_prompt: str = "",
        document_prompt: str = "",
        batch_texts: int = 128,
        batch_tokens: int = 100_000,
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
            import httpx
            import tenacity  # noqa: F401 - a missing package is told here, not at the first failure
        except ImportError as error:
            raise MissingDependencyError(
                "hosted models need the packages httpx and tenacity: pip install 'vssnative[hosted]'"
            ) from error
        if not model:
            raise ConfigurationError("hosted embedder: expected the name of a model")
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
        trusted = _checked_url(os.environ.get("OPENAI_BASE_URL") or DEFAULT_BASE_URL)
        self._base_url = _checked_url(base_url) if base_url is not None else trusted
        self._model = model
        self._key = api_key or (os.environ.get("OPENAI_API_KEY") if self._base_url == trusted else None)
        self._dim = dim or _KNOWN.get(model, (None, None))[0]
        self._asked_dim = dim
        self._dim_seen = False
        self._prompts = {"query": query_prompt, "document": document_prompt}
        self._batch_texts = batch_texts
        self._batch_tokens = batch_tokens
        self._concurrency = concurrency
        self._attempts = attempts
        self._backoff = backoff
        self._longest_pause = longest_pause
        self._timeout = timeout
        self._price = price
        self._breaker = CircuitBreaker(breaker_failures, breaker_pause)
        self._slots = threading.BoundedSemaphore(concurrency)
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._counts = {"requests": 0, "retries": 0, "texts": 0, "tokens": 0}
        # Redirects are not followed: they would carry the texts, and perhaps the key, to another server.
        self._client = httpx.Client(
            timeout=httpx.Timeout(timeout, connect=min(timeout, 10.0)),
            transport=transport,
            follow_redirects=False,
        )
        self._finalizer = weakref.finalize(self, self._client.close)

    def __repr__(self) -> str:
        return f"HostedEmbedder({self._model!r}, base_url={self._base_url!r})"

    @property
    def name(self) -> str:
        return f"openai:{self._model}"

    @property
    def dim(self) -> int:
        """Length of the vectors; asks the server once where it is not known.

        Raises:
            ProviderError: if the server must be asked and does not answer.
        """
        if self._dim is None:
            self._request(["dimension"], current_limits())
        assert self._dim is not None
        return self._dim

    @property
    def metric(self) -> str:
        return "cosine"

    @property
    def max_tokens(self) -> int | None:
        return _KNOWN.get(self._model, (None, None))[1]

    @property
    def digest(self) -> str:
        """Digest of what is asked of whom: the weights behind a server cannot be seen."""
        facts = [self._base_url, self._model, self._asked_dim, self._prompts]
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
        return np.array([_estimate(text) for text in checked_texts(texts)], dtype=np.int64)

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
        batches = self._batches(rows)
        run = _Run(self._embed_batch, rows, found, failures, current_limits())
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
            "kind": "openai",
            "model": self._model,
            "base_url": self._base_url,
            **{key: value for key, value in options.items() if value},
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> HostedEmbedder:
        """An equal embedder from what ``config()`` gave; the key comes from the environment, as ever."""
        options = {
            key: config[key]
            for key in ("base_url", "dim", "query_prompt", "document_prompt")
            if key in config
        }
        return cls(config["model"], **options)

    def close(self) -> None:
        """Close the connections. Calls under way end with a ``ProviderError``."""
        self._closing.set()
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

    def _batches(self, rows: list[str]) -> list[range]:
        batches = []
        start = tokens = 0
        for position, text in enumerate(rows):
            size = _estimate(text)
            if position > start and (
                position - start >= self._batch_texts or tokens + size > self._batch_tokens
            ):
                batches.append(range(start, position))
                start, tokens = position, 0
            tokens += size
        if rows:
            batches.append(range(start, len(rows)))
        return batches

    def _embed_batch(self, texts: list[str], interrupted: threading.Event, limits: Limits) -> Float32Matrix:
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
        result: Float32Matrix = retrying(self._request, texts, limits)
        return result

    def _request(self, texts: list[str], limits: Limits) -> Float32Matrix:
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
                vectors, tokens = self._send(texts, who, limits)
                outcome = self._breaker.succeeded
            except ProviderError as error:
                cause = str(error).removeprefix(f"{who}: ")
                outcome = partial(self._breaker.failed, cause) if error.transient else self._breaker.succeeded
                raise
            finally:
                outcome()
        finally:
            self._slots.release()
        self._count(texts=len(texts), tokens=sum(map(_estimate, texts)) if tokens is None else tokens)
        return vectors

    def _send(self, texts: list[str], who: str, limits: Limits) -> tuple[Float32Matrix, int | None]:
        import httpx

        seconds = self._timeout if limits.left is None else min(self._timeout, limits.left)
        if limits.over or seconds <= 0:
            raise ProviderError(f"{who}: no time is left to ask", transient=True, asked=False)

        body: dict[str, Any] = {"model": self._model, "input": texts, "encoding_format": "float"}
        if self._asked_dim is not None:
            body["dimensions"] = self._asked_dim
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        self._count(requests=1)
        try:
            answer = self._client.post(
                f"{self._base_url}/embeddings",
                json=body,
                headers=headers,
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
            status = answer.status_code
            raise ProviderError(
                f"{who}: status {status}: {without_texts(server_words(self._hidden(answer.text)), texts)}"
                f"{self._keyless(status)}",
                status=status,
                retry_after=retry_after(answer.headers.get("Retry-After")),
                transient=status in (408, 409, 425, 429) or status >= 500,
            )
        try:
            # The length is looked at below: another one is no passing fault.
            vectors, tokens = read_answer(answer.content, len(texts), None)
        except ValueError as error:
            # A wrong answer may be a passing fault of the server as well as a lasting one: worth another request.
            raise ProviderError(f"{who}: {error}", status=200, transient=True) from None
        with self._lock:
            if self._dim is None:
                self._dim = vectors.shape[1]
        if vectors.shape[1] != self._dim:
            raise ProviderError(
                f"{who}: expected {self._dim} values, got [{vectors.shape[1]}]; dim= asks for, and expects, another"
                " length",
                status=200,
                transient=self._dim_seen,  # after right ones it is a passing fault, before any a wrong setting
            )
        self._dim_seen = True
        return vectors, tokens

    def check_key(self) -> None:
        """That a key is there for a server which is known to need one.

        Raises:
            ConfigurationError: it is missing.
        """
        if self._key is None and self._base_url == DEFAULT_BASE_URL:
            raise ConfigurationError(
                f"{self.name} needs a key: set the environment variable OPENAI_API_KEY, here and wherever sync runs"
            )

    def _keyless(self, status: int) -> str:
        if status not in (401, 403) or self._key is not None:
            return ""
        if self._base_url == _checked_url(os.environ.get("OPENAI_BASE_URL") or DEFAULT_BASE_URL):
            return "; no key was sent: set the environment variable OPENAI_API_KEY"
        return "; no key was sent: a server other than $OPENAI_BASE_URL gets one only by api_key="

    def _hidden(self, words: str) -> str:
        """A message without the key, which a server may have echoed."""
        return words.replace(self._key, "[key]") if self._key else words

    def _count(self, **amounts: int) -> None:
        with self._lock:
            for key, amount in amounts.items():
                self._counts[key] += amount


class _Run:
    """Embeds the batches of one call and sorts out what became of each text."""

    def __init__(
        self,
        embed: Callable[[list[str], threading.Event, Limits], Float32Matrix],
        rows: list[str],
        found: dict[int, Float32Matrix],
        failures: dict[int, ProviderError],
        limits: Limits,
    ) -> None:
        self._embed = embed
        self._limits = limits
        self._rows = rows
        self._found = found
        self._failures = failures
        self._stopped: ProviderError | None = None
        self._interrupted = threading.Event()

    def parallel(self, batches: list[range], threads: int) -> None:
        pool = DaemonPool(threads, "vssnative-hosted", wait_at_exit=False)
        pending: list[Future[None]] = []
        try:
            pending = [pool.submit(partial(self.batch, batch)) for batch in batches]
            for future in pending:
                future.result()
        except BaseException:
            self._interrupted.set()
            self._stopped = ProviderError("interrupted", transient=True)
            raise
        finally:
            for future in pending:
                future.cancel()
            pool.close(wait=False)

    def batch(self, batch: range) -> None:
        if self._stopped is not None:
            self._report(batch, self._stopped)
            return
        try:
            vectors = self._embed(
                [self._rows[position] for position in batch], self._interrupted, self._limits
            )
        except ProviderError as error:
            if error.status in _REFUSALS and len(batch) > 1:
                middle = batch.start + len(batch) // 2
                self.batch(range(batch.start, middle))
                self.batch(range(middle, batch.stop))
                return
            if error.status not in _REFUSALS:
                self._stopped = error
            self._report(batch, error)
            return
        self._found[batch.start] = vectors

    def _report(self, batch: range, error: ProviderError) -> None:
        self._failures.update(dict.fromkeys(batch, error))


def _estimate(text: str) -> int:
    return 1 + (len(text) if text.isascii() else len(text.encode())) // _BYTES_PER_TOKEN


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
