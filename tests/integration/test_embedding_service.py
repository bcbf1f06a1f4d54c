"""One model for many callers: batches form, nobody hangs, one bad text fails alone."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import CancelledError, Future
from typing import Any

import numpy as np
import pytest

from vssnative.embedding import EmbeddingService, HashEmbedder
from vssnative.embedding.protocol import Float32Matrix
from vssnative.errors import ConfigurationError, EmbeddingError

DIM = 8


class Gated(HashEmbedder):
    """Records its batches, and computes none until the gate is open."""

    def __init__(self) -> None:
        super().__init__(DIM)
        self.gate = threading.Event()
        self.entered = threading.Event()
        self.batches: list[list[str]] = []

    def embed_documents(self, texts: Sequence[str]) -> Float32Matrix:
        if texts:
            self.batches.append(list(texts))
            self.entered.set()
            if not self.gate.wait(10):
                raise TimeoutError("the gate stayed shut")
        if any("poison" in text for text in texts):
            raise ValueError("poison")
        return super().embed_documents(texts)

    def embed_queries(self, texts: Sequence[str]) -> Float32Matrix:
        return -self.embed_documents(texts)


def expected(texts: list[str]) -> Float32Matrix:
    return HashEmbedder(DIM).embed_documents(texts)


def hold(model: Gated, service: EmbeddingService) -> Future[Any]:
    """Occupies the worker with a first text, so that what comes next must queue."""
    first = service.submit(["first"])
    assert model.entered.wait(30)
    return first


def test_texts_of_many_threads_are_embedded_together() -> None:
    model = Gated()
    with EmbeddingService(model) as service:
        first = hold(model, service)
        results: dict[int, Float32Matrix] = {}

        def call(number: int) -> None:
            results[number] = service.embed([f"text {number}", f"more {number}"])

        threads = [threading.Thread(target=call, args=(number,)) for number in range(64)]
        for thread in threads:
            thread.start()
        while service.waiting < 128:
            time.sleep(0.005)
        model.gate.set()
        for thread in threads:
            thread.join()
        first.result()
    for number in range(64):
        np.testing.assert_array_equal(results[number], expected([f"text {number}", f"more {number}"]))
        assert results[number].flags.c_contiguous
        assert results[number].base is None
    assert [len(batch) for batch in model.batches] == [1, 128]


def test_an_embedder_with_two_threads_computes_two_batches_at_once() -> None:
    class Two(Gated):
        threads = 2

    model = Two()
    with EmbeddingService(model, max_delay=0.0) as service:
        first = hold(model, service)
        model.entered.clear()
        second = service.submit(["second"])
        # It is begun while the first is still held at the gate.
        assert model.entered.wait(30)
        assert not first.done()
        model.gate.set()
        np.testing.assert_array_equal(second.result(30), expected(["second"]))
    assert model.batches == [["first"], ["second"]]


def test_batches_have_a_limit_and_large_requests_go_alone() -> None:
    model = Gated()
    with EmbeddingService(model, max_batch=10) as service:
        hold(model, service)
        futures = [
            service.submit([f"{i} {j}" for j in range(size)]) for i, size in enumerate((4, 4, 4, 25, 3))
        ]
        model.gate.set()
        assert [future.result().shape for future in futures] == [(size, DIM) for size in (4, 4, 4, 25, 3)]
    assert [len(batch) for batch in model.batches] == [1, 8, 4, 25, 3]


def test_queries_and_documents_are_kept_apart() -> None:
    model = Gated()
    with EmbeddingService(model) as service:
        hold(model, service)
        document, query = service.submit(["same"]), service.submit(["same"], kind="query")
        model.gate.set()
        np.testing.assert_array_equal(document.result(), -query.result())


def test_an_idle_service_waits_a_moment_for_company() -> None:
    model = Gated()
    model.gate.set()
    with EmbeddingService(model, max_delay=5.0, max_batch=3) as service:
        futures = [service.submit([f"{i}"]) for i in range(3)]
        for future in futures:
            future.result(timeout=4)
    assert [len(batch) for batch in model.batches] == [3]


def test_a_text_that_fails_fails_alone() -> None:
    model = Gated()
    with EmbeddingService(model) as service:
        hold(model, service)
        futures = [service.submit([text]) for text in ("good", "poison", "also good")]
        model.gate.set()
        np.testing.assert_array_equal(futures[0].result(), expected(["good"]))
        np.testing.assert_array_equal(futures[2].result(), expected(["also good"]))
        with pytest.raises(ValueError, match="poison"):
            futures[1].result()


def test_a_model_that_gives_another_shape_is_caught() -> None:
    class Wrong(HashEmbedder):
        def embed_documents(self, texts: Sequence[str]) -> Float32Matrix:
            return super().embed_documents(texts)[:-1]

    with (
        EmbeddingService(Wrong(DIM)) as service,
        pytest.raises(EmbeddingError, match=r"shape \(1, 8\); expected"),
    ):
        service.embed(["a", "b"])


def test_a_full_queue_makes_callers_wait() -> None:
    model = Gated()
    with EmbeddingService(model, max_waiting=4) as service:
        hold(model, service)
        service.submit(["a", "b", "c"])
        with pytest.raises(EmbeddingError, match=r"no room for 2 texts within 0.05 s; 3 are waiting"):
            service.submit(["d", "e"], timeout=0.05)
        service.submit(["d"])
        late: list[Float32Matrix] = []
        caller = threading.Thread(target=lambda: late.append(service.embed(["e"])))
        caller.start()
        time.sleep(0.05)
        assert service.waiting == 4
        model.gate.set()
        caller.join(30)
        np.testing.assert_array_equal(late[0], expected(["e"]))


def test_a_request_larger_than_the_queue_still_goes_through() -> None:
    with EmbeddingService(HashEmbedder(DIM), max_waiting=2) as service:
        assert service.embed(["a"] * 9).shape == (9, DIM)


def test_time_out_takes_the_texts_back() -> None:
    model = Gated()
    with EmbeddingService(model) as service:
        hold(model, service)
        with pytest.raises(EmbeddingError, match="no vectors within 0.05 s"):
            service.embed(["given up"], timeout=0.05)
        model.gate.set()
        service.embed(["after"])
    assert all("given up" not in batch for batch in model.batches)


def test_closing_leaves_nobody_hanging() -> None:
    model = Gated()
    service = EmbeddingService(model, max_waiting=8)
    first = hold(model, service)
    outcomes: list[object] = []

    def call(number: int) -> None:
        try:
            outcomes.append(service.embed([f"{number}"]))
        except EmbeddingError as error:
            outcomes.append(error)

    # Eight in the queue, eight more waiting for room.
    threads = [threading.Thread(target=call, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    while service.waiting < 8:
        time.sleep(0.005)
    closer = threading.Thread(target=service.close)
    closer.start()
    for thread in threads:
        thread.join(30)
    assert len(outcomes) == 16
    assert all(isinstance(outcome, EmbeddingError) for outcome in outcomes)
    # What was being computed is finished.
    model.gate.set()
    np.testing.assert_array_equal(first.result(30), expected(["first"]))
    closer.join(30)
    with pytest.raises(EmbeddingError, match="closed"):
        service.embed(["too late"])
    service.close()


def test_closing_ends_the_worker_thread() -> None:
    service = EmbeddingService(HashEmbedder(DIM))
    service.embed(["a"])
    service.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("vssnative-embedding-service")]


class TestAsyncio:
    def test_coroutines_share_batches(self) -> None:
        model = Gated()

        async def main() -> list[Float32Matrix]:
            with EmbeddingService(model, max_waiting=16) as service:
                hold(model, service)
                tasks = [asyncio.create_task(service.embed_async([f"{number}"])) for number in range(50)]
                await asyncio.sleep(0.05)
                assert service.waiting == 16
                model.gate.set()
                return await asyncio.gather(*tasks)

        results = asyncio.run(main())
        np.testing.assert_array_equal(np.concatenate(results), expected([f"{n}" for n in range(50)]))
        assert [len(batch) for batch in model.batches][:2] == [1, 16]

    def test_a_cancelled_task_takes_its_text_back(self) -> None:
        model = Gated()

        async def main() -> None:
            with EmbeddingService(model, max_waiting=2) as service:
                hold(model, service)
                queued = asyncio.create_task(service.embed_async(["queued", "too"]))
                waiting = asyncio.create_task(service.embed_async(["waiting"]))
                await asyncio.sleep(0.05)
                for task in (queued, waiting):
                    task.cancel()
                    with pytest.raises(asyncio.CancelledError):
                        await task
                model.gate.set()
                await service.embed_async(["after"])

        asyncio.run(main())
        assert [text for batch in model.batches for text in batch] == ["first", "after"]

    def test_closing_reaches_coroutines(self) -> None:
        model = Gated()

        async def main() -> list[object]:
            service = EmbeddingService(model, max_waiting=2)
            hold(model, service)
            tasks = [asyncio.create_task(service.embed_async([f"{number}"])) for number in range(6)]
            await asyncio.sleep(0.05)
            service.close(wait=False)
            results = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 30)
            model.gate.set()
            service.close()
            return list(results)

        results = asyncio.run(main())
        assert [type(result) for result in results] == [EmbeddingError] * 6

    def test_no_texts(self) -> None:
        async def main() -> Float32Matrix:
            with EmbeddingService(HashEmbedder(DIM)) as service:
                return await service.embed_async([])

        assert asyncio.run(main()).shape == (0, DIM)


def test_no_texts_and_bad_texts_do_not_reach_the_queue() -> None:
    with EmbeddingService(HashEmbedder(DIM)) as service:
        assert service.embed([]).shape == (0, DIM)
        with pytest.raises(EmbeddingError, match="must be a string"):
            service.embed([3])  # type: ignore[list-item]
        with pytest.raises(ConfigurationError, match="kind must be"):
            service.embed(["a"], kind="title")


def test_a_cancelled_future_costs_nothing() -> None:
    model = Gated()
    with EmbeddingService(model) as service:
        hold(model, service)
        future = service.submit(["not wanted"])
        assert future.cancel()
        model.gate.set()
        service.embed(["after"])
        with pytest.raises(CancelledError):
            future.result()
    assert [text for batch in model.batches for text in batch] == ["first", "after"]


@pytest.mark.parametrize(
    "options", [{"max_delay": -1}, {"max_batch": 0}, {"max_waiting": 0}, {"max_delay": float("nan")}]
)
def test_limits_that_make_no_sense(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="embedding service: expected"):
        EmbeddingService(HashEmbedder(DIM), **options)


def test_the_interpreter_ends_with_a_service_open() -> None:
    code = (
        "from vssnative.embedding import EmbeddingService\n"
        "service = EmbeddingService('hash:8')\n"
        "service.embed(['a'])\n"
        "print('done')\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert (result.stdout, result.stderr) == ("done\n", "")


def test_a_forked_child_is_told_to_make_its_own() -> None:
    code = (
        "import os\n"
        "from vssnative.embedding import EmbeddingService\n"
        "service = EmbeddingService('hash:8')\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    try:\n"
        "        service.embed(['a'])\n"
        "    except Exception as error:\n"
        "        os._exit(42 if 'another process' in str(error) else 1)\n"
        "    os._exit(2)\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
        "service.close()\n"
    )
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert result.stdout == "42\n"
