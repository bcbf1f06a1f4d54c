"""What sync reports: events to a callback, to ``logging``, and to OpenTelemetry where that is installed."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

logger = logging.getLogger("vssnative.sync")


@dataclass(frozen=True)
class Event:
    """Something that happened.

    Attributes:
        kind: ``batch`` (vectors were committed), ``failed`` (a text failed, to be tried again), ``dead`` (a text was
            given up), ``paused`` (a model's provider cannot be used for now), ``mended`` (triggers were lost and
            are back), ``broken`` (a table or column is gone), ``switched`` (a change of model is complete).
        embedding: the embeddings' name.
        details: by kind, for example ``row_id``, ``field``, ``reason``, ``seconds``, ``texts``.
    """

    kind: str
    embedding: str
    details: dict[str, Any] = field(default_factory=dict)


Listener = Callable[[Event], None]

_LEVELS = {"batch": logging.DEBUG, "failed": logging.INFO, "switched": logging.INFO}


def emit(listener: Listener | None, kind: str, embedding: str, **details: Any) -> None:
    """Log an event and hand it to the listener. Texts are never part of one."""
    logger.log(
        _LEVELS.get(kind, logging.WARNING),
        "%s: %s%s",
        embedding,
        kind,
        "".join(f" {key}={value!r}" for key, value in details.items()),
    )
    if listener is not None:
        listener(Event(kind, embedding, details))


@contextlib.contextmanager
def span(name: str, **attributes: Any) -> Iterator[None]:
    """An OpenTelemetry span around the block, where the ``opentelemetry`` API is installed; else nothing."""
    tracer = _tracer()
    if tracer is None:
        yield
        return
    with tracer.start_as_current_span(name, attributes=attributes):
        yield


_tracers: list[Any] = []


def _tracer() -> Any:
    if not _tracers:
        found = None
        if importlib.util.find_spec("opentelemetry") is not None:
            try:
                found = importlib.import_module("opentelemetry.trace").get_tracer("vssnative")
            except (ImportError, AttributeError):
                found = None
        _tracers.append(found)
    return _tracers[0]
