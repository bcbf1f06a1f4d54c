"""A server of the OpenAI protocol on loopback that fails in every way a server can: no text lost, nothing wrong kept."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any

import numpy as np
import pytest

from tests.loopback import LoopbackServer
from vssnative.embedding import HashEmbedder, HostedEmbedder, from_config, get_embedder
from vssnative.errors import ConfigurationError, EmbeddingError, ProviderError

DIM = 8
KEY = "sk-test-do-not-show-9f8e7d"

# What a stub does with a request: given the texts, status, headers and body of the answer; None hangs up.
Reply = tuple[int, dict[str, str], bytes] | None
Behaviour = Callable[[list[str]], Reply]


def right(texts: list[str]) -> Reply:
    vectors = HashEmbedder(DIM).embed_documents(texts)
    data = [{"index": i, "embedding": vector.tolist()} for i, vector in enumerate(vectors)]
    return 200, {}, json.dumps({"data": data, "usage": {"prompt_tokens": 3 * len(texts)}}).encode()


def status(code: int, words: str = "no", **headers: str) -> Behaviour:
    return lambda texts: (code, {k.replace("_", "-"): v for k, v in headers.items()}, words.encode())


def altered(change: Callable[[list[dict[str, Any]]], object]) -> Behaviour:
    def reply(texts: list[str]) -> Reply:
        answer = right(texts)
        assert answer is not None
        body = json.loads(answer[2])
        change(body["data"])
        return 200, {}, json.dumps(body).encode()

    return reply


class Stub:
    """The server: a list of behaviours to go through, then the right one; every request is recorded."""

    def __init__(self) -> None:
        self.script: list[Behaviour] = []
        self.always: Behaviour = right
        self.requests: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.times: list[float] = []
        self.under_way = self.most_under_way = 0
        self.lock = threading.Lock()
        stub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with stub.lock:
                    stub.requests.append({"path": self.path, **body})
                    stub.keys.append(self.headers.get("Authorization"))
                    stub.times.append(time.monotonic())
                    stub.under_way += 1
                    stub.most_under_way = max(stub.most_under_way, stub.under_way)
                    behaviour = stub.script.pop(0) if stub.script else stub.always
                try:
                    reply = behaviour(body["input"])
                finally:
                    with stub.lock:
                        stub.under_way -= 1
                if reply is None:
                    self.close_connection = True
                    return
                code, headers, content = reply
                try:
                    self.send_response(code)
                    for name, value in headers.items():
                        self.send_header(name, value)
                    if "Content-Length" not in headers:
                        self.send_header("Content-Length", str(len(content)))
                    self.end_headers()
                    self.wfile.write(content)
                    # Half an answer ends with the connection.
                    self.close_connection = self.close_connection or "Content-Length" in headers
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True

            def log_message(self, *arguments: object) -> None:
                pass

        self.server = LoopbackServer(Handler)
        self.url = f"{self.server.root}/v1"

    def close(self) -> None:
        self.server.close()

    def texts(self) -> list[str]:
        return [text for request in self.requests for text in request["input"]]


@pytest.fixture
def stub() -> Iterator[Stub]:
    stub = Stub()
    yield stub
    stub.close()


@pytest.fixture
def make(stub: Stub) -> Iterator[Callable[..., HostedEmbedder]]:
    made: list[HostedEmbedder] = []

    def embedder(**options: Any) -> HostedEmbedder:
        defaults: dict[str, Any] = {"base_url": stub.url, "backoff": 0.001, "timeout": 5.0}
        made.append(HostedEmbedder("test-model", **(defaults | options)))
        return made[-1]

    yield embedder
    for one in made:
        one.close()


def expect(vectors: np.ndarray[Any, np.dtype[np.float32]], texts: list[str]) -> None:
    np.testing.assert_allclose(vectors, HashEmbedder(DIM).embed_documents(texts), atol=1e-6)


TEXTS = [f"text number {i}" for i in range(10)]


def test_texts_become_vectors_in_their_order(stub: Stub, make: Callable[..., HostedEmbedder]) -> None:
    embedder = make(batch_texts=3, price=2.0)
    expect(embedder.embed_documents(TEXTS), TEXTS)
    assert embedder.dim == DIM
    assert sorted(stub.texts()) == sorted(TEXTS)
    assert {len(request["input"]) for request in stub.requests} == {3, 1}
    assert {request["path"] for request in stub.requests} == {"/v1/embeddings"}
    usage = embedder.usage
    assert (usage.requests, usage.retries, usage.texts, usage.tokens) == (4, 0, 10, 30)
    assert usage.cost == pytest.approx(30 * 2.0 / 1e6)


def test_no_texts_are_no_request(stub: Stub, make: Callable[..., HostedEmbedder]) -> None:
    assert make(dim=DIM).embed_documents([]).shape == (0, DIM)
    assert not stub.requests


def test_batches_keep_to_the_token_budget(stub: Stub, make: Callable[..., HostedEmbedder]) -> None:
    texts = ["x" * 300, "y" * 300, "z" * 3, "w" * 3000, "v"]
    expect(make(batch_tokens=210).embed_documents(texts), texts)
    assert sorted(len(request["input"]) for request in stub.requests) == [1, 1, 3]


def test_prompts_and_dimensions_are_sent(stub: Stub, make: Callable[..., HostedEmbedder]) -> None:
    embedder = make(dim=DIM, query_prompt="query: ", document_prompt="passage: ")
    expect(embedder.embed_queries(["a"]), ["query: a"])
    expect(embedder.embed_documents(["a"]), ["passage: a"])
    assert [request["dimensions"] for request in stub.requests] == [DIM, DIM]
    plain = make()
    assert plain.embed_documents([""]).shape == (1, DIM)
    assert stub.requests[-1]["input"] == [" "]
    assert "dimensions" not in stub.requests[-1]


PASSING = {
    "429": status(429, "slow down"),
    "429 with Retry-After": status(429, "slow down", Retry_After="0.05"),
    "500": status(500),
    "502 with a page": status(502, "<html>bad gateway</html>"),
    "503 with Retry-After": status(503, Retry_After="0"),
    "408": status(408),
    "hang up": lambda texts: None,
    "half an answer": lambda texts: (200, {"Content-Length": "5000"}, b'{"data": ['),
    "no JSON": status(200, "oops"),
    "too few vectors": altered(lambda data: data.pop()),
    "too many vectors": altered(lambda data: data.append({"index": len(data), "embedding": [1.0] * DIM})),
    "an index twice": altered(lambda data: data[-1].update(index=0 if len(data) > 1 else 1)),
    "an index beyond": altered(lambda data: data[0].update(index=99)),
    "vectors of two lengths": altered(lambda data: data[0].update(embedding=[1.0] * (DIM + 1))),
    "an empty vector": altered(lambda data: data[0].update(embedding=[])),
    "NaN": altered(lambda data: data[0]["embedding"].__setitem__(3, float("nan"))),
    "infinity": altered(lambda data: data[0]["embedding"].__setitem__(3, float("inf"))),
    "words for numbers": altered(lambda data: data[0]["embedding"].__setitem__(3, "1")),
    "zeros": altered(lambda data: data[0].update(embedding=[0.0] * DIM)),
    "null": altered(lambda data: data[0].update(embedding=None)),
}


@pytest.mark.parametrize("failure", PASSING)
def test_a_passing_failure_is_repeated(failure: str, stub: Stub, make: Callable[..., HostedEmbedder]) -> None:
    stub.script = [PASSING[failure], PASSING[failure]]
    embedder = make(dim=DIM)
    expect(embedder.embed_documents(TEXTS), TEXTS)
    assert embedder.usage.requests == 3
    assert embedder.usage.retries == 2
    assert embedder.usage.texts == len(TEXTS)


@pytest.mark.parametrize("failure", PASSING)
def test_a_lasting_failure_is_reported(failure: str, stub: Stub, make: Callable[..., HostedEmbedder]) -> None:
    stub.always = PASSING[failure]
    embedder = make(dim=DIM, attempts=2, batch_texts=4, concurrency=1)
    with pytest.raises(ProviderError, match=r"10 of 10 texts got no vector; texts\[0\]: ") as caught:
        embedder.embed_documents(TEXTS)
    assert caught.value.transient
    # After the first batch's attempts the others are not even tried.
    assert len(stub.requests) == 2
    attempt = embedder.try_embed(TEXTS)
    assert set(attempt.failures) == set(range(10))
    assert not attempt.vectors.any()


def test_vectors_of_another_length_than_before_are_refused(
    stub: Stub, make: Callable[..., HostedEmbedder]
) -> None:
    embedder = make(attempts=1)
    expect(embedder.embed_documents(TEXTS), TEXTS)
    stub.always = altered(lambda data: [row.update(embedding=[1.0] * 5) for row in data])
    with pytest.raises(ProviderError, match=r"expected 8 values, got 5"):
        embedder.embed_documents(TEXTS)


def test_retry_after_is_honoured(stub: Stub, make: Callable[..., HostedEmbedder]) -> None:
    stub.script = [status(429, Retry_After="0.4")]
    expect(make().embed_documents(TEXTS), TEXTS)
    assert stub.times[1] - stub.times[0] >= 0.4


def test_a_longer_wait_than_we_would_is_left_to_the_caller(
    stub: Stub, make: Callable[..., HostedEmbedder]
) -> None:
    stub.always = status(429, Retry_After="3600")
    with pytest.raises(ProviderError) as caught:
        make(longest_pause=10.0).embed_documents(TEXTS)
    assert (caught.value.status, caught.value.retry_after, caught.value.transient) == (429, 3600.0, True)
    assert len(stub.requests) == 1


def test_a_server_that_is_slow_is_given_up(stub: Stub, make: Callable[..., HostedEmbedder]) -> None:
    released = threading.Event()

    def wait(texts: list[str]) -> Reply:
        released.wait(10)
        return right(texts)

    stub.script = [wait]
    try:
        expect(make(timeout=0.3).embed_documents(TEXTS), TEXTS)
        assert len(stub.requests) == 2
    finally:
        released.set()


@pytest.mark.parametrize("code", [401, 403, 404])
def test_a_refusal_of_the_caller_is_not_repeated(
    code: int, stub: Stub, make: Callable[..., HostedEmbedder]
) -> None:
    stub.always = status(code, '{"error": {"message": "who are you?"}}')
    with pytest.raises(ProviderError, match=f"status {code}: who are you") as caught:
        make().embed_documents(TEXTS)
    assert caught.value.status == code
    assert not caught.value.transient
    assert len(stub.requests) == 1


@pytest.mark.parametrize("code", [400, 413, 422])
@pytest.mark.parametrize("bad", [{0}, {9}, {3, 4}, {1, 5, 8}])
def test_a_text_that_is_refused_does_not_take_the_others_with_it(
    code: int, bad: set[int], stub: Stub, make: Callable[..., HostedEmbedder]
) -> None:
    poison = {TEXTS[i] for i in bad}
    stub.always = lambda texts: (code, {}, b"bad text") if poison & set(texts) else right(texts)
    embedder = make()
    attempt = embedder.try_embed(TEXTS)
    assert set(attempt.failures) == bad
    assert {failure.status for failure in attempt.failures.values()} == {code}
    fine = [i for i in range(10) if i not in bad]
    expect(attempt.vectors[fine], [TEXTS[i] for i in fine])
    # Each of the others has had its vector made once.
    assert embedder.usage.texts == len(fine)
    with pytest.raises(
        ProviderError, match=rf"{len(bad)} of 10 texts got no vector; texts\[{min(bad)}\]"
    ) as caught:
        embedder.embed_documents(TEXTS)
    assert not caught.value.transient


def test_a_storm_of_failures_loses_nothing(stub: Stub, make: Callable[..., HostedEmbedder]) -> None:
    chooser = random.Random(6)
    failures = list(PASSING.values())
    texts = [f"storm {i}" for i in range(400)]
    poison = {"storm 17", "storm 311"}

    def storm(given: list[str]) -> Reply:
        with stub.lock:
            failure = chooser.choice(failures) if chooser.random() < 0.4 else None
        if failure is not None:
            return failure(given)
        return (400, {}, b"poison") if poison & set(given) else right(given)

    stub.always = storm
    embedder = make(dim=DIM, batch_texts=16, attempts=30, longest_pause=0.1, breaker_failures=1000)
    attempt = embedder.try_embed(texts)
    assert {texts[i] for i in attempt.failures} == poison
    fine = [i for i in range(400) if i not in attempt.failures]
    expect(attempt.vectors[fine], [texts[i] for i in fine])
    assert embedder.usage.texts == 398
    assert embedder.usage.retries > 0


def test_requests_under_way_are_limited(stub: Stub, make: Callable[..., HostedEmbedder]) -> None:
    def slowly(texts: list[str]) -> Reply:
        time.sleep(0.02)
        return right(texts)

    stub.always = slowly
    embedder = make(batch_texts=1, concurrency=3)
    callers = [threading.Thread(target=embedder.embed_documents, args=(TEXTS,)) for _ in range(3)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert len(stub.requests) == 30
    assert 1 < stub.most_under_way <= 3


def test_a_server_that_is_down_is_left_alone_for_a_while(
    stub: Stub, make: Callable[..., HostedEmbedder]
) -> None:
    stub.always = status(503)
    embedder = make(attempts=1, breaker_failures=3, breaker_pause=0.3)
    for _ in range(3):
        with pytest.raises(ProviderError, match="status 503"):
            embedder.embed_documents(["a"])
    with pytest.raises(ProviderError, match="failed 3 times in a row") as caught:
        embedder.embed_documents(["a"])
    assert caught.value.transient
    assert len(stub.requests) == 3
    stub.always = right
    time.sleep(0.35)
    expect(embedder.embed_documents(["a"]), ["a"])


def test_a_closed_embedder_says_so(stub: Stub, make: Callable[..., HostedEmbedder]) -> None:
    embedder = make()
    embedder.close()
    with pytest.raises(ProviderError, match="the embedder is closed"):
        embedder.embed_documents(["a"])


def test_closing_ends_the_wait_for_another_attempt(stub: Stub, make: Callable[..., HostedEmbedder]) -> None:
    stub.always = status(429, Retry_After="50")
    embedder = make(longest_pause=60.0)
    raised: list[BaseException] = []

    def call() -> None:
        try:
            embedder.embed_documents(["a"])
        except ProviderError as error:
            raised.append(error)

    caller = threading.Thread(target=call)
    caller.start()
    while not stub.requests:
        time.sleep(0.01)
    embedder.close()
    caller.join(10)
    assert not caller.is_alive()
    assert len(raised) == 1


class TestKeys:
    def test_an_argument_is_sent_and_never_shown(
        self, stub: Stub, make: Callable[..., HostedEmbedder]
    ) -> None:
        embedder = make(api_key=KEY)
        embedder.embed_documents(["a"])
        assert stub.keys == [f"Bearer {KEY}"]
        stub.always = status(401, f"key {KEY} is unknown")
        with pytest.raises(ProviderError, match=r"key \[key\] is unknown") as caught:
            embedder.embed_documents(["a"])
        shown = (
            f"{caught.value!r} {caught.value.__cause__!r} {embedder!r} {embedder.config()} {embedder.digest}"
        )
        assert KEY not in shown

    def test_the_environments_key_goes_to_the_environments_server_only(
        self, stub: Stub, make: Callable[..., HostedEmbedder], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
        # As a database of someone else's would name a server of someone else's.
        recorded = make().config()
        stranger = from_config(json.loads(json.dumps(recorded)))
        assert isinstance(stranger, HostedEmbedder)
        expect(stranger.embed_documents(["a"]), ["a"])
        stranger.close()
        assert stub.keys == [None]
        monkeypatch.setenv("OPENAI_BASE_URL", stub.url + "/")
        own = from_config(recorded)
        assert isinstance(own, HostedEmbedder)
        expect(own.embed_documents(["a"]), ["a"])
        own.close()
        assert stub.keys == [None, f"Bearer {KEY}"]

    def test_a_redirection_is_not_followed(self, stub: Stub, make: Callable[..., HostedEmbedder]) -> None:
        stub.always = status(307, "elsewhere", Location=f"{stub.url}/other/embeddings")
        with pytest.raises(ProviderError, match="status 307"):
            make(api_key=KEY).embed_documents(["a"])
        assert len(stub.requests) == 1


def test_a_config_gives_an_equal_embedder(stub: Stub, make: Callable[..., HostedEmbedder]) -> None:
    embedder = make(dim=DIM, query_prompt="q: ")
    again = from_config(json.loads(json.dumps(embedder.config())))
    assert isinstance(again, HostedEmbedder)
    assert (again.name, again.dim, again.digest) == (embedder.name, DIM, embedder.digest)
    again.close()
    other = make(dim=DIM)
    assert other.digest != embedder.digest


def test_known_models_need_no_request() -> None:
    embedder = get_embedder("openai:text-embedding-3-small")
    assert isinstance(embedder, HostedEmbedder)
    assert (embedder.dim, embedder.max_tokens, embedder.name) == (1536, 8191, "openai:text-embedding-3-small")
    embedder.close()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"base_url": "ftp://host/v1"}, "base_url must be http"),
        ({"base_url": "nonsense"}, "base_url must be http"),
        ({"base_url": "http://user:secret@host/v1"}, "must not hold a user or password"),
        ({"base_url": "http://host/v1?key=secret"}, "without user, password or query"),
        ({"dim": 0}, "dim must be at least 1"),
        ({"batch_texts": 0}, "batch_texts must be at least 1"),
        ({"attempts": 0}, "attempts must be at least 1"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        HostedEmbedder("model", **options)


def test_a_text_that_is_no_string_is_not_sent(stub: Stub, make: Callable[..., HostedEmbedder]) -> None:
    with pytest.raises(EmbeddingError, match=r"texts\[1\] must be a string"):
        make().embed_documents(["a", None])  # type: ignore[list-item]
    assert not stub.requests


FORKS = """
import os, sys
import numpy as np
from vssnative.embedding import HashEmbedder, HostedEmbedder

embedder = HostedEmbedder("test-model", base_url=sys.argv[1], timeout=20.0, attempts=1, concurrency=1)
embedder.embed_documents(["in the parent"])  # its connection stays open


def work(name):
    for number in range(40):
        texts = [f"{name} {number}"]
        np.testing.assert_allclose(embedder.embed_documents(texts), HashEmbedder(8).embed_documents(texts), atol=1e-6)


embedder._slots.acquire()  # as a thread of the parent's would, that is at a request
children = []
for number in range(3):
    child = os.fork()
    if child == 0:
        try:
            work(f"child {number}")
        except BaseException as error:
            print(error, file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    children.append(child)
embedder._slots.release()
work("parent")
assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0, 0, 0]
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")
def test_forked_processes_read_their_own_answers(stub: Stub) -> None:
    """As under gunicorn's --preload: they shared the connection, and mixed up their requests."""
    done = subprocess.run(
        [sys.executable, "-c", FORKS, stub.url], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert len(stub.texts()) == 1 + 4 * 40
