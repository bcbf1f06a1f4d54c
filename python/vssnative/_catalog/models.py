"""Models at work, built from what is recorded."""

from __future__ import annotations

from collections.abc import Iterable

from ..embedding._locks import ForkSafeLock
from ..embedding.precision import comparable
from ..embedding.protocol import Embedder
from ..embedding.registry import from_config
from ..errors import EmbeddingError
from .records import Generation

_built: dict[str, Embedder] = {}
_built_lock = ForkSafeLock()


def ask_again(digests: Iterable[str]) -> None:
    """Let models of this process be asked again at once that are not asked for a while after failures."""
    with _built_lock:
        built = [_built[digest] for digest in digests if digest in _built]
    for embedder in built:
        again = getattr(embedder, "ask_again", None)
        if again is not None:
            again()


def embedder_for(
    generation: Generation, given: Iterable[Embedder] = (), *, to_compare: bool = False
) -> Embedder:
    """The very model that the generation records, `given` ones first; built once per process.

    Args:
        to_compare: a given embedder of the same model with another precision will do, as its vectors are compared with
            stored ones, not stored.

    Raises:
        EmbeddingError: what can be built today is another model than the recorded one.
        ModelNotFoundError: its files are not on this machine.
    """
    given = tuple(given)
    for embedder in given:
        if embedder.digest == generation.model_digest:
            return embedder
    for embedder in given if to_compare else ():
        if comparable(embedder.digest, generation.model_digest):
            return embedder
    with _built_lock:
        found = _built.get(generation.model_digest)
        if found is None:
            found = from_config(generation.model)
            if found.digest != generation.model_digest:
                raise EmbeddingError(
                    f"the vectors were made by model {generation.model_name} with digest"
                    f" {generation.model_digest[:12]}, but its files now have digest {found.digest[:12]}; vectors of"
                    " two models cannot be compared. Put the recorded files back, or change the model."
                )
            _built[generation.model_digest] = found
    return found
