"""What a server answers is read strictly; the circuit breaker opens and closes as it should."""

from __future__ import annotations

import base64
import email.utils
import json
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vssnative.embedding.breaker import CircuitBreaker
from vssnative.embedding.wire import read_answer, retry_after, server_words
from vssnative.errors import ProviderError


def answer(*rows: object, **more: object) -> bytes:
    return json.dumps({"data": list(rows), **more}).encode()


def row(index: object, embedding: object) -> dict[str, object]:
    return {"index": index, "embedding": embedding}


def test_vectors_come_in_the_order_of_their_indexes() -> None:
    vectors, tokens = read_answer(answer(row(1, [3, 4]), row(0, [1, 2]), usage={"prompt_tokens": 7}), 2, 2)
    np.testing.assert_array_equal(vectors, [[1, 2], [3, 4]])
    assert vectors.dtype == np.float32
    assert vectors.flags.c_contiguous
    assert tokens == 7


def test_base64_is_read() -> None:
    raw = base64.b64encode(np.array([1.5, -2], dtype="<f4").tobytes()).decode()
    vectors, tokens = read_answer(answer(row(0, raw)), 1, None)
    np.testing.assert_array_equal(vectors, [[1.5, -2]])
    assert tokens is None


def test_a_missing_index_means_the_place() -> None:
    vectors, _ = read_answer(answer({"embedding": [1]}, {"embedding": [2]}), 2, 1)
    np.testing.assert_array_equal(vectors, [[1], [2]])


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"<html>", "expected JSON"),
        (b"\xff\xfe", "expected JSON"),
        (b"[]", "expected 2 vectors, got none"),
        (b"{}", "expected 2 vectors, got none"),
        (answer(row(0, [1, 2])), "expected 2 vectors, got 1"),
        (answer(row(0, [1, 2]), row(1, [1, 2]), row(2, [1, 2])), "expected 2 vectors, got 3"),
        (answer(row(0, [1, 2]), row(0, [1, 2])), "index 0 came twice"),
        (answer(row(0, [1, 2]), row(2, [1, 2])), "expected an index from 0 to 1, got 2"),
        (answer(row(0, [1, 2]), row(-1, [1, 2])), "got -1"),
        (answer(row(0, [1, 2]), row(True, [1, 2])), "got True"),
        (answer(row(0, [1, 2]), row("1", [1, 2])), "got '1'"),
        (answer(row(0, [1, 2]), 5), "expected an object"),
        (answer(row(0, [1, 2]), row(1, [1, 2, 3])), r"got \[2, 3\]"),
        (answer(row(0, [1, 2, 3]), row(1, [1, 2, 3])), r"expected 2 values, got \[3\]"),
        (answer(row(0, [1, 2]), row(1, [])), "0 values"),
        (answer(row(0, [1, 2]), row(1, None)), "expected numbers, got NoneType"),
        (answer(row(0, [1, 2]), row(1, [1, "2"])), "expected numbers"),
        (answer(row(0, [1, 2]), row(1, [1, True])), "expected numbers"),
        (answer(row(0, [1, 2]), row(1, [0, 0.0])), "all values are zero"),
        (
            b'{"data": [{"index": 0, "embedding": [1, 2]}, {"index": 1, "embedding": [NaN, 1]}]}',
            "no finite number",
        ),
        (
            b'{"data": [{"index": 0, "embedding": [1, 2]}, {"index": 1, "embedding": [1e39, 1]}]}',
            "no finite number",
        ),
        (answer(row(0, [1, 2]), row(1, [10**400, 1])), "out of range"),
        (answer(row(0, [1, 2]), row(1, "!!!!")), "expected numbers or base64"),
        (answer(row(0, [1, 2]), row(1, "AAAA")), "3 bytes are no float32 values"),
    ],
)
def test_an_answer_that_is_wrong_is_refused(body: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        read_answer(body, 2, 2)


@given(
    st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda s: st.lists(s))
)
def test_no_value_gets_past_as_a_vector(value: object) -> None:
    try:
        vectors, _ = read_answer(answer(row(0, value)), 1, None)
    except ValueError:
        return
    assert vectors.ndim == 2
    assert np.isfinite(vectors).all()


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, None),
        ("3", 3.0),
        ("0.25", 0.25),
        ("-5", 0.0),
        ("soon", None),
        ("nan", None),
        ("inf", None),
        ("", None),
    ],
)
def test_retry_after_in_seconds(header: str | None, expected: float | None) -> None:
    assert retry_after(header) == expected


def test_retry_after_as_a_date() -> None:
    in_a_minute = retry_after(email.utils.formatdate(time.time() + 60, usegmt=True))
    assert in_a_minute is not None
    assert 50 < in_a_minute <= 60
    assert retry_after(email.utils.formatdate(time.time() - 60, usegmt=True)) == 0.0


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ('{"error": {"message": "too  long"}}', "too long"),
        ('{"error": "busy"}', "busy"),
        ('{"detail": "no model"}', "no model"),
        ("plain\nwords", "plain words"),
        ("", "no explanation"),
        ("x" * 1000, "x" * 300),
    ],
)
def test_server_words_are_short(body: str, words: str) -> None:
    assert server_words(body) == words


class TestBreaker:
    def make(self) -> tuple[CircuitBreaker, list[float]]:
        now = [0.0]
        return CircuitBreaker(2, 10.0, clock=lambda: now[0]), now

    def test_it_opens_after_failures_in_a_row(self) -> None:
        breaker, _ = self.make()
        breaker.failed()
        breaker.succeeded()
        breaker.failed()
        breaker.check("it")
        breaker.failed()
        with pytest.raises(
            ProviderError,
            match=r"it failed 2 times in a row, the last time: no answer; not asked again for 10.0 s",
        ) as caught:
            breaker.check("it")
        assert caught.value.transient
        assert caught.value.retry_after == 10.0

    def test_one_call_tries_after_the_pause(self) -> None:
        breaker, now = self.make()
        breaker.failed()
        breaker.failed()
        now[0] = 11.0
        breaker.check("it")
        with pytest.raises(ProviderError):
            breaker.check("it")
        breaker.failed()
        with pytest.raises(ProviderError):
            breaker.check("it")
        now[0] = 22.0
        breaker.check("it")
        breaker.succeeded()
        breaker.check("it")
        breaker.check("it")

    def test_it_closes_when_somebody_says_so(self) -> None:
        breaker, _ = self.make()
        breaker.failed("It broke.")
        breaker.failed("It broke.")
        with pytest.raises(ProviderError, match="the last time: It broke; not asked again"):
            breaker.check("it")
        breaker.close()
        breaker.check("it")

    def test_a_trial_that_was_abandoned_leaves_room_for_another(self) -> None:
        breaker, now = self.make()
        breaker.failed()
        breaker.failed()
        now[0] = 11.0
        breaker.check("it")
        breaker.abandoned()
        breaker.check("it")
