"""Settings of the process."""

from __future__ import annotations

from .. import _core
from ..errors import ConfigurationError

__all__ = ["configure"]


def configure(
    *,
    memory: str | int | None = None,
    threads: int | None = None,
    recall: float | None = None,
    precision: str | None = None,
) -> None:
    """Set the process's memory budget, number of threads, default recall and models' precision, for all connections.

    In SQL: ``select vss_setting('memory', '1GB'), vss_setting('threads', 4), vss_setting('recall', 0.99)``.

    Args:
        memory: bytes, or text like ``"256MB"`` (units are powers of 1,024), for decoded vectors and codes that are
            kept between searches. Default: the environment's ``VSSNATIVE_MEMORY``, else 256 MB.
        threads: threads for batches of queries and large loads; 0 is one for each core this process may use.
            Default: the environment's ``VSSNATIVE_THREADS``, else 0.
        recall: the recall of searches that name none. Default: 0.95.
        precision: how local models that are made from now on compute, ``"float32"`` or the faster ``"bfloat16"``.
            Default: the environment's ``VSSNATIVE_PRECISION``, else ``"float32"``. A table keeps the precision that it
            was given its embeddings with.

    Raises:
        ConfigurationError: an invalid value.
    """
    if memory is not None:
        _core.set_memory_budget(_bytes_of(memory))
    if threads is not None:
        if isinstance(threads, bool) or not isinstance(threads, int) or not 0 <= threads <= 256:
            raise ConfigurationError(f"threads: expected an integer from 0 to 256, got {threads!r}")
        _core.set_threads(threads)
    if recall is not None:
        if not 0 < recall <= 1:
            raise ConfigurationError(f"recall: expected a number above 0 and at most 1, got {recall!r}")
        _core.set_default_recall(recall)
    if precision is not None:
        from ..embedding.precision import set_default_precision

        set_default_precision(precision)


def _bytes_of(memory: str | int) -> int:
    if isinstance(memory, int) and not isinstance(memory, bool):
        if memory < 0:
            raise ConfigurationError(f"memory: expected 0 bytes or more, got {memory}")
        return memory
    size = _core.parse_bytes(str(memory).strip())
    if size < 0:
        raise ConfigurationError(f'memory: expected a number of bytes, or text like "256MB", got {memory!r}')
    return size
